"""What every process needs of Linux: files opened without following strangers' links, locks, signals, threads, the log.

May import nothing of this project: everything else stands on it.
Open `files.py` first: all that root does to files goes through it.
"""
