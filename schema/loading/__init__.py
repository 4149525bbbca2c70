"""From a file, a directory or several sources to one spec, or to everything that is wrong with it.

May import `rules` and the files of `schema`.
Open `loader.py` first: its `load` is what commands and the watch loop call.
"""
