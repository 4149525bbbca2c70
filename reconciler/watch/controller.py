"""The reconcile loop: what the file wants is made live, and kept so. Only this outermost loop waits."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import zmq

from engine.api.client import EngineError, EngineUnavailable
from reconciler.apply.commit_confirmed import undone
from reconciler.apply.drift import LastVerified, differences, learned, still, verified_before, without_drift
from reconciler.apply.executor import Outcome, Verdict, apply_host
from reconciler.apply.history import WatchHistory, reached
from reconciler.apply.proposal import Proposal
from reconciler.desired.desired_state import DesiredState
from reconciler.desired.local import Local
from reconciler.desired.spec_in_force import SpecFile
from reconciler.frontends.backend import Tickets
from reconciler.frontends.frontends import Frontends
from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engine_start import EngineStart
from reconciler.observe.engines import Engines, Events, HostSnapshot, fingerprint
from reconciler.policy.pause import pause_file, read_pause
from reconciler.policy.removal_guards import Guarded
from reconciler.sources.file_watch import FileWatch
from reconciler.sources.pollers import Sources
from reconciler.status.conditions import relay_statuses, standings
from reconciler.status.report import Report, ServiceStatus, in_a_line, read_report, write_report
from reconciler.watch.goal import Goal, choose_goal, prepare_start, undone_instead
from reconciler.watch.schedule import LookAtEngine, ReadFile, Reconcile, Schedule, Timing, Wait
from schema.paths import sync_file
from schema.rules.host_policy import policy_file
from schema.system.files import left_aside
from schema.system.locks import APPLY, WATCH, Locked, locked
from schema.system.logs import ChangeLog, log_from
from schema.system.threads import Threads
from schema.wire.descriptors import Wakeup
from schema.wire.notify import Notifier
from state.applied import keep_target, last_target
from state.relay_requests import gone, released
from state.store import Store

LOG = logging.getLogger("vio4wd.watch")


class Controller:
    """Keeps a host's engines as one file wants it. `run` until `stop`."""

    _read_anew = False
    """Somebody wants everything to be read."""
    _paused_by = ""
    """In words; empty: by nobody."""
    _written: Report | None = None
    """The report that stands in its file."""
    _ticket = 0
    """What frontends requested up to this was read."""
    _owed = False
    """Whether some of that is not carried out yet."""
    _stopping = False
    _verified: LastVerified | None = None
    _read_before = False
    """Whether another spec is news, and not what was in force before the last end of this process."""
    _paused_before = False
    _shards: tuple[int, ...] = (0,)
    """Those that the spec needs; their events are listened to."""
    _impossible = ""
    _unanswered = ""
    """What the host could not say; it is asked again."""
    _short = ""
    """What of the spec this host has too little for: as much as fits is done all the same."""

    def __init__(
        self,
        file: Path,
        run_dir: Path,
        state_dir: Path,
        host: Host,
        timing: Timing | None = None,
        notifier: Notifier | None = None,
        defaults: bool = False,
    ) -> None:
        """`defaults`: the file is virtio-forwarder's, and no spec."""
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._wake = Wakeup()
        self._store = Store(state_dir)
        self._threads = Threads()
        """Those that anything of this process goes on by for ever."""
        self._sources = Sources(host.name, state_dir, self._threads)
        self._file = SpecFile(Local(file, defaults), host, self._store, self._sources, self._wake.rouse)
        self._files = FileWatch(self._wake.rouse)
        self._schedule = Schedule(time.monotonic(), timing)
        before = read_report(run_dir)
        stood = before.standings if before is not None else {}
        self._report = Report(os.getpid(), str(self._file.path), time.time(), standings=stood, defaults=defaults)
        self._service_status = ServiceStatus(notifier or Notifier({}), time.monotonic())
        self._tickets = Tickets(self._wake.rouse)
        self._frontends = Frontends(run_dir, state_dir, host, self._tickets, self._threads)
        self._history = WatchHistory(self._store)
        self._readying = EngineStart(run_dir, state_dir)
        self._host = host
        self._tell = ChangeLog(LOG).tell

    def stop(self) -> None:
        """Ends `run` after what it is doing now; may be called from a signal's function or another thread."""
        self._stopping = True
        self._wake.rouse()

    def read_anew(self) -> None:
        """Has everything read at once, as `vio4wd sync`; may be called as `stop`."""
        self._read_anew = True
        self._wake.rouse()

    def run(self) -> None:
        """Raises Locked when another watch runs here, OSError when the run directory can't be used."""
        with locked(self._run_dir / WATCH, wait_s=1.0), Engines(self._run_dir, self._state_dir) as engines:
            LOG.info("keeping the engine as %s wants it", self._file.path)
            events = Events(engines)
            poller = zmq.Poller()
            for source in (self._files, self._sources, self._wake):
                poller.register(source, zmq.POLLIN)
            while not self._stopping:
                events.follow(self._shards, poller)
                command = self._schedule.step(time.monotonic())
                self._service_status.beat(time.monotonic())
                if isinstance(command, Wait):
                    until = min(command.until, self._service_status.next_beat(time.monotonic()))
                    poller.poll(int(max(0.0, until - time.monotonic()) * 1000) + 1)
                    self._hear(events)
                else:
                    self._do_or_retry(command, engines)
                    self._show()
            events.close()
            self._files.close()
            self._file.close()
            self._sources.close()
            self._frontends.close()
            self._service_status.end()
        self._store.close()
        LOG.info("ended; the engine goes on as it is")

    def _hear(self, events: Events) -> None:
        self._hear_files()
        if self._sources.heard():
            self._schedule.requested(time.monotonic())
        if self._wake.taken():
            self._schedule.requested(time.monotonic())
        if self._read_anew:
            self._read_anew = False
            self._ask_all()
        for event in events.drain():
            self._schedule.engine_event(time.monotonic(), event["event"])

    def _hear_files(self) -> bool:
        """Whether something happened to them."""
        touch = self._files.touched()
        if touch is None:
            return False
        if touch.paths and touch.paths <= {sync_file(self._run_dir), pause_file(self._state_dir)}:
            self._schedule.requested(time.monotonic())
        else:
            self._schedule.file_touched(time.monotonic(), touch.writing)
        if sync_file(self._run_dir) in touch.paths:
            self._ask_all()
        if pause_file(self._state_dir) in touch.paths:
            self._schedule.asked(time.monotonic())
        return True

    def _ask_all(self) -> None:
        """Who waits for it is told when it is done."""
        self._service_status.reloading(time.monotonic())
        self._sources.poke()

    def _do_or_retry(self, command: ReadFile | LookAtEngine | Reconcile, engines: Engines) -> None:
        """What the host can't say now, such as which CPUs it has, is asked again; nothing ends because of it."""
        try:
            self._do(command, engines)
            self._unanswered = ""
        except OSError as error:
            self._unanswered = f"{error.filename or 'this host'}: {error.strerror or error}; it is asked again"
            self._schedule.interrupted(time.monotonic(), self._file.accepted is not None)

    def _do(self, command: ReadFile | LookAtEngine | Reconcile, engines: Engines) -> None:
        match command:
            case ReadFile(half):
                paths = self._paths()
                self._files.arm(*paths)
                self._read(engines, half)
                if self._paths() != paths:  # what the file names only now may have changed before anybody watched it
                    self._schedule.requested(time.monotonic())
            case LookAtEngine():
                self._look(engines)
            case Reconcile():
                try:
                    self._reconcile(engines)
                    self._service_status.reconciled()
                except Locked:
                    self._schedule.busy(time.monotonic())

    def _paths(self) -> list[Path]:
        own = (sync_file(self._run_dir), pause_file(self._state_dir))
        return [self._file.path, policy_file(), *own]

    def _read(self, engines: Engines, half: bool) -> None:
        self._ticket = self._tickets.asked()
        changed = self._file.go_on() if half else self._file.read(self._hear_files)
        self._owed = self._owed or changed
        refused, accepted = self._file.refused, self._file.accepted
        problems = "\n".join(refused.problems) if refused else ""
        self._tell("spec", problems, "what stands in the file is refused: %s", "the file is valid again")
        if changed and accepted is not None:
            log_from(accepted.spec.engine.log_level)
            LOG.info("in force: %s, sha256 %s", self._file.path, accepted.spec.sha256[:12])
            for warning in accepted.spec.warnings:
                LOG.warning("%s", warning)
            self._verified = None if self._read_before else verified_before(last_target(self._store))
            self._read_before = True
        paused = read_pause(self._state_dir) is not None
        if changed or self._paused_before:
            self._prepare(engines)
        self._paused_before = paused
        if accepted is not None:
            self._frontends.follow(accepted.spec)
            if not self._owed:
                self._tickets.complete(self._ticket, accepted.refused)
        self._schedule.file_read(time.monotonic(), changed)
        if refused is not None or not changed:
            self._service_status.read(accepted is None)
        self._store.heal()

    def _prepare(self, engines: Engines, observed: HostSnapshot | None = None) -> None:
        """Readies the host and leaves parameters for the engines that this will need, so that they can start. Where one
        runs that can be done by applying, which comes next."""
        accepted = self._file.accepted
        if self._report.engine == "ready" or accepted is None or read_pause(self._state_dir) is not None:
            return
        if undone_instead(self._store, accepted.spec.sha256):
            return
        snapshot = engines.observe() if observed is None else observed
        self._tell("memory", prepare_start(self._readying, accepted.target, engines.mounts, snapshot), "%s", "")

    def _look(self, engines: Engines) -> None:
        snapshot = engines.observe()
        versions, states = snapshot.versions, [hello.state for hello in engines.heard.values()]
        self._report = replace(self._report, engine="ready" if versions else states[0] if states else "absent")
        self._stand(snapshot)
        if versions:
            gone(self._store, released(self._store) - snapshot.live.keys())
            boots = ", ".join(str(version.boot_id) for version in versions)
            self._tell("engine", "", "", f"the engine is ready (boot id {boots})")
            self._schedule.engine_seen(time.monotonic(), *fingerprint(versions))
            return
        self._schedule.engine_absent(time.monotonic())
        if self._readying.due(time.monotonic()):
            self._prepare(engines, snapshot)
        self._tell("engine", f"the engine is {states[0]}" if states else str(engines.faults[0]), "%s", "")

    def _reconcile(self, engines: Engines) -> None:
        accepted = self._file.accepted
        assert accepted is not None, "the machine reconciles only with a spec"
        snapshot = HostSnapshot()
        try:
            with locked(self._run_dir / APPLY):
                snapshot = engines.observe_any()
                goal = choose_goal(self._store, str(self._file.path), accepted, snapshot, self._host)
                if goal is None:  # an apply waits to be confirmed, and whoever made it has died
                    self._schedule.busy(time.monotonic())
                    return
                self._short = "; ".join(each.problem for each in goal.found.shortages)
                if goal.undoing is None and self._is_paused(goal.found):
                    return
                outcome = self._carry_out(goal, accepted.spec.drift == "report", engines)
        except (EngineUnavailable, EngineError) as error:
            self._tell("engine", str(error), "%s", "")
            self._schedule.reconciled(time.monotonic(), Verdict.LOST, "", 0)
            return
        except (SpecUnfit, OSError) as error:
            self._impossible = str(error)
            heals = not isinstance(error, SpecUnfit) or error.is_retryable
            self._schedule.reconciled(time.monotonic(), Verdict.FAILED, *fingerprint(snapshot.versions), heals)
            return
        self._impossible = ""
        self._reconciled(accepted, goal, outcome)

    def _carry_out(self, goal: Goal, report: bool, engines: Engines) -> Outcome:
        """`report`: what has drifted is said, and stays."""
        found = goal.found
        known = still(self._verified, found.target)
        todo, drift, words = without_drift(found.todo, found.snapshot, known, report)
        done = "and that stays" if report else "and it is set right"
        self._tell("drift", "; ".join(words), f"somebody changed what is live, {done}: %s", "")
        self._report = replace(self._report, drift=words if report else ())
        self._shards = tuple(todo.targets)
        self._readying.leave(todo.targets)
        outcome = apply_host(
            todo, found.snapshot.observations, engines.clients, lambda _: self._service_status.beat(time.monotonic())
        )
        if outcome.verdict is Verdict.APPLIED:
            self._readying.forget(todo.targets)
        self._verified = learned(self._verified, found.target, outcome, drift)
        keep_target(self._store, replace(reached(found, outcome), open=self._verified.open))
        if goal.undoing is not None and outcome.verdict is Verdict.APPLIED:
            undone(self._store, goal.undoing, outcome)
            self._schedule.asked(time.monotonic())  # what others asked for meanwhile
        return outcome

    def _reconciled(self, accepted: DesiredState, goal: Goal, outcome: Outcome) -> None:
        """What follows from how it ended, and who is told."""
        found = goal.found
        if goal.undoing is None:
            self._answer_frontends(accepted, goal, outcome)
        self._schedule.reconciled(
            time.monotonic(), outcome.verdict, *fingerprint(outcome.versions), outcome.is_retryable
        )
        if outcome.steps:
            self._schedule.changed(time.monotonic())
        else:
            self._stand(found.snapshot)
        healed = self._history.failing and outcome.verdict is Verdict.APPLIED
        news = self._tell_held_back(found.guarded)
        self._report = replace(self._report, instead=goal.instead)
        self._tell("instead", goal.instead, "the spec is not carried out: %s", "the spec is carried out again")
        if found.todo.actions or found.todo.missing or healed or news:
            text = accepted.spec.text if goal.undoing is None else ""
            last_apply = self._history.enter(
                found.saved, replace(outcome, held_back=found.guarded.held_back), text, goal.own
            )
            self._report = replace(self._report, last_apply=last_apply)

    def _answer_frontends(self, accepted: DesiredState, goal: Goal, outcome: Outcome) -> None:
        """Tells what became of what frontends requested, as far as that is known."""
        failed = {each.relay: each.message for each in outcome.relays if not each.applied and not each.pending}
        if outcome.verdict in (Verdict.APPLIED, Verdict.FAILED, Verdict.HELD_BACK):
            self._owed = False
            self._tickets.complete(self._ticket, {**failed, **goal.left_out, **accepted.refused})

    def _tell_held_back(self, guarded: Guarded) -> bool:
        """Whether something is held back that was not before."""
        news = set(guarded.held_back) - set(self._report.held_back)
        self._report = replace(self._report, held_back=guarded.held_back)
        words = "\n".join(map(str, guarded.held_back))
        self._tell("held", words, "held back: %s", "nothing is held back any more")
        return bool(news)

    def _is_paused(self, found: Proposal) -> bool:
        """Whether nothing may be changed; what would be is shown instead."""
        pause = read_pause(self._state_dir)
        self._paused_by = f"by {pause.who}{pause.reason and ': '}{pause.reason}" if pause is not None else ""
        self._tell("pause", self._paused_by, "paused %s", "resumed")
        self._report = replace(self._report, waiting=differences(found.todo) if pause is not None else ())
        if pause is not None:
            self._schedule.reconciled(time.monotonic(), Verdict.HELD_BACK, *fingerprint(found.snapshot.versions))
            self._stand(found.snapshot)
        return pause is not None

    def _stand(self, snapshot: HostSnapshot) -> None:
        shown = replace(self._report, in_force=self._file.shown)
        found = standings(self._report.standings, relay_statuses(snapshot, shown), time.time())
        self._report = replace(self._report, standings=found)

    def _show(self) -> None:
        self._service_status.status(in_a_line(self._report, self._file.refused is not None, self._paused_by))
        retry_at = self._schedule.retry_at
        troubles: tuple[str | None, ...] = (self._store.fault, self._readying.fault, self._impossible, self._short)
        troubles += (self._unanswered, *self._file.lacking, *self._file.outdated)
        unheard = dict.fromkeys((*self._files.faults, self._file.unanswered))
        report = replace(
            self._report,
            in_force=self._file.shown,
            refused=self._file.refused,
            next_retry=None if retry_at is None else round(time.time() + retry_at - time.monotonic(), 1),
            faults=tuple(f for f in (*troubles, *left_aside(self._state_dir), *unheard, *self._frontends.faults) if f),
            threads=self._threads.problems(),
        )
        self._tell("parameters", self._readying.fault, "%s", "")
        self._tell("unheard", "\n".join(filter(None, unheard)), "%s", "files answer again, and tell of their changes")
        self._tell("hostname", "; ".join(self._file.outdated), "%s", "")
        self._tell("store", self._store.fault or "", "%s", "")
        self._tell("short", self._short, "%s", "")
        self._tell("unanswered", self._unanswered, "%s", "the host answers again")
        self._tell("impossible", self._impossible, "%s", "what was missing is there again")
        if report == self._written:
            return
        self._report, fault = report, ""
        try:
            write_report(self._run_dir, report)
            self._written = report
        except OSError as error:
            fault = str(error)
        self._tell("status", fault, "status can not be kept: %s", "status is kept again")
