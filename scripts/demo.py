"""Shows vio4wd at work, step by step, each step checked: relays added, moved and removed while guests are pinged.

Two network namespaces stand for the network, a veth pair's other end for each VF, dpdk-testpmd for the guests. Started
by `scripts/demo`. Exit code 0 when every step did what it says, 1 when one did not, 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from engine.api.client import EngineError, EngineUnavailable, Observation
from tests.kit import cleanup
from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.guests.testpmd import Cpus
from tests.kit.instance import READY_S, Instance
from tests.kit.network.netns import CommandError, Namespace, PingReport, VethWire, delete_stale_namespaces
from tests.kit.spec_file import RelayLine, save, spec_text
from tests.kit.waiting import wait_for

FLOOD_PACKETS = 4000
FLOOD_INTERVAL_S = 0.001
MAX_MOVES = 6
PAUSE_S = 0.4
"""Between two moves, so that they spread over the flood."""
STEPS = 9


class DemoError(Exception):
    """A step did not do what it should; the text says which and how."""


@dataclass(slots=True)
class Demo:
    """What the steps share: a vio4wd of the demo's own, the CPUs that it may use, and what has been started."""

    instance: Instance
    cpus: list[int]
    stack: contextlib.ExitStack
    step: int = 0
    wires: list[VethWire] = field(default_factory=list)
    relays: dict[int, RelayLine] = field(default_factory=dict)
    allowed: list[int] = field(default_factory=list)
    """Relays that may go although their guests are connected."""

    def title(self, text: str) -> None:
        self.step += 1
        print(f"\n[{self.step}/{STEPS}] {text}", flush=True)

    def show(self, *arguments: str) -> None:
        """Run a vio4wd command and show what it prints. Raises DemoError when it fails."""
        print("    $ vio4wd " + " ".join(arguments).replace(f"{self.instance.directory}/", ""), flush=True)
        done = self.instance.call(*arguments)
        tell(done.stdout + done.stderr)
        if done.returncode != 0:
            raise DemoError(f"vio4wd {arguments[0]} ended with {done.returncode}")

    def save(self, path: Path | None = None) -> None:
        """Write the demo's file anew, as an editor does: the new one takes the old one's name."""
        lines = list(self.relays.values())
        text = spec_text(
            lines,
            self.instance.sockets,
            worker_cpus=self.cpus,
            main_cpu=self.cpus[0],
            allow_destroy=self.allowed,
        )
        save(path or self.instance.file, text)

    def show_applied(self, resource: str) -> None:
        """Show what the history says was done last, once it has recorded a change of `resource`."""

        def recorded() -> bool:
            latest = self.instance.report("history", "--limit", "1")["applies"][:1]
            return any(change["resource"] == resource for each in latest for change in each["plan"]["changes"])

        wait_for(f"a change of {resource} in the history", recorded, 20.0, 0.2)
        self.show("history", "--limit", "1")

    def wait_held(self, resource: str) -> None:
        """Wait until the watch says that a guard holds this back."""

        def probe() -> bool:
            return any(each["resource"] == resource for each in self.instance.status()["watch"]["held"])

        wait_for(f"{resource} to be held back", probe, 20.0, 0.2)

    def counters(self, relay: int) -> dict[str, Any]:
        found: dict[str, Any] = self.instance.client.counters()["relays"][str(relay)]
        return found

    def session(self, relay: int) -> tuple[str, int | None, int]:
        """Which connection of a guest it is: the engine's boot id, DPDK's device number, how many have come so far."""
        seen = self.instance.client.observe()
        live = seen.live.sockets[str(self.instance.socket(relay))]
        return seen.boot_id, live.vid, live.connects

    def wait_until(self, what: str, true: Callable[[Observation], bool], timeout_s: float = 30.0) -> float:
        """Wait until the engine is seen so, while `vio4wd run` lives. Gives the seconds that it took."""
        started = time.monotonic()

        def probe() -> bool:
            self.instance.check_running()
            seen = self.instance.observed()
            return seen is not None and true(seen)

        wait_for(what, probe, timeout_s)
        return time.monotonic() - started

    def add_relay(self, number: int) -> None:
        cpu = self.cpus[(number - 1) % len(self.cpus)]
        vf = f"net_af_packet{number},iface={self.wires[number - 1].vf}"
        self.relays[number] = RelayLine(number, vf, (cpu,))

    def boot_guest(self, number: int) -> None:
        path = self.instance.socket(number)
        wait_for_socket(path)
        cpu = self.cpus[-1]
        guest = self.stack.enter_context(TestpmdGuest([path], "icmpecho", Cpus(cpu, (cpu,))))
        guest.start()
        self.wait_until(f"guest {number} on its socket", lambda seen: seen.live.sockets[str(path)].guest)
        print(f"    guest {number} is connected", flush=True)

    def ping(self, number: int, count: int = 20) -> None:
        """Ping a guest from its namespace; every packet must come back, once ARP has been answered."""
        namespace, address = self.wires[number - 1].namespace, guest_address(number)
        wait_for(f"the first answer of guest {number}", lambda: namespace.ping(address, 1).received)
        report = namespace.ping(address, count)
        print(f"    ping {address} across relay {number}: {words(report)}", flush=True)
        if report.lost or report.duplicates:
            raise DemoError(f"guest {number} should have answered every ping once")


def tell(text: str, sign: str = "") -> None:
    """Print text indented, each line after `sign`."""
    print("".join(f"    {sign}{line}\n" for line in text.splitlines()), end="", flush=True)


def guest_address(number: int) -> str:
    return f"10.77.{number}.2"


def words(report: PingReport) -> str:
    twice = f", {report.duplicates} twice" if report.duplicates else ""
    return f"{report.sent} sent, {report.received} came back, {report.lost} lost{twice}"


# --- the steps --------------------------------------------------------------------------------------------------------


def make_wires(demo: Demo) -> None:
    demo.title("Two network namespaces with a veth pair each: one end is the network, the other stands for a VF")
    for number in (1, 2):
        namespace = demo.stack.enter_context(Namespace())
        wire = demo.stack.enter_context(VethWire(namespace, f"10.77.{number}.1/24"))
        demo.wires.append(wire)
        print(f"    network {number}: 10.77.{number}.1 in {namespace.name}; its VF: {wire.vf}", flush=True)


def start(demo: Demo) -> None:
    demo.title("vio4wd run, on a file with one relay: engine and watch loop together")
    demo.add_relay(1)
    demo.save()
    tell(demo.instance.file.read_text(), "| ")
    demo.instance.start("run", str(demo.instance.file))
    took_s = demo.wait_until("relay 1", lambda seen: 1 in seen.state.relays, READY_S)
    print(f"    relay 1 is in force {took_s:.1f} s after the start (the first on a machine compiles)", flush=True)


def first_guest(demo: Demo) -> None:
    demo.title("A guest (dpdk-testpmd on virtio-user, answering ping) connects, and is pinged from network 1")
    demo.boot_guest(1)
    demo.ping(1)


def second_relay(demo: Demo) -> None:
    demo.title("The file is edited: relay 2 is added. First what that would do, then it is saved")
    draft = demo.instance.directory / "draft.yaml"
    demo.add_relay(2)
    demo.save(draft)
    demo.show("plan", str(draft))
    before = demo.session(1)
    demo.save()
    took_s = demo.wait_until("relay 2", lambda seen: 2 in seen.state.relays)
    print(f"    saved; {took_s * 1000:.0f} ms later relay 2 is in force. What was done:", flush=True)
    demo.show_applied("relay:2")
    if demo.session(1) != before:
        raise DemoError("guest 1 was disconnected though nothing about relay 1 changed")


def second_guest(demo: Demo) -> None:
    demo.title("A second guest connects, and both are pinged")
    demo.boot_guest(2)
    demo.ping(2)
    demo.ping(1)


def move_pin(demo: Demo) -> None:
    demo.title("Relay 1 is moved between CPUs, by edits of the file, while 1000 pings a second run through it")
    if len(demo.cpus) < 2:
        print("    this machine has one CPU, so there is nowhere to move to; left out", flush=True)
        return
    reports: list[PingReport] = []
    ping = demo.wires[0].namespace.ping
    flood = threading.Thread(
        target=lambda: reports.append(ping(guest_address(1), FLOOD_PACKETS, FLOOD_INTERVAL_S)), daemon=True
    )
    before = demo.counters(1)["vf_to_vm"]["rx_packets"]
    flood.start()
    wait_for("the ping flood", lambda: demo.counters(1)["vf_to_vm"]["rx_packets"] > before)
    moves = 0
    while flood.is_alive() and moves < MAX_MOVES:
        moves += 1
        move_once(demo, demo.cpus[moves % 2])
        time.sleep(PAUSE_S)
    flood.join()
    demo.show_applied("pin:1")
    check_flood(moves, reports)


def check_flood(moves: int, reports: list[PingReport]) -> None:
    if not reports:
        raise DemoError("the ping flood ended without a report")
    print(f"    ping across {moves} moves: {words(reports[0])}", flush=True)
    if reports[0].lost or reports[0].duplicates:
        raise DemoError("moving a pin must lose nothing and repeat nothing")


def move_once(demo: Demo, cpu: int) -> None:
    demo.relays[1] = replace(demo.relays[1], cpus=(cpu,))
    demo.save()
    took_s = demo.wait_until(f"relay 1 on CPU {cpu}", lambda seen: seen.state.pins[1].vf_to_vm == cpu)
    print(f"    cpus: [{cpu}] saved, moved {took_s * 1000:.0f} ms later", flush=True)


def remove_first(demo: Demo) -> None:
    demo.title("Relay 1 is taken out of the file: its guest is connected, so that has to be allowed by name")
    session, counted = demo.session(2), demo.counters(2)
    del demo.relays[1]
    demo.save()
    demo.wait_held("relay:1")
    demo.show("status")
    demo.ping(1)
    demo.allowed.append(1)
    demo.save()
    print("    saved again, with allow_destroy: [relay:1]", flush=True)
    demo.wait_until("the end of relay 1", lambda seen: 1 not in seen.state.relays)
    demo.show_applied("relay:1")
    demo.ping(2)
    if demo.session(2) != session:
        raise DemoError(f"guest 2's session changed from {session} to {demo.session(2)}")
    shrunk = shrunken(counted, demo.counters(2))
    if shrunk:
        raise DemoError(f"counters of relay 2 went backwards: {', '.join(shrunk)}")
    print("    relay 2: the guest's session is the same, and its counters only grew", flush=True)


def shrunken(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The counters that are smaller after than before, or gone."""
    found = []
    for group, fields in before.items():
        found += [f"{group}.{name}" for name, value in fields.items() if after[group].get(name, -1) < value]
    return found


def statistics(demo: Demo) -> None:
    demo.title("What is live now, and what was counted")
    demo.show("status")
    demo.show("stats")


def end(demo: Demo) -> None:
    demo.title("The end: vio4wd is asked to stop while guest 2 is still connected; nothing may be left")
    status = demo.instance.terminate()["run"]
    if status != 0:
        raise DemoError(f"vio4wd run ended with {status}, not with 0")
    demo.stack.close()
    demo.instance.check_nothing_left()
    print("    vio4wd ended with 0; its sockets, processes and files are gone, and so are guests and wires", flush=True)


# --- around them ------------------------------------------------------------------------------------------------------

WALK = (make_wires, start, first_guest, second_relay, second_guest, move_pin, remove_first, statistics, end)
FAILURES = (DemoError, AssertionError, CommandError, EngineError, EngineUnavailable)
"""What a step that fails raises; the kit's own errors are AssertionErrors."""


def run() -> int:
    """The demo, and taking everything away again whatever happens."""
    started = time.monotonic()
    with Instance() as instance, contextlib.ExitStack() as stack:
        demo = Demo(instance, sorted(os.sched_getaffinity(0))[:2], stack)
        try:
            for step in WALK:
                step(demo)
        except FAILURES as error:
            print(f"\ndemo: step {demo.step} failed: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
            tell("\n".join(instance.log.splitlines()[-25:]), "| ")
            return 1
    print(f"\ndemo: every step did what it said ({time.monotonic() - started:.0f} s)", flush=True)
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C or SIGTERM: everything is taken away once, and not left half done by an impatient second one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    delete_stale_namespaces()
    try:
        return run()
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything is taken away again", file=sys.stderr)
        return 130
    finally:
        cleanup.end_everything()


if __name__ == "__main__":
    sys.exit(main())
