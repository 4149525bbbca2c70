"""What is remembered between starts, in one SQLite database: history, requests, pins, last good spec, pending apply.

May import `schema` only. One file for each matter, with tables or keys of its own.
Open `store.py` first: the database, and what happens when its disk fails; then any other file for its records.
"""
