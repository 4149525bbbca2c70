"""What every source is: something to read files from, now and then, and what came of the latest try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from schema import SpecError, Tree


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source said."""

    tree: Tree
    revision: str = ""
    """Of what has revisions; else empty."""


class SourceError(Exception):
    """A source could not be read, or what it says must not be used; the text says why and what to do."""

    def __init__(self, message: str, revision: str = "") -> None:
        super().__init__(message)
        self.revision = revision
        """What was refused, where it is known."""


class Source(Protocol):
    """The shape of every kind, each in a file of its own."""

    @property
    def name(self) -> str:
        """What tells it from the others, in words."""

    @property
    def interval_s(self) -> float:
        """How often it is read."""

    def follow(self, changed: Callable[[], None]) -> None:
        """Has `changed` called, on any thread, when it may say something else before its interval is over. To be called
        before the first reading, if at all."""

    def read(self, in_force: str) -> Reading:
        """What it says now; `in_force` is the revision that is, empty when there is none. May take its time. Raises
        SourceError, or SpecError when there is nothing to read."""

    def stop(self) -> None:
        """Ends `read` soon, wherever it waits. May be called from another thread."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of the latest try."""

    revision: str = ""
    """What was tried, where that is known."""
    reading: Reading | None = None
    problem: str = ""


def attempt(source: Source, in_force: str) -> Attempt:
    """Reads a source."""
    try:
        reading = source.read(in_force)
    except SourceError as error:
        return Attempt(revision=error.revision, problem=str(error))
    except SpecError as error:
        return Attempt(problem=str(error))
    return Attempt(reading.revision, reading)
