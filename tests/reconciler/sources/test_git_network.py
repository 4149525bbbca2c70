"""Repositories behind links that are slow, hang or ask for a password, and what git is started with."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import pwd
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.sources import clones, git
from reconciler.sources.clones import forget_clones
from reconciler.sources.git import GitSource
from reconciler.sources.git_command import Patience, bytes_of
from reconciler.sources.source import SourceError
from schema.spec import GitSpec
from tests.kit.system.git_repository import ALONE, Repository

SPEC = "apiVersion: vio4wd/v1\n"
SLOW_SSH = """#!/usr/bin/env python3
import subprocess, sys, time
with subprocess.Popen(sys.argv[-1], shell=True, stdout=subprocess.PIPE) as served:
    while piece := served.stdout.read1(20000):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        time.sleep(0.1)
"""
WITNESS = """#!/bin/sh
{ echo "$0 $*"; cat /proc/self/oom_score_adj; ulimit -v; readlink /proc/$$/fd/* | tr '\\n' ' '; echo; } >>WITNESS
exec REAL "$@"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)


def source(tmp_path: Path, url: object, **keys: object) -> GitSource:
    return GitSource(GitSpec(str(url), **keys), lambda: ("node1",), tmp_path / "state")  # type: ignore[arg-type]


def refused(from_: GitSource) -> str:
    with pytest.raises(SourceError) as caught:
        from_.read("")
    return str(caught.value)


def clone(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "state" / "sources").glob("*.git")
    return found


def noise(repository: Repository, files: int, size_bytes: int) -> None:
    """Which no compression makes smaller."""
    for number in range(files):
        (repository.copy / f"noise{number}").write_bytes(os.urandom(size_bytes))


@pytest.fixture
def slow_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh that gives 200 kB a second."""
    path = tmp_path / "slow-ssh"
    path.write_text(SLOW_SSH)
    path.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(path))


@pytest.mark.usefixtures("slow_ssh")
def test_a_slow_link_is_waited_for_as_long_as_something_comes(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes several times as long as may pass without a byte."""
    monkeypatch.setattr(git, "NETWORK", Patience(quiet_s=0.8, total_s=300.0, room_bytes=2**28))
    noise(repository, 5, 80_000)
    revision = repository.push({"a.yaml": SPEC})
    assert source(tmp_path, f"ssh://nowhere{repository.url}").read("").revision == revision


@pytest.mark.usefixtures("slow_ssh")
def test_a_fetch_that_is_given_up_leaves_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise(repository, 4, 80_000)
    revision = repository.push({"a.yaml": SPEC})
    reader = source(tmp_path, f"ssh://nowhere{repository.url}")
    with monkeypatch.context() as patched:
        patched.setattr(git, "NETWORK", Patience(quiet_s=60.0, total_s=1.0, room_bytes=2**28))
        for _ in range(2):
            assert "git fetch did not end within 1 s" in refused(reader)
            assert bytes_of(clone(tmp_path) / "objects") == 0
    left = clone(tmp_path) / "objects" / "pack" / "tmp_pack_AbCdEf"
    left.write_bytes(b"what a watch that was killed left")
    assert reader.read("").revision == revision
    assert not left.exists()


def test_a_server_that_says_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "NETWORK", Patience(quiet_s=0.3, total_s=300.0, room_bytes=2**28))
    with socket.create_server(("127.0.0.1", 0)) as server:
        said = refused(source(tmp_path, f"git://127.0.0.1:{server.getsockname()[1]}/x.git"))
    assert "git fetch heard nothing for 0.3 s, and was ended" in said


def test_a_repository_that_is_too_large_is_refused_and_leaves_nothing(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "NETWORK", Patience(quiet_s=60.0, total_s=300.0, room_bytes=2**20))
    noise(repository, 40, 100_000)
    repository.push({"a.yaml": SPEC})
    reader = source(tmp_path, repository.url)
    assert "is not read: it takes more than 1 MiB, as far as it was fetched" in refused(reader)
    assert bytes_of(tmp_path / "state") < 2**16


def test_a_history_is_fetched_as_far_as_it_is_needed(repository: Repository, tmp_path: Path) -> None:
    """What was large once and is so no more costs nothing; whose clone is lost still knows what descends from what."""
    (repository.copy / "large").write_bytes(os.urandom(3_000_000))
    first = repository.push({"a.yaml": SPEC})
    repository.git("rm", "--quiet", "large")
    revision = repository.push({"a.yaml": f"{SPEC}relays: []\n"})
    assert source(tmp_path, f"file://{repository.url}").read("").revision == revision
    assert bytes_of(clone(tmp_path)) < 2**16
    shutil.rmtree(clone(tmp_path))
    assert source(tmp_path, f"file://{repository.url}").read(first).revision == revision
    assert "was rewritten" in refused_after(source(tmp_path, f"file://{repository.url}"), "0" * 40)


def refused_after(from_: GitSource, in_force: str) -> str:
    with pytest.raises(SourceError) as caught:
        from_.read(in_force)
    return str(caught.value)


def test_histories_that_are_rewritten_all_the_time_do_not_gather(repository: Repository, tmp_path: Path) -> None:
    repository.push({"a.yaml": SPEC})
    base = repository.git("rev-parse", "HEAD")
    reader = source(tmp_path, repository.url, allow_rewrite=True)
    for _ in range(16):  # git repacks after 10
        repository.git("reset", "--quiet", "--hard", base)
        (repository.copy / "noise").write_bytes(os.urandom(100_000))
        revision = repository.push({})
        assert reader.read("").revision == revision
    assert bytes_of(clone(tmp_path)) < 14 * 100_000


def test_a_clone_that_nobody_names_is_forgotten(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.push({"a.yaml": SPEC})
    reader = source(tmp_path, repository.url)
    reader.read("")
    forget_clones(tmp_path / "state", [])
    assert clone(tmp_path).is_dir(), "it was used today"
    monkeypatch.setattr(clones, "UNUSED_S", -1.0)
    forget_clones(tmp_path / "state", [reader.spec])
    assert clone(tmp_path).is_dir(), "it is named"
    forget_clones(tmp_path / "state", [])
    assert list((tmp_path / "state" / "sources").iterdir()) == []


# ---- passwords and helpers -------------------------------------------------------------------------------------------


class _Asking(http.server.SimpleHTTPRequestHandler):
    """Gives files to ann alone."""

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"ann:s3cr:t-word").decode():
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The test's output is not for that."""


@pytest.fixture
def port(repository: Repository) -> Iterator[int]:
    """A web server with the repository."""
    repository.push({"a.yaml": SPEC})
    repository.git("--git-dir", repository.url, "update-server-info")
    serve = functools.partial(_Asking, directory=str(repository.url.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What each git is started with."""
    real, path = shutil.which("git"), tmp_path / "witness"
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "git"
    script.write_text(WITNESS.replace("WITNESS", str(path)).replace("REAL", str(real)))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return path


def test_a_password_is_seen_by_nobody(port: int, tmp_path: Path, witness: Path) -> None:
    reader = source(tmp_path, f"http://ann:s3cr%3At-word@127.0.0.1:{port}/network.git")
    reading = reader.read("")
    assert reading.tree.base[0].name.startswith(f"http://127.0.0.1:{port}/network.git@")
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    for secret in "s3cr:t-word", "s3cr%3At-word", "ann:":
        assert secret not in witness.read_text()
        assert secret.encode() not in kept
    wrong = source(tmp_path, f"http://ann:wr0ng-word@127.0.0.1:{port}/network.git")
    assert "wr0ng" not in refused(wrong)
    assert "wr0ng" not in witness.read_text()


def helper(path: Path, user: str) -> None:
    """A .gitconfig whose helper knows the password of this user."""
    word = f'test "$1" = get && grep -q "^username={user}$" && echo password=s3cr:t-word'
    path.write_text(f'[credential]\n\thelper = "!f() {{ {word.replace(chr(34), chr(92) + chr(34))}; }}; f"\n')


def test_roots_own_helper_knows_the_password_of_a_name(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path / "settings", "ann")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    assert source(tmp_path, f"http://ann@127.0.0.1:{port}/network.git").read("").revision
    assert "can't be read" in refused(source(tmp_path, f"http://bob@127.0.0.1:{port}/network.git"))


def test_a_service_without_a_home_uses_that_of_its_user(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user database is made to say another, so as not to write to this machine's."""
    known = pwd.getpwuid(os.geteuid())
    fields = [*known[:5], str(tmp_path), known[6]]
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(fields))
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    helper(tmp_path / ".gitconfig", "ann")
    assert source(tmp_path, f"http://ann@127.0.0.1:{port}/network.git").read("").revision


def test_git_gets_nothing_of_ours_but_its_bounds(repository: Repository, tmp_path: Path, witness: Path) -> None:
    """No descriptors, no mercy of the kernel when memory runs out, and no more memory than it may have."""
    repository.push({"a.yaml": SPEC})
    witness.unlink()
    ours = os.open(tmp_path / "ours", os.O_CREAT)
    try:
        os.set_inheritable(ours, True)
        source(tmp_path, repository.url).read("")
    finally:
        os.close(ours)
    lines = witness.read_text().splitlines()
    assert set(lines[1::4]) == {"500"}
    assert set(lines[2::4]) == {str(2 * 1024 * 1024)}
    assert all("pipe:" in line for line in lines[3::4])
    assert str(tmp_path / "ours") not in witness.read_text()
