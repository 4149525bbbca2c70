"""What the compiler made of the loops: the loads that must stay in the loop, and that nothing calls into Python.

LLVM moves a plain load out of a loop, and a worker would then never see that it is told to stop.
"""

from __future__ import annotations

import re

import pytest

from engine.burst.compiled import layout as at
from tests.engine.burst.compiled.conftest import Compiled
from tests.engine.burst.compiled.llvm_ir import Access, Module, Origin, Walk

POINTERS = {
    ("worker", at.WORKER_TABLE): "table",
    ("worker", at.WORKER_FP_OPS): "fp_ops",
    ("table", None): "entry",
    ("entry", at.ENTRY_PORT): "port",
    ("entry", at.ENTRY_GUEST): "guest",
    ("entry", at.ENTRY_NEXT): "entry",
}
WORDS = {
    "stop flag": Origin("worker", at.WORKER_STOP),
    "table": Origin("worker", at.WORKER_TABLE),
    "longest sleep": Origin("worker", at.WORKER_SLEEP_US),
    "spin bound": Origin("worker", at.WORKER_SPIN_CYCLES),
    "guest": Origin("guest", at.GUEST_VID),
    "features": Origin("guest", at.GUEST_FEATURES),
    "port": Origin("port", at.PORT_ID),
    "capture": Origin("entry", at.ENTRY_CAPTURE),
}
"""Words that others write while a worker runs."""
CALLBACKS = ("new_device", "destroy_device", "vring_state_changed", "features_changed", "destroy_connection")
FUNCTIONS = ("work", "drop_waiting", "read_tsc", "publish_table", "publish_anywhere", *CALLBACKS)
OF_PYTHON = re.compile(r"Py|_Py|NRT_|numba_")
DONE, DONE_WITH_NONE = 0, -2
"""Numba's statuses of a function that has not raised."""
MAY_BE_CALLED = re.compile(r"rte_|usleep$|prctl$|write$|fcntl$|dup$|close$|memcpy$|llvm\.|_ZN6engine5burst")
"""DPDK, seven calls of the C library, LLVM's own, the project's, and calls by address."""


@pytest.fixture(scope="module")
def modules(compiled: Compiled) -> dict[str, Module]:
    return {name: Module((compiled.directory / f"{name}.ll").read_text()) for name in FUNCTIONS}


@pytest.fixture(scope="module")
def accesses(modules: dict[str, Module]) -> list[Access]:
    """What a worker reads and writes in its life; the worker block's address is the function's argument, the third."""
    work = modules["work"]
    return list(Walk(work, POINTERS).accesses(work.body(), {2: Origin("worker")}))


@pytest.mark.parametrize("word", WORDS)
def test_the_word_is_loaded_atomically_in_the_loop(word: str, accesses: list[Access]) -> None:
    loads = [each for each in accesses if each.at == WORDS[word]]
    assert loads, f"work never reads the {word}"
    for each in loads:
        assert re.search(r"\bload atomic i64, ptr .* acquire\b", each.text), f"no acquire load: {each.text}"
    assert any(each.looping for each in loads), "it is only loaded before the loop"


@pytest.mark.parametrize("word", ["stop flag", "table"])
def test_no_pass_goes_by_without_reading_the_word(
    word: str, modules: dict[str, Module], accesses: list[Access]
) -> None:
    """There is no way from one exchange of the sequence to the next around the loads."""
    readers = {each.block for each in accesses if each.at == WORDS[word]}
    (begin,) = [each.block for each in accesses if each.opcode == "atomicrmw"]
    assert modules["work"].body().on_a_cycle(begin)
    assert not modules["work"].body().on_a_cycle(begin, without=readers)


def test_no_load_of_these_blocks_is_at_an_unknown_offset(accesses: list[Access]) -> None:
    """A load that cannot be told apart could be a plain load of a word above."""
    assert not [each for each in accesses if each.at.block in ("worker", "guest", "port") and each.at.offset is None]


def test_the_pass_begins_with_an_exchange_and_ends_with_a_release(
    modules: dict[str, Module], accesses: list[Access]
) -> None:
    sequence = Origin("worker", at.WORKER_SEQUENCE)
    begin = [each for each in accesses if each.at == sequence and each.opcode == "atomicrmw"]
    end = [each for each in accesses if each.at == sequence and each.opcode == "store"]
    assert begin
    assert end
    assert all(re.search(r"atomicrmw xchg ptr .* seq_cst", each.text) and each.looping for each in begin)
    assert all(re.search(r"store atomic i64 .* release", each.text) and each.looping for each in end)
    body, ends = modules["work"].body(), {each.block for each in end}
    assert not any(body.on_a_cycle(each.block, without=ends) for each in begin)


def test_the_exchange_is_one_in_the_machine_code(compiled: Compiled) -> None:
    """On x86-64 `xchg` with memory is locked and a full barrier; it alone keeps later loads behind it."""
    code = (compiled.directory / "work.s").read_text()
    assert re.search(rf"\bxchgq\s+%\w+, {at.WORKER_SEQUENCE}\(%\w+\)", code)


def test_the_table_is_read_after_the_exchange(modules: dict[str, Module]) -> None:
    """In the block of the exchange and behind it: before, it could be the table of the pass that has just ended."""
    blocks = modules["work"].body().blocks.values()
    (block,) = [block for block in blocks if any("atomicrmw xchg" in each.text for each in block)]
    texts = [each.text for each in block]
    exchange = next(index for index, text in enumerate(texts) if "atomicrmw xchg" in text)
    assert any("load atomic" in text for text in texts[exchange:])
    assert not any("load atomic" in text for text in texts[:exchange])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_calls_into_python(function: str, modules: dict[str, Module]) -> None:
    """Numba's entry point, which C calls, ends with a branch that reports an exception and takes the GIL for it. All
    else may not even name Python; that the branch is never taken is the next test."""
    module = modules[function]
    for each in module.functions.values():
        if each is module.entry_point():
            continue
        called = module.called(each)
        assert not [name for name in called if OF_PYTHON.match(name)]
        assert not [name for name in called if not MAY_BE_CALLED.match(name)]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_can_raise(function: str, modules: dict[str, Module]) -> None:
    """An exception starts as a pickled constant; without one there is none, and no status but "done" is returned."""
    module = modules[function]
    raised = [name for name in module.globals if "picklebuf" in name]
    assert raised == [], "a division by a word, an assertion or an index can raise here"
    statuses = {each.name: each.returned_numbers() for each in module.functions.values()}
    for name in statuses.keys() - {module.entry_point().name}:
        assert statuses[name] <= {DONE, DONE_WITH_NONE}


@pytest.mark.parametrize("function", CALLBACKS)
def test_a_callback_reads_the_words_of_others_atomically(function: str, modules: dict[str, Module]) -> None:
    """All that a callback reads of the callback context, through the symbol, is read with acquire."""
    loads = [
        line for line in modules[function].text.splitlines() if f"@{at.CONTEXT_SYMBOL}" in line and " load " in line
    ]
    assert loads
    assert not [line for line in loads if "acquire" not in line]


HOISTED = """
define i32 @cfunc.f(i64 %worker) {
B0:
  %at = add i64 %worker, 8
  %pointer = inttoptr i64 %at to ptr
  %table = load i64, ptr %pointer, align 8
  br label %B1
B1:
  %stop_at = inttoptr i64 %worker to ptr
  %stop = load atomic i64, ptr %stop_at acquire, align 8
  %again = icmp eq i64 %stop, 0
  br i1 %again, label %B1, label %B2
B2:
  ret i32 1
}
"""


def test_a_load_moved_out_of_its_loop_would_be_seen() -> None:
    module = Module(HOISTED)
    function = module.entry_point()
    found = {each.at: each for each in Walk(module, POINTERS).accesses(function, {0: Origin("worker")})}
    assert not found[WORDS["table"]].looping
    assert found[WORDS["stop flag"]].looping
    assert function.returned_numbers() == {1}
