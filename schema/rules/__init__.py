"""What a JSON schema can't express: what must fit together, who owns what, and what the host's policy allows.

May import `document` and the files of `schema` (model, spec, paths); nothing here reads the host or a spec's file.
Open `check.py` first: a document against the schema; then `spec_rules.py`, where most rules are.
"""
