"""For any document: what is valid comes back as it was said, and what is not is answered with sentences."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import schema
from schema.model import Port
from schema.spec import EngineSpec, RelaySpec, Spec, VhostUserSpec
from tests.kit.paths import ROOT

ALPHABET = "abcxyz0189_-."
NAMES = st.text(ALPHABET, min_size=1, max_size=12).filter(lambda name: name.strip(".") != "")
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@st.composite
def engines(draw: st.DrawFn) -> EngineSpec:
    workers = draw(st.lists(st.integers(0, 1023), min_size=1, max_size=6, unique=True))
    main = draw(st.integers(0, 1023).filter(lambda cpu: cpu not in workers))
    idle = draw(st.sampled_from(["adaptive", "busy"]))
    level = draw(st.sampled_from(["emergency", "notice", "debug"]))
    return EngineSpec(main, tuple(workers), idle, draw(st.integers(1, 100_000)), level)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    engine = draw(engines())
    ids = draw(st.lists(st.integers(0, 63), max_size=6, unique=True))
    functions = draw(st.permutations(range(8)))
    cpus = st.none() | st.tuples(st.sampled_from(engine.worker_cpus), st.sampled_from(engine.worker_cpus))
    relays = []
    for index, number in enumerate(ids):
        pci = f"{draw(st.integers(0, 0xFFFF)):04x}:05:1f.{functions[index]}"
        args = draw(st.sampled_from(["", f"iface=veth{index}", f"iface=a{index},qpairs=2"]))
        virtual = Port(f"net_af_packet{index}", args)
        socket = draw(st.none() | NAMES.map(lambda name, n=number: f"/run/guests/{n}{name}"))  # type: ignore[misc]
        relays.append(RelaySpec(number, draw(st.sampled_from([Port(pci), virtual])), None, socket, draw(cpus)))
    sockets = VhostUserSpec(
        directory=draw(PATHS),
        name=draw(NAMES) + "%u.sock",
        owner=draw(st.none() | NAMES),
        group=draw(st.none() | NAMES),
        permissions=draw(st.integers(0, 0o777)),
    )
    return Spec(engine, sockets, tuple(relays))


def _document(spec: Spec) -> dict[str, Any]:
    """The spec as people would write it, in full."""
    relays = [
        {
            "id": relay.id,
            "vf": ",".join(part for part in (relay.vf.name, relay.vf.args) if part) if relay.vf else "",
            "socket": relay.socket,
            "cpus": list(relay.cpus) if relay.cpus else None,
        }
        for relay in spec.relays
    ]
    fields = VhostUserSpec.__dataclass_fields__
    sockets = {name: getattr(spec.vhost_user, name) for name in fields}
    engine = {name: getattr(spec.engine, name) for name in EngineSpec.__dataclass_fields__}
    return {
        "apiVersion": "vio4wd/v1",
        "engine": {**engine, "worker_cpus": list(spec.engine.worker_cpus)},
        "vhost_user": {**sockets, "permissions": f"{spec.vhost_user.permissions:04o}"},
        "relays": relays,
    }


@settings(deadline=None)
@given(specs(), st.sampled_from([None, 2]))
def test_what_is_said_comes_back(spec: Spec, indent: int | None) -> None:
    # JSON is YAML 1.2. PyYAML would write for 1.1, where the text 08 needs no quotes.
    loaded = schema.parse(json.dumps(_document(spec), indent=indent), "f")
    assert (loaded.engine, loaded.vhost_user, loaded.relays) == (spec.engine, spec.vhost_user, spec.relays)
    assert loaded.warnings == ()


OTHER_LINE_ENDS = ("\r", "\x85", "\u2028", "\u2029")
"""PyYAML counts these too."""


def _loads_or_says_why(content: str | bytes) -> None:
    try:
        spec = schema.parse(content, "f")
    except schema.SpecError as error:
        lines = (content if isinstance(content, str) else content.decode("utf-8", "replace")).count("\n") + 1
        for problem in error.problems:
            assert problem.message.isprintable()
            assert problem.path.isprintable()
            assert problem.column >= 1
            assert 1 <= problem.line <= lines or any(mark in str(content) for mark in OTHER_LINE_ENDS)
    else:
        assert isinstance(spec, Spec)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_spec_or_refused(content: bytes) -> None:
    with contextlib.suppress(schema.SpecError):
        assert schema.parse(content, "f").sha256


@settings(deadline=None, max_examples=500)
@given(st.text(max_size=100) | st.text("ab:-?[]{},&*!|>'\"%@` \n\t#.01\\", max_size=60))
def test_any_text_is_a_spec_or_refused(text: str) -> None:
    _loads_or_says_why(text)


SAMPLES = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("examples/*.yaml"))]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_small_damage_is_a_spec_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 5)))
    _loads_or_says_why(text[:start] + data.draw(st.text(max_size=4)) + text[end:])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "vf", "bond", "cpus", "members", "name", "mode", "main_cpu"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(["apiVersion", "engine", "vhost_user", "relays", "hugepages"]), VALUES))
def test_any_values_are_a_spec_or_refused(document: dict[str, Any]) -> None:
    _loads_or_says_why(yaml.safe_dump(document))
