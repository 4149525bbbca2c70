"""Directories in which others may make files before, or in place of, a guest's socket."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema import Text, Tree
from schema.loading.compose import compose, document_of
from schema.loading.squatting import BETTER, open_directories
from tests.kit.system.other_user import NOBODY

HEAD = "apiVersion: vio4wd/v1\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Below directories in which nobody else may make files, as pytest's are not for every user."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as made:
        yield Path(made)


def said(text: str) -> list[str]:
    tree = Tree((Text("a.yaml", (HEAD + text).encode()),))
    return [str(each) for each in open_directories(compose([tree]), document_of(tree))]


def with_directory(path: Path, more: str = "") -> list[str]:
    return said(f"vhost_user: {{directory: {path}{more}}}\nrelays: [{{id: 1, vf: net_null0}}]\n")


def test_the_default_is_warned_of_where_it_is_used() -> None:
    (only,) = said("relays: [{id: 1, vf: net_null0}]\n")
    assert only.startswith("a.yaml:1:1: ")
    assert "vhost_user.directory: everybody may make files in /tmp" in only
    assert BETTER in only
    assert said("relays: []\n") == []
    assert len(said("relays: []\nvhost_user: {template_sockets: true}\n")) == 1


def test_each_directory_is_named_once_where_it_stands() -> None:
    relays = ", ".join(f"{{id: {i}, vf: net_null{i}, socket: /tmp/{i}.sock}}" for i in (1, 2))
    (only,) = said(f"relays: [{relays}]\n")
    assert only.startswith("a.yaml:2:")
    assert "relays[0].socket: everybody" in only


def test_one_of_its_own_is_well_and_one_that_is_open_or_somebodys_is_not(folder: Path) -> None:
    assert with_directory(folder) == []
    assert with_directory(folder / "not" / "yet") == []
    for mode, expected in ((0o755, 0), (0o775, 0), (0o1777, 1), (0o777, 1)):
        folder.chmod(mode)
        assert len(with_directory(folder)) == expected, oct(mode)
        assert len(with_directory(folder / "not" / "yet")) == expected, oct(mode)
    (folder / "deeper").mkdir()
    assert len(with_directory(folder / "deeper")) == 1, "who may rename it may put his own there"
    folder.chmod(0o1777)
    assert with_directory(folder / "deeper") == []


@pytest.mark.needs("root")
def test_the_specs_owner_may_have_it_and_nobody_else(folder: Path) -> None:
    os.chown(folder, NOBODY, NOBODY)
    (only,) = with_directory(folder)
    assert f"{folder} belongs to user {NOBODY}" in only
    assert with_directory(folder, ", owner: nobody") == []
    assert len(with_directory(folder, ", owner: no-such-user")) == 1
