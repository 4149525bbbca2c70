"""The two that are compared: testpmd forwarding between net_vhost and net_null, and vio4wd with one relay.

A side is a relay with its guest. It can be frozen (SIGSTOP) and thawed as a whole, so that both live at once while only
one of them runs: the turns are then short, and what the machine does meanwhile meets both alike.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.benchmarks.cases import Case
from tests.kit import cleanup
from tests.kit.guest import TestpmdGuest, wait_for_socket
from tests.kit.specfile import RelayLine
from tests.kit.testpmd import Cpus, Testpmd
from tests.kit.vio4wd import Instance

GUEST_CPU = 0
RELAY_CPU = 1
WORKER_THREAD = ("rte-worker-", "lcore-worker-")
"""The first until DPDK 23.03, the second afterwards."""


def polling_thread(pid: int) -> Path | None:
    """The thread of a process that polls: of DPDK's workers, some of which may be idle, the one that ran most."""
    threads = Path("/proc", str(pid), "task").iterdir()
    workers = [thread for thread in threads if (thread / "comm").read_text().startswith(WORKER_THREAD)]
    return max(workers, key=ran_ns, default=None)


def ran_ns(thread: Path) -> int:
    """How long a thread has had a CPU, in nanoseconds."""
    return int((thread / "schedstat").read_text().split()[0])


class Side(ABC):
    """A relay on CPU 1 with a guest on CPU 0, both polling."""

    name: str

    def __init__(self, case: Case) -> None:
        self.case = case
        self._stack = contextlib.ExitStack()

    @abstractmethod
    def _relay(self) -> Path:
        """Start the relay. Gives the path of its socket."""

    @abstractmethod
    def _relay_pids(self) -> Iterable[int]:
        """The relay's processes."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            socket = self._relay()
            wait_for_socket(socket)
            guest = TestpmdGuest(
                [socket], self.case.guest_mode, Cpus(GUEST_CPU, (GUEST_CPU,)), frame_bytes=self.case.frame_bytes
            )
            self.guest = stack.enter_context(guest)
            self.guest.start()
            self._pids = [*self._relay_pids(), self.guest.pid]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.thaw()
        self._stack.close()

    def polling_threads(self) -> list[Path]:
        """The relay's polling thread and the guest's."""
        return [thread for pid in self._pids if (thread := polling_thread(pid)) is not None]

    def account(self) -> str:
        """What went wrong, as far as this side can tell: what the guest said last."""
        return f"processes {self._pids}, guest {self.guest.pid} alive: {self.guest.alive}\n{self.guest.output[-1200:]}"

    def freeze(self) -> None:
        """Stop every process of this side; it uses no CPU until it is thawed."""
        for pid in reversed(self._pids):
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                raise RuntimeError(f"{self.name}: process {pid} has ended by itself\n{self.account()}") from None

    def thaw(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class TestpmdSide(Side):
    """dpdk-testpmd in io mode as Debian ships it: its own defaults for burst (32), pool and mempool cache."""

    __test__ = False
    name = "testpmd"

    def _relay(self) -> Path:
        directory = cleanup.short_directory()
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        socket = directory / "s"
        vdevs = [f"net_vhost0,iface={socket}", self.case.vf(0)]
        relay = Testpmd(vdevs, "io", Cpus(GUEST_CPU, (RELAY_CPU,)), memory_mib=512, mbufs=None)
        self.relay = self._stack.enter_context(relay)
        self.relay.start()
        return socket

    def _relay_pids(self) -> Iterable[int]:
        return [self.relay.pid]


class Vio4wdSide(Side):
    """`vio4wd run` with one relay, both directions on one CPU, busy polling as testpmd does."""

    name = "vio4wd"

    def _relay(self) -> Path:
        relays = [RelayLine(0, self.case.vf(0), (RELAY_CPU,))]
        instance = Instance.relaying(relays, worker_cpus=[RELAY_CPU], main_cpu=GUEST_CPU, idle="busy")
        self.instance = self._stack.enter_context(instance)
        self.instance.run()
        return self.instance.socket(0)

    def _relay_pids(self) -> Iterable[int]:
        return self.instance.pids()

    def account(self) -> str:
        seen = [self.instance.call(command, "--json").stdout for command in ("stats", "status")]
        return "\n".join([super().account(), *seen, self.instance.log[-4000:]])
