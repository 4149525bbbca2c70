"""This host, as it is asked."""

from __future__ import annotations

from reconciler.host.host import ThisHost


def test_this_host() -> None:
    host = ThisHost()
    assert host.uid_of("root") == 0
    assert host.gid_of("root") == 0
    assert host.uid_of("4711") == 4711
    assert host.uid_of("no such user") is None
    assert host.runs_on(0)
    assert not host.runs_on(1023)
    assert host.cpus()
