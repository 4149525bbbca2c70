"""DPDK through ctypes: one file for each of its libraries, and its struct layouts for each release.

May import `schema.system` only. Thin: names, types and error numbers of DPDK; what a relay is stands elsewhere.
Open `layout.py` first: the one place that knows offsets; a test compares them with the installed headers.
"""
