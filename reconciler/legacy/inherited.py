"""What virtio-forwarder took where its configuration file says nothing: whose its sockets were, and which service came
with which other one."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.host.host import Host
from reconciler.legacy.draft import Draft

STATS = "ipc:///var/run/virtio-forwarder/stats"
"""Its default endpoint."""
_ACCOUNTS = (
    ("VIRTIOFWD_SOCKET_OWNER", "owner", "user", "libvirt-qemu"),
    ("VIRTIOFWD_SOCKET_GROUP", "group", "group", "kvm"),
)


def owners(draft: Draft, host: Host) -> Iterator[tuple[str, str]]:
    """Fills in whose the sockets are: the user and group that libvirt has for QEMU, or whoever vio4wd runs as where the
    host has none of the name, and virtio-forwarder did not start. Gives remarks by variable."""
    draft.vhost_user = {"owner": None, "group": None} | draft.vhost_user
    for variable, key, kind, name in _ACCOUNTS:
        if draft.vhost_user[key]:
            continue
        known = (host.uid_of(name) if kind == "user" else host.gid_of(name)) is not None
        draft.vhost_user[key] = name if known else None
        if not known:
            own = f"the {kind} that vio4wd runs as, since this host has no {kind} '{name}'; name QEMU's"
            yield variable, f"names nobody: the sockets have {own}"
        elif kind == "user":
            yield variable, f"names nobody: the sockets are {name}'s, as virtio-forwarder had it"


def services(draft: Draft) -> Iterator[tuple[str, str]]:
    """Statistics come with the core scheduler. Gives remarks by variable."""
    if "core_sched" in draft.services and "stats" not in draft.services:
        draft.services["stats"] = STATS
        yield "VIRTIOFWD_ZMQ_STATS_EP", f"is not set, and comes with the core scheduler: served on {STATS}"
