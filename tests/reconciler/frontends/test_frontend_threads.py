"""What goes on for ever in the frontends: an error there is said, as `status` shows it, and that part goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.frontends import ovsdb, sampler
from reconciler.frontends.backend import Tickets
from reconciler.frontends.frontends import Frontends
from reconciler.frontends.ipc import Ipc
from reconciler.frontends.ovsdb import Ovsdb
from reconciler.frontends.services import Services
from reconciler.host.host import ThisHost
from reconciler.legacy.clients.wire import NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import StatsRequest, StatsResponse
from schema import Spec
from schema.spec import EndpointSpec, IpcSpec, OvsdbSpec, PortControlSpec, ServicesSpec
from schema.system import threads as supervised
from schema.system.threads import Threads
from tests.kit import cleanup
from tests.kit.waiting import wait_for


class Open:
    """Real frontends over a made-up loop, which only counts how often it is roused."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.roused = 0
        self.threads = Threads()
        self.exchange = Tickets(self._rouse)
        self.frontends = Frontends(directory / "run", directory / "state", ThisHost(), self.exchange, self.threads)

    def _rouse(self) -> None:
        self.roused += 1

    def stats(self) -> int | None:
        """How a request was answered; None when it was not."""
        try:
            with Service(f"ipc://{self.directory}/stats", timeout_ms=1000) as service:
                return service.ask(StatsRequest(), StatsResponse()).status
        except NoReply:
            return None

    def serve(self) -> None:
        self.frontends.follow(Spec(services=ServicesSpec(stats=EndpointSpec(f"ipc://{self.directory}/stats"))))
        wait_for("the service", lambda: self.stats() == StatsResponse.OK, 20)

    def said(self, words: str) -> None:
        """Waits until a thread has failed with these words, and the loop was told so."""
        roused = self.roused
        wait_for(words, lambda: any(words in problem for problem in self.threads.problems().values()), 20)
        assert self.roused >= roused


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(supervised, "FIRST_WAIT_S", 0.5)
    monkeypatch.setattr(supervised, "WELL_S", 0.2)
    made = Open(cleanup.short_directory())
    yield made
    made.frontends.close()
    shutil.rmtree(made.directory)


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, times: int = 1) -> list[Exception]:
    """Has a method or function fail so many times from now on. What is left of them."""
    real: Callable[..., Any] = getattr(owner, name)
    left: list[Exception] = [RuntimeError("made to fail") for _ in range(times)]

    def once(*given: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return real(*given, **named)

    monkeypatch.setattr(owner, name, once)
    return left


def test_the_services_go_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.serve()
    failing(monkeypatch, Services, "_hear")
    opened.stats()
    opened.said("the thread of the ZeroMQ services failed: RuntimeError: made to fail; it is started again")
    wait_for("the service", lambda: opened.stats() == StatsResponse.OK, 20)
    wait_for("it to be well", lambda: not opened.threads.problems(), 20)


def test_the_sampling_goes_on_and_who_asked_is_answered_all_the_same(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.serve()
    left = failing(monkeypatch, sampler, "read_counts")
    answers = []

    def failed() -> bool:
        answers.append(opened.stats())
        return not left

    wait_for("a look to fail", failed, 20)
    assert set(answers) == {StatsResponse.OK}
    wait_for("it to be well", lambda: not opened.threads.problems(), 20)
    assert opened.stats() == StatsResponse.OK


def test_one_request_that_can_not_be_answered_ends_nothing(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.serve()
    failing(monkeypatch, sampler, "stats_reply")
    assert opened.stats() == StatsResponse.EBADR
    assert opened.stats() == StatsResponse.OK
    assert not opened.threads.problems()


def test_the_command_file_goes_on(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened.directory / "cmd"
    opened.frontends.follow(Spec(port_control=PortControlSpec(ipc=IpcSpec(str(file)))))
    failing(monkeypatch, Ipc, "_carry_out")
    file.write_text("add_port nosuchnetdev")
    opened.said(f"the reading of {file} failed: RuntimeError: made to fail; it is started again")
    wait_for("the command to be answered", lambda: not file.exists(), 20)


def test_the_database_is_read_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = opened.directory / "db.sock"
    monkeypatch.setattr(ovsdb, "SAY_AFTER_S", 0.0)
    failing(monkeypatch, Ovsdb, "_follow")
    opened.frontends.follow(Spec(port_control=PortControlSpec(ovsdb=OvsdbSpec(str(socket)))))
    opened.said(f"the reading of {socket} failed: RuntimeError: made to fail; it is started again")
    wait_for("it to go on", lambda: any("it is waited for" in fault for fault in opened.frontends.faults), 20)


def test_no_descriptor_is_lost_by_starting_again(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(supervised, "LAST_WAIT_S", 0.05)
    opened.serve()

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    left = failing(monkeypatch, Services, "_hear", 10)
    wait_for("all of them", lambda: opened.stats() is not None and not left, 30)
    wait_for("what they held to be closed", lambda: count() <= before + 2, 10)
