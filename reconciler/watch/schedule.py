"""When the watch loop does what: a state machine that is told facts and gives commands. It never sleeps, reads no
clock and touches nothing; `now` is a parameter, in seconds of any steady clock.

Tell it facts as they come, ask `step` what to do, do it, tell it what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.apply.executor import Verdict


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds."""

    debounce_s: float = 0.05
    """An editor's save is several events; this long after the last one the file is read."""
    writing_s: float = 1.0
    """While somebody has the file open and writes, it is read only when he closes it, or has paused that long."""
    patience_s: float = 5.0
    """However many events there are, the file is read after this."""
    poll_s: float = 5.0
    """Without any event; for file systems and accidents that inotify does not tell of."""
    look_s: float = 5.0
    absent_s: float = 0.25
    absent_late_s: float = 1.0
    """An engine that is absent is looked for this often: at first, and after half a minute."""
    retry_first_s: float = 0.2
    retry_last_s: float = 30.0
    resync_s: float = 30.0
    """Without any reason all is observed and compared this often, for changes that nobody tells of."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read the file, then tell `file_read`."""

    half: bool = False
    """It is being written: only what stands beside it is to be believed."""


@dataclass(frozen=True, slots=True)
class LookAtEngine:
    """Ask the engine who it is, then tell `engine_seen` or `engine_absent`."""


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Observe, plan, apply; then tell `reconciled`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until this time, unless something happens."""

    until: float


Command = ReadFile | LookAtEngine | Reconcile | Wait

LATE_LOOKS = 120
STALE_RETRY_S = 0.05
BUSY_RETRY_S = 0.2
NEVER = float("inf")


class Schedule:
    """The watch loop's memory of what is due."""

    def __init__(self, now: float, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.failures = 0
        """Applies that failed in a row."""
        self._read_at = now
        self._first_touch: float | None = None
        self._half_until = now
        """Before that, half of the file may be missing."""
        self._look_at = now
        self._absent_looks = 0
        self._has_spec = False
        self._engine: tuple[str, int] | None = None
        """Boot id and generation of the engine that we last knew to match."""
        self._present = False
        self._reconcile_at = NEVER
        self._resync_at = NEVER

    @property
    def retry_at(self) -> float | None:
        """When what failed is tried again; None when nothing failed."""
        return self._reconcile_at if self.failures and self._reconcile_at != NEVER else None

    def step(self, now: float) -> Command:
        """What to do now. The same answer again until a fact or time changes it, except that each command but `Wait`
        is given once for its reason."""
        if now >= self._read_at and now < self._half_until:
            self._read_at = self._half_until
            return ReadFile(half=True)
        if now >= self._read_at:
            self._read_at, self._first_touch = now + self.timing.poll_s, None
            return ReadFile()
        if now >= self._look_at:
            self._look_at = now + self.timing.look_s
            return LookAtEngine()
        if self._may_reconcile and now >= min(self._reconcile_at, self._resync_at):
            self._reconcile_at, self._resync_at = NEVER, now + self.timing.resync_s
            return Reconcile()
        due = [self._read_at, self._look_at]
        return Wait(min([*due, self._reconcile_at, self._resync_at] if self._may_reconcile else due))

    @property
    def _may_reconcile(self) -> bool:
        return self._has_spec and self._present

    def file_touched(self, now: float, writing: bool) -> None:
        """Something happened to the file or on the way to it; `writing`: it is open and being written."""
        if self._first_touch is None:
            self._first_touch = now
        quiet = self.timing.writing_s if writing else self.timing.debounce_s
        self._read_at = min(now + quiet, self._first_touch + self.timing.patience_s)
        self._half_until = self._read_at if writing else now

    def requested(self, now: float) -> None:
        """Somebody beside the file wants something else, all of which is recorded."""
        self._read_at = now

    def file_read(self, now: float, changed: bool) -> None:
        """The file was read; `changed`: there is a spec in force, and it is another than before."""
        if changed:
            self._has_spec = True
            self.failures = 0
            self._reconcile_at = now

    def engine_event(self, now: float, event: str) -> None:
        """The engine said something, or its socket opened or closed."""
        if event in ("connected", "disconnected", "ready", "stopping"):
            self._look_at = now
            return
        self._look_at = min(self._look_at, now + self.timing.debounce_s)
        if not (self.failures and event.startswith("guest-")):
            # A guest that flaps must not hurry what failed for another reason.
            self._reconcile_at = min(self._reconcile_at, now + self.timing.debounce_s)

    def asked(self, now: float) -> None:
        """Somebody wants everything to be compared now."""
        self.failures = 0
        self._reconcile_at = now

    def changed(self, now: float) -> None:
        """Something was done, and nobody has seen yet what that makes of the relays."""
        self._look_at = now

    def engine_seen(self, now: float, boot_id: str, generation: int) -> None:
        """An engine answered and is ready."""
        self._present = True
        self._absent_looks = 0
        if (boot_id, generation) != self._engine:
            self._reconcile_at = now

    def engine_absent(self, now: float) -> None:
        """No engine answered, or it is still starting."""
        self._present = False
        self._engine = None
        self._absent_looks += 1
        late = self._absent_looks > LATE_LOOKS
        self._look_at = now + (self.timing.absent_late_s if late else self.timing.absent_s)

    def reconciled(
        self, now: float, verdict: Verdict, boot_id: str, generation: int, is_retryable: bool = True
    ) -> None:
        """What became of `Reconcile`; `is_retryable`: whether trying again can help where it failed."""
        if verdict in (Verdict.APPLIED, Verdict.HELD_BACK) or (verdict is Verdict.FAILED and not is_retryable):
            self.failures = 0
            self._engine = (boot_id, generation)
        elif verdict is Verdict.STALE:
            self._reconcile_at = now + STALE_RETRY_S
        elif verdict is Verdict.FAILED:
            self.failures += 1
            self._engine = (boot_id, generation)
            wait_s = self.timing.retry_first_s * 2.0 ** min(self.failures - 1, 20)
            self._reconcile_at = now + min(wait_s, self.timing.retry_last_s)
        else:
            self.engine_absent(now)
            self._reconcile_at = now

    def interrupted(self, now: float, has_spec: bool) -> None:
        """The host failed in the middle of a command: all is read, looked at and compared again after a while."""
        again = now + self.timing.absent_late_s
        self._read_at, self._look_at = min(self._read_at, again), min(self._look_at, again)
        self._has_spec = self._has_spec or has_spec
        self._reconcile_at = min(self._reconcile_at, again)

    def busy(self, now: float) -> None:
        """Another process is applying; it has the turn."""
        self._reconcile_at = now + BUSY_RETRY_S
