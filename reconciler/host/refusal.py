"""Why something can't be done on this host, as it is now."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


class Remedy(enum.StrEnum):
    """What can help."""

    TIME = "time"
    """A device that comes, memory that is freed, a directory that is made: it is tried again."""
    SPEC = "spec"
    """Only other content; the same again would be refused again."""


REMEDIES: Mapping[str, Remedy] = MappingProxyType(
    {
        # An engine's refusals, docs/engine-api.md
        "exists": Remedy.TIME,  # somebody has it whom we did not see
        "unknown": Remedy.TIME,  # it went while we planned
        "in-use": Remedy.TIME,
        "limit": Remedy.TIME,  # what others have may be released
        "no-device": Remedy.TIME,
        "no-memory": Remedy.TIME,
        "not-allowed": Remedy.TIME,  # the host's policy may change
        "socket": Remedy.TIME,
        "failed": Remedy.TIME,  # a driver's own reasons, most of them about the link or the firmware
        "unsupported": Remedy.SPEC,
        "bad-request": Remedy.SPEC,
        # Why a spec is unfit for this host, SpecUnfit below
        "no-user": Remedy.TIME,
        "no-group": Remedy.TIME,
        "no-cpu": Remedy.TIME,
        "no-room": Remedy.SPEC,
        "unread": Remedy.SPEC,
    }
)


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

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def require(refusal: Refusal | None) -> None:
    """Raises HostRefused where there is a refusal."""
    if refusal is not None:
        raise HostRefused(refusal)


@contextlib.contextmanager
def kernel_refusals(what: str) -> Iterator[None]:
    """The kernel's refusals as sentences."""
    try:
        yield
    except PermissionError as error:
        message = f"{what}: writing to {error.filename} is not allowed; vio4wd has to run as root for that"
        raise HostRefused(Refusal("failed", message)) from error
    except OSError as error:
        message = f"{what}: {error.filename}: {error.strerror}; the kernel's log may say more (dmesg)"
        raise HostRefused(Refusal("failed", message)) from error


class SpecUnfit(Exception):  # noqa: N818 - the spec is sound, this host just can't do it
    """A valid spec that this host or this release can't carry out; `reasons` are whole sentences, `codes` are theirs in
    the table above."""

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


def is_retryable(code: str) -> bool:
    """Whether trying again can help. What is not in the table is tried: that costs little, and giving up a relay
    wrongly costs much."""
    return REMEDIES.get(code, Remedy.TIME) is Remedy.TIME
