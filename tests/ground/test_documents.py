"""What README, CONTRIBUTING and the lock file say is so."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest
from setuptools import find_packages  # type: ignore[import-untyped]

from tests.kit.paths import ROOT

DECISIONS = sorted(path.name for path in (ROOT / "docs" / "decisions").iterdir())
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
ARCHITECTURE = ("ARCHITECTURE.md", *(f"docs/decisions/{name}" for name in DECISIONS))
_PATH = re.compile(r"(?<![\w/.])((?:docs|examples|packaging|schema|engine|reconciler|state|scripts|tests)/[\w./@-]*\w)")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def _locked() -> dict[str, str]:
    """Each entry of the lock by its package: everything up to the next entry."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    return {_normal(entry): entry for entry in entries if "==" in entry}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    named = set(_PATH.findall((ROOT / document).read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", ARCHITECTURE)
def test_every_file_that_the_architecture_names_is_there(document: str) -> None:
    """Also one that goes by its last name, beside the file that was named before it, and what is linked to."""
    text = (ROOT / document).read_text()
    beside = {name for name in re.findall(r"`([\w.@-]+\.(?:py|md|service|example))`", text) if not _is_anywhere(name)}
    linked = {
        link for link in re.findall(r"\]\(([^)#]+)", text) if not (ROOT / document).parent.joinpath(link).exists()
    }
    named = {path for path in _PATH.findall(text) if not (ROOT / path).exists()}
    assert beside | linked | named == set()


def _is_anywhere(name: str) -> bool:
    tops = ("engine", "packaging", "reconciler", "schema", "scripts", "state")
    return (ROOT / name).exists() or any(any((ROOT / top).rglob(name)) for top in tops)


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    assert {f"{name}.md" for name in re.findall(r"^\| \[([\w-]+)\]", index, re.MULTILINE)} == {*DECISIONS} - {
        "README.md"
    }


def test_the_architecture_has_the_rooms_in_their_order() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().partition("| reconciler/ |")[2].partition("\n\n")[0]
    rooms = [room for row in table.splitlines() for room in re.findall(r"`([\w/]+)`", row.partition(" | ")[0])]
    order = re.findall(r"\breconciler\.([\w.]+)", (ROOT / "scripts" / "house.py").read_text().split('"""')[3])
    assert [room.replace("/", ".") for room in rooms] == order


@pytest.mark.parametrize("top", ["engine", "reconciler", "schema", "state"])
def test_every_package_says_what_it_is_for(top: str) -> None:
    """What it is for, what it may import, which of its files to open first."""
    for path in sorted((ROOT / top).rglob("__init__.py")):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        first = re.search(r"^Open `([\w./]+\.py)` first", said, re.MULTILINE)
        assert first is not None, path
        assert (path.parent / first[1]).exists(), path
        assert "May import" in " ".join(said.split()).replace("may import", "May import"), path
        assert len(said.splitlines()) <= 10, path


def test_every_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    code = [path for name in ("engine", "reconciler", "schema", "state") for path in ROOT.glob(f"{name}/**/*.py")]
    found = {str(path.parent.relative_to(ROOT)).replace("/", ".") for path in code}
    wanted = project["tool"]["setuptools"]["packages"]["find"]
    assert set(find_packages(str(ROOT), include=wanted["include"])) == found


def test_every_requirement_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    wanted += project["build-system"]["requires"]
    assert {_normal(name) for name in wanted} - set(_locked()) == set()


def test_every_locked_package_has_hashes() -> None:
    assert [name for name, entry in _locked().items() if "--hash=sha256:" not in entry] == []


def test_the_lock_names_no_index_of_one_machine() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"^--(?!hash)\S*", lock, re.MULTILINE) == []
    assert "file://" not in lock
