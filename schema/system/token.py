"""The VF token, with which whoever knows it may open the VFs of its PF, and passwords in URLs: shown to nobody, kept in
private files."""

from __future__ import annotations

import re

KEY = "vfio_vf_token"
SECRET = "(secret)"
"""What stands in its place."""
_IN_URL = re.compile(r"(?<=http://)[^\s/'\"]+(?=@)|(?<=https://)[^\s/'\"]+(?=@)", re.IGNORECASE)
_VALUE = re.compile(r"(vfio[_-]vf[_-]token\W{1,6})[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def holds_token(text: str) -> bool:
    """Whether a spec, a plan or other text has a VF token in it."""
    return _VALUE.search(text) is not None


def without_token(text: str) -> str:
    """The text with SECRET in place of each VF token, and of who is named in a URL, with his password."""
    return _IN_URL.sub(SECRET, _VALUE.sub(rf"\1{SECRET}", text))


def lacks_token(text: str) -> bool:
    """Whether a plan has SECRET where it once had a VF token."""
    return re.search(rf'"{KEY}"\s*:\s*"{re.escape(SECRET)}"', text) is not None
