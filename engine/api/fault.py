"""How the engine says no."""

from __future__ import annotations

from engine.dpdk.error_causes import why
from engine.dpdk.library import DpdkError


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """An action that was not carried out; nothing has changed. `code` is one of docs/engine-api.md's."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def refused(what: str, error: DpdkError, device: str = "") -> Refused:
    """A DPDK error as an answer; `device` where one was to be attached, with its arguments."""
    found = why(error, device)
    return Refused(found.code, f"{what}: {found.sentence}")
