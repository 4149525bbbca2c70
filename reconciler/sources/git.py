"""A branch or tag of a Git repository, fetched into a bare clone under the state directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.sources.clones import clone_of, digest
from reconciler.sources.credentials import Remote, remote_of
from reconciler.sources.git_command import Git, GitError, GitRefusalError, GitTooLargeError, Patience, tidy
from reconciler.sources.git_tree import GitTree
from reconciler.sources.source import Reading, SourceError
from schema.spec import GitSpec
from schema.system.files import PRIVATE_DIRECTORY, make_directory
from schema.system.locks import Locked, locked

MAX_CLONE_BYTES = 256 * 1024 * 1024
"""That one repository may take in the state directory."""
NETWORK = Patience(quiet_s=45.0, total_s=3600.0, room_bytes=MAX_CLONE_BYTES)
"""A slow link may take its time, as long as something comes."""
LOCK_WAIT_S = 10.0
DEEPER = ("--deepen=50", "--deepen=1000", "--unshallow")
"""How much more of a history is fetched to find out what it descends from."""
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
    """Fetches what is new of a branch or tag, and reads the files out of the clone."""

    spec: GitSpec
    hosts: Callable[[], Sequence[str]]
    """The names of this host, asked at each reading."""
    state_dir: Path
    _git: Git = field(init=False)
    _ref: str = field(init=False)
    """In the clone, which several sources of one repository share: what was last fetched for this one."""
    _full_name: str = field(init=False, default="")
    """Of the branch or tag that this was."""
    _revision: str = field(init=False, default="")
    """That is being looked at."""

    def __post_init__(self) -> None:
        self._git = Git(clone_of(self.spec, self.state_dir))
        self._ref = f"refs/vio4wd/{digest(self.spec.ref)}"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def interval_s(self) -> float:
        return float(self.spec.interval_s)

    def follow(self, changed: Callable[[], None]) -> None:
        """It never tells: `vio4wd sync` is for that."""

    def stop(self) -> None:
        self._git.stop()

    def read(self, in_force: str) -> Reading:
        self._revision = ""
        remote = remote_of(self.spec.url)
        where, lock = self.spec.shown_url, self._git.directory.with_suffix(".lock")
        if remote.unfit:
            raise SourceError(f"{where}: {remote.unfit}")
        try:
            with locked(lock, LOCK_WAIT_S, PRIVATE_DIRECTORY):
                os.utime(lock)  # that it is used
                return self._mended(remote, in_force)
        except GitTooLargeError as error:
            shutil.rmtree(self._git.directory, ignore_errors=True)
            words = f"is not read: {error}, as far as it was fetched; use a repository that holds specs alone"
        except SourceError as error:
            words = str(error)
        except GitError as error:
            words = f"can't be read: {remote.without_secrets(str(error))}"
        except Locked as error:
            words = f"is not fetched now: {error}; it is tried again"
        except OSError as error:
            words = f"can't be fetched: {error}"
        raise SourceError(words if where in words else f"{where} {words}", self._revision)

    def _mended(self, remote: Remote, in_force: str) -> Reading:
        """From a clone that is made anew where it has to be; it is only a copy. Raises as `GitTree`, and OSError."""
        tidy(self._git.directory)
        if self._holds("rev-parse", "--is-bare-repository"):
            try:
                return self._read_revision(remote, in_force)
            except GitTooLargeError:
                pass  # what gathered over time may be more than what there is to fetch
            except GitRefusalError:
                if not self._is_damaged():  # a power cut leaves empty files
                    raise
        self._make_clone()
        return self._read_revision(remote, in_force)

    def _read_revision(self, remote: Remote, in_force: str) -> Reading:
        self._revision = revision = self._brought(remote)
        self._refuse_rewrite(remote, revision, in_force)
        self._refuse_unsigned(revision)
        tree = GitTree(self._git, revision, f"{self.spec.shown_url}@{revision[:12]}")
        return Reading(tree.read(self.spec.path, self.hosts()), revision)

    def _make_clone(self) -> None:
        shutil.rmtree(self._git.directory, ignore_errors=True)
        make_directory(self._git.directory.parent, mode=PRIVATE_DIRECTORY)
        self._git.run("init", "--quiet", "--bare", "--template=")

    def _is_damaged(self) -> bool:
        return not self._holds("fsck", "--connectivity-only", "--no-dangling", "--no-progress", strict=True)

    def _holds(self, *arguments: str, strict: bool = False) -> bool:
        try:
            self._git.run(*arguments, strict=strict)
        except GitError:
            return False
        return True

    def _brought(self, remote: Remote) -> str:
        """Of a name that is both, the branch counts."""
        # Whose history may be rewritten needs none.
        known = self._holds("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}")
        depth = () if known and not self.spec.allow_rewrite else ("--depth=1",)
        try:
            self._fetch(remote, f"refs/heads/{self.spec.ref}", *depth)
        except GitRefusalError as error:
            if _ABSENT not in str(error):
                raise
            self._fetch_tag(remote, *depth)
        return self._git.run("rev-parse", "--verify", f"{self._ref}^{{commit}}").decode("ascii", "replace").strip()

    def _fetch_tag(self, remote: Remote, *depth: str) -> None:
        try:
            self._fetch(remote, f"refs/tags/{self.spec.ref}", *depth)
        except GitRefusalError as error:
            if _ABSENT not in str(error):
                raise
            raise GitError(f"it has no branch or tag '{self.spec.ref}'; set ref to one that it has") from None

    def _fetch(self, remote: Remote, full_name: str, *options: str) -> None:
        """Only this one is asked for, however many the repository has, and whatever their names are."""
        line = ("fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--force", *options)
        secrets = remote.secrets
        refspec = f"{full_name}:{self._ref}"
        try:
            self._git.run(*line, remote.url, refspec, patience=NETWORK, settings=remote.settings, secrets=secrets)
        except GitError as error:
            tidy(self._git.directory)
            if not options or _WHOLE not in str(error):
                raise
            self._fetch(remote, full_name)
        self._full_name = full_name

    def _refuse_rewrite(self, remote: Remote, revision: str, in_force: str) -> None:
        if self.spec.allow_rewrite or in_force in ("", revision) or self._descends(remote, revision, in_force):
            return
        if self._is_damaged():
            raise GitRefusalError("the clone is damaged")
        raise SourceError(
            f"the history of {self.spec.ref} in {self.spec.shown_url} was rewritten: {revision[:12]} does not "
            f"descend from {in_force[:12]}, which stays in force; if that is meant, set allow_rewrite: true",
            revision,
        )

    def _descends(self, remote: Remote, revision: str, in_force: str) -> bool:
        """Raises GitError when it can't be found out."""
        for deeper in (*DEEPER, ""):
            if self._holds("merge-base", "--is-ancestor", in_force, revision):
                return True
            if not deeper or not self._is_shallow():
                break
            self._fetch(remote, self._full_name, deeper)
        return False

    def _is_shallow(self) -> bool:
        return self._git.run("rev-parse", "--is-shallow-repository") == b"true\n"

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
            self._git.run("verify-commit", revision, settings=settings)
        except GitError:
            raise SourceError(
                f"commit {revision[:12]} in {self.spec.shown_url} is signed, but by nobody of "
                f"{self.spec.allowed_signers}; have it signed by one of them, or add the key",
                revision,
            ) from None

    def _is_signed(self, revision: str) -> bool:
        head = self._git.run("cat-file", "commit", revision).partition(b"\n\n")[0]
        return any(line.startswith(b"gpgsig") for line in head.splitlines())


_ABSENT = "couldn't find remote ref"
_WHOLE = "does not support shallow"
"""Of a web server that only hands out files, and knows nothing of Git."""
