"""The two that are compared: testpmd forwarding between net_vhost and net_null, and vio4wd with one relay.

A side is a relay with its guest. It can be frozen (SIGSTOP) and thawed as a whole, so that both live at once while only
one of them runs: the turns are then short, and what the machine does meanwhile meets both alike.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.benchmarks.cases import TESTPMD_RELAYS, Case
from tests.kit import cleanup
from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.guests.testpmd import Cpus, Testpmd
from tests.kit.instance import Instance
from tests.kit.spec_file import RelayLine

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
    """Relays on CPU 1 with their guests, ports of one testpmd, on CPU 0, both polling."""

    name: str

    def __init__(self, case: Case) -> None:
        self.case = case
        self._stack = contextlib.ExitStack()

    @abstractmethod
    def _relay(self) -> list[Path]:
        """Start the relays. Gives the paths of their sockets."""

    @abstractmethod
    def _relay_pids(self) -> Iterable[int]:
        """The relays' processes."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            sockets = self._relay()
            for socket in sockets:
                wait_for_socket(socket)
            self.guest = stack.enter_context(self._guest(sockets))
            self.guest.start()
            self._pids = [*self._relay_pids(), self.guest.pid]
            self._stack = stack.pop_all()
        return self

    def _guest(self, sockets: list[Path]) -> TestpmdGuest:
        """The guests; those that are not busy are connected and left alone."""
        case = self.case
        busy = ",".join(map(str, range(case.busy + bool(case.source))))
        return TestpmdGuest(
            sockets,
            case.guest_mode,
            Cpus(GUEST_CPU, (GUEST_CPU,)),
            case.queues,
            case.frame_bytes,
            memory_mib=256 if case.relays == 1 else 384,
            options=[f"--portlist={busy}", *(["--port-topology=paired"] if case.source else [])],
            beside=[f"net_null0,{case.source}"] if case.source else [],
            device=",packed_vq=1" if case.packed else "",
        )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.thaw()
        self._stack.close()

    def rate(self, seconds: float) -> float:
        """Packets a second of all busy guests together, over a window that the guests' process times itself."""
        return sum(self.case.rate(stats) for stats in self.guest.rates(seconds, self.case.busy))

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

    def __init__(self, case: Case) -> None:
        super().__init__(case.at_most(TESTPMD_RELAYS))

    def _relay(self) -> list[Path]:
        directory = cleanup.short_directory()
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        sockets = [directory / f"s{number}" for number in range(self.case.relays)]
        vdevs = list(itertools.chain.from_iterable(map(self._pair, range(self.case.relays), sockets)))
        queues = [f"--rxq={self.case.queues}", f"--txq={self.case.queues}"]
        # Ports are numbered in the order of the devices; those of the list are coupled two by two.
        options = [*queues, "--portlist=0,3"] if self.case.bond else queues
        relay = Testpmd(vdevs, "io", Cpus(GUEST_CPU, (RELAY_CPU,)), 512, options, mbufs=None)
        self.relay = self._stack.enter_context(relay)
        self.relay.start()
        return sockets

    def _pair(self, number: int, socket: Path) -> list[str]:
        """The devices of one relay."""
        vhost = f"net_vhost{number},iface={socket},queues={self.case.queues}"
        if not self.case.bond:
            return [vhost, self.case.vf(number)]
        members = [self.case.vf(0), self.case.vf(0).replace("net_null0", "net_null1")]
        return [vhost, *members, "net_bonding0,mode=1,slave=net_null0,slave=net_null1"]

    def _relay_pids(self) -> Iterable[int]:
        return [self.relay.pid]


class Vio4wdSide(Side):
    """`vio4wd run`, both directions of all relays on one CPU, busy polling as testpmd does."""

    name = "vio4wd"

    def _relay(self) -> list[Path]:
        lines = [self._line(number) for number in range(self.case.relays)]
        # net_vhost offers mergeable buffers, and has no word for not doing so.
        offered = {"mrgbuf": True}
        instance = Instance.relaying(
            lines, worker_cpus=[RELAY_CPU], main_cpu=GUEST_CPU, idle="busy", vhost_user=offered
        )
        self.instance = self._stack.enter_context(instance)
        self.instance.run()
        return [self.instance.socket(line.id) for line in lines]

    def _line(self, number: int) -> RelayLine:
        case, vf = self.case, self.case.vf(number)
        if case.bond:
            bond = {"name": "net_bonding0", "mode": "active-backup", "members": [vf, vf.replace("null0", "null1")]}
            return RelayLine(number, "", (RELAY_CPU,), bond=bond)
        queues = case.queues if case.queues > 1 else None
        return RelayLine(number, vf, (RELAY_CPU,), packed=case.packed or None, queues=queues)

    def _relay_pids(self) -> Iterable[int]:
        return self.instance.pids()

    def account(self) -> str:
        seen = [self.instance.call(command, "--json").stdout for command in ("stats", "status")]
        return "\n".join([super().account(), *seen, self.instance.log[-4000:]])


class AloneSide(Vio4wdSide):
    """vio4wd with the first of a work's relays and no other."""

    name = "alone"

    def __init__(self, case: Case) -> None:
        super().__init__(case.at_most(1))
