"""What hangs is not waited for: neither the file, nor the way to it, nor a limit of inotify."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from reconciler.sources.file_watch import FileWatch
from reconciler.watch.schedule import Timing
from schema.system.threads import Bounded, Unanswered
from tests.kit.cleanup import short_directory
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.fakes.watch_harness import WatchHarness, document
from tests.kit.paths import ROOT
from tests.kit.system.hung_disk import hung


def test_an_answer_is_given_and_an_error_raised() -> None:
    asked = Bounded("it")
    assert asked.do(lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        asked.do(lambda: 1 // 0)
    assert asked.do(lambda: 2) == 2
    asked.close()


def test_who_does_not_answer_is_not_asked_twice_and_heard_late() -> None:
    asked, answer, late = [], threading.Event(), threading.Event()
    bounded = Bounded("it", late.set, wait_s=0.01)

    def work() -> str:
        asked.append(1)
        answer.wait()
        return "late"

    for _ in range(3):
        with pytest.raises(Unanswered, match="it has not answered since"):
            bounded.do(work)
    assert len(asked) == 1
    answer.set()
    assert late.wait(10)
    assert bounded.do(lambda: "another") == "late"
    assert bounded.do(lambda: "another") == "another"
    bounded.close()


@pytest.mark.needs("root")
def test_a_way_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    fast, slow = tmp_path / "fast" / "a.yaml", tmp_path / "slow" / "b.yaml"
    for file in (fast, slow):
        file.parent.mkdir()
    news = threading.Event()
    watch = FileWatch(news.set)
    watch.arm(slow, fast)
    assert watch.faults == ()
    with hung(slow.parent):
        watch.arm(slow, fast)
        assert "slow/b.yaml has not answered since" in " ".join(watch.faults)
        fast.touch()
        assert watch.touched() is not None
    assert news.wait(10)
    watch.arm(slow, fast)
    watch.arm(slow, fast)
    assert watch.faults == ()
    watch.touched()
    slow.touch()
    assert watch.touched() is not None
    watch.close()


RATIONED = """
import sys
from pathlib import Path
from reconciler.sources.file_watch import FileWatch
limit = Path("/proc/sys/user", sys.argv[1])
limit.write_text("0")
file = Path(sys.argv[2])
watch = FileWatch()
watch.arm(file)
file.write_text("1")
print(watch.faults, watch.touched())
limit.write_text("100")
watch.arm(file)
file.write_text("2")
print(watch.faults, watch.touched() is not None)
"""


@pytest.mark.parametrize("what", ["instances", "watches"])
def test_without_inotify_the_limit_is_named_and_it_heals(what: str, tmp_path: Path) -> None:
    line = ["unshare", "-Ur", sys.executable, "-c", RATIONED, f"max_inotify_{what}", str(tmp_path / "a.yaml")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr:
        pytest.skip("user namespaces are missing")
    assert done.returncode == 0, done
    first, second = done.stdout.splitlines()
    assert f"fs.inotify.max_user_{what}" in first
    assert first.endswith("None")
    assert second == "() True"


@pytest.mark.needs("root")
def test_while_the_file_hangs_an_engine_that_died_is_rebuilt_from_what_was_in_force(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "vio4wd.yaml"
    file.parent.mkdir()
    file.write_text(document(1))
    made = WatchHarness(short_directory(), file)
    first, second = made.engine, FakeEngine()
    try:
        with Served(first, made.run_dir):
            made.start(Timing(poll_s=0.2, look_s=0.1))
            made.until_relays(1)
        with hung(file.parent):
            made.until("a word on it", lambda: f"{file} has not answered" in " ".join(made.report["faults"]))
            made.engine = second
            with Served(second, made.run_dir):
                made.until_relays(1)
        with Served(second, made.run_dir):
            file.write_text(document(1, 2))
            made.until_relays(1, 2)
            made.until("all well", lambda: not made.report["faults"])
    finally:
        made.stop()
        shutil.rmtree(made.directory)
