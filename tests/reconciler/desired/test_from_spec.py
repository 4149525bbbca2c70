"""What a spec says becomes a desired state, or is refused for this host."""

from __future__ import annotations

import pytest

import schema
from reconciler.desired.from_spec import desired
from reconciler.host.refusal import SpecUnfit
from schema.model import Pin, Port, Relay, Socket
from tests.kit.fakes.table_host import TableHost


def document(relays: str = "[]", more: str = "", cpus: str = "[1, 2]") -> str:
    return f"apiVersion: vio4wd/v1\nengine: {{main_cpu: 0, worker_cpus: {cpus}}}\n{more}\nrelays: {relays}\n"


def test_desired_is_what_the_spec_says() -> None:
    spec = schema.parse(
        document(
            '[{id: 1, vf: "0000:05:08.1", cpus: [1, 2]}, {id: 2, vf: "net_null0,size=64", socket: /run/2.sock}]',
            'vhost_user: {directory: /srv, owner: libvirt-qemu, group: kvm, permissions: "0600"}',
        ),
        "a.yaml",
    )
    state = desired(spec, TableHost())
    path = "/srv/virtio-forwarder1.sock"
    assert dict(state.ports) == {"0000:05:08.1": Port("0000:05:08.1"), "net_null0": Port("net_null0", "size=64")}
    assert state.sockets[path] == Socket(path, "server", 64055, 108, 0o600)
    assert state.relays[2] == Relay(2, "net_null0", "/run/2.sock")
    assert dict(state.pins) == {1: Pin(1, 1, 2)}


def test_what_guests_may_leave_open_stands_with_the_socket_and_with_who_does_it() -> None:
    spec = schema.parse(document("[{id: 1, vf: net_null0}]", "vhost_user: {csum: true, tso: true}"), "a.yaml")
    state = desired(spec, TableHost())
    assert state.sockets["/tmp/virtio-forwarder1.sock"].features == ("csum", "tso")
    assert state.ports["net_null0"] == Port("net_null0", checksums=True, tso=True)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (document(more="vhost_user: {owner: nobody-such}"), ["no user 'nobody-such'"]),
        (document(more="vhost_user: {group: nobody-such}"), ["no group 'nobody-such'"]),
        (document(cpus="[1, 7, 9]"), ["CPU 7 does not exist", "CPU 9 does not exist"]),
        (
            document(more="hugepages: [{mount: /h, page_size: 2M, reserve: 5, libvirt: {owner: no, group: none}}]"),
            ["hugepages[0].libvirt.owner: this host has no user 'no'", "hugepages[0].libvirt.group: this host has no"],
        ),
    ],
)
def test_desired_refuses_what_this_host_has_not(text: str, reasons: list[str]) -> None:
    with pytest.raises(SpecUnfit) as refused:
        desired(schema.parse(text, "a.yaml"), TableHost())
    assert len(refused.value.reasons) == len(reasons)
    for reason, part in zip(refused.value.reasons, reasons, strict=True):
        assert part in reason
