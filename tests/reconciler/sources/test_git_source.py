"""Real repositories, commits, keys and pushes: what a Git source says, and what it refuses."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from reconciler.sources.git import GitSource
from reconciler.sources.source import SourceError
from schema import SpecError, Tree
from schema.spec import GitSpec
from tests.kit.system.git_repository import Repository

SPEC = "apiVersion: vio4wd/v1\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def source(repository: Repository, hostname: str = "node1", **keys: object) -> GitSource:
    spec = GitSpec(str(repository.url), **keys)  # type: ignore[arg-type]
    return GitSource(spec, lambda: (hostname,), repository.copy.parent / "state")


def names(tree: Tree) -> list[str]:
    over = [tree.over] if tree.over is not None else []
    return [text.name.rpartition(":")[2] for text in (*tree.base, *over)]


def refused(from_: GitSource, in_force: str = "") -> str:
    with pytest.raises(SourceError) as caught:
        from_.read(in_force)
    return str(caught.value)


def test_a_branch_is_read_and_followed(repository: Repository) -> None:
    first = repository.push({"a.yaml": SPEC, "README.md": "x", ".hidden.yaml": "x", "deep/b.yaml": "x"})
    reader = source(repository)
    reading = reader.read("")
    assert (reading.revision, names(reading.tree)) == (first, ["a.yaml"])
    assert reading.tree.base[0].name == f"{repository.url}@{first[:12]}:a.yaml"
    second = repository.push({"a.yaml": f"{SPEC}relays: []\n", "b.yaml": SPEC})
    reading = reader.read(first)
    assert (reading.revision, names(reading.tree)) == (second, ["a.yaml", "b.yaml"])
    assert reading.tree.base[0].content == f"{SPEC}relays: []\n".encode()
    assert reader.read(second) == reading


def test_a_tag_and_an_annotated_one(repository: Repository) -> None:
    first = repository.push({"a.yaml": SPEC})
    repository.git("tag", "v1")
    repository.git("tag", "--annotate", "--message", "x", "v2")
    repository.push({"a.yaml": f"{SPEC}relays: []\n"})
    repository.git("push", "--quiet", "--tags")
    assert source(repository, ref="v1").read("").revision == first
    assert source(repository, ref="v2").read("").revision == first
    assert "no branch or tag 'v3'; set ref" in refused(source(repository, ref="v3"))


def test_two_hosts_take_their_own_files(repository: Repository) -> None:
    """And nobody takes what begins alike."""
    files = ["common.yaml", "hosts/node1.yaml", "hosts/node2.yaml", "hosts/node10.yaml"]
    repository.push({f"relays/{name}": SPEC for name in files})
    for host, own in ("node1", ["hosts/node1.yaml"]), ("node2", ["hosts/node2.yaml"]), ("node3", []):
        tree = source(repository, host, path="relays").read("").tree
        assert names(tree) == [f"relays/{name}" for name in ["common.yaml", *own]]
        assert (tree.over is not None) == bool(own)


def test_a_path_may_be_one_file(repository: Repository) -> None:
    repository.push({"some/where.yml": SPEC})
    assert names(source(repository, path="some/where.yml").read("").tree) == ["some/where.yml"]
    assert "it has no elsewhere; set path to what it has" in refused(source(repository, path="elsewhere"))


def test_a_file_that_is_too_large_is_not_even_read(repository: Repository) -> None:
    repository.push({"a.yaml": "#" * 1024 * 1024 + "\n"})
    for path in ("", "a.yaml"):
        with pytest.raises(SpecError, match=r"a.yaml:1:1: the file is larger than 1,048,576 bytes"):
            source(repository, path=path).read("")


def test_nothing_for_this_host(repository: Repository) -> None:
    repository.push({"hosts/node2.yaml": SPEC})
    with pytest.raises(SpecError, match=r"no \*.yaml or \*.yml here, and no hosts/node1.yaml for this host"):
        source(repository).read("")


def test_a_rewritten_history_is_refused_unless_allowed(repository: Repository) -> None:
    first = repository.push({"a.yaml": SPEC})
    second = repository.push({"a.yaml": f"{SPEC}relays: []\n"})
    assert source(repository).read(first).revision == second
    repository.git("reset", "--quiet", "--hard", first)
    third = repository.push({"a.yaml": f"{SPEC}engine: {{}}\n"})
    said = refused(source(repository), second)
    assert f"was rewritten: {third[:12]} does not descend from {second[:12]}, which stays in force" in said
    assert source(repository, allow_rewrite=True).read(second).revision == third
    assert source(repository).read(first).revision == third


def test_a_clone_that_is_lost_or_damaged_is_made_anew(repository: Repository) -> None:
    first = repository.push({"a.yaml": SPEC})
    source(repository).read("")
    (clone,) = (repository.copy.parent / "state" / "sources").glob("*.git")
    (clone / "HEAD").write_text("nonsense")
    assert source(repository).read(first).revision == first
    shutil.rmtree(clone)
    assert source(repository).read(first).revision == first


@pytest.mark.parametrize("left", ["refs/vio4wd/{ref}.lock", "objects"])
def test_what_a_killed_git_or_a_power_cut_left_is_no_end_of_following(repository: Repository, left: str) -> None:
    first = repository.push({"a.yaml": SPEC})
    source(repository).read("")
    (clone,) = (repository.copy.parent / "state" / "sources").glob("*.git")
    (ref,) = (clone / "refs/vio4wd").iterdir()
    second = repository.push({"a.yaml": f"{SPEC}relays: []\n"})
    if left == "objects":
        for path in [path for path in (clone / "objects").rglob("*") if path.is_file()]:
            path.chmod(0o644)
            path.write_bytes(b"")
    else:
        (clone / left.format(ref=ref.name)).touch()
    assert source(repository).read(first).revision == second


def test_an_unreachable_repository_is_said(repository: Repository) -> None:
    repository.push({"a.yaml": SPEC})
    source(repository).read("")
    repository.url.rename(repository.url.with_suffix(".away"))
    said = refused(source(repository))
    assert "can't be read" in said
    assert "does not appear to be a git repository" in said or "does not exist" in said


@pytest.fixture
def signers(repository: Repository, tmp_path: Path) -> Path:
    """A file that allows the key `ann`."""
    path = tmp_path / "allowed"
    path.write_text(f"ann@example.com {repository.key('ann').with_suffix('.pub').read_text()}")
    return path


def test_a_signed_commit_is_taken(repository: Repository, signers: Path) -> None:
    repository.sign_with(repository.keys / "ann")
    revision = repository.push({"a.yaml": SPEC}, "-S")
    assert source(repository, allowed_signers=str(signers)).read("").revision == revision


def test_an_unsigned_commit_is_refused(repository: Repository, signers: Path) -> None:
    revision = repository.push({"a.yaml": SPEC})
    said = refused(source(repository, allowed_signers=str(signers)))
    assert f"commit {revision[:12]} in {repository.url} is not signed; sign it with a key of {signers}" in said


def test_an_unknown_signer_is_refused(repository: Repository, signers: Path) -> None:
    repository.sign_with(repository.key("mallory"))
    repository.push({"a.yaml": SPEC}, "-S")
    said = refused(source(repository, allowed_signers=str(signers)))
    assert f"is signed, but by nobody of {signers}" in said
    assert "is not there; make it" in refused(source(repository, allowed_signers="/nowhere/signers"))


def test_a_pgp_signature_is_none_of_an_allowed_signer(repository: Repository, signers: Path) -> None:
    """However it is judged by the keyring of whoever runs vio4wd: it is not asked."""
    revision = repository.commit({"a.yaml": SPEC})
    commit = repository.git("cat-file", "commit", revision)
    head, _, message = commit.partition("\n\n")
    forged = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----\n\n{message}\n"
    path = repository.copy / "forged"
    path.write_text(forged)
    repository.git("reset", "--quiet", "--hard", repository.git("hash-object", "-t", "commit", "-w", path))
    repository.git("push", "--quiet", "--force", "origin", "HEAD:main")
    assert "by nobody of" in refused(source(repository, allowed_signers=str(signers)))


def test_nothing_of_the_repository_is_run(repository: Repository, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    hooks = ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc", "post-index-change", "fsmonitor")
    repository.push({"a.yaml": SPEC, ".gitattributes": "*.yaml filter=evil\n", ".gitmodules": "[submodule]\n"})
    for hook in hooks:
        repository.hook(hook, f"touch {witness}")
    reader = source(repository)
    reader.read("")
    repository.push({"b.yaml": SPEC})
    witness.unlink()  # pushing does run them
    reader.read("")
    assert not witness.exists()


def test_a_password_in_the_url_is_never_said(tmp_path: Path) -> None:
    spec = GitSpec("http://ann:secret@127.0.0.1:1/x.git")
    with pytest.raises(SourceError) as caught:
        GitSource(spec, lambda: ("node1",), tmp_path).read("")
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:1/x.git" in str(caught.value)


def test_a_server_that_never_answers_is_left_when_told_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = GitSource(GitSpec(f"git://127.0.0.1:{server.getsockname()[1]}/x.git"), lambda: ("node1",), tmp_path)
        said: list[str] = []
        thread = threading.Thread(target=lambda: said.append(refused(reader)))
        thread.start()
        server.accept()
        reader.stop()
        thread.join()
    assert said
    assert not _children()


def _children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def test_a_program_that_asks_for_a_password_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh that would ask on the terminal gets none, and what it started ends with it."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nread answer </dev/tty || exit 9\necho asked >{tmp_path}/asked\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
    with pytest.raises(SourceError, match="can't be read"):
        GitSource(GitSpec("git@nowhere:x.git"), lambda: ("node1",), tmp_path).read("")
    assert not (tmp_path / "asked").exists()
