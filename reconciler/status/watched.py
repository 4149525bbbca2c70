"""The file that a watch keeps: whoever applies another one is undone by the watch, unless that becomes what the watched
file says."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from reconciler.apply.commit_confirmed import Becoming
from reconciler.desired.local import Local
from reconciler.policy.pause import read_pause
from reconciler.sources.files import read_path
from reconciler.status.namespace_view import View
from reconciler.status.report import read_report
from schema import SpecError, Tree
from schema.loading.compose import head
from schema.loading.loader import MAX_FILE_BYTES
from schema.system.files import write_named
from schema.system.locks import WATCH, is_held, wait_until
from state.applied import Pending
from state.last_good import last_good
from state.store import Store

READ_WAIT_S = 10.0
"""How long to wait until a watch has read what it was given; it reads 50 ms after a save."""


class NotWatched(Exception):  # noqa: N818 - a state of things
    """What is to be applied is not what a watch keeps, so that it would not last; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch that runs keeps."""

    file: str
    pid: int
    defaults: bool = False
    """Whether it is virtio-forwarder's."""

    def is_(self, path: str) -> bool:
        """Whether a path leads there; an empty one leads nowhere."""
        return bool(path) and os.path.realpath(path) == os.path.realpath(self.file)

    def reads(self, path: str) -> bool:
        """Whether the watch reads what stands there: the file, or one in the directory, that it keeps."""
        return self.is_(path) or self.is_(os.path.dirname(os.path.realpath(path)))

    def __str__(self) -> str:
        return f"vio4wd watch (process {self.pid}) keeps {self.file}"


def watched(run_dir: Path) -> Watched | None:
    """None where no watch runs, or none has said yet what it keeps."""
    report = read_report(run_dir) if is_held(run_dir / WATCH) else None
    if report is None or not os.path.exists(f"/proc/{report.pid}"):  # left behind by another one
        return None
    return Watched(report.file, report.pid, report.defaults)


def another(kept: Watched, source: str) -> NotWatched:
    """For whoever would apply something else for good."""
    return NotWatched(
        f"{kept}, and would undo what {source} wants beyond that; nothing was done. To change what it keeps: "
        f"vio4wd edit, or copy {source} there. To see it work first, and have vio4wd confirm do that: vio4wd apply "
        f"--confirm 5m {source}. For a moment's trial, until the watch takes it back: --force"
    )


def trial_words(kept: Watched, store: Store, state_dir: Path) -> str:
    """What becomes of something else that is applied all the same."""
    pause = read_pause(state_dir)
    if pause is not None:
        until = f"takes it back when it is resumed; it was paused by {pause.who}"
    elif _reports_drift(kept, store):
        until = "leaves it until the content of that file changes (drift: report)"
    else:
        until = "takes it back at once, or within 30 s"
    return f"A moment's trial: {kept}, and {until}."


def _reports_drift(kept: Watched, store: Store) -> bool:
    known = last_good(store, kept.file)
    try:
        return known is not None and head(Local(Path(kept.file), kept.defaults).once(known.text)).drift == "report"
    except SpecError:
        return False


def becoming(kept: Watched, source: str, text: str) -> Becoming:
    """What the watched file is to say once that text, which is to be applied, is confirmed. Raises NotWatched when it
    can't be written there: before anything is done."""
    try:
        why = _unwritable(kept)
        if not why:
            return Becoming(kept.file, text, _sha256(_content(kept.file)))
    except SpecError as error:
        why = str(error)
    except OSError as error:
        why = f"it can't be read: {error.strerror}"
    raise unwritable(kept, source, why)


def unwritable(kept: Watched, source: str, why: str) -> NotWatched:
    """For what could not stay if it were confirmed."""
    return NotWatched(
        f"{kept}, and vio4wd confirm could not make {source} its content: {why}. Nothing was done. Save the change "
        "where the watch reads it, or try it for a moment: --force, without --confirm"
    )


def source_names(tree: Tree) -> list[str]:
    """The sources that a file names; none where it is broken."""
    try:
        return [source.name for source in head(tree).sources]
    except SpecError:
        return []


def _unwritable(kept: Watched) -> str:
    file = Path(kept.file)
    if file.is_dir():
        return "that is a directory, and which of its files is to say it is for you to decide"
    if kept.defaults:
        return "that is virtio-forwarder's configuration file (--defaults), and no spec"
    if names := source_names(read_path(file, "")):
        return f"it has sources beside it ({', '.join(names)}), which may say the same or the contrary"
    if file.is_symlink():
        return f"that is a link to {os.path.realpath(file)}, which something else maintains"
    if not os.access(file, os.W_OK):
        return "it may not be written by this user"
    return View(None).unwritable(file.parent)


@dataclass(frozen=True, slots=True)
class Placed:
    """How it went with a file that was to be written."""

    problem: str = ""
    """Why it was not, as a sentence; empty: it says what it is to say."""
    before: bytes = b""
    """What it said before."""


def put_in_place(left: Pending, run_dir: Path) -> Placed:
    """Makes what was applied the content of the watched file, and waits until the watch has read it."""
    path, new = Path(left.file), left.text.encode()
    try:
        before = _content(left.file)
        if before == new:
            return Placed(before=before)
        if path.is_symlink() or _sha256(before) != left.was:
            return Placed(f"{path} was changed since; save in it what you want it to say, and confirm again")
        write_named(path, left.text)
    except OSError as error:
        return Placed(f"{path} can't be written: {error.strerror}; set that right, and confirm again")
    _wait_until_read(run_dir, _sha256(new), min(READ_WAIT_S, (left.deadline - time.time()) / 2))
    return Placed(before=before)


def _wait_until_read(run_dir: Path, sha256: str, wait_s: float) -> None:
    """Until then the watch would make live what the file said before."""

    def is_read() -> bool:
        report = read_report(run_dir)
        return report is not None and report.in_force is not None and report.in_force.sha256 == sha256

    wait_until(lambda: is_read() or not is_held(run_dir / WATCH), wait_s, 0.05)


def take_out_again(left: Pending, before: bytes) -> None:
    """After all it was too late: what the file said before stands there again, unless somebody else wrote it. Raises
    OSError."""
    if left.text.encode() != before and _content(left.file) == left.text.encode():
        write_named(Path(left.file), before.decode("utf-8", "surrogateescape"))


def _content(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read(MAX_FILE_BYTES + 1)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
