"""What the tests write into the spec, and how they wait: seldom, because in software emulation a look costs a tenth of
a second of the CPU time that what is waited for needs."""

from __future__ import annotations

import contextlib
import io
import json
import os
from unittest import mock

from engine.api.client import Observation
from engine.api.live import LivePort
from reconciler.cli import main
from reconciler.status.conditions import relay_statuses
from reconciler.status.report import read_report
from tests.kit.instance import Instance
from tests.kit.waiting import wait_for

LONG_S = 300.0
LOOK_S = 0.7
GOING = "allow_destroy: [relay:1, relay:2, relay:3]\n"


def text(instance: Instance, *relays: str, more: str = "", **vhost_user: bool | str) -> str:
    """A spec with these relays, each the inside of a flow mapping; all of them may go at once. `more` are further
    lines, `vhost_user` further keys of that part."""
    lines = "".join(f"  - {{{relay}}}\n" for relay in relays)
    where = json.dumps({"directory": str(instance.sockets), "name": "vm%u.sock", **vhost_user})
    cpus = "main_cpu: 0, worker_cpus: [0, 1]"
    head = f"apiVersion: vio4wd/v1\nengine: {{{cpus}}}\nvhost_user: {where}\n{more}"
    return f"{head}relays:\n{lines or '  []'}\n{GOING}"


def vio4wd(instance: Instance, *words: str) -> tuple[str, str]:
    """What a command says on standard output and error. It runs in this process: to start one takes ten seconds."""
    said, complained = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, instance.environment),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
    ):
        code = main(words)
    assert code == 0, complained.getvalue()
    return said.getvalue(), complained.getvalue()


def planned(instance: Instance, spec: str) -> str:
    """What `vio4wd plan` says of a spec that is not saved yet."""
    draft = instance.directory / "draft.yaml"
    draft.write_text(spec)
    return vio4wd(instance, "plan", str(draft))[0]


def port(instance: Instance, name: str) -> LivePort:
    """What is measured of a port."""
    return instance.client.observe().live.ports[name]


def wait_buffers(instance: Instance, name: str, node: int) -> None:
    """Waits until a port's packets lie on this NUMA node."""
    try:
        wait_for(f"buffers on node {node}", lambda: port(instance, name).buffers == node, LONG_S, LOOK_S)
    except AssertionError as error:
        live = instance.client.observe().live
        raise AssertionError(f"{error}: {live.ports}, {live.sockets}\n{instance.log[-6000:]}") from error


def condition(instance: Instance, relay: int) -> tuple[str, str]:
    """As `vio4wd status` has it, without starting a process, which takes seconds in software emulation."""
    statuses = relay_statuses(instance.engines.observe(), read_report(instance.run_dir))
    return next(((str(each.condition), each.message) for each in statuses if each.id == relay), ("", ""))


def wait_condition(instance: Instance, relay: int, wanted: str, words: str) -> None:
    def probe() -> bool:
        now, message = condition(instance, relay)
        return now == wanted and words in message

    try:
        wait_for(f"relay {relay} to be {wanted}, {words}", probe, LONG_S, LOOK_S)
    except AssertionError as error:
        raise AssertionError(f"{error}: {condition(instance, relay)}\n{instance.log[-6000:]}") from error


def wait_ports(instance: Instance, *addresses: str) -> Observation:
    """Waits until an engine has these ports and no others. Gives what it shows then."""

    def probe() -> Observation | None:
        instance.check_running()
        seen = instance.observed()
        return seen if seen is not None and set(seen.state.ports) == set(addresses) else None

    try:
        return wait_for(f"ports {addresses}", probe, LONG_S, LOOK_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{instance.log[-6000:]}") from error
