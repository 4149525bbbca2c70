"""Retired identifiers and phrases: what was called by a word of this project's own, and now goes by the field's.

usage: scripts/words.py [TREE]. Looked for in code, comments, help, documents, tests and file names, not in
CHANGELOG.md, which tells of releases that called it so. `_old_word`, `OLD_WORD` and `OldWord` count as well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

UNREAD = re.compile(
    r"(^|/)(\.(?!github|pre-commit)|__pycache__)|\.egg-info/|_pb2\.pyi?$|^(CHANGELOG\.md|requirements\.lock)$"
)
"""Neither ours nor of today."""
SELF = ("scripts/words.py", "tests/ground/test_lint.py")


@dataclass(frozen=True, slots=True)
class Retired:
    """A word or phrase that is used no more."""

    old: str
    """A regular expression; a space stands for any, a line's end included."""
    new: str
    kept: tuple[str, ...] = ()
    """Files in which it stays: it is the name of something that users or older releases have."""


STATE = ("state/relay_requests.py", "state/store.py", "tests/upgrade/state.sql", "tests/upgrade/test_state.py")
"""What tables are called in databases that are on hosts."""
TABLE = (
    Retired("aim(s|ed)?", "goal"),
    Retired("behind the spec's back", "out-of-band"),
    Retired("doors?", "frontend"),
    Retired("errands?", "planned action"),
    Retired("fleets?", "engines"),
    Retired("givers?", "handover"),
    Retired("gobetween", "notify proxy"),
    Retired("hostplan|savedplan|specfile|onhost", "host plan, saved plan, spec file, host engine"),
    Retired("knock(s|ed|ing)?", "connect, reopen"),
    Retired("knots?", "circle, component of a graph"),
    Retired("lasttarget|lastgood", "last applied, last good"),
    Retired("(let|lets|letting) go|lets? (it|them|him) go", "release, detach, remove"),
    Retired("settled_before|settlements?|until_settled", "verified before, completed, converge"),
    Retired("object(ed|ions?)", "refused, refusal"),
    Retired("shunned", "excluded"),
    Retired("sightings?", "snapshot"),
    Retired("steering", "applying, reconciling"),
    Retired("wish(es|ed|ing)?", "request", kept=(*STATE, "tests/state/test_shapes.py")),
    Retired("(be|being|is|was|are|were) had|had only if", "is available, exists, works"),
)
"""One word for one thing. Ordinary English ("seen", "told") is not for this table."""


def files(tree: Path) -> Iterator[tuple[str, Path]]:
    """What is read, by its name in the tree."""
    for top in sorted(tree.iterdir()):
        inside = top.rglob("*") if top.name == ".github" or top.name[0] != "." else ()
        for path in (top, *sorted(inside)):
            name = path.relative_to(tree).as_posix()
            if path.is_file() and not path.is_symlink() and not UNREAD.search(name) and name not in SELF:
                yield name, path


def pattern(retired: Retired) -> re.Pattern[str]:
    """Between letters nothing begins or ends; a phrase may go on in the next line."""
    words = retired.old.replace(" ", r"[\s#]+")
    return re.compile(f"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE)


def faults(tree: Path) -> list[str]:
    """Where a retired word stands, a sentence each."""
    table = [(pattern(each), each) for each in TABLE]
    found: list[str] = []
    for name, path in files(tree):
        text = f"{name}\n{path.read_text(errors='replace')}"
        apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)
        for words, retired in table:
            if name in retired.kept:
                continue
            for match in words.finditer(apart):
                line = apart.count("\n", 0, match.start())
                found.append(f"{name}:{line}: '{' '.join(match[0].split())}' is retired; it is called '{retired.new}'")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1] if len(sys.argv) > 1 else "."))) or 0)
