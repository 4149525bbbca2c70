"""How the engine says no."""

from __future__ import annotations

import errno

from engine.dpdk.library import DpdkError


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure of ours
    """An action that was not carried out; nothing has changed. `code` is one of docs/engine-api.md's."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


_CODES = {errno.ENOMEM: "no-memory", errno.ENODEV: "no-device", errno.ENOSPC: "limit"}


def refused(what: str, error: DpdkError) -> Refused:
    """A DPDK error as an answer."""
    return Refused(_CODES.get(error.code, "failed"), f"{what}: {error}")
