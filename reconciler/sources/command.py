"""Runs git: never longer than it may, never asking anybody anything, never doing what a repository tells it to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

ALWAYS = (
    "core.hooksPath=/dev/null",
    "fetch.recurseSubmodules=false",
    # What runs on after its time would run beside the next fetch.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
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
OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_QUARANTINE_PATH")
"""Set where a hook runs us, and meant for the repository of the hook."""


class GitError(Exception):
    """git did not do it; the text is its own, on one line, where it said why."""


class GitRefusalError(GitError):
    """It ran to its end, and said no."""


class Git:
    """Runs git in one bare repository, one command at a time. `stop` ends it from another thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self, *arguments: str, timeout_s: float, settings: Sequence[str] = ()) -> bytes:
        """What it prints. Raises GitError."""
        pairs = [word for setting in (*ALWAYS, *settings) for word in ("-c", setting)]
        with self._started(["git", f"--git-dir={self.directory}", *pairs, *arguments]) as process:
            try:
                out, said = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise GitError(f"git {arguments[0]} did not end within {timeout_s:g} s") from None
        if process.returncode != 0:
            kind = GitRefusalError if process.returncode > 0 else GitError
            raise kind(_last_words(said) or f"git {arguments[0]} ended with {process.returncode}")
        return out

    @contextlib.contextmanager
    def _started(self, line: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped:
                raise GitError("ended before it began")
            self._process = process = _spawned(line)
        try:
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


def _spawned(line: Sequence[str]) -> subprocess.Popen[bytes]:
    """Raises GitError when there is no git."""
    ours = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    pipe = subprocess.PIPE
    environment = {"GIT_SSH_COMMAND": SSH, **ours, **ENVIRONMENT}
    try:
        return subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    except OSError as error:
        raise GitError(f"git can't be started ({error.strerror}); install git") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """What it has started ends with it: ssh would otherwise hold its output open."""
    if process.poll() is None:
        _kill(process)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(said: bytes) -> str:
    """The lines that name the fault, without git's prefixes."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))] or lines[-2:]
    return "; ".join(line.removeprefix("fatal: ").removeprefix("error: ") for line in telling[:2])
