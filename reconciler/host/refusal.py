"""Why something can't be done on this host, as it is now."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from reconciler.runtime.errors import is_retryable


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, as one of the engine's error codes and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """Something that a plan wants and that will not work as the host is now."""

    resource: str
    """As plans name it: `relay:3`."""
    problem: str
    """Why, and what to do."""

    def __str__(self) -> str:
        return f"{self.resource}: {self.problem}"


class HostRefused(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """It was not done, and nothing has changed."""

    def __init__(self, objection: Refusal) -> None:
        super().__init__(objection.message)
        self.objection = objection


def require(objection: Refusal | None) -> None:
    """Raises HostRefused where there is an objection."""
    if objection is not None:
        raise HostRefused(objection)


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    """The kernel's refusals as sentences."""
    try:
        yield
    except PermissionError as error:
        message = f"{what}: writing to {error.filename} is not allowed; vio4wd has to run as root for that"
        raise HostRefused(Refusal("failed", message)) from error
    except OSError as error:
        message = f"{what}: {error.filename}: {error.strerror}; the kernel's log may say more (dmesg)"
        raise HostRefused(Refusal("failed", message)) from error


class SpecUnfit(Exception):  # noqa: N818 - the spec is sound, it just can't be had here
    """A valid spec that this host or this release can't carry out; `reasons` are whole sentences, `codes` are theirs in
    the table of reconciler.runtime.errors."""

    def __init__(self, reasons: Iterable[str], codes: Iterable[str] = ("no-room",)) -> None:
        self.reasons = tuple(reasons)
        self.codes = frozenset(codes)
        super().__init__("\n".join(self.reasons))

    @property
    def obstacles(self) -> tuple[PlanProblem, ...]:
        """As a plan says it."""
        return tuple(PlanProblem("spec", reason) for reason in self.reasons)

    @property
    def is_retryable(self) -> bool:
        """Whether the same spec may be fit later."""
        return all(map(is_retryable, self.codes))
