"""Another user than the one who runs the tests, who is root: what he may do is tried by a child that is him."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534


def as_nobody(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code as user and group nobody; what it printed and its exit code."""
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    clean = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    return subprocess.run(
        [*command, sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, env=clean, cwd="/"
    )


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)
