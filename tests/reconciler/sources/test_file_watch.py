"""A real directory, real inotify, real editors, and a watch that steers a fake engine on the real wire: however the
file is saved, it ends in its last content, and nothing is removed on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from reconciler.sources.file_watch import FileWatch, watched_names
from reconciler.watch.schedule import Timing
from schema.model import Verb
from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.system.small_disk import small_disk


def test_written_in_place(harness: WatchHarness) -> None:
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    assert harness.removed == []


def test_sed(harness: WatchHarness) -> None:
    for id_ in range(2, 6):
        line = f'  - {{id: {id_}, vf: "net_null{id_}", cpus: [2]}}'
        subprocess.run(["sed", "-i", f"$a\\{line}", str(harness.file)], check=True)
    harness.until_relays(1, 2, 3, 4, 5)
    assert harness.removed == []


def test_vim(harness: WatchHarness) -> None:
    vim = shutil.which("vim") or shutil.which("vi")
    if vim is None:
        pytest.skip("vim is missing")
    commands = "$put ='  - {id: 2, vf: net_null2}'\nw\nq\n"
    subprocess.run([vim, "-u", "NONE", "-N", "-es", str(harness.file)], input=commands, text=True, timeout=30)
    assert "net_null2" in harness.file.read_text()
    harness.until_relays(1, 2)
    assert harness.removed == []


def test_moved_over(harness: WatchHarness) -> None:
    other = harness.directory / "new.yaml"
    other.write_text(document(1, 3))
    other.rename(harness.file)
    harness.until_relays(1, 3)
    assert harness.removed == []


def test_copied_over(harness: WatchHarness) -> None:
    other = harness.directory / "new.yaml"
    other.write_text(document(1, 4))
    subprocess.run(["cp", str(other), str(harness.file)], check=True)
    harness.until_relays(1, 4)
    assert harness.removed == []


def test_truncated_and_written_slowly(harness: WatchHarness) -> None:
    """Half of it is a valid file with fewer relays: what is still open for writing must not be believed."""
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    text = document(1, 2, 3)
    half = text.index("  - {id: 2")
    with harness.file.open("w") as file:
        file.write(text[:half])
        file.flush()
        time.sleep(0.3)
        file.write(text[half:])
    harness.until_relays(1, 2, 3)
    assert harness.removed == []


@pytest.mark.parametrize(
    "content",
    ["", "\n", "# nothing\n", document(1)[:-12], "relays: [", "apiVersion: vio4wd/v1\nrelays:\n  - {id: 1", "\x00\xff"],
)
def test_what_is_no_spec_changes_nothing(harness: WatchHarness, content: str) -> None:
    harness.file.write_text(content)
    assert str(harness.file) in harness.until_refused()
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    harness.until("the refusal is over", lambda: not harness.report["refused"])
    assert harness.removed == []


def test_a_way_to_the_file_that_can_not_be_looked_at_changes_nothing(harness: WatchHarness) -> None:
    """Here by a link to a name that is too long; a server or a daemon behind a mount that has gone is as bad."""
    harness.until_relays(1)
    harness.file.unlink()
    harness.file.symlink_to("x" * 300)
    assert "File name too long" in harness.until_refused()
    harness.file.unlink()
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    assert harness.removed == []


def test_deleted_and_back(harness: WatchHarness) -> None:
    harness.file.unlink()
    assert "does not exist" in harness.until_refused()
    harness.file.write_text(document(1, 2))
    harness.until_relays(1, 2)
    assert harness.removed == []


def test_an_empty_list_is_no_accident(harness: WatchHarness) -> None:
    harness.file.write_text(document())
    harness.until_relays()


def test_restarted_with_an_empty_file_the_last_good_spec_stays(harness: WatchHarness) -> None:
    harness.stop()
    harness.file.write_text("")
    harness.engine.restart()
    harness.start()
    harness.until_relays(1)
    assert harness.report["in_force"]["origin"] == "last-good"
    assert harness.until_refused()


def test_a_restarted_engine_is_rebuilt(harness: WatchHarness) -> None:
    assert harness.watch is not None
    harness.engine.restart()
    harness.file.touch()
    harness.stop()
    harness.start(Timing(look_s=0.05))
    harness.until_relays(1)
    harness.engine.restart()
    harness.until_relays(1)


def test_a_save_storm_ends_in_the_last_content(harness: WatchHarness) -> None:
    for round_ in range(60):
        other = harness.directory / f"new-{round_}.yaml"
        other.write_text(document(1, 2 + round_ % 5))
        other.rename(harness.file)
    harness.file.write_text(document(1, 9))
    harness.until_relays(1, 9)
    assert "relay:1" not in harness.removed


def test_what_fails_is_retried_until_it_works(harness: WatchHarness) -> None:
    harness.engine.broken[Verb.ADD, "port:net_null2"] = "no-device"
    harness.file.write_text(document(1, 2, 3))
    harness.until_relays(1, 3)
    harness.until("a retry", lambda: bool(harness.report.get("next_retry")))
    harness.engine.broken.clear()
    harness.until_relays(1, 2, 3)
    assert harness.removed == []


def swap(mount: Path, name: str, text: str) -> None:
    """As the kubelet does: a new directory, then one rename of the link to it."""
    directory = mount / name
    directory.mkdir()
    (directory / "vio4wd.yaml").write_text(text)
    link = mount / "..data_tmp"
    link.symlink_to(name)
    link.rename(mount / "..data")


def test_configmap() -> None:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        mount = Path(name) / "mount"
        mount.mkdir()
        swap(mount, "..2024_01", document(1))
        (mount / "vio4wd.yaml").symlink_to("..data/vio4wd.yaml")
        made = WatchHarness(Path(name), mount / "vio4wd.yaml")
        with Served(made.engine, made.run_dir):
            made.start()
            try:
                made.until_relays(1)
                for number in range(2, 6):
                    swap(mount, f"..2024_0{number}", document(1, number))
                    shutil.rmtree(mount / f"..2024_0{number - 1}")
                    made.until_relays(1, number)
                assert not {"relay:1", "port:net_null1"} & set(made.removed)
            finally:
                made.stop()


def test_every_directory_of_a_symlink_chain_is_watched(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "c" / "real.yaml").write_text("")
    (tmp_path / "b" / "there.yaml").symlink_to("../c/real.yaml")
    (tmp_path / "a" / "here.yaml").symlink_to(tmp_path / "b" / "there.yaml")
    (tmp_path / "way").symlink_to("a")
    names = watched_names(tmp_path / "way" / "here.yaml")
    real = Path(os.path.realpath(tmp_path))
    assert names[real] == {"way"}
    assert (names[real / "a"], names[real / "b"], names[real / "c"]) == ({"here.yaml"}, {"there.yaml"}, {"real.yaml"})


def test_a_directory_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "later" / "vio4wd.yaml"
    watch = FileWatch()
    watch.arm(file)
    assert watch.touched() is None
    file.parent.mkdir()
    assert watch.touched() is not None
    watch.arm(file)
    file.write_text("x")
    touch = watch.touched()
    assert touch is not None
    assert not touch.writing
    watch.close()


def test_a_symlink_to_itself_is_no_endless_way(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert watched_names(tmp_path / "loop")


def test_a_link_that_goes_while_its_way_is_followed_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.yaml").symlink_to("there.yaml")

    def gone(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", gone)
    assert watched_names(tmp_path / "here.yaml")[tmp_path] == {"here.yaml"}


def test_hosts_that_lead_nowhere_are_no_end_of_watching(tmp_path: Path) -> None:
    (tmp_path / "hosts").symlink_to("hosts")
    watch = FileWatch()
    watch.arm(tmp_path)
    (tmp_path / "a.yaml").touch()
    assert watch.touched() is not None
    watch.close()


@pytest.mark.needs("root")
def test_a_status_that_could_not_be_written_is_written_once_there_is_room(tmp_path: Path) -> None:
    file = tmp_path / "vio4wd.yaml"
    file.write_text(document(1))
    with tempfile.TemporaryDirectory(prefix="v4-") as name, small_disk(Path(name) / "run") as disk:
        made = WatchHarness(Path(name), file)
        with Served(made.engine, made.run_dir):
            made.start(Timing(look_s=0.05))
            try:
                made.until_relays(1)
                made.until("a status", lambda: "in_force" in made.report)
                disk.fill()
                file.write_text("nothing")
                made.until("a look at it", lambda: made.watch is not None and made.watch._file.refused is not None)
                time.sleep(0.3)
                assert not made.report["refused"], "there was no room for it"
                disk.empty()
                assert made.until_refused()
            finally:
                made.stop()


def held_back(harness: WatchHarness) -> list[str]:
    return [each["resource"] for each in harness.report.get("held") or ()]


def test_a_save_does_not_take_a_connected_guest_its_relay_until_it_is_allowed_by_name(harness: WatchHarness) -> None:
    harness.engine.guests.add("/tmp/virtio-forwarder1.sock")
    harness.file.write_text(document(2))
    harness.until_relays(1, 2)
    harness.until("what is held back", lambda: held_back(harness) == ["relay:1"])
    assert harness.removed == []
    harness.file.write_text(document(2, more="allow_destroy: [relay:1]\n"))
    harness.until_relays(2)
    harness.until("nothing held back", lambda: held_back(harness) == [])


def test_an_emptied_list_does_not_take_down_most_of_what_runs(harness: WatchHarness) -> None:
    harness.file.write_text(document(1, 2, 3))
    harness.until_relays(1, 2, 3)
    harness.file.write_text(document())
    harness.until("what is held back", lambda: held_back(harness) == ["relay:1", "relay:2", "relay:3"])
    assert harness.removed == []
    harness.file.write_text(document(1, 2, 3))
    harness.until("nothing held back", lambda: held_back(harness) == [])
