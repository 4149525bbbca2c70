"""How far a reader has to walk: which of the project's files three of its main paths enter, and how often they come
back to one that was left. Run by scripts/walks, with a real engine on null devices; root is not needed.

A walk is run under a profiler. A *file* counts once a function in it is called; a *return* is a call from one function
to another of a file that was entered before, from outside that file, counted once however often it is made.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOMS = ("schema", "engine", "state", "reconciler")
WITHIN_S = 600.0
"""A first start compiles the loops."""
SPEC = """\
apiVersion: vio4wd/v1
engine: {{main_cpu: 0, worker_cpus: [0]}}
vhost_user: {{directory: {sockets}}}
port_control: {{zmq: {{endpoint: "ipc://{endpoint}"}}}}
relays:
{relays}
"""
EPILOG = """\
examples:
  scripts/walks                      the three walks of this tree
  scripts/walks --tree ../before     those of another checkout, with the same measure
  scripts/walks --files              also the files, in the order in which they are entered
"""


@dataclasses.dataclass
class Walk:
    """What was entered while it was recorded."""

    tree: Path
    files: dict[str, None] = dataclasses.field(default_factory=dict)
    returns: set[tuple[CodeType, CodeType]] = dataclasses.field(default_factory=set)
    on: bool = False

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """For sys.setprofile. Bodies of modules and classes, which run once when they are imported, do not count."""
        code = frame.f_code
        if not self.on or event != "call" or not code.co_flags & inspect.CO_OPTIMIZED:
            return
        name, caller = self._name(code), self._caller(frame)
        if name is None:
            return
        if caller is not None and self._name(caller) != name and name in self.files:
            self.returns.add((caller, code))
        self.files.setdefault(name)

    def _caller(self, frame: FrameType) -> CodeType | None:
        """The nearest function of the project: what lies between belongs to libraries."""
        above = frame.f_back
        while above is not None and self._name(above.f_code) is None:
            above = above.f_back
        return above.f_code if above is not None else None

    def _name(self, code: CodeType) -> str | None:
        """The file's path in the tree, when it is the project's own."""
        path = code.co_filename.removeprefix(f"{self.tree}/")
        return path if path.partition("/")[0] in ROOMS else None

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        self.on = True
        try:
            yield
        finally:
            self.on = False


@dataclasses.dataclass(frozen=True)
class Place:
    """The directories of one instance, and its file."""

    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "vio4wd.yaml"

    @property
    def endpoint(self) -> Path:
        return self.directory / "port_control"

    def save(self, *relays: int) -> None:
        """As an editor does it."""
        lines = "\n".join(f'  - {{id: {each}, vf: "net_null{each}"}}' for each in relays)
        half = self.directory / "half"
        half.write_text(SPEC.format(sockets=self.directory, endpoint=self.endpoint, relays=lines))
        half.rename(self.file)

    @property
    def environment(self) -> dict[str, str]:
        names = {"VIO4WD_RUN_DIR": "run", "VIO4WD_STATE_DIR": "state"}
        return {key: str(self.directory / name) for key, name in names.items()}

    def records(self) -> int:
        """How many applies the history has."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.directory}/state/vio4wd.db?mode=ro", uri=True)) as db:
                return int(db.execute("SELECT count(*) FROM history").fetchone()[0])
        except sqlite3.Error:
            return 0


def until(what: str, holds: Callable[[], bool]) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {WITHIN_S:.0f} s in vain for {what}")
        time.sleep(0.05)


def saved(walk: Walk, place: Place) -> None:
    """A saved spec, from inotify to the record in the history."""
    before = place.records()
    with walk.recorded():
        place.save(1, 2)
        until("the record of the saved spec", lambda: place.records() > before)


def added(walk: Walk, place: Place) -> None:
    """A ZeroMQ `add` until the engine has answered. It has no such VF, and says so; the way is that of any other."""
    until("the endpoint", place.endpoint.exists)
    before = place.records()
    client = [sys.executable, "-P", "-c", ADD, str(walk.tree), f"ipc://{place.endpoint}"]
    with walk.recorded():
        subprocess.run(client, check=True, stdout=subprocess.DEVNULL)
        until("the record of the added relay", lambda: place.records() > before)


ADD = """
import sys
sys.path.insert(0, sys.argv[1])
from reconciler.legacy.clients import port_control
sys.exit(port_control.main(["add", "--zmq_ep", sys.argv[2], "--pci-addr", "01:00.1", "--virtio-id", "9"]))
"""


def watch(walk: Walk, place: Place, step: Callable[[Walk, Place], None], every_thread: bool) -> None:
    """Runs the watch on this thread, under the profiler, and `step` on another, which then ends it."""
    from reconciler.cli import main

    failed: list[BaseException] = []

    def go() -> None:
        sys.setprofile(None)
        try:
            until("the first apply", lambda: place.records() > 0)
            time.sleep(1.0)  # what it does after that belongs to its start
            step(walk, place)
        except BaseException as error:
            failed.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    if every_thread:
        threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    threading.Thread(target=go).start()
    with contextlib.suppress(SystemExit):
        main(["watch", str(place.file)])
    sys.setprofile(None)
    if failed:
        raise failed[0]


def plan(walk: Walk, place: Place) -> None:
    """`vio4wd plan`."""
    from reconciler.cli import main

    command = [sys.executable, "-P", "-c", APPLY, str(walk.tree), str(place.file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # which waits until the engine is ready
    place.save(1, 2, 3)
    sys.setprofile(walk.profile)
    with walk.recorded(), contextlib.redirect_stdout(io.StringIO()):
        code = main(["plan", str(place.file)])
    sys.setprofile(None)
    if code:
        raise RuntimeError(f"vio4wd plan ended with {code}")


APPLY = """
import sys
sys.path.insert(0, sys.argv[1])
from reconciler.cli import main
sys.exit(main(["apply", sys.argv[2]]))
"""


WALKS: dict[str, Callable[[Walk, Place], None]] = {
    "a saved spec to its record": lambda walk, place: watch(walk, place, saved, every_thread=False),
    "vio4wd plan": plan,
    "a ZeroMQ add to its record": lambda walk, place: watch(walk, place, added, every_thread=True),
}


@contextlib.contextmanager
def engine(tree: Path, place: Place) -> Iterator[None]:
    """One without NICs, of that tree. Raises OSError."""
    line = [sys.executable, "-P", "-c", ENGINE, str(tree)]
    log = place.directory / "engine.log"
    with log.open("w") as output, subprocess.Popen(line, stdout=output, stderr=output) as process:
        try:
            yield
        except BaseException:
            print(log.read_text()[-2000:], file=sys.stderr)
            raise
        finally:
            process.terminate()


ENGINE = """
import sys
sys.path.insert(0, sys.argv[1])
from reconciler.cli import main
sys.exit(main(["engine"]))
"""


def one(tree: Path, name: str) -> Walk:
    """Walks once, in this process, which must not have imported another tree."""
    sys.path.insert(0, str(tree))
    walk = Walk(tree)
    with tempfile.TemporaryDirectory(prefix="v4-") as directory:
        place = Place(Path(directory))
        os.environ |= place.environment
        place.save(1)
        with engine(tree, place):
            WALKS[name](walk, place)
    return walk


def all_walks(tree: Path) -> dict[str, Any]:
    """Each in a process of its own."""
    found = {}
    for name in WALKS:
        line = [sys.executable, "-P", __file__, "--tree", str(tree), "--one", name]
        found[name] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/walks",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1], help="the checkout (this one)")
    parser.add_argument("--files", action="store_true", help="also print the files")
    parser.add_argument("--one", choices=list(WALKS), help=argparse.SUPPRESS)
    return parser.parse_args()


def sizes(tree: Path) -> str:
    """Of the files that all rooms have."""
    lines = [len(path.read_text().splitlines()) for room in ROOMS for path in (tree / room).rglob("*.py")]
    lengths = [length for length in lines if length]
    return f"{len(lengths)} files, median {statistics.median(lengths):.0f} lines, longest {max(lengths)}"


def main() -> int:
    asked = arguments()
    tree = asked.tree.resolve()
    if asked.one:
        output = os.dup(1)
        os.dup2(2, 1)  # what the walk itself prints is not the result
        walk = one(tree, asked.one)
        os.write(output, json.dumps({"files": list(walk.files), "returns": len(walk.returns)}).encode())
        return 0
    for name, found in all_walks(tree).items():
        print(f"{name}: {len(found['files'])} files, {found['returns']} returns")
        for file in found["files"] if asked.files else ():
            print(f"    {file}")
    print(sizes(tree))
    return 0


if __name__ == "__main__":
    sys.exit(main())
