"""Where specs come from: directories and Git repositories, read by threads and processes that may hang alone.

May import `schema`. Gives texts with their revisions; what they mean is decided in `desired`.
Open `source.py` first: what every source is; then `pollers.py`, which reads them.
"""
