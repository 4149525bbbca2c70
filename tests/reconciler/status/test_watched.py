"""Another file beside a watch: refused, tried for a moment, or confirmed and then what the watched file says."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from state.applied import Phase
from tests.kit.command_line import ONE, TWO, Shell, document, looked, relays, watching
from tests.kit.report import report_json
from tests.kit.waiting import wait_for

THREE = document("id: 1, vf: net_null1", "id: 3, vf: net_null3")


def other(shell: Shell, text: str = TWO) -> Path:
    path = shell.directory / "other.yaml"
    path.write_text(text)
    return path


def waiting(shell: Shell, *arguments: str | Path) -> subprocess.Popen[str]:
    """An apply that waits to be confirmed."""
    process = shell.popen("apply", "--confirm", "120s", *arguments)
    wait_for("an apply that waits", lambda: (left := looked(shell)[0]) and left.phase is Phase.WAITING, 30.0)
    return process


def settled(shell: Shell, *ids: int) -> None:
    """These relays are live, and the watch wants it so."""
    wait_for(f"relays {ids}", lambda: relays(shell) == set(ids), 30.0)
    report = report_json(shell.run_dir)
    assert (set(report["in_force"]["relays"]), report["instead"]) == ({str(id_) for id_ in ids}, "")


def test_another_file_is_refused_and_says_what_to_do(watched: Shell) -> None:
    done = watched("apply", other(watched))
    assert done.returncode == 1
    for word in (f"keeps {watched.file}", "nothing was done", "vio4wd edit", "--confirm", "--force"):
        assert word in done.stderr
    kept = watched.directory / "kept.plan"
    assert watched("plan", "-o", kept, other(watched)).returncode == 0
    assert f"keeps {watched.file}" in watched("apply", kept).stderr
    line = f"{' '.join(watched.command('apply', '-'))} < {other(watched)}"
    done = subprocess.run(["bash", "-c", line], env=watched.environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "would undo what <stdin> wants" in done.stderr) == (1, True)
    assert relays(watched) == {1}


def test_the_watched_file_and_a_plan_of_it_are_applied_however_they_are_named(watched: Shell) -> None:
    link = watched.directory / "link.yaml"
    link.symlink_to(watched.file)
    for name in (watched.file, Path("vio4wd.yaml"), link):
        assert watched("apply", name).returncode == 0
    assert watched("pause", "a while").returncode == 0
    watched.write(TWO)
    kept = watched.directory / "kept.plan"
    assert watched("plan", "-o", kept, "vio4wd.yaml").returncode == 0
    assert watched("apply", kept).returncode == 0
    assert relays(watched) == {1, 2}


def test_a_moment_s_trial_is_said_and_taken_back(watched: Shell) -> None:
    done = watched("apply", "--force", other(watched))
    assert done.returncode == 0
    assert "A moment's trial" in done.stderr
    assert "takes it back" in done.stderr
    settled(watched, 1)
    watched("pause")
    assert "when it is resumed" in watched("apply", "--force", other(watched)).stderr
    watched("resume")
    settled(watched, 1)


def test_confirmed_it_is_what_the_watched_file_says(watched: Shell) -> None:
    os.chmod(watched.file, 0o640)
    process = waiting(watched, other(watched))
    assert watched.file.read_text() == ONE
    done = watched("confirm")
    assert (done.returncode, f"is what {watched.file} says now" in done.stdout) == (0, True), done
    assert process.wait(30) == 0
    assert (watched.file.read_text(), stat.S_IMODE(watched.file.stat().st_mode)) == (TWO, 0o640)
    settled(watched, 1, 2)
    removed = [action.resource for action in watched.engine.executed if action.after is None]
    assert removed == []


def test_a_plan_of_another_file_is_confirmed_too(watched: Shell) -> None:
    kept = watched.directory / "kept.plan"
    watched("plan", "-o", kept, other(watched))
    process = waiting(watched, kept)
    assert watched("confirm").returncode == 0
    process.communicate(timeout=30)
    assert watched.file.read_text() == TWO
    settled(watched, 1, 2)
    watched("plan", "-o", kept, other(watched, THREE))
    other(watched, TWO)
    done = watched("apply", "--confirm", "60s", kept)
    assert (done.returncode, "says something else by now" in done.stderr) == (1, True)


def test_whoever_waited_was_killed_and_it_is_confirmed_all_the_same(watched: Shell) -> None:
    process = waiting(watched, other(watched))
    process.kill()
    process.communicate()
    assert watched("confirm").returncode == 0
    settled(watched, 1, 2)
    assert [action.resource for action in watched.engine.executed if action.after is None] == []


def test_what_somebody_saved_meanwhile_is_not_overwritten(watched: Shell) -> None:
    process = waiting(watched, other(watched))
    watched.write(THREE)
    done = watched("confirm")
    assert (done.returncode, "was changed since" in done.stderr) == (1, True)
    assert watched.file.read_text() == THREE
    process.kill()
    process.communicate()


def test_a_part_of_it_can_not_be_confirmed(watched: Shell) -> None:
    done = watched("apply", "--confirm", "1s", "--target", "relay:2", other(watched))
    assert (done.returncode, "--target applies a part of it" in done.stderr, relays(watched)) == (1, True, {1}), done


def test_not_confirmed_the_file_is_as_it_was(watched: Shell) -> None:
    assert watched("apply", "--confirm", "0.5s", other(watched)).returncode == 1
    assert watched.file.read_text() == ONE
    settled(watched, 1)


def test_what_can_not_be_confirmed_is_refused_beforehand(shell: Shell) -> None:
    target, link = shell.directory / "target.yaml", shell.directory / "link.yaml"
    target.write_text(ONE)
    link.symlink_to(target)
    tree = shell.directory / "tree"
    tree.mkdir()
    (tree / "a.yaml").write_text(ONE)
    more = shell.directory / "more.yaml"
    more.write_text(document() + f"sources: [{{directory: {{path: {tree}}}}}]\n")
    for place, words in ((link, "a link to"), (tree, "is a directory"), (more, "has sources beside it (")):
        process = watching(shell, place)
        try:
            done = shell("apply", "--confirm", "60s", other(shell))
            assert (done.returncode, words in done.stderr) == (1, True), (words, done.stderr)
            assert looked(shell)[0] is None
        finally:
            process.terminate()
            process.wait(30)


def test_confirmed_beside_a_watch_that_came_later_it_is_said_that_it_takes_it_back(shell: Shell) -> None:
    assert shell("apply", shell.write(ONE)).returncode == 0
    process = waiting(shell, other(shell))
    watch = watching(shell, shell.file)
    try:
        wait_for("a spec in force", lambda: report_json(shell.run_dir).get("in_force"), 30.0)
        done = shell("confirm")
        assert (done.returncode, "save this spec there" in done.stderr) == (0, True)
        process.communicate(timeout=30)
        settled(shell, 1)
    finally:
        watch.terminate()
        watch.wait(30)


def test_without_a_watch_another_file_is_applied_as_ever(shell: Shell) -> None:
    assert shell("apply", shell.write(ONE)).returncode == 0
    assert shell("apply", other(shell)).returncode == 0
    process = waiting(shell, other(shell, THREE), "--allow-destroy", "relay:2")
    assert shell("confirm").returncode == 0
    process.communicate(timeout=30)
    assert (relays(shell), shell.file.read_text()) == ({1, 3}, ONE)
