"""Every way in which people and programs save a file, many times over, while frames pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kit.runner.repetitions import times
from tests.kit.system.terminal import Terminal
from tests.kit.topology import CPUS, MAIN_CPU, WORKER_CPU, Topology, descriptors, topology, wait_frames
from tests.kit.waiting import wait_for

SAVES = times(10, 50)
Save = Callable[[Path, int], None]

pytestmark = [
    pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs"),
    pytest.mark.needs("vim", "nano", "rsync", "git"),
]


def with_cpu(text: str, cpu: int) -> str:
    """The spec with relay 1 on another CPU."""
    head, _, tail = text.partition('"cpus": [')
    return f'{head}"cpus": [{cpu}{tail[tail.index("]") :]}'


def sed(file: Path, cpu: int) -> None:
    subprocess.run(["sed", "-i", f's/"cpus": \\[[0-9]*/"cpus": [{cpu}/', file], check=True)


def vim(file: Path, cpu: int) -> None:
    line = ["vim", "-es", "-u", "NONE", "-c", f'%s/"cpus": \\[\\d*/"cpus": [{cpu}/', "-c", "w", "-c", "q", str(file)]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)


def mv(file: Path, cpu: int) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(with_cpu(file.read_text(), cpu))
    subprocess.run(["mv", beside, file], check=True)


def cp(file: Path, cpu: int) -> None:
    beside = file.with_suffix(".copy")
    beside.write_text(with_cpu(file.read_text(), cpu))
    subprocess.run(["cp", beside, file], check=True)
    beside.unlink()


def remove_and_write(file: Path, cpu: int) -> None:
    text = with_cpu(file.read_text(), cpu)
    file.unlink()
    file.write_text(text)


def nano(file: Path, cpu: int) -> None:
    """Replaced, saved and left by the keys that a person presses."""
    old = file.read_text().partition('"cpus": [')[2][0]
    editor = Terminal(["nano", "--ignorercfiles", str(file)], {**os.environ, "TERM": "xterm"}, file.parent)
    try:
        editor.expect("apiVersion")
        for typed, answer in (
            ("\x1c", "to replace"),
            (f'"cpus": [{old}\r', "Replace with"),
            (f'"cpus": [{cpu}\r', "this instance"),
            ("a", "occurrence"),
            ("\x13", "Wrote"),
        ):
            editor.expect(answer, editor.press(typed))
        editor.press("\x18")
        assert editor.process.wait(20.0) == 0
    finally:
        editor.end()


def rsync(file: Path, cpu: int) -> None:
    """Beside the file and renamed over it, as rsync does without --inplace."""
    with tempfile.TemporaryDirectory() as directory:
        beside = Path(directory) / file.name
        beside.write_text(with_cpu(file.read_text(), cpu))
        subprocess.run(["rsync", "--ignore-times", beside, file], check=True)


def rsync_inplace(file: Path, cpu: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        beside = Path(directory) / file.name
        beside.write_text(with_cpu(file.read_text(), cpu))
        subprocess.run(["rsync", "--ignore-times", "--inplace", beside, file], check=True)


def git_checkout(file: Path, cpu: int) -> None:
    """From one commit of a working copy to another."""
    git = ["git", "-C", str(file.parent), "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
    if not (file.parent / ".git").exists():
        subprocess.run([*git, "init", "--quiet"], check=True)
    before = file.read_text()
    for text in (with_cpu(before, cpu), before):
        blob = subprocess.run(
            [*git, "hash-object", "-w", "--stdin"], input=text.encode(), capture_output=True, check=True
        )
        entry = f"100644,{blob.stdout.decode().strip()},{file.name}"
        subprocess.run([*git, "update-index", "--add", "--cacheinfo", entry], check=True)
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", f"cpu {cpu}"], check=True)
    subprocess.run([*git, "checkout", "--quiet", "HEAD~1"], check=True)


def truncate_then_write(file: Path, cpu: int) -> None:
    """Emptied, then written in two halves, with time to be read in between: each is a file that is no spec, or one
    with fewer relays."""
    text = with_cpu(file.read_text(), cpu)
    half = text.index("relays:") + len("relays:")
    with file.open("w") as opened:
        for part in ("", text[:half], text[half:]):
            opened.write(part)
            opened.flush()
            time.sleep(0.1)


_volumes = count()


def config_map(file: Path, cpu: int) -> None:
    """As Kubernetes publishes a ConfigMap: FILE -> ..data/FILE, ..data -> a directory that is swapped for another."""
    text, old = with_cpu(file.read_text(), cpu), (file.parent / "..data").resolve()
    new = file.parent / f"..volume{next(_volumes)}"
    new.mkdir()
    (new / file.name).write_text(text)
    _link(file.parent / "..data", new.name)
    if not file.is_symlink():
        _link(file, f"..data/{file.name}")
    if old.name.startswith("..volume"):
        shutil.rmtree(old)


def _link(path: Path, target: str) -> None:
    """A symlink in place of whatever is there, at once."""
    beside = path.with_name(f"{path.name}.tmp")
    beside.symlink_to(target)
    os.replace(beside, path)


SAVED_BY: tuple[Save, ...] = (
    sed,
    vim,
    nano,
    mv,
    cp,
    rsync,
    rsync_inplace,
    git_checkout,
    remove_and_write,
    truncate_then_write,
    config_map,
)


@pytest.fixture(scope="module")
def relayed() -> Iterator[Topology]:
    with topology(worker_cpus=[MAIN_CPU, WORKER_CPU]) as made:
        made.boot(1, "io")
        yield made


def watch_descriptors(made: Topology) -> list[str]:
    """What the watch holds open, without the numbers of sockets and pipes."""
    return sorted(name.partition("[")[0] for name in descriptors(made.instance.status()["watch"]["pid"]))


@pytest.mark.parametrize("save", SAVED_BY, ids=lambda each: each.__name__)
def test_a_storm_of_saves_ends_in_the_last_content(relayed: Topology, save: Save) -> None:
    """Each save moves relay 1 to its other CPU; whichever of them are applied, nothing else may be done."""
    instance = relayed.instance
    done, session, held = relayed.changes(), relayed.session(1), watch_descriptors(relayed)
    last = WORKER_CPU if relayed.instance.client.observe().state.pins[1].vf_to_vm == MAIN_CPU else MAIN_CPU
    with relayed.flow(1) as flow:
        wait_frames(flow)
        for number in reversed(range(SAVES)):
            save(instance.file, last if number % 2 == 0 else MAIN_CPU + WORKER_CPU - last)
            wait_frames(flow, number % 4 * 80)  # some saves have time to be applied, others come on top of each other
        instance.wait_state("the last content", lambda state: state.pins[1].vf_to_vm == last)
        wait_frames(flow)
        report = flow.finish()
    assert report.clean, report
    instance.wait_applied()
    in_force = instance.status()["watch"]["in_force"]["relays"]
    assert list(in_force) == ["1"]
    wait_for("the history", lambda: len(relayed.changes()) > len(done))
    assert set(relayed.changes()[len(done) :]) == {"migrate pin:1"}
    assert relayed.session(1) == session
    wait_for("the watch to hold as much as before", lambda: watch_descriptors(relayed) == held)
