"""YAML as a tree that knows line and column of everything in it, and the problems that point there.

May import nothing of this project. Knows YAML 1.2, and no key of a spec.
Open `yaml12.py` first: how text becomes a tree, within bounds and without surprises.
"""
