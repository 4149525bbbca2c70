"""What README, CONTRIBUTING and the lock file say is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/testing.md")
_PATH = re.compile(r"(?<![\w/.])((?:docs|examples|packaging|schema|engine|reconciler|state|scripts|tests)/[\w./-]*\w)")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def _locked() -> dict[str, str]:
    """Each entry of the lock by its package: everything up to the next entry."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    return {_normal(entry): entry for entry in entries if "==" in entry}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    named = set(_PATH.findall((ROOT / document).read_text()))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


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
