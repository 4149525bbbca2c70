"""`vio4wd capture`: the packets of one relay, from the live engine."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from reconciler.terminal.arguments import count

if TYPE_CHECKING:
    from engine.api.capture_reader import Captured, CaptureReader

NAME = "capture"
HELP = "show the packets of one relay, or write them to a file for Wireshark or tcpdump"
EPILOG = """\
Packets are copied as the relay receives them, before it sends or drops them. The relay never waits for the capture:
what comes faster than it can be written is counted as missed, which is said at the end. Other relays are not touched,
and a relay that is not captured pays nothing. Ctrl-C ends the capture.

Examples:
  vio4wd capture 1                                 one line per packet
  vio4wd capture 1 --direction vf-to-vm --count 10
  vio4wd capture 1 -w relay1.pcapng                for Wireshark
  vio4wd capture 1 --snaplen 128 -w - | tcpdump -n -r -
"""
MAX_SNAPLEN = 262_144
PRIVATE = 0o600
"""Of a new file: what guests send is not for everybody."""
ARROWS = {"vf-to-vm": "VF>VM", "vm-to-vf": "VM>VF"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("relay", metavar="ID", type=count, help="the relay's id")
    parser.add_argument(
        "--direction", choices=("vf-to-vm", "vm-to-vf", "both"), default="both", help="only this way (default: both)"
    )
    parser.add_argument("--count", metavar="N", type=count, default=0, help="end after N packets (default: 0, never)")
    parser.add_argument(
        "--snaplen", metavar="N", type=snaplen, default=MAX_SNAPLEN, help="N bytes of each packet (default: all)"
    )
    parser.add_argument("-w", metavar="FILE", dest="file", help="write pcapng to FILE; -: to standard output")


def snaplen(text: str) -> int:
    """A number of bytes."""
    value = count(text)
    if not 1 <= value <= MAX_SNAPLEN:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of bytes from 1 to {MAX_SNAPLEN}")
    return value


def execute(asked: argparse.Namespace) -> int:
    from reconciler.terminal.output import complain

    if asked.file == "-" and sys.stdout.isatty():
        complain("-w - would fill the terminal with bytes: pipe it into a program, or name a file")
        return 1
    stop = _Stop()
    with contextlib.ExitStack() as stack:
        reading = _begin(asked, stack)
        sink = _File(asked, stack) if asked.file is not None else _Lines()
        tally = _Tally(asked.count)
        try:
            _pump(reading, sink, stop, tally)
        finally:  # also when the engine has gone
            sink.finish(reading.missed)
            complain(_verdict(tally.shown, reading))
    if stop.asked or tally.full:
        return 0
    complain(f"relay {asked.relay} was removed: the capture has ended")
    return 1


@dataclass
class _Tally:
    wanted: int
    """So many packets are enough; 0: never."""
    shown: int = 0

    @property
    def full(self) -> bool:
        return 0 < self.wanted == self.shown

    def take(self, batch: list[Captured]) -> list[Captured]:
        """As many of a batch as are still wanted, counted as shown."""
        taken = batch[: self.wanted - self.shown] if self.wanted else batch
        self.shown += len(taken)
        return taken


def _pump(reading: CaptureReader, sink: _Sink, stop: _Stop, tally: _Tally) -> None:
    """Shows packets until there are enough, somebody stops it, or the relay is gone."""
    for batch in _until(stop, reading):
        taken = tally.take(batch)
        for packet in taken:
            sink.show(packet)
        if taken:
            sink.flush()
        if tally.full:
            return


def _until(stop: _Stop, reading: CaptureReader) -> Iterator[list[Captured]]:
    """The batches; the last one, once it is to stop, is what has come until then."""
    for batch in reading.batches():
        yield batch
        if stop.asked:
            yield reading.last()
            return


class _Stop:
    """Ctrl-C and SIGTERM end the capture between two reads; a second one ends the command wherever it is."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


class _Sink(Protocol):
    def show(self, packet: Captured) -> None: ...
    def flush(self) -> None: ...
    def finish(self, missed: Mapping[str, int]) -> None: ...


class _Lines:
    """One line per packet on standard output."""

    def show(self, packet: Captured) -> None:
        from reconciler.terminal.packet import summary

        seconds, rest = divmod(packet.time_ns, 1_000_000_000)
        clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06d}"
        print(clock, ARROWS[packet.direction], f"{packet.length:5}", summary(packet.packet))

    def flush(self) -> None:
        sys.stdout.flush()

    def finish(self, missed: Mapping[str, int]) -> None:
        """Nothing is left to say: lines end where they end."""


class _File:
    """pcapng in a file, or on standard output."""

    def __init__(self, asked: argparse.Namespace, stack: contextlib.ExitStack) -> None:
        from reconciler.terminal.pcapng import FLAGS, PcapWriter

        self._out = _opened(asked.file, stack)
        directions = tuple(FLAGS) if asked.direction == "both" else (asked.direction,)
        self._writer = PcapWriter(self._out, asked.relay, directions, asked.snaplen)
        self.show = self._writer.write
        self.flush = self._out.flush
        self.flush()  # a reader at the other end of a pipe waits for the head

    def finish(self, missed: Mapping[str, int]) -> None:
        self._writer.finish(missed)
        self.flush()


def _opened(path: str, stack: contextlib.ExitStack) -> BinaryIO:
    if path == "-":
        return sys.stdout.buffer
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    return stack.enter_context(os.fdopen(descriptor, "wb"))


def _begin(asked: argparse.Namespace, stack: contextlib.ExitStack) -> CaptureReader:
    """Starts to capture on whichever shard has the relay. Raises what the most telling one of them said."""
    from engine.api.capture_reader import CaptureReader
    from engine.api.client import EngineClient, EngineError, EngineUnavailable
    from schema.paths import run_dir

    faults: list[EngineError | EngineUnavailable] = []
    for shard in _shards(run_dir()):
        client = stack.enter_context(EngineClient(run_dir(), shard))
        try:
            return stack.enter_context(CaptureReader(client, asked.relay, asked.direction, asked.snaplen))
        except (EngineError, EngineUnavailable) as error:
            faults.append(error)
    raise next((each for each in faults if not _has_not(each)), faults[0])


def _has_not(error: Exception) -> bool:
    """Whether an engine said that it does not have the relay."""
    return getattr(error, "code", None) == "unknown"


def _shards(run: Path) -> list[int]:
    """Those whose sockets are there; shard 0, which says why it does not answer, where none is."""
    found = [re.fullmatch(r"engine-(\d+)\.sock", path.name) for path in run.glob("engine-*.sock")]
    return sorted(int(each[1]) for each in found if each) or [0]


def _verdict(shown: int, reading: CaptureReader) -> str:
    missed = sum(reading.missed.values())
    gaps = f"; stopped {reading.gaps} times because what reads it took nothing for some seconds" if reading.gaps else ""
    return f"{shown} packets captured, {missed} missed{gaps}"
