"""What signals mean to the processes that stay: `run`, `engine` and `watch`. None of them ends on the spot by one that
is not meant to kill (docs/cli.md has the table)."""

from __future__ import annotations

import enum
import os
import signal
from collections.abc import Callable

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU})
"""End in order; SIGQUIT too, without a core."""
IGNORED = frozenset(
    {
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGIO,
        signal.SIGPWR,
        signal.SIGSTKFLT,
        signal.SIGPIPE,
        signal.SIGXFSZ,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    }
)
"""They would kill by default, and mean nothing here."""


class Hangup(enum.Enum):
    """What SIGHUP means, which depends on how the process was started."""

    ENDS = "ends"
    """There is a terminal, which is closed."""
    READS_ANEW = "reads anew"
    """There is none: it is what daemons are told to read their files anew by."""
    IGNORED = "ignored"
    """It was when the process was started, as nohup does."""


def hangup() -> Hangup:
    """To be asked at the start, before a handler is set: a terminal that is closed is none afterwards."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return Hangup.IGNORED
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return Hangup.READS_ANEW
    return Hangup.ENDS


def ignore_others() -> None:
    """All that would kill and mean nothing. What SIGHUP means has to be asked before or after; it is left alone."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def heed_others() -> None:
    """Undoes that in a child that is about to become another program."""
    for number in IGNORED - {signal.SIGPIPE, signal.SIGXFSZ}:  # as Python has these from its start
        signal.signal(number, signal.SIG_DFL)


def obey(end: Callable[[signal.Signals], None], read_anew: Callable[[], None] = lambda: None) -> None:
    """Has these called, on the main thread, between any two of its steps: they may do next to nothing."""
    means = hangup()
    ignore_others()
    for number in ENDING:
        signal.signal(number, lambda given, _: end(signal.Signals(given)))
    if means is Hangup.ENDS:
        signal.signal(signal.SIGHUP, lambda given, _: end(signal.Signals(given)))
    elif means is Hangup.READS_ANEW:
        signal.signal(signal.SIGHUP, lambda *_: read_anew())
