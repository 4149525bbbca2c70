"""Names that somebody else has chosen, as they may stand in a log, on a terminal and in status."""

from __future__ import annotations

LONGEST = 1000


def shown(name: str | bytes, longest: int = LONGEST) -> str:
    """On one line: what can't be seen, or is no character, as its escape; cut where it is too long."""
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    line = "".join(character if character.isprintable() else _escaped(character) for character in text[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
