"""Files are replaced whole, and what is no file does not become one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.files import write_atomically


def test_a_file_is_replaced_and_nothing_else_left(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    for text in ("one", "two"):
        write_atomically(path, text)
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.json"]


def test_what_can_not_be_written_leaves_the_old_one_and_no_half(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udcff")
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.json"])


def test_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("there")
    write_atomically(path, "x")
    assert (path.is_symlink(), (tmp_path / "there").read_text()) == (True, "x")


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    """As /dev/null has to, when root names it after plan -o."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(path, "x")
        assert (path.is_fifo(), os.read(reader, 9)) == (True, b"x")
    finally:
        os.close(reader)
