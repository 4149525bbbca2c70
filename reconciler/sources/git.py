"""A branch or tag of a Git repository, fetched into a bare clone under the state directory."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.lock import Locked, locked
from reconciler.sources.command import Git, GitError, GitRefusalError
from reconciler.sources.files import HOSTS, chosen, is_spec_name, nothing_for
from reconciler.sources.shape import Reading, SourceError
from schema import Text, Tree
from schema.files import PRIVATE_DIRECTORY, make_directory
from schema.loader import MAX_FILE_BYTES, refused
from schema.spec import GitSpec

NETWORK_S = 120.0
"""A first clone may take its time."""
LOCAL_S = 30.0
LOCK_WAIT_S = 10.0
SIGNED = (
    # verify-commit asks the verifier that the signature names; a PGP key in somebody's keyring is no allowed signer.
    "gpg.openpgp.program=/bin/false",
    "gpg.program=/bin/false",
    "gpg.x509.program=/bin/false",
    "gpg.ssh.program=ssh-keygen",
    "gpg.minTrustLevel=fully",
)


@dataclass(slots=True)
class GitSource:
    """Asks the repository for its revision, fetches what is new, and reads the files out of the clone."""

    spec: GitSpec
    hostname: str
    state_dir: Path
    _git: Git = field(init=False)
    _ref: str = field(init=False)
    """In the clone, which several sources of one repository share: what was last fetched for this one."""

    def __post_init__(self) -> None:
        self._git = Git(self.state_dir / "sources" / f"{_digest(self.spec.url)}.git")
        self._ref = f"refs/vio4wd/{_digest(self.spec.ref)}"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def interval_s(self) -> float:
        return float(self.spec.interval_s)

    def watched(self) -> tuple[Path, ...]:
        return ()

    def stop(self) -> None:
        self._git.stop()

    def read(self, in_force: str) -> Reading:
        revision = ""
        try:
            with locked(self._git.directory.with_suffix(".lock"), LOCK_WAIT_S, PRIVATE_DIRECTORY):
                revision = self._fetched()
                self._refuse_rewrite(revision, in_force)
                self._refuse_unsigned(revision)
                return Reading(self._tree(revision), revision)
        except GitError as error:
            words = str(error).replace(self.spec.url, self.spec.shown_url)
            raise SourceError(f"{self.spec.shown_url} can't be read: {words}", revision) from None
        except (OSError, Locked) as error:
            raise SourceError(f"{self.spec.shown_url} can't be fetched: {error}", revision) from None

    def _fetched(self) -> str:
        """The revision of the branch or tag, which is in the clone afterwards. Raises GitError, OSError."""
        known = self._is_clone()
        if not known:
            self._make_clone()
        full, there = self._remote()
        try:
            return self._brought(full, there)
        except GitRefusalError:
            if not known:
                raise
        # A git that was killed leaves locks behind, a power cut empty files. It is only a copy.
        self._make_clone()
        return self._brought(full, there)

    def _make_clone(self) -> None:
        shutil.rmtree(self._git.directory, ignore_errors=True)
        make_directory(self._git.directory.parent, mode=PRIVATE_DIRECTORY)
        self._git.run("init", "--quiet", "--bare", "--template=", timeout_s=LOCAL_S)

    def _brought(self, full: str, there: str) -> str:
        if not self._has(there):
            self._git.run(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force", self.spec.url,
                f"{full}:{self._ref}", timeout_s=NETWORK_S,
            )  # fmt: skip
            there = f"{self._ref}^{{commit}}"
        return self._git.run("rev-parse", "--verify", there, timeout_s=LOCAL_S).decode().strip()

    def _is_clone(self) -> bool:
        try:
            return self._git.run("rev-parse", "--is-bare-repository", timeout_s=LOCAL_S) == b"true\n"
        except GitError:
            return False

    def _remote(self) -> tuple[str, str]:
        """The full name of the branch or tag, and what it points to. Raises GitError."""
        names = [f"refs/heads/{self.spec.ref}", f"refs/tags/{self.spec.ref}"]
        out = self._git.run("ls-remote", self.spec.url, *names, f"{names[1]}^{{}}", timeout_s=NETWORK_S)
        found = {name: there for there, name in (line.split("\t") for line in out.decode().splitlines())}
        for name in names:
            if name in found:
                return name, found.get(f"{name}^{{}}", found[name])
        raise GitError(f"it has no branch or tag '{self.spec.ref}'; set ref to one that it has")

    def _has(self, revision: str) -> bool:
        """Whether a commit and all that it needs was fetched: a ref says so, where an object alone might be half of
        it."""
        try:
            known = self._git.run("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}", timeout_s=LOCAL_S)
        except GitError:
            return False
        return known.decode().strip() == revision

    def _refuse_rewrite(self, revision: str, in_force: str) -> None:
        if self.spec.allow_rewrite or in_force in ("", revision):
            return
        try:
            self._git.run("merge-base", "--is-ancestor", in_force, revision, timeout_s=LOCAL_S)
        except GitError:
            raise SourceError(
                f"the history of {self.spec.ref} in {self.spec.shown_url} was rewritten: {revision[:12]} does not "
                f"descend from {in_force[:12]}, which stays in force; if that is meant, set allow_rewrite: true",
                revision,
            ) from None

    def _refuse_unsigned(self, revision: str) -> None:
        if self.spec.allowed_signers is None:
            return
        if not Path(self.spec.allowed_signers).is_file():
            message = f"the file of allowed signers {self.spec.allowed_signers} is not there; make it"
            raise SourceError(message, revision)
        if not self._is_signed(revision):
            raise SourceError(
                f"commit {revision[:12]} in {self.spec.shown_url} is not signed; sign it with a key of "
                f"{self.spec.allowed_signers}",
                revision,
            )
        try:
            settings = (*SIGNED, f"gpg.ssh.allowedSignersFile={self.spec.allowed_signers}")
            self._git.run("verify-commit", revision, timeout_s=LOCAL_S, settings=settings)
        except GitError:
            raise SourceError(
                f"commit {revision[:12]} in {self.spec.shown_url} is signed, but by nobody of "
                f"{self.spec.allowed_signers}; have it signed by one of them, or add the key",
                revision,
            ) from None

    def _is_signed(self, revision: str) -> bool:
        head = self._git.run("cat-file", "commit", revision, timeout_s=LOCAL_S).partition(b"\n\n")[0]
        return any(line.startswith(b"gpgsig") for line in head.splitlines())

    def _tree(self, revision: str) -> Tree:
        """Raises GitError, SpecError."""
        where = f"{self.spec.shown_url}@{revision[:12]}"
        path = self.spec.path.strip("/")
        kind = self._git.run("cat-file", "-t", f"{revision}:{path}", timeout_s=LOCAL_S).decode().strip()
        if kind == "blob":
            size = self._git.run("cat-file", "-s", f"{revision}:{path}", timeout_s=LOCAL_S)
            _refuse_large(int(size), f"{where}:{path}")
            return Tree((self._text(revision, path, where),))
        prefix = f"{path}/" if path else ""
        sizes = self._sizes(revision, prefix)
        base, own = chosen(sizes, self.hostname)
        if not base and own is None:
            raise nothing_for(f"{where}:{path}", self.hostname)
        for name in (*base, *((own,) if own is not None else ())):
            _refuse_large(sizes[name], f"{where}:{prefix}{name}")
        texts = tuple(self._text(revision, prefix + name, where) for name in base)
        return Tree(texts, self._text(revision, prefix + own, where) if own is not None else None)

    def _sizes(self, revision: str, prefix: str) -> dict[str, int]:
        """The files in a directory of the repository and in its `hosts`, relative to it, with their bytes."""
        places = [prefix or "./", f"{prefix}{HOSTS}/"]
        out = self._git.run("ls-tree", "-z", "--long", "--full-tree", revision, *places, timeout_s=LOCAL_S)
        sizes = {}
        for line in out.decode(errors="replace").split("\0")[:-1]:
            facts, _, name = line.partition("\t")
            _mode, kind, _object, size = facts.split()
            if kind == "blob" and is_spec_name(name.rpartition("/")[2]):
                sizes[name.removeprefix(prefix)] = int(size)
        return sizes

    def _text(self, revision: str, path: str, where: str) -> Text:
        return Text(f"{where}:{path}", self._git.run("cat-file", "blob", f"{revision}:{path}", timeout_s=LOCAL_S))


def _refuse_large(size_bytes: int, name: str) -> None:
    """Raises SpecError."""
    if size_bytes > MAX_FILE_BYTES:
        raise refused(name, f"the file is larger than {MAX_FILE_BYTES:,} bytes; no spec needs that")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
