"""What lies in real repositories: links, names and modes that somebody chose to do harm, or by accident."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from reconciler.sources import git_tree
from reconciler.sources.git import GitSource
from reconciler.sources.source import SourceError
from schema import SpecError
from schema.spec import GitSpec
from tests.kit.system.git_repository import ALONE, Repository

SPEC = "apiVersion: vio4wd/v1\n"
ROLE = f"{SPEC}relays: []\n"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def source(repository: Repository, **keys: object) -> GitSource:
    spec = GitSpec(str(repository.url), **keys)  # type: ignore[arg-type]
    return GitSource(spec, lambda: ("node1.example.com", "node1"), repository.copy.parent / "state")


def read(repository: Repository, path: str = "") -> dict[str, str]:
    """What each file is, by its name in the repository."""
    tree = source(repository, path=path).read("").tree
    return {text.name.partition(":")[2]: text.content.decode() for text in tree.texts}


def refusal(repository: Repository, path: str = "") -> str:
    with pytest.raises((SourceError, SpecError)) as caught:
        source(repository, path=path).read("")
    assert all(line.isprintable() for line in str(caught.value).splitlines())
    return str(caught.value)


def link(repository: Repository, name: str, target: str | bytes) -> None:
    path = repository.copy / name
    path.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(os.fsencode(target), os.fsencode(path))


def test_symlinks_are_followed_as_on_a_disk(repository: Repository) -> None:
    link(repository, "net/hosts/node1.yaml", "../../roles/compute.yaml")
    link(repository, "current", "net")
    link(repository, "chain", "./current/../current")
    repository.push({"roles/compute.yaml": ROLE, "net/common.yaml": SPEC})
    for path in "net", "current", "chain", "./current/", "roles/../net":
        found = read(repository, path)
        assert list(found.values()) == [SPEC, ROLE], path
    assert read(repository, "current/hosts/node1.yaml") == {"current/hosts/node1.yaml": ROLE}


def test_the_directory_of_hosts_may_be_a_symlink(repository: Repository) -> None:
    link(repository, "net/hosts", "../all")
    repository.push({"all/node1.yml": ROLE, "net/common.yaml": SPEC})
    assert list(read(repository, "net")) == ["net/common.yaml", "net/hosts/node1.yml"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../../etc/passwd", "leads out of the repository; that is not read"),
        ("/etc/passwd", "this symlink leads to /etc/passwd, out of the repository; that is not read"),
        ("gone.yaml", "this symlink leads to gone.yaml, which is not there"),
        ("a.yaml", "a chain of symlinks that never ends"),
        ("d", "this is a directory; only files are read here"),
        (b"\xff\x1b[31m", "this symlink leads to \\xff\\x1b[31m, which is not there"),
        ("b.yaml/x", "this symlink leads to b.yaml/x, which is not there"),
    ],
)
def test_what_leads_nowhere_or_out_is_refused(repository: Repository, target: str | bytes, said: str) -> None:
    link(repository, "a.yaml", target)
    repository.push({"b.yaml": SPEC, "d/x": ""})
    assert said in refusal(repository)


def test_a_path_whose_symlink_leads_nowhere(repository: Repository) -> None:
    link(repository, "current", "gone")
    repository.push({"b.yaml": SPEC})
    assert "it has no gone, which current leads to; set path to what it has" in refusal(repository, "current")
    assert "it has no b.yaml/c; set path to what it has" in refusal(repository, "b.yaml/c")


def test_symlinks_are_followed_so_often_and_no_more(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_tree, "MAX_LISTED", 3)
    repository.push({f"{'d/' * 6}a.yaml": SPEC})
    assert "more than 3 directories; use fewer" in refusal(repository, "d/d/d/d/d/d")


def test_no_more_symlinks_are_looked_at_in_all_than_that(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_tree, "MAX_LINKS", 3)
    for number in range(2):
        link(repository, f"{number}.yaml", f"way/{number}")
        link(repository, f"way/{number}", "../real")
    repository.push({"real": SPEC})
    assert "more than 3 symlinks; use fewer" in refusal(repository)


def test_a_submodule_and_a_pointer_are_named(repository: Repository) -> None:
    revision = repository.push({"lfs/a.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"})
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{revision},relays")
    repository.git("commit", "--quiet", "--message", "a submodule")
    repository.git("push", "--quiet", "origin", "HEAD:main")
    assert "lfs/a.yaml:1:1: this is a pointer of Git LFS" in refusal(repository, "lfs")
    for path in "relays", "relays/r.yaml":
        assert "relays:1:1: this is a submodule, which is not fetched; name its repository" in refusal(repository, path)


def test_both_endings_are_read_and_not_both_of_one_name(repository: Repository) -> None:
    repository.push({"two words/a.yaml": SPEC, "two words/b.yml": ROLE})
    assert list(read(repository, "two words")) == ["two words/a.yaml", "two words/b.yml"]
    repository.push({"two words/b.yaml": SPEC})
    assert "two words:1:1: b.yaml and b.yml are both there; keep one of them" in refusal(repository, "two words")
    repository.push({"x/hosts/node1.yml": SPEC, "x/hosts/node1.yaml": SPEC})
    assert "hosts/node1.yaml and hosts/node1.yml are both there" in refusal(repository, "x")


def test_the_full_name_of_a_host_comes_before_the_short_one(repository: Repository) -> None:
    repository.push({"hosts/node1.yaml": SPEC})
    assert list(read(repository)) == ["hosts/node1.yaml"]
    repository.push({"hosts/node1.example.com.yaml": ROLE})
    assert list(read(repository)) == ["hosts/node1.example.com.yaml"]


def test_names_that_are_no_text_do_no_harm(repository: Repository) -> None:
    """Neither to the reading, nor to a terminal that shows them."""
    for name in b"\xff\x1b[31m.yaml", b"a\nb.yaml", b"\xff.txt", b"\xe2\x80\xae.yaml":
        with open(os.path.join(os.fsencode(repository.copy), name), "w") as file:
            file.write("relays: 1\n")
    repository.push({"A.yaml": SPEC, "a.yaml": SPEC})
    names = list(read(repository))
    assert names == ["A.yaml", "a\\x0ab.yaml", "a.yaml", "\\u202e.yaml", "\\xff\\x1b[31m.yaml"]


def test_refs_and_people_that_are_no_text_do_no_harm(repository: Repository) -> None:
    """A pusher may name a branch so that it ends with the name of the one that is read."""
    repository.push({"a.yaml": SPEC})
    reader = source(repository)
    reader.read("")
    line = [b"git", b"-C", os.fsencode(repository.copy), b"-c", b"user.name=\xff\x1b[31m", b"commit", b"-qm", b"\xfe"]
    subprocess.run([*line, b"--allow-empty"], env={**os.environ, **ALONE}, check=True)
    for branch in b"\xff/refs/heads/main", b"x/refs/heads/main", b"main\xff":
        push = [b"git", b"-C", os.fsencode(repository.copy), b"push", b"-q", b"origin", b"main:refs/heads/" + branch]
        subprocess.run(push, env={**os.environ, **ALONE}, check=True)
    repository.git("tag", "main", "HEAD~1")
    repository.git("push", "--quiet", "origin", "refs/tags/main", "refs/heads/main")
    assert reader.read("").revision == repository.git("rev-parse", "refs/heads/main")


def test_a_hundred_thousand_branches_cost_nothing(repository: Repository) -> None:
    revision = repository.push({"a.yaml": SPEC})
    refs = sorted(f"refs/heads/{number:06}/refs/heads/main" for number in range(100_000))
    packed = "".join(f"{revision} {ref}\n" for ref in refs)
    (repository.url / "packed-refs").write_text(f"# pack-refs with: peeled fully-peeled sorted \n{packed}")
    assert source(repository).read("").revision == revision


def test_too_many_files_and_too_much_of_them_are_refused(repository: Repository) -> None:
    repository.push({f"many/{number}.yaml": SPEC for number in range(257)})
    assert "there are 257 files here, and up to 256 are read" in refusal(repository, "many")
    repository.push({f"large/{number}.yaml": "#" * 400_000 for number in range(3)})
    assert "the 3 files here are larger than 1,048,576 bytes together" in refusal(repository, "large")


def test_what_is_no_commit_is_no_branch(repository: Repository) -> None:
    repository.push({"a.yaml": SPEC})
    repository.git("tag", "tree", "HEAD^{tree}")
    repository.git("push", "--quiet", "origin", "refs/tags/tree")
    with pytest.raises(SourceError, match="can't be read"):
        source(repository, ref="tree").read("")
