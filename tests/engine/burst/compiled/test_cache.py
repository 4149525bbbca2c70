"""Machine code on disk: never stale, found by the next process, and complete before an engine is ready."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from engine.burst.compiled import burst_size, cache
from tests.engine.burst.compiled.conftest import Compiled, compile_with
from tests.kit.guests.guest import TestpmdGuest
from tests.kit.guests.testpmd import Cpus
from tests.kit.instance import Instance
from tests.kit.paths import ROOT
from tests.kit.spec_file import RelayLine
from tests.kit.waiting import wait_for

ENGINE = ROOT / "engine"
NOT_IN_THE_CODE = {"engine.dpdk.library"}
"""Imported by the burst sources, but nothing in it becomes machine code: it finds libraries."""
COMPILERS = {"njit", "jit", "cfunc", "vectorize", "intrinsic", "overload", "inlined", "called", "dividing"}
"""Decorators whose functions become machine code: Numba's, and those of compiling.py."""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The engine's sources, to be changed."""
    path = tmp_path / "engine"
    shutil.copytree(ENGINE, path, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "_ENGINE", path)
    return path


@pytest.mark.parametrize("source", [str(path.relative_to(ENGINE)) for path in cache.sources()])
def test_a_changed_source_makes_another_fingerprint(source: str, copy: Path) -> None:
    before = cache.fingerprint("22.11.11")
    with (copy / source).open("a") as file:
        file.write("#")
    assert cache.fingerprint("22.11.11") != before


@pytest.mark.parametrize("folder", ["burst", "burst/compiled", "burst/vhost/below"])
def test_a_new_source_makes_another_fingerprint(copy: Path, folder: str) -> None:
    before = cache.fingerprint("22.11.11")
    (copy / folder).mkdir(exist_ok=True)
    (copy / folder / "more.py").touch()
    assert cache.fingerprint("22.11.11") != before


def test_lines_moved_from_one_source_to_the_next_make_another_fingerprint(copy: Path) -> None:
    before = cache.fingerprint("22.11.11")
    first, second = (copy / "burst/vhost" / name for name in ("callbacks.py", "callback_block.py"))
    text = first.read_bytes()
    first.write_bytes(text[:-1])
    second.write_bytes(text[-1:] + second.read_bytes())
    assert cache.fingerprint("22.11.11") != before


def test_another_dpdk_makes_another_fingerprint() -> None:
    assert cache.fingerprint("22.11.11") != cache.fingerprint("22.11.12")


def test_another_burst_makes_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.fingerprint("22.11.11")
    monkeypatch.setattr(burst_size, "burst", 64)
    assert cache.fingerprint("22.11.11") != before


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_another_compiler_makes_another_fingerprint(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.fingerprint("22.11.11")
    monkeypatch.setattr(cache, "version", lambda name: "0.0.0" if name == package else version(name))
    assert cache.fingerprint("22.11.11") != before


def test_what_is_no_part_of_the_code_leaves_the_fingerprint_alone(copy: Path) -> None:
    before = cache.fingerprint("22.11.11")
    (copy / "api/server.py").write_text("")
    assert cache.fingerprint("22.11.11") == before


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("engine"):
            for name in node.names:
                module = f"{node.module}.{name.name}"
                yield module if (ROOT / f"{module.replace('.', '/')}.py").exists() else str(node.module)


def test_all_that_the_code_is_made_from_is_in_the_fingerprint() -> None:
    """Whatever the burst sources import from this project is hashed as well, or is known not to reach the code."""
    hashed = set(cache.sources())
    imported = {module for path in hashed for module in imports(path)}
    paths = {module: ROOT / f"{module.replace('.', '/')}.py" for module in imported - NOT_IN_THE_CODE}
    assert {module for module, path in paths.items() if path not in hashed} == set()
    assert imported & NOT_IN_THE_CODE


def compiled_functions(path: Path) -> list[str]:
    """Functions of a file that become machine code."""
    defined = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return [node.name for node in defined if COMPILERS & {n.id for d in node.decorator_list for n in names(d)}]


def names(decorator: ast.expr) -> Iterator[ast.Name]:
    return (node for node in ast.walk(decorator) if isinstance(node, ast.Name))


def test_every_compiled_source_is_hashed_wherever_it_lies() -> None:
    made = {path: compiled_functions(path) for path in ENGINE.rglob("*.py")}
    assert {str(path): found for path, found in made.items() if found and path not in cache.sources()} == {}
    assert sum(len(found) for found in made.values()) > 100, "the decorators have other names now"


def test_the_first_process_compiles_and_the_second_finds_it_all(compiled: Compiled, tmp_path: Path) -> None:
    before = compiled.files()
    assert set(compiled.hits.values()) == {0}
    second = compile_with(compiled.cache, tmp_path)
    assert set(second.hits.values()) == {1}
    assert second.files() == before
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once_compile_once(tmp_path: Path) -> None:
    """`run` may start an engine while another starts: the second waits for the lock and then finds the code."""
    line = [sys.executable, "-c", WAITS_FOR_THE_LOCK, str(tmp_path)]
    with cache.numba_cache(tmp_path, "0") as directory:
        second = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert second.stdout is not None
            assert second.stdout.readline() == "begin\n"
            time.sleep(0.2)
            (directory / "compiled").touch()
        except BaseException:
            second.kill()
            raise
    assert second.communicate()[0] == "True\n"


WAITS_FOR_THE_LOCK = """
import sys
from pathlib import Path
from engine.burst.compiled.cache import numba_cache
print("begin", flush=True)
with numba_cache(Path(sys.argv[1]), "0") as directory:
    print((directory / "compiled").exists())
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`numba_cache` sets this for its process."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ.get("NUMBA_CACHE_DIR", ""))


@pytest.mark.needs("dpdk-testpmd")
def test_an_engine_compiles_nothing_once_it_is_ready(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba says each time that it looks into its cache: while the engine starts, never later, never to save."""
    monkeypatch.setenv("NUMBA_DEBUG_CACHE", "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    before = compiled.files()
    cpus = sorted(os.sched_getaffinity(0))
    main, cpu = cpus[0], cpus[-1]
    before_move, after_move = [relays_on(cpu, 1), relays_on(main, 1, 2)]
    keys = {"main_cpu": main, "worker_cpus": sorted({main, cpu})}
    with Instance.relaying(before_move, cache=compiled.cache, **keys) as instance:
        instance.run()
        start, ready, _ = instance.log.partition("ready: DPDK")
        assert ready
        assert "[cache] index loaded" in start
        with TestpmdGuest([instance.socket(1)], "io", Cpus(main, (main,))) as guest:
            guest.start()
            wait_for("packets both ways", lambda: flows(instance))
            instance.relay(after_move, **keys)
            instance.wait_applied()
        instance.relay([], **keys)
        instance.wait_applied()
        said = instance.log
    assert "[cache] data saved" not in said
    assert "[cache]" not in said.partition("ready: DPDK")[2]
    assert compiled.files() == before


def relays_on(cpu: int, *ids: int) -> list[RelayLine]:
    return [RelayLine(id=each, vf=f"net_null{each}", cpus=(cpu, cpu)) for each in ids]


def flows(instance: Instance) -> bool:
    directions = instance.client.counters()["relays"]["1"]
    return all(directions[name]["tx_packets"] > 0 for name in ("vf_to_vm", "vm_to_vf"))
