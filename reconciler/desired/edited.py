"""A copy of a file that somebody edits: what is wrong with it stands in its first lines, and nothing of it is lost."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from reconciler.desired.local import Local
from schema import SpecError, Text, Tree, compose
from schema.loading.compose import head
from schema.loading.loader import parse, read_file, refused
from schema.nodes import Problem
from schema.system.files import write_named

MARK = "#! "
"""Before each line that is ours and not the spec's."""
EXPLAINED = (
    "This is not valid yet. Correct it and save, and it is tried again; these lines go by themselves.",
    "To leave the file as it is, end the editor without a change, or with nothing left in here.",
)
EDITORS = ("vi", "nano")


class EditorError(Exception):
    """There is no editor, or it did not end well; the text says which."""


class Draft:
    """The copy. Raises SpecError when the file can't be edited."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if file.is_dir():
            raise refused(str(file), "this is a directory; name one of its files")
        self._before = read_file(file)
        try:
            text = self._before.decode()
        except UnicodeDecodeError:
            parse(self._before, str(file))  # has the sentence, with the place
            raise
        self._folder = Path(tempfile.mkdtemp(prefix="vio4wd-edit-"))  # for its owner alone, as the file may be
        self.copy = self._folder / (file.name or "spec.yaml")
        self._shown = self._written = text
        self._left = False
        self._write()

    def _write(self) -> None:
        self.copy.write_text(self._shown, encoding="utf-8", newline="")

    @property
    def content(self) -> bytes:
        """What the file is to say."""
        return self._written.encode()

    @property
    def local(self) -> Local:
        """The draft in the file's place, for whoever plans it."""
        return Local(self.file, stream=self.content)

    @property
    def unchanged(self) -> bool:
        """Whether it says what the file says, or nothing at all."""
        return self.content == self._before or not self._written.strip()

    @property
    def given_up(self) -> bool:
        """Whether what was said to be wrong was left as it is."""
        return self._left

    @property
    def worth_keeping(self) -> bool:
        """Whether the copy, as it lies there, has something that the file has not."""
        try:
            lines = self.copy.read_bytes().splitlines(keepends=True)
        except OSError:
            return False
        content = b"".join(line for line in lines if not line.startswith(MARK.encode()))
        return bool(content.strip()) and content != self._before

    def open(self) -> None:
        """Lets it be edited. Raises EditorError, OSError, SpecError for what is no text any more."""
        before = self._shown
        _edit(self.copy)
        raw = self.copy.read_bytes()
        try:
            self._shown = raw.decode()
        except UnicodeDecodeError:
            raise EditorError(f"{self.copy} is not UTF-8 any more; it is kept, and the file is as it was") from None
        lines = self._shown.splitlines(keepends=True)
        self._written = "".join(line for line in lines if not line.startswith(MARK))
        self._left = self._shown == before and before.startswith(MARK)

    def check(self) -> None:
        """Raises SpecError."""
        tree = Tree((Text(self.file.name, self.content),))
        if not head(tree).sources:
            compose([tree])

    def remark(self, problems: Iterable[Problem | str]) -> None:
        """Writes above it what is wrong; lines are counted as the editor shows them."""
        found = list(problems)
        above = len(EXPLAINED) + len(found)
        sentences = [str(replace(p, line=p.line + above) if isinstance(p, Problem) else p) for p in found]
        remarks = [f"{MARK}{' '.join(each.splitlines())}\n" for each in (*EXPLAINED, *sentences)]
        self._shown = "".join(remarks) + self._written
        self._write()

    def put(self) -> str:
        """Replaces the file, or what it links to; why not, if somebody else did. Raises OSError."""
        try:
            now = read_file(self.file)
        except SpecError as error:
            return str(error)
        if now != self._before:
            return f"{self.file} was changed meanwhile by somebody else, and stays as it is now"
        write_named(self.file, self._written)
        return ""

    def remove(self) -> None:
        """With what the editor left beside it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _edit(copy: Path) -> None:
    """Raises EditorError."""
    command = [*_editor(), str(copy)]
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the editor's
    try:
        code = subprocess.run(command, check=False, preexec_fn=_hears_ctrl_c).returncode
    except OSError as error:
        why = f"{command[0]} can't be started ({error.strerror}); set EDITOR to an editor"
        raise EditorError(why) from None
    finally:
        signal.signal(signal.SIGINT, ours)
    if code:
        raise EditorError(f"the editor ({shlex.join(command[:-1])}) ended with exit code {code}")


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _editor() -> list[str]:
    """Raises EditorError."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if named:
        try:
            return shlex.split(named) or [named]
        except ValueError:
            raise EditorError(f"$VISUAL or $EDITOR is {named}, which is no command line; set it right") from None
    found = next((name for name in EDITORS if shutil.which(name)), None)
    if found is None:
        raise EditorError("there is neither vi nor nano here; set EDITOR to an editor")
    return [found]
