"""dpdk-testpmd under control: started, told, asked, ended."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit import cleanup
from tests.kit.system import host
from tests.kit.system.terminal import Terminal, TerminalError

PROGRAM = "dpdk-testpmd"
_PROMPT = "testpmd> "
_FIELD = re.compile(r"(RX-packets|RX-missed|RX-bytes|RX-errors|RX-nombuf|TX-packets|TX-errors|TX-bytes):\s+(\d+)")
_RATE = re.compile(r"([RT]x-pps):\s+(\d+)")


@dataclass(frozen=True, slots=True)
class PortStats:
    """A port's counters since its start, and testpmd's own rates since it was last asked for them."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_missed: int
    rx_nombuf: int
    rx_errors: int
    tx_errors: int
    rx_pps: int
    tx_pps: int


def parse_port_stats(text: str) -> PortStats:
    """Reads what `show port stats` prints. Raises KeyError when a field is missing."""
    seen = {name.lower().replace("-", "_"): int(value) for name, value in _FIELD.findall(text) + _RATE.findall(text)}
    return PortStats(**{name: seen[name] for name in PortStats.__slots__})


@dataclass(frozen=True, slots=True)
class Cpus:
    """Where a testpmd runs: its main thread sleeps in a read, its workers poll."""

    main: int = 0
    workers: tuple[int, ...] = (0,)

    @property
    def lcores(self) -> str:
        """lcores are no CPUs: several of them may share one."""
        pairs = [f"0@{self.main}", *(f"{index}@{cpu}" for index, cpu in enumerate(self.workers, 1))]
        return ",".join(pairs)


class Testpmd:
    """One dpdk-testpmd process, interactive, with a runtime directory of its own.

    `vdevs` are DPDK's virtual devices, ports in that order. Forwarding starts with `start()`. The pool that testpmd
    sizes for itself (`mbufs` None) needs 512 MiB.
    """

    __test__ = False  # pytest would take the name for a test case's

    def __init__(
        self,
        vdevs: Sequence[str],
        mode: str = "io",
        cpus: Cpus | None = None,
        memory_mib: int = 256,
        options: Sequence[str] = (),
        mbufs: int | None = 16_384,
    ) -> None:
        self.cpus = cpus or Cpus()
        self.mode = mode
        self._vdevs = tuple(vdevs)
        self._memory_mib = memory_mib
        self._options = tuple(options)
        self._mbufs = mbufs
        self._terminal: Terminal | None = None
        self._directory: Path | None = None

    @property
    def hugepages(self) -> bool:
        return host.free_hugepages_mib() >= self._memory_mib

    def command_line(self) -> list[str]:
        """How testpmd is started. Without hugepages its memory is a memfd, which vhost can map as well."""
        huge = ["--in-memory", "--single-file-segments"]
        memory = [*(huge if self.hugepages else ["--no-huge"]), "-m", str(self._memory_mib)]
        vdevs = [f"--vdev={vdev}" for vdev in self._vdevs]
        eal = ["--no-pci", "--no-telemetry", f"--lcores={self.cpus.lcores}", "--main-lcore=0", *memory]
        prefix = [f"--file-prefix=v4t{os.getpid():x}{secrets.token_hex(3)}"]
        pool = [] if self._mbufs is None else [f"--total-num-mbufs={self._mbufs}"]
        own = ["-i", f"--nb-cores={len(self.cpus.workers)}", f"--forward-mode={self.mode}", *pool, *self._options]
        return [PROGRAM, *eal, *prefix, *vdevs, "--", *own]

    def __enter__(self) -> Self:
        self._directory = cleanup.short_directory()
        cleanup.register(self, self.kill)
        environment = {
            **os.environ,
            "RUNTIME_DIRECTORY": str(self._directory),
            "XDG_RUNTIME_DIR": str(self._directory),
            "TERM": "dumb",
        }
        try:
            self._terminal = Terminal(self.command_line(), environment, self._directory)
            self._terminal.expect(_PROMPT, timeout_s=60.0)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.quit()

    @property
    def terminal(self) -> Terminal:
        if self._terminal is None:
            raise TerminalError(f"{PROGRAM} is not running")
        return self._terminal

    @property
    def pid(self) -> int:
        return self.terminal.process.pid

    @property
    def alive(self) -> bool:
        return self._terminal is not None and self._terminal.process.poll() is None

    @property
    def output(self) -> str:
        return self.terminal.text

    def tell(self, command: str, timeout_s: float = 60.0) -> str:
        """Give a command and wait for the next prompt. Gives what was answered."""
        position = self.terminal.tell(command)
        return self.terminal.expect(_PROMPT, position, timeout_s)

    def start(self) -> None:
        """Start forwarding."""
        self.tell("start")

    def stop(self) -> None:
        """Stop forwarding; the ports stay as they are."""
        self.tell("stop")

    def set_mode(self, mode: str) -> None:
        """Change the forwarding mode; takes effect with the next start."""
        self.mode = mode
        self.tell(f"set fwd {mode}")

    def port_stats(self, port: int = 0) -> PortStats:
        """A port's counters and its rates since the last call."""
        return parse_port_stats(self.tell(f"show port stats {port}"))

    def all_port_stats(self) -> list[PortStats]:
        """Every port's counters, by one question: each question takes the CPU from what it is asked about."""
        return [parse_port_stats(text) for text in self.tell("show port stats all").split("NIC statistics")[1:]]

    def rates(self, seconds: float, ports: int = 1) -> list[PortStats]:
        """The first ports' counters after `seconds`, with the rates of exactly that window."""
        ask = self.all_port_stats if ports > 1 else lambda: [self.port_stats(0)]
        ask()
        time.sleep(seconds)
        return ask()[:ports]

    def kill(self) -> None:
        """SIGKILL, as a crash does it."""
        self._ended(signal.SIGKILL)

    def quit(self) -> int | None:
        """End in an orderly way. Gives the exit status, None when it had ended before."""
        if self.alive:
            self.terminal.tell("quit")
            return self._ended(None)
        return self._ended(signal.SIGKILL)

    def _ended(self, first: signal.Signals | None) -> int | None:
        cleanup.release(self)
        status = self._terminal.end(first=first) if self._terminal is not None else None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        return status
