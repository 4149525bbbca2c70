"""Which sockets a spec asks for, and what guests are offered on them."""

from __future__ import annotations

import schema
from reconciler.desired.from_spec import desired
from reconciler.planning.plan import plan
from schema.model import MAX_RELAYS, Socket, State
from tests.kit.fakes.table_host import TableHost


def wanted(vhost_user: str, relays: str = "") -> dict[str, Socket]:
    text = f"apiVersion: vio4wd/v1\nvhost_user: {{{vhost_user}}}\nrelays: [{relays}]\n"
    return dict(desired(schema.parse(text, "f"), TableHost()).sockets)


def template(id_: int) -> str:
    return f"/tmp/virtio-forwarder{id_}.sock"


def test_template_sockets_are_there_before_any_relay() -> None:
    found = wanted("template_sockets: true")
    assert set(found) == {template(id_) for id_ in range(MAX_RELAYS)}
    assert {socket.mode for socket in found.values()} == {"server"}


def test_a_relay_of_its_own_socket_comes_on_top_and_shares_the_template_s_of_another_id() -> None:
    found = wanted(
        "template_sockets: true",
        f"{{id: 1, vf: 05:08.1, socket: /run/vm1.sock}}, {{id: 2, vf: 05:08.2, socket: {template(7)}, packed: true}}",
    )
    assert len(found) == MAX_RELAYS + 1
    assert found["/run/vm1.sock"].features == ()
    assert {path for path, socket in found.items() if socket.features} == {template(7)}


def test_a_template_socket_is_added_for_nobody_in_particular() -> None:
    spec = schema.parse("apiVersion: vio4wd/v1\nvhost_user: {template_sockets: true}\n", "f")
    target = desired(spec, TableHost())
    added = plan(target, State(engine=target.engine, workers=target.workers)).actions
    assert len(added) == MAX_RELAYS
    assert {action.relay for action in added} == {None}
    assert {action.reason for action in added} == {"vhost_user.template_sockets asks for it"}


def test_offered_features_are_the_spec_s_and_sorted() -> None:
    found = wanted("mrgbuf: true", "{id: 1, vf: 05:08.1, packed: true}, {id: 2, vf: 05:08.2}")
    assert found[template(1)].features == ("mrgbuf", "packed")
    assert found[template(2)].features == ("mrgbuf",)


def test_in_client_mode_the_file_is_nobody_s_business() -> None:
    plainly = wanted("mode: client", "{id: 1, vf: 05:08.1}")
    owned = wanted('mode: client, owner: libvirt-qemu, group: kvm, permissions: "0600"', "{id: 1, vf: 05:08.1}")
    assert owned == plainly
    assert plainly[template(1)].mode == "client"
