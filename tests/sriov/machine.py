"""The lab's machine from inside: its PCI functions, its wires, and the emulator that it runs in."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit import cleanup
from tests.kit.network.netns import Namespace, VethWire, run
from tests.kit.waiting import wait_for

DEVICES = Path("/sys/bus/pci/devices")


def driver(address: str) -> str:
    """A function's driver; empty: none."""
    link = DEVICES / address / "driver"
    return link.resolve().name if link.exists() else ""


def interface(address: str) -> str:
    """The network interface that the kernel has made of a function."""
    [name] = os.listdir(DEVICES / address / "net")
    return name


def group_of(address: str) -> str:
    return (DEVICES / address / "iommu_group").resolve().name


def bind(address: str, name: str) -> None:
    """As driverctl does it: bind to a driver, or with an empty name to none."""
    (DEVICES / address / "driver_override").write_text(f"{name}\n")
    if driver(address):
        (DEVICES / address / "driver/unbind").write_text(address)
    if name:
        Path("/sys/bus/pci/drivers_probe").write_text(address)


def release(address: str, name: str) -> None:
    """Back to the driver that it has by nature, and nothing overridden."""
    if driver(address) != name:
        bind(address, name)
    (DEVICES / address / "driver_override").write_text("\n")


def set_vfs(interface_of_pf: str, count: int) -> None:
    """How many VFs a PF has; 0 takes all away, in use or not."""
    Path("/sys/class/net", interface_of_pf, "device/sriov_numvfs").write_text(str(count))


@contextlib.contextmanager
def module(name: str) -> Iterator[None]:
    """A module of the machine's kernel, which comes without any that are not needed to start it."""
    run(["modprobe", "-d", os.environ["LAB_MODULES"], name])
    try:
        yield
    finally:
        run(["rmmod", name])


def yielding(pid: int) -> None:
    """Lets a process that polls without rest run on what the others leave: the machine has two CPUs for everything."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), 19)


class Qmp:
    """The emulator's own monitor, through a serial port of the machine that it emulates."""

    def __init__(self, device: Path) -> None:
        self._file = os.open(device, os.O_RDWR)
        self._read = b""
        self.ask("qmp_capabilities", patient=True)

    def close(self) -> None:
        os.close(self._file)

    def ask(self, command: str, patient: bool = False, **arguments: Any) -> Any:
        """Carries out a command. Raises AssertionError when it is refused; `patient`: a refusal is fine."""
        os.write(self._file, json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self._line()
            if "return" in answer or "error" in answer:
                assert patient or "return" in answer, answer
                return answer.get("return")

    def _line(self) -> Any:
        while b"\n" not in self._read:
            self._read += os.read(self._file, 65536)
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def unplug(self, number: int) -> None:
        self.ask("device_del", id=f"nic{number}")

    def plug(self, number: int) -> None:
        mac = f"52:54:00:bb:00:{number:02x}"
        port = f"rp{number + 1}"
        self.ask("device_add", driver="e1000e", id=f"nic{number}", mac=mac, bus=port, netdev=f"e{number}")

    @contextlib.contextmanager
    def unplugged(self, number: int, address: str) -> Iterator[None]:
        """Unplugged while the block runs; plugged in again after it, however it ends."""
        self.unplug(number)
        try:
            wait_for(f"{address} to be unplugged", lambda: not (DEVICES / address).exists(), 60.0)
            yield
        finally:
            wait_for(f"{address} to be unplugged", lambda: not (DEVICES / address).exists(), 60.0)
            self.plug(number)
            wait_for(f"{address} to be plugged in", (DEVICES / address).exists, 60.0)

    @contextlib.contextmanager
    def cable_pulled(self, number: int) -> Iterator[None]:
        """The NIC's own end has no link while the block runs."""
        self.ask("set_link", name=f"nic{number}", up=False)
        try:
            yield
        finally:
            self.ask("set_link", name=f"nic{number}", up=True)


class PciWire(VethWire):
    """Two NICs wired to each other: `vf` is polled by its address, `peer` is the network's end."""

    def __init__(self, namespace: Namespace, address: str, vf: str, peer: str) -> None:
        self.namespace = namespace
        self.address = address
        self.mtu = 1500
        self.vf = vf
        self.peer = peer
        self.inner = interface(peer)

    @property
    def vf_device(self) -> str:
        return self.vf

    def _set_up(self) -> None:
        run(["ip", "link", "set", self.inner, "netns", self.namespace.name])
        self.namespace.run(["ethtool", "-K", self.inner, "tx", "off", "rx", "off"], check=False)
        off = f"echo 1 > /proc/sys/net/ipv6/conf/{self.inner}/disable_ipv6 2>/dev/null || true"
        self.namespace.run(["sh", "-c", off])
        self.namespace.run(["ip", "address", "add", self.address, "dev", self.inner])
        self.namespace.run(["ip", "link", "set", self.inner, "up"])
        wait_for(f"a carrier on {self.inner}", self._has_carrier, 60.0)

    def _has_carrier(self) -> bool:
        return self.namespace.run(["cat", f"/sys/class/net/{self.inner}/carrier"], check=False).stdout == "1\n"

    def __enter__(self) -> PciWire:
        cleanup.register(self, self.delete)
        self._set_up()
        return self

    def delete(self) -> None:
        """The interface goes back to where it came from."""
        cleanup.release(self)
        self.namespace.run(["ip", "link", "set", self.inner, "netns", "1"], check=False)
