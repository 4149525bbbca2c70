"""A watch that is killed by SIGKILL at a given step: `python -m tests.reconciler.apply.crashing_watch RUN STATE FILE`.

Each line on standard input is the number of the step at which the next one dies, -1 for none; each line on standard
output says how that ended: `killed`, or `done N` after N steps, once the first reconcile has ended. A step is the
moment before or after each look at the engine, each action, each transaction, each file that is replaced. Every watch
is a fork of this process, so that nothing is imported twice.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.api.client import EngineClient
from reconciler.watch.controller import Controller
from reconciler.watch.schedule import Timing
from schema.wire.notify import Notifier
from state.store import Store
from tests.kit.fakes.table_host import TableHost

SOON = Timing(debounce_s=0.0, look_s=0.02, absent_s=0.02)


class Steps:
    def __init__(self, last: int) -> None:
        self._last = last
        self._count = itertools.count()
        self.taken = 0

    def step(self) -> None:
        self.taken = next(self._count)
        if self.taken == self._last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str) -> None:
        """Makes each call of `owner.name` two steps."""
        call: Callable[..., Any] = getattr(owner, name)

        def stepping(*arguments: Any, **named: Any) -> Any:
            self.step()
            answer = call(*arguments, **named)
            self.step()
            return answer

        setattr(owner, name, stepping)


class Once(Notifier):
    """Ends a watch when it is ready: when its first reconcile has ended."""

    watch: Controller

    def ready(self) -> None:
        self.watch.stop()


def live(directories: list[str], last: int) -> int:
    steps = Steps(last)
    for owner, name in ((EngineClient, "observe"), (EngineClient, "execute"), (Store, "run"), (os, "replace")):
        steps.around(owner, name)
    run_dir, state_dir, file = map(Path, directories)
    once = Once({})
    once.watch = Controller(file, run_dir, state_dir, TableHost(), SOON, once)
    once.watch.run()
    return steps.taken


def main() -> None:
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, str(live(sys.argv[1:], int(line))).encode())
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        taken = os.read(reader, 16).decode()
        os.close(reader)
        code = os.waitstatus_to_exitcode(status)
        print("killed" if code == -signal.SIGKILL else f"done {taken}" if code == 0 else f"failed {code}", flush=True)


if __name__ == "__main__":
    main()
