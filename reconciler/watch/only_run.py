"""One `vio4wd run` in a run directory: who comes second is told which one is there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from schema.system.files import read_text, write_atomically
from schema.system.locks import Locked, locked

LOG = logging.getLogger("vio4wd.run")
LOCK = "run.lock"
HOLDER = "run.holder"


class RunsAlready(Exception):  # noqa: N818 - a state, not a fault
    """Another one runs here; says which."""


@contextmanager
def only_run(run_dir: Path, file: str) -> Iterator[None]:
    """Is the one that runs here meanwhile, with this file. Raises RunsAlready. A directory that can't be written to
    keeps nobody from running: it may heal."""
    with ExitStack() as locks:
        try:
            locks.enter_context(locked(run_dir / LOCK))
            write_atomically(run_dir / HOLDER, f"{os.getpid()} {file}\n", 0o644, durable=False)
        except Locked as error:
            message = f"{_holder(run_dir)}; end that one, or set VIO4WD_RUN_DIR for a second instance"
            raise RunsAlready(message) from error
        except OSError as error:
            LOG.warning("%s can't be written to (%s): a second vio4wd run here would not be noticed", run_dir, error)
        yield


def _holder(run_dir: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        pid, _, file = read_text(run_dir / HOLDER).rstrip("\n").partition(" ")
        if pid.isdecimal() and file:
            return f"vio4wd run (pid {pid}) already runs here with {file}"
    return f"another vio4wd run already runs in {run_dir}"
