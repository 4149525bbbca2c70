"""What commands print: tables, plans and packets for people, JSON for programs; arguments that they share.

May import the rooms up to `watch`, `engine.api` and `schema`. Decides nothing.
Open `output.py` first: JSON, colour or plain text, by who reads it.
"""
