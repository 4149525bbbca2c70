"""A mount of hugetlbfs: made before anything needs it, taken down when nobody uses it. One that vio4wd has not made is
taken as it is, and stays."""

from __future__ import annotations

from schema.model import Action, Impact, Kind, Mount, Verb


def met(wanted: Mount, live: Mount) -> bool:
    """Whether nothing is to be done: whose it is does not matter, nor do directories that nobody asked for."""
    directories = wanted.uid is None or (wanted.uid, wanted.gid, wanted.permissions) == (
        live.uid,
        live.gid,
        live.permissions,
    )
    return wanted.page_size == live.page_size and directories


def add(after: Mount) -> Action:
    return Action(Verb.ADD, Kind.MOUNT, after.path, None, None, after, Impact.NONE, "the spec asks for it")


def remove(before: Mount) -> Action:
    """Comes last; while somebody uses it, it stays."""
    reason = "vio4wd had mounted it, and the spec does not ask for it any more"
    return Action(Verb.REMOVE, Kind.MOUNT, before.path, None, before, None, Impact.NONE, reason)


def change(before: Mount, after: Mount) -> Action:
    """Directories in place. Pages of another size take another mount, which is made only when nobody uses this one."""
    if before.page_size != after.page_size:
        verb, reason = Verb.REPLACE, "the spec wants pages of another size there"
    else:
        verb, reason = Verb.UPDATE, "its directories for libvirt are to be others'"
    return Action(verb, Kind.MOUNT, after.path, None, before, after, Impact.NONE, reason)
