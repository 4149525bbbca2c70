"""The files of one commit, read out of a repository without a working copy. Symlinks are followed as on a disk whose
root is the top of the repository; what leads out of it is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.sources.files import HOSTS, Choice, chosen, nothing_for, refuse_pointer
from reconciler.sources.git_command import Git, GitError
from reconciler.sources.source import SourceError
from schema import Text, Tree
from schema.loading.loader import MAX_FILE_BYTES, refused
from schema.nodes import shown

SYMLINK = "120000"
MAX_HOPS = 40
"""Symlinks on the way to one file, as the kernel has it."""
MAX_TARGET_BYTES = 4096
"""PATH_MAX"""
MAX_LISTED = 200
"""Directories that are looked into for one reading."""
MAX_LINKS = 1000
"""Symlinks that are looked at for one reading, which takes some 10 ms each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name in a directory of the repository stands for."""

    mode: str
    kind: str
    """`blob`, `tree`, or `commit`, which is a submodule."""
    id: str
    bytes: int = 0


class _MissingError(Exception):
    """There is nothing of this name."""


class GitTree:
    """One commit. Everything raises GitError, SourceError, SpecError."""

    def __init__(self, git: Git, revision: str, where: str) -> None:
        """`where` stands before the names of files in messages."""
        self._git = git
        self._where = where
        self._root = Entry("040000", "tree", self._id(f"{revision}^{{tree}}"))
        self._listed: dict[str, dict[str, Entry]] = {}
        self._links = 0

    def read(self, path: str, hosts: Sequence[str]) -> Tree:
        """The file at this path, or the files of the directory there that are those of a host of these names."""
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        try:
            found = self._at(path)
        except _MissingError as missing:
            absent = f"it has no {missing}" + (f", which {shown(path)} leads to" if str(missing) != shown(path) else "")
            raise SourceError(f"{absent}; set path to what it has") from None
        if found.kind == "blob":
            (text,) = self._texts({path: found})
            return Tree((text,))
        prefix = f"{path}/" if path else ""
        choice = self._chosen(found, prefix, hosts)
        wanted = {f"{prefix}{name}": self._file(f"{prefix}{name}") for name in choice.all}
        texts = self._texts(wanted)
        own = texts.pop() if choice.own is not None else None
        return Tree(tuple(texts), own, host=choice.host)

    def _chosen(self, directory: Entry, prefix: str, own_names: Sequence[str]) -> Choice:
        names = [name for name, entry in self._list(directory).items() if entry.kind != "tree"]
        if HOSTS in self._list(directory):
            hosts = self._behind(f"{prefix}{HOSTS}")
            names += [f"{HOSTS}/{name}" for name, entry in self._list(hosts).items() if entry.kind != "tree"]
        where = self._name(prefix.rstrip("/"))
        choice = chosen(names, own_names, where)
        if not choice.all:
            raise nothing_for(where, own_names)
        return choice

    def _file(self, path: str) -> Entry:
        found = self._behind(path)
        if found.kind != "blob":
            raise refused(self._name(path), "this is a directory; only files are read here")
        return found

    def _behind(self, path: str) -> Entry:
        """What is listed there, or where it leads."""
        try:
            return self._at(path)
        except _MissingError as missing:
            raise refused(self._name(path), f"this symlink leads to {missing}, which is not there") from None

    def _at(self, path: str) -> Entry:
        """What lies at a path from the top of the repository, behind all symlinks. Raises _MissingError too."""
        ahead = deque(part for part in path.split("/") if part not in ("", "."))
        way: list[tuple[str, Entry]] = []
        """The directories that were gone into, each with its name."""
        hops = 0
        while ahead:
            name = ahead.popleft()
            if name == "..":
                if not way:
                    message = "a symlink on the way leads out of the repository; that is not read"
                    raise refused(self._name(path), message)
                way.pop()
                continue
            directory = way[-1][1] if way else self._root
            found = self._list(directory).get(name)
            here = "/".join([*(step for step, _ in way), name])
            if found is None:
                raise _MissingError(shown(here))
            if found.mode == SYMLINK:
                hops += 1
                if hops > MAX_HOPS:
                    raise refused(self._name(path), "this is a chain of symlinks that never ends; check them")
                ahead.extendleft(reversed(self._target(found, here)))
            elif found.kind == "commit":
                message = "this is a submodule, which is not fetched; name its repository as a source of its own"
                raise refused(self._name(here), message)
            elif found.kind == "tree" or not ahead:
                way.append((name, found))
            else:
                raise _MissingError(shown("/".join([here, *ahead])))
        return way[-1][1] if way else self._root

    def _target(self, link: Entry, path: str) -> list[str]:
        """Where a symlink leads to, seen from where it lies."""
        if link.bytes > MAX_TARGET_BYTES:
            raise refused(self._name(path), f"this symlink is longer than {MAX_TARGET_BYTES:,} bytes")
        self._links += 1
        if self._links > MAX_LINKS:
            raise SourceError(f"the way to its files leads through more than {MAX_LINKS:,} symlinks; use fewer")
        (target,) = self._contents([link])
        text = target.decode("utf-8", "surrogateescape")
        if text.startswith("/"):
            message = f"this symlink leads to {shown(text)}, out of the repository; that is not read"
            raise refused(self._name(path), message)
        return [part for part in text.split("/") if part not in ("", ".")]

    def _list(self, directory: Entry) -> dict[str, Entry]:
        """What lies in a directory. Names that are no UTF-8 have their bytes as surrogates."""
        if directory.kind != "tree":
            return {}
        if directory.id not in self._listed:
            if len(self._listed) >= MAX_LISTED:
                raise SourceError(f"its symlinks lead through more than {MAX_LISTED} directories; use fewer")
            out = self._git.run("ls-tree", "-z", "--long", directory.id)
            lines = out.decode("utf-8", "surrogateescape").split("\0")[:-1]
            self._listed[directory.id] = dict(map(_entry, lines))
        return self._listed[directory.id]

    def _texts(self, files: dict[str, Entry]) -> list[Text]:
        for path, entry in files.items():
            if entry.bytes > MAX_FILE_BYTES:
                raise refused(self._name(path), f"the file is larger than {MAX_FILE_BYTES:,} bytes; no spec needs that")
        if sum(entry.bytes for entry in files.values()) > MAX_FILE_BYTES:
            message = f"the {len(files)} files here are larger than {MAX_FILE_BYTES:,} bytes together; write less"
            raise refused(self._name(""), message)
        contents = self._contents(list(files.values()))
        texts = [Text(self._name(path), content) for path, content in zip(files, contents, strict=True)]
        for text in texts:
            refuse_pointer(text)
        return texts

    def _contents(self, files: list[Entry]) -> list[bytes]:
        """Of files whose sizes were looked at."""
        out = self._git.run("cat-file", "--batch", given="".join(f"{each.id}\n" for each in files).encode())
        contents = []
        for each in files:
            head, _, out = out.partition(b"\n")
            if not head.startswith(each.id.encode()) or not head.endswith(f" {each.bytes}".encode()):
                raise GitError(f"git cat-file says {shown(head, 80)} of {each.id}")
            contents.append(out[: each.bytes])
            out = out[each.bytes + 1 :]
        return contents

    def _id(self, name: str) -> str:
        return self._git.run("rev-parse", "--verify", name).decode("ascii", "replace").strip()

    def _name(self, path: str) -> str:
        return f"{self._where}:{shown(path)}"


def _entry(line: str) -> tuple[str, Entry]:
    facts, _, name = line.partition("\t")
    mode, kind, id_, size = facts.split()
    return name, Entry(mode, kind, id_, int(size) if size != "-" else 0)
