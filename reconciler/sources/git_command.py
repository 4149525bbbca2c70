"""Runs git: only while it gets on, within bounds of memory, disk and output, never asking anybody anything, never doing
what a repository tells it to."""

from __future__ import annotations

import contextlib
import os
import pwd
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schema.nodes import shown

ALWAYS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.recurseSubmodules=false",
    # What is received stays packed, however it is made, and what no branch holds any more goes with the next repack.
    "fetch.unpackLimit=1",
    "gc.pruneExpire=now",
    "gc.autoPackLimit=10",
    # What runs on after its time would run beside the next fetch.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    # Below the bound on memory; a spec is far smaller than what is streamed then.
    "core.bigFileThreshold=4m",
    "core.packedGitWindowSize=16m",
    "core.packedGitLimit=128m",
    "pack.threads=1",
)
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    # Not ext, which runs a command of the URL's choice.
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C",
}
SSH = "ssh -o BatchMode=yes -o ConnectTimeout=20"
OF_ANOTHER_REPOSITORY = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
)
"""Set where a hook runs us, and meant for the repository of the hook."""
MEMORY_KIB = 2 * 1024 * 1024
CPU_S = 600
"""Of one process; receiving 256 MiB takes some 10 s."""
BOUNDED = (
    # In the shell that git replaces: set before it can start anything. What may be started again dies first.
    f'echo 500 2>/dev/null >/proc/self/oom_score_adj; ulimit -v {MEMORY_KIB}; ulimit -t {CPU_S}; ulimit -c 0; exec "$@"'
)
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
MAX_MESSAGES_BYTES = 64 * 1024
LOOK_S = 0.5
"""How often it is looked how far it is."""
ENDS_WITHIN_S = 5.0
"""After SIGKILL. What hangs in the kernel longer is left to it."""


class GitError(Exception):
    """git did not do it; the text is its own, on one line, where it said why."""


class GitRefusalError(GitError):
    """It ran to its end, and said no."""


class GitTooLargeError(GitError):
    """The repository would take more room than it may."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a command may take: for ever as long as something comes, but for the bound on all."""

    quiet_s: float
    """Without a byte of output, and without a byte more on the disk."""
    total_s: float
    room_bytes: int | None = None
    """That the repository may take on the disk."""


LOCAL = Patience(quiet_s=30.0, total_s=60.0)


@dataclass(slots=True)
class _Output:
    """What a command has printed so far."""

    out: bytearray = field(default_factory=bytearray)
    messages: bytearray = field(default_factory=bytearray)

    def take(self, which: str, more: bytes) -> None:
        """Raises GitError when that is too much."""
        if which == "messages":
            self.messages += more
            del self.messages[:-MAX_MESSAGES_BYTES]
            return
        self.out += more
        if len(self.out) > MAX_OUTPUT_BYTES:
            raise GitError(f"git prints more than {MAX_OUTPUT_BYTES:,} bytes; no repository of specs needs that")


class Git:
    """Runs git in one bare repository, one command at a time. `stop` ends it from another thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(
        self,
        *arguments: str,
        patience: Patience = LOCAL,
        settings: Sequence[str] = (),
        secrets: Mapping[str, str] | None = None,
        given: bytes = b"",
        strict: bool = False,
    ) -> bytes:
        """What it prints. `secrets` stand in its environment alone; `given` is at most 64 KiB for its input; `strict`:
        an error that it names and goes on after is one. Raises GitError."""
        pairs = [word for setting in (*ALWAYS, *settings) for word in ("-c", setting)]
        line = ["git", f"--git-dir={self.directory}", *pairs, *arguments]
        with self._started(line, secrets or {}, given) as process:
            output = self._followed(process, patience, arguments[0])
            _waited(process, arguments[0])
        if process.returncode != 0:
            kind = GitRefusalError if process.returncode > 0 else GitError
            raise kind(_last_words(output.messages) or f"git {arguments[0]} ended with {process.returncode}")
        if patience.room_bytes is not None:
            _refuse_large(bytes_of(self.directory), patience.room_bytes)
        if strict and b"error:" in output.messages:
            raise GitRefusalError(_last_words(output.messages))
        return bytes(output.out)

    def _followed(self, process: subprocess.Popen[bytes], patience: Patience, name: str) -> _Output:
        """Until its outputs are closed. Raises GitError."""
        output = _Output()
        began = heard = time.monotonic()
        size = 0
        with selectors.DefaultSelector() as selector:
            selector.register(_pipe(process.stdout), selectors.EVENT_READ, "out")
            selector.register(_pipe(process.stderr), selectors.EVENT_READ, "messages")
            looked = began
            while selector.get_map():
                ready = selector.select(LOOK_S)
                if not ready and process.poll() is not None:
                    break  # something that it has started keeps them open
                for key, _ in ready:
                    more = os.read(key.fd, 65536)
                    if not more:
                        selector.unregister(key.fileobj)
                        continue
                    output.take(key.data, more)
                    heard = time.monotonic()
                now = time.monotonic()
                if now - looked >= LOOK_S and patience.room_bytes is not None:
                    looked, before, size = now, size, bytes_of(self.directory)
                    heard = now if size != before else heard
                    _refuse_large(size, patience.room_bytes)
                if now - heard > patience.quiet_s:
                    raise GitError(f"git {name} heard nothing for {patience.quiet_s:g} s, and was ended")
                if now - began > patience.total_s:
                    raise GitError(f"git {name} did not end within {patience.total_s:g} s")
        return output

    @contextlib.contextmanager
    def _started(
        self, line: Sequence[str], secrets: Mapping[str, str], given: bytes
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped:
                raise GitError("ended before it began")
            self._process = process = _spawned(line, secrets)
        try:
            with contextlib.suppress(BrokenPipeError):  # it says itself why it has ended
                _pipe(process.stdin).write(given)
                _pipe(process.stdin).close()
            yield process
        finally:
            with self._lock:
                self._process = None
            _end(process)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._process is not None:
                _kill(self._process)


def _refuse_large(size_bytes: int, room_bytes: int) -> None:
    """Raises GitTooLargeError."""
    if size_bytes > room_bytes:
        raise GitTooLargeError(f"it takes more than {room_bytes >> 20} MiB")


def tidy(directory: Path) -> None:
    """Removes what a git that was ended has left. To be called while none runs there."""
    for path in _files(directory):
        if path.name.startswith(("tmp_", ".tmp-")) or path.suffix == ".lock":
            with contextlib.suppress(OSError):
                path.unlink()


def bytes_of(directory: Path) -> int:
    """What its files take."""
    total = 0
    for path in _files(directory):
        with contextlib.suppress(OSError):
            total += os.lstat(path).st_size
    return total


def _files(directory: Path) -> Iterator[Path]:
    for where, _, names in os.walk(directory):
        yield from (Path(where, name) for name in names)


def _pipe(pipe: object) -> Any:
    assert pipe is not None, "all three were asked for"
    return pipe


def _spawned(line: Sequence[str], secrets: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Raises GitError when there is no git."""
    if shutil.which(line[0]) is None:
        raise GitError("there is no git on this host; install git")
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", BOUNDED, "git", *line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"GIT_SSH_COMMAND": SSH, **_inherited(), **ENVIRONMENT, **secrets},
            start_new_session=True,
        )
    except OSError as error:
        raise GitError(f"git can't be started: {error.strerror}") from None


def _inherited() -> dict[str, str]:
    """Our environment as far as it is meant for git. A service has no HOME, where root's own settings are."""
    ours = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    if not ours.get("HOME"):
        with contextlib.suppress(KeyError):
            ours["HOME"] = pwd.getpwuid(os.geteuid()).pw_dir
    return ours


def _end(process: subprocess.Popen[bytes]) -> None:
    """What it has started ends with it: ssh would otherwise hold its output open."""
    _kill(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(ENDS_WITHIN_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _waited(process: subprocess.Popen[bytes], name: str) -> None:
    """Raises GitError."""
    try:
        process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise GitError(f"git {name} says nothing more and does not end") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started. Its number is not given to another while we have not waited for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_words(messages: bytes | bytearray) -> str:
    """The lines that name the fault, without git's prefixes."""
    text = messages.decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))] or lines[-2:]
    return shown("; ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in telling[:2]))
