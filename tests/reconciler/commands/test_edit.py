"""`vio4wd edit`, with editors that are scripts, and with vim and nano on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.command_line import ONE, TWO, Shell
from tests.kit.system.terminal import Terminal
from tests.kit.waiting import wait_for

SEVEN = ONE.replace("net_null1", "net_null7")
TO_SEVEN = "sed -i s/net_null1/net_null7/"


@pytest.fixture(autouse=True)
def no_copies_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies lie below the test's own directory; what is to be kept is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("VISUAL", raising=False)
    yield
    for copy in tmp_path.glob("vio4wd-edit-*"):
        shutil.rmtree(copy)


def edit(shell: Shell, editor: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    os.environ["EDITOR"] = editor
    try:
        return shell("edit", *arguments)
    finally:
        del os.environ["EDITOR"]


def script(shell: Shell, *lines: str) -> str:
    """An editor that does this with its file, "$1"; $n counts its calls."""
    path = shell.directory / "editor"
    count = f"n=$(cat {path}.n 2>/dev/null || echo 0); n=$((n+1)); echo $n > {path}.n"
    path.write_text("\n".join(("#!/bin/bash", count, *lines)) + "\n")
    path.chmod(0o755)
    return str(path)


def kept(done: subprocess.CompletedProcess[str]) -> str:
    """The text of the copy that is named."""
    found = re.search(r"What you wrote is kept in (.*)", done.stderr)
    assert found, done
    return Path(found[1]).read_text()


def test_the_plan_is_shown_and_the_file_replaced_as_it_was_owned(shell: Shell, tmp_path: Path) -> None:
    file = shell.write(ONE)
    file.chmod(0o604)
    link = shell.directory / "link.yaml"
    link.symlink_to(file)
    done = edit(shell, TO_SEVEN, "--yes", link)
    assert (done.returncode, "+ relay:1" in done.stdout, f"vio4wd apply {link}" in done.stdout) == (0, True, True), done
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode), link.is_symlink()) == (SEVEN, 0o604, True)
    assert list(tmp_path.glob("vio4wd-edit-*")) == []
    assert shell.engine.executed == []


@pytest.mark.parametrize("editor", ["true", "truncate -s 0"])
def test_unchanged_or_empty_ends_it(alone: Shell, tmp_path: Path, editor: str) -> None:
    done = edit(alone, editor, "--yes", alone.write(ONE))
    assert (done.returncode, "Nothing was changed" in done.stdout) == (0, True)
    assert (alone.file.read_text(), list(tmp_path.glob("vio4wd-edit-*"))) == (ONE, [])


def test_what_is_wrong_stands_above_it_until_it_is_right(alone: Shell) -> None:
    copy = alone.directory / "second"
    first = 'if [ $n = 1 ]; then sed -i s/net_null1/nonsense/ "$1"; exit; fi'
    editor = script(alone, first, f'cp "$1" {copy}', 'sed -i s/nonsense/net_null7/ "$1"')
    done = edit(alone, editor, "--yes", alone.write(ONE))
    assert (done.returncode, alone.file.read_text()) == (0, SEVEN), done
    lines = copy.read_text().splitlines()
    (said,) = [line for line in lines if line.startswith("#! vio4wd.yaml:")]
    number = int(said.split(":")[1])
    assert ("nonsense" in lines[number - 1], "is neither a PCI address" in said) == (True, True), lines


def test_what_was_left_wrong_is_kept(alone: Shell) -> None:
    editor = script(alone, '[ $n = 1 ] && sed -i s/net_null1/nonsense/ "$1"; true')
    done = edit(alone, editor, "--yes", alone.write(ONE))
    assert (done.returncode, alone.file.read_text(), "nonsense" in kept(done)) == (1, ONE, True)


def test_what_somebody_else_saved_meanwhile_stays(alone: Shell) -> None:
    alone.write(ONE)
    (alone.directory / "theirs").write_text(TWO)
    editor = script(alone, 'sed -i s/net_null1/net_null7/ "$1"', f"cp {alone.directory}/theirs {alone.file}")
    done = edit(alone, editor, "--yes", alone.file)
    assert (done.returncode, "changed meanwhile" in done.stderr) == (1, True)
    assert (alone.file.read_text(), kept(done)) == (TWO, SEVEN)


def test_nothing_is_lost_when_nobody_can_be_asked_or_the_editor_fails(alone: Shell) -> None:
    done = edit(alone, TO_SEVEN, alone.write(ONE))
    assert (done.returncode, "no terminal to ask on" in done.stderr, kept(done)) == (1, True, SEVEN)
    done = edit(alone, script(alone, 'sed -i s/net_null1/net_null7/ "$1"', "exit 3"), "--yes", alone.file)
    assert (done.returncode, "ended with exit code 3" in done.stderr, kept(done)) == (1, True, SEVEN)
    done = edit(alone, "no-such-editor-4", "--yes", alone.file)
    assert (done.returncode, "can't be started" in done.stderr) == (1, True)
    assert alone.file.read_text() == ONE


def test_what_can_not_be_edited(alone: Shell) -> None:
    done = edit(alone, "true", alone.directory)
    assert (done.returncode, "name one of its files" in done.stderr) == (1, True)
    done = edit(alone, "true", alone.directory / "missing.yaml")
    assert (done.returncode, "does not exist" in done.stderr) == (1, True)
    alone.file.write_bytes(b"\xff")
    done = edit(alone, "true", alone.file)
    assert (done.returncode, "is not UTF-8" in done.stderr) == (1, True)


def test_without_a_watch_it_is_applied_when_that_is_asked_for(shell: Shell) -> None:
    done = edit(shell, TO_SEVEN, "--yes", "--apply", shell.write(ONE))
    assert (done.returncode, "Applied and verified" in done.stdout) == (0, True), done
    assert set(shell.engine.state.ports) == {"net_null7"}


def test_the_watched_file_is_the_default_and_the_watch_applies_it(watched: Shell) -> None:
    done = edit(watched, TO_SEVEN, "--yes")
    assert (done.returncode, "applies it now" in done.stdout) == (0, True), done
    wait_for("the new VF", lambda: set(watched.engine.state.ports) == {"net_null7"}, 30.0)


@pytest.mark.parametrize(
    ("editor", "keys"),
    [
        ("vim -N -u NONE -i NONE", ":%s/net_null1/net_null7/\r:wq\r"),
        ("nano --ignorercfiles", "\x1c" + "net_null1\rnet_null7\ra" + "\x0f\r\x18"),
    ],
    ids=["vim", "nano"],
)
def test_on_a_terminal(shell: Shell, editor: str, keys: str) -> None:
    if shutil.which(editor.split()[0]) is None:
        pytest.skip(f"{editor.split()[0]} is not installed")
    environment = {**shell.environment, "EDITOR": editor, "TERM": "xterm"}
    terminal = Terminal(shell.command("edit", shell.write(ONE)), environment, shell.directory)
    try:
        terminal.expect("net_null1", timeout_s=60.0)
        position = terminal.press(keys)
        terminal.expect("[y]es, [e]dit again, [N]o:", position, timeout_s=60.0)
        terminal.tell("y")
        terminal.expect("Saved.", position, timeout_s=60.0)
        assert terminal.process.wait(60) == 0
    finally:
        terminal.end()
    assert shell.file.read_text() == SEVEN
