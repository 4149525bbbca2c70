"""Whoever may write a spec, push one, or ask through a frontend, and means harm: a real `vio4wd run` in a host of its
own takes each, and afterwards no command was run, nothing lies outside of where it may, and nothing was in the log
that nobody thought of.

`VIO4WD_TEST_SEED` repeats a run; what it was is printed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from reconciler.legacy.clients.wire import Service
from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse
from tests.kit import cleanup
from tests.kit.paths import ROOT, SHARED_CACHE
from tests.kit.report import report_json
from tests.kit.runner.repetitions import times
from tests.kit.system import ovsdb_server as ovsdb
from tests.kit.system.git_repository import ALONE, Repository
from tests.kit.system.sandbox import Change, Sandbox
from tests.kit.topology import MAIN_CPU, WORKER_CPU
from tests.kit.waiting import wait_for
from tests.live.hostile_specs import FILE_NAMES, NAMES, PATHS, WORDS, documents

EXAMPLES = int(os.environ.get("VIO4WD_TEST_SPECS", times(16, 3000)))
SEED = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))
PATIENCE_S = 250.0
"""The first start may compile, on a machine that is busy."""
SETTLED_S = 2.0
"""How long to wait for what a spec that means nothing new leads to: nothing."""

OWN = Path("etc/vio4wd/vio4wd.yaml")
PRECIOUS = "not to be lost\n"
ENGINE = {"main_cpu": MAIN_CPU, "worker_cpus": [WORKER_CPU]}
KEPT = ("/var/lib/vio4wd", "/var/cache/vio4wd", "/etc/vio4wd", str(SHARED_CACHE))
"""What vio4wd itself, and this test, write."""
FRONTENDS: dict[str, Any] = {
    "port-control": {"zmq": {"endpoint": "ipc:///run/vf/port_control"}},
    "ovsdb": {"ovsdb": {"socket": "DIRECTORY/ovs/db.sock"}},
    "command-file": {"ipc": {"file": "/tmp/vio_cmd"}},
}
PROGRAMS = ("/bin/sh", "git", "ssh-keygen", sys.executable)
"""What may run in there, by how its command line begins."""


class Place:
    """A cell with a `run` in it, a directory and a repository that its file names, and what is dear to it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.directory = cleanup.short_directory("/var/tmp")
        stack.callback(self._remove)
        for name in ("relays.d", "ovs", "git"):
            (self.directory / name).mkdir(mode=0o755)
        self.repository = Repository(self.directory / "git")
        self.repository.push({"common.yaml": "apiVersion: vio4wd/v1\n"})
        SHARED_CACHE.mkdir(exist_ok=True)
        environment = {**os.environ, **ALONE, "VIO4WD_CACHE_DIR": str(SHARED_CACHE), "PYTHONPATH": str(ROOT)}
        environment = {k: v for k, v in environment.items() if k not in ("VIO4WD_RUN_DIR", "VIO4WD_STATE_DIR")}
        run = f"until test -e /{OWN}; do sleep 0.1; done; exec {sys.executable} -m reconciler run /{OWN}"
        line = ["/bin/sh", "-c", run]
        self.sandbox = stack.enter_context(Sandbox(line, environment, [self.directory, SHARED_CACHE]))
        self.root = self.sandbox.root
        self._furnish(stack)
        self._frontend = ""
        self.base: dict[str, Any] = {}
        self.use("port-control")

    def _remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _furnish(self, stack: contextlib.ExitStack) -> None:
        """Files that vio4wd may not touch, though they lie where sockets may, and somebody else's link and socket."""
        for name in ("run/precious", "tmp/precious"):
            (self.root / name).write_text(PRECIOUS)
        (self.root / "tmp/nobodys").symlink_to("/etc")
        os.lchown(self.root / "tmp/nobodys", 65534, 65534)
        self.foreign = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.foreign.bind(str(self.root / "run/foreign.sock"))
        self.foreign.listen(64)
        self.foreign_inode = os.lstat(self.root / "run/foreign.sock").st_ino

    # ---- what is in force --------------------------------------------------------------------------------------------

    @property
    def report(self) -> dict[str, Any]:
        return report_json(self.root / "run/vio4wd")

    @property
    def in_force(self) -> dict[str, Any]:
        found: dict[str, Any] = self.report.get("in_force") or {}
        return found

    def write(self, text: str) -> None:
        """The host's own file."""
        path = self.root / OWN
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_text(text, newline="")
        path.with_suffix(".new").rename(path)

    def use(self, frontend: str) -> None:
        """With this port control, and nothing else in force."""
        if frontend == self._frontend:
            return
        self._frontend = frontend
        git = {"url": str(self.repository.url), "interval_s": 86400}
        spec = {
            "apiVersion": "vio4wd/v1",
            "engine": ENGINE,
            "vhost_user": {"dynamic_sockets": True},
            "allow_destroy": [f"relay:{id_}" for id_ in range(64)],
            "sources": [{"directory": {"path": f"{self.directory}/relays.d"}}, {"git": git}],
            "port_control": FRONTENDS[frontend],
        }
        self._text = json.dumps(spec).replace("DIRECTORY", str(self.directory))
        (self.directory / "relays.d/base.yaml").write_text("apiVersion: vio4wd/v1\n")
        self.restore()

    def restore(self) -> None:
        """As it was: only that is in force, and all is well."""
        for path in (self.directory / "relays.d").iterdir():
            if path.name != "base.yaml":
                path.unlink()
        self.write(self._text)
        self.sync()
        wait_for("the base", self._is_restored, PATIENCE_S, 0.02)
        self.base = self.in_force

    def _is_restored(self) -> bool:
        report, force = self.report, self.in_force
        return bool(
            force
            and not report.get("refused")
            and not any(source["problem"] for source in force["sources"] if source["name"].startswith("directory"))
            and len(force["sources"]) == 2
            and all(relay["owner"] != "file" for relay in force["relays"].values())
            and report.get("engine") == "ready"
        )

    def sync(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.root / "run/vio4wd/sync").touch()

    def settle(self) -> None:
        """Until something has come of what was done, or nothing comes."""
        before, applied = self.base.get("sha256"), (self.report.get("last_apply") or {}).get("id")
        end = time.monotonic() + SETTLED_S
        while time.monotonic() < end:
            report, force = self.report, self.in_force
            if report.get("refused") or any(source["problem"] for source in force.get("sources", [])):
                return
            if force.get("sha256") != before and (report.get("last_apply") or {}).get("id") != applied:
                return
            time.sleep(0.02)

    # ---- ways in -----------------------------------------------------------------------------------------------------

    def by_file(self, text: str) -> None:
        self.write(text)
        self.settle()

    def by_directory(self, text: str, name: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            (self.directory / "relays.d" / name).write_text(text, newline="")
        self.sync()
        self.settle()

    def by_git(self, text: str, name: str) -> None:
        try:
            self.repository.push({"common.yaml": text, name: text})
        except (OSError, ValueError):
            self.repository.push({"common.yaml": text})
        self.sync()
        self.settle()
        self.repository.git("rm", "-q", "-r", "--ignore-unmatch", "--", ".")
        self.repository.push({"common.yaml": "apiVersion: vio4wd/v1\n"})

    def by_port_control(self, request: PortControlRequest) -> None:
        endpoint = self.root / "run/vf/port_control"
        wait_for("port control", endpoint.exists, PATIENCE_S)
        with Service(f"ipc://{endpoint}") as service:
            answer = service.ask(request, PortControlResponse())
            if answer.status == PortControlResponse.OK and request.op == PortControlRequest.ADD_SOCK:
                request.op = PortControlRequest.REMOVE_SOCK
                self.check(own=False)
                service.ask(request, PortControlResponse())

    def by_ovsdb(self, server: ovsdb.OvsdbServer, name: str, value: str) -> None:
        line = ["--may-exist", "add-port", ovsdb.BRIDGE, name, "--", "set", "interface", name]
        with contextlib.suppress(ValueError, UnicodeEncodeError):
            done = server.vsctl(*line, f"external_ids:virtio_forwarder={json.dumps(value)}", check=False)
            time.sleep(0.2 if done is not None else 0)
            server.vsctl("--if-exists", "del-port", name, check=False)

    def by_command_file(self, text: str) -> None:
        path = self.root / "tmp/vio_cmd"
        path.with_suffix(".new").write_text(text, newline="", errors="replace")
        path.with_suffix(".new").rename(path)
        time.sleep(0.3)
        path.unlink(missing_ok=True)

    # ---- what must not be --------------------------------------------------------------------------------------------

    def check(self, own: bool) -> None:
        """`own`: by the host's own file, which may have sockets and directories anywhere, but no more."""
        changes = [each for each in self.sandbox.changes() if not self._is_kept(each)]
        unwanted = [each for each in changes if not (own and each.kind in ("socket", "directory"))]
        assert unwanted == [], [str(each) for each in unwanted]
        for name in ("run/precious", "tmp/precious"):
            about = os.lstat(self.root / name)
            assert (self.root / name).read_text() == PRECIOUS, name
            assert (about.st_mode & 0o7777, about.st_uid) == (0o644, 0), name
        assert os.lstat(self.root / "run/foreign.sock").st_ino == self.foreign_inode
        assert os.readlink(self.root / "tmp/nobodys") == "/etc"
        log = self.sandbox.log
        assert "Traceback" not in log, log[log.index("Traceback") - 2000 :][:6000]
        strangers = [line for line in self.sandbox.programs().values() if line and not self._is_known(line)]
        assert strangers == []

    def _is_kept(self, change: Change) -> bool:
        parents = {str(parent) for kept in KEPT for parent in Path(kept).parents}
        mounted = {f"/{name}" for name in ("proc", "sys", "dev", "run", "tmp")}
        inside = any(change.path == kept or change.path.startswith(f"{kept}/") for kept in (*KEPT, str(self.directory)))
        return inside or (change.kind == "directory" and change.path in parents | mounted)

    @staticmethod
    def _is_known(line: str) -> bool:
        return line.startswith(PROGRAMS) or Path(line.split()[0]).name.startswith("git")

    def forget_own_files(self) -> None:
        """What the host's own file has had made stays; the next look is for what is new."""
        for change in self.sandbox.changes():
            if not self._is_kept(change) and change.kind in ("socket", "directory"):
                with contextlib.suppress(OSError):
                    path = self.root / change.path.lstrip("/")
                    path.rmdir() if change.kind == "directory" else path.unlink()


@st.composite
def requests(draw: st.DrawFn) -> PortControlRequest:
    ops = [PortControlRequest.ADD, PortControlRequest.ADD_SOCK, PortControlRequest.REMOVE, PortControlRequest.QUERY_PCI]
    request = PortControlRequest(op=draw(st.sampled_from([*ops, ops[1], ops[1]])))
    for _ in range(draw(st.integers(0, 3))):
        numbers = {
            key: draw(st.sampled_from([0, 1, 5, 31, 2**32 - 1])) for key in ("domain", "bus", "slot", "function")
        }
        request.pci_addrs.append(PortControlRequest.PciAddress(**numbers))
    texts = st.sampled_from(["", "net_bonding0", *PATHS, *WORDS]).map(lambda text: text.replace("\ud83d\ude00", ""))
    request.name, request.vhost_path = draw(texts), draw(texts)
    if draw(st.booleans()):
        request.virtio_id = draw(st.sampled_from([0, 7, 63, 64, 2**32 - 1]))
    request.mode, request.conditional = draw(st.integers(0, 9)), draw(st.booleans())
    return request


WAYS = ("file", "file", "directory", "directory", "git", "port-control", "ovsdb", "command-file")


@contextlib.contextmanager
def place() -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        yield Place(stack)


def one(made: Place, draw: Callable[..., Any], server: ovsdb.OvsdbServer | None) -> str:
    """One thing that somebody says who means harm; which way it came."""
    way: str = draw(st.sampled_from(WAYS))
    if way == "file":
        made.by_file(draw(documents(ENGINE)))
    elif way == "directory":
        made.by_directory(draw(documents()), draw(FILE_NAMES))
    elif way == "git":
        made.by_git(draw(documents()), draw(FILE_NAMES))
    elif way == "ovsdb" and server is not None:
        made.use(way)
        made.by_ovsdb(server, draw(NAMES), draw(st.sampled_from(["1", "2", *WORDS])))
    elif way == "command-file":
        made.use(way)
        word = draw(st.sampled_from(["add_port", "del_port", *WORDS]))
        made.by_command_file(f"{word} {draw(NAMES)}")
    else:
        made.use("port-control")
        made.by_port_control(draw(requests()))
    made.check(own=way == "file")
    if way in ("file", "directory", "git"):
        made.restore()
        made.check(own=way == "file")
        made.forget_own_files()
    return way


def test_who_means_harm_gets_no_more_than_a_relay() -> None:
    print(f"VIO4WD_TEST_SEED={SEED}")
    tally: dict[str, int] = {}
    with place() as made, contextlib.ExitStack() as stack:
        server = stack.enter_context(ovsdb.OvsdbServer(made.directory / "ovs")) if ovsdb.missing() is None else None
        if server is not None:
            server.vsctl("add-br", ovsdb.BRIDGE)

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        )
        @given(st.data())
        def each(drawn: st.DataObject) -> None:
            way = one(made, drawn.draw, server)
            tally[way] = tally.get(way, 0) + 1

        each()
        log = made.sandbox.log
        print(f"{tally}; {log.count(' in force: ')} specs in force, {log.count(' applied: ')} applied")
        if os.environ.get("VIO4WD_TEST_KEEP_LOG"):
            Path(os.environ["VIO4WD_TEST_KEEP_LOG"]).write_text(log)
