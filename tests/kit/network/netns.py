"""Network namespaces and veth pairs that stand for a VF's wire.

One end of a `VethWire` lies in a namespace and has an address: that is the network. The other end stays on the host
without any address: that is the VF, and `net_af_packet` polls it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import socket
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit import cleanup
from tests.kit.network import echo

PREFIX = "v4t"
_NETNS_DIR = Path("/var/run/netns")
_CLONE_NEWNET = 0x40000000
# A partial checksum would reach DPDK as a wrong one, and a frame of 64 KiB would not fit an mbuf.
_OFFLOADS = ("tx", "off", "tso", "off", "gso", "off", "gro", "off")
_PING_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received(?:, \+(\d+) duplicates)?")


_FRAME_MTU = 1500
_LONG_FRAMES = ",framesz=16384,blocksz=65536,framecnt=512"
"""Else af_packet cuts what it receives to 2 KiB, and says nothing."""


class CommandError(RuntimeError):
    """A command of the kit ended with an error."""


def run(command: Sequence[str], check: bool = True, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises `CommandError` with its last words when it fails and `check` is true."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}: {words}")
    return done


@dataclass(frozen=True, slots=True)
class PingReport:
    """What ping said of its run, in packets."""

    sent: int
    received: int
    duplicates: int

    @property
    def lost(self) -> int:
        return self.sent - self.received

    @property
    def loss(self) -> float:
        """The lost share, 0 to 1."""
        return self.lost / self.sent if self.sent else 1.0


def parse_ping(text: str) -> PingReport:
    """Reads the summary of iputils' ping. Raises ValueError when there is none."""
    found = _PING_SUMMARY.search(text)
    if found is None:
        raise ValueError(f"no summary of ping in {text!r}")
    return PingReport(int(found[1]), int(found[2]), int(found[3] or 0))


class Namespace:
    """A network namespace of its own, with a random name that tells whose it is."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}-{os.getpid():x}-{secrets.token_hex(2)}"

    def __enter__(self) -> Self:
        run(["ip", "netns", "add", self.name])
        cleanup.register(self, self.delete)
        self.run(["ip", "link", "set", "lo", "up"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.delete()

    def delete(self) -> None:
        """Remove the namespace; what has its other end there goes with it."""
        cleanup.release(self)
        run(["ip", "netns", "del", self.name], check=False)

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in here."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(
        self, command: Sequence[str], check: bool = True, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in here. Raises `CommandError`."""
        return run(self.command(command), check, timeout_s)

    def ping(self, address: str, count: int = 5, interval_s: float = 0.05, flood: bool = False) -> PingReport:
        """Ping `address` from here; `flood` sends as fast as answers come, at least 100 a second."""
        if flood:
            line = ["ping", "-n", "-q", "-f", "-c", str(count), "-W", "1", address]
            return parse_ping(self.run(line, check=False, timeout_s=count * 0.02 + 30).stdout)
        with self._socket(socket.AF_INET, socket.IPPROTO_ICMP) as raw:
            return PingReport(count, *echo.exchange(raw, address, count, interval_s))

    def packet_socket(self, interface: str, ethertype: int) -> socket.socket:
        """A raw packet socket on an interface in here, for frames of one ethertype."""
        opened = self._socket(socket.AF_PACKET, socket.htons(ethertype))
        try:
            opened.bind((interface, ethertype))
        except OSError:
            opened.close()
            raise
        return opened

    def _socket(self, family: int, protocol: int) -> socket.socket:
        made: list[socket.socket | OSError] = []
        # Only the calling thread changes namespace, so a thread is spent on it.
        thread = threading.Thread(target=lambda: made.append(self._open(family, protocol)))
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def _open(self, family: int, protocol: int) -> socket.socket | OSError:
        try:
            with (_NETNS_DIR / self.name).open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    return OSError(ctypes.get_errno(), f"setns to {self.name} failed")
            return socket.socket(family, socket.SOCK_RAW, protocol)
        except OSError as error:
            return error


class VethWire:
    """A veth pair: `inner` in the namespace with `address`, `vf` on the host for `net_af_packet`, without address."""

    def __init__(self, namespace: Namespace, address: str, mtu: int = 1500) -> None:
        token = secrets.token_hex(4)
        self._number = int(token, 16)
        self.namespace = namespace
        self.address = address
        self.mtu = mtu
        self.inner = f"v4{token}n"
        self.vf = f"v4{token}v"

    @property
    def vf_device(self) -> str:
        """What a spec's `vf` names: a DPDK virtual device on the host's end."""
        long = _LONG_FRAMES if self.mtu > _FRAME_MTU else ""
        return f"net_af_packet{self._number},iface={self.vf}{long}"

    @property
    def inner_mac(self) -> str:
        return self.namespace.run(["cat", f"/sys/class/net/{self.inner}/address"]).stdout.strip()

    def __enter__(self) -> Self:
        run(["ip", "link", "add", self.vf, "type", "veth", "peer", "name", self.inner, "netns", self.namespace.name])
        cleanup.register(self, self.delete)
        try:
            self._set_up()
        except BaseException:
            self.delete()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.delete()

    def _set_up(self) -> None:
        self.namespace.run(["ethtool", "-K", self.inner, *_OFFLOADS])
        run(["ethtool", "-K", self.vf, *_OFFLOADS])
        # The host's stack sees every frame of its end too: it must answer none of them.
        for key, value in (("ipv6/conf/{}/disable_ipv6", "1"), ("ipv4/conf/{}/arp_ignore", "8")):
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/sys/net", key.format(self.vf)).write_text(value)
        off = f"echo 1 > /proc/sys/net/ipv6/conf/{self.inner}/disable_ipv6 2>/dev/null || true"
        self.namespace.run(["sh", "-c", off])
        self.namespace.run(["ip", "address", "add", self.address, "dev", self.inner])
        self.namespace.run(["ip", "link", "set", self.inner, "mtu", str(self.mtu), "up"])
        run(["ip", "link", "set", self.vf, "mtu", str(self.mtu), "promisc", "on", "up"])

    def set_carrier(self, up: bool) -> None:
        """Take the network's end down or up: the VF's end loses or gets its carrier."""
        self.namespace.run(["ip", "link", "set", self.inner, "up" if up else "down"])

    def delete(self) -> None:
        cleanup.release(self)
        run(["ip", "link", "del", self.vf], check=False)


@dataclass(frozen=True, slots=True)
class Tap:
    """A tap device in a namespace, on one of its bridges; it goes with the namespace."""

    namespace: Namespace
    name: str

    def lay(self, bridge: str) -> None:
        self.namespace.run(["ip", "tuntap", "add", self.name, "mode", "tap"])
        self.namespace.run(["ip", "link", "set", self.name, "master", bridge, "up"])


def delete_stale_namespaces() -> list[str]:
    """Remove the namespaces of test runs whose process is gone. Gives their names."""
    stale = []
    for path in _NETNS_DIR.glob(f"{PREFIX}-*-*"):
        with contextlib.suppress(ValueError):
            if not Path("/proc", str(int(path.name.split("-")[1], 16))).exists():
                run(["ip", "netns", "del", path.name], check=False)
                stale.append(path.name)
    return stale
