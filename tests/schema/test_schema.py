"""The published schema: valid, complete, and of one mind with the dataclasses, the documents and the examples."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import schema
from schema.nodes import plain
from schema.rules.check import _SAY, SCHEMA_FILE
from schema.rules.check import schema as published
from schema.spec import (
    BalanceSpec,
    BondSpec,
    DirectorySpec,
    EndpointSpec,
    EngineSpec,
    GitSpec,
    HugepagesSpec,
    IpcSpec,
    LibvirtSpec,
    OvsdbSpec,
    PinSpec,
    PortControlSpec,
    RelaySpec,
    ServicesSpec,
    Spec,
    VhostUserSpec,
)
from schema.yaml12 import read_document
from tests.kit.paths import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def _keys(part: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every key of the schema with its path, its part of the schema, and whether it may be left out."""
    for key, inner in part.get("properties", {}).items():
        resolved = _resolve(inner)
        one_of = [choice["required"][0] for choice in part.get("oneOf", [])]
        yield f"{prefix}{key}", resolved, key not in part.get("required", []) and key not in one_of
        yield from _keys(resolved, f"{prefix}{key}.")
        yield from _keys(_resolve(resolved.get("items", {})), f"{prefix}{key}[].")


def _resolve(part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("$ref", "").rpartition("/")[2]
    inner: dict[str, Any] = published()["$defs"][name] if name else part
    return inner


KEYS = list(_keys(published()))


def _holds(part: dict[str, Any], value: object) -> None:
    whole = {"$defs": published()["$defs"], **{key: item for key, item in part.items() if key != "$id"}}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_it_is_valid_draft_2020_12() -> None:
    content = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert content["$id"]
    jsonschema.Draft202012Validator.check_schema(content)


@pytest.mark.parametrize(("path", "part", "optional"), KEYS, ids=[path for path, _, _ in KEYS])
def test_every_key_is_documented(path: str, part: dict[str, Any], optional: bool) -> None:
    assert part["title"], path
    assert part["description"].endswith("."), path
    assert part["examples"], path
    assert ("default" in part) == optional, path
    for value in [*part["examples"], *([part["default"]] if optional else [])]:
        _holds(part, value)
    if "pattern" in part:
        assert part["patternErrorMessage"], path
    if part.get("type") == "object":
        assert part["additionalProperties"] is False, path


def test_the_whole_is_closed_too() -> None:
    assert published()["additionalProperties"] is False
    for example in published()["examples"]:
        _holds(published(), example)


def _keywords(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, inner in part.items():
            if key in ("properties", "$defs"):
                for named in inner.values():
                    yield from _keywords(named)
            elif key not in ("default", "examples", "oneOf"):
                yield key
                yield from _keywords(inner)


def test_there_is_a_sentence_for_every_keyword() -> None:
    silent = {"$schema", "$id", "$ref", "title", "description", "items", "patternErrorMessage"}
    assert set(_keywords(published())) | {"oneOf"} == silent | set(_SAY)


@pytest.mark.parametrize(
    ("prefix", "type_"),
    [
        ("", Spec),
        ("engine.", EngineSpec),
        ("vhost_user.", VhostUserSpec),
        ("hugepages[].", HugepagesSpec),
        ("hugepages[].libvirt.", LibvirtSpec),
        ("relays[].", RelaySpec),
        ("relays[].bond.", BondSpec),
        ("port_control.", PortControlSpec),
        ("port_control.zmq.", EndpointSpec),
        ("port_control.ovsdb.", OvsdbSpec),
        ("port_control.ipc.", IpcSpec),
        ("services.", ServicesSpec),
        ("balance.", BalanceSpec),
        ("pins[].", PinSpec),
        ("sources[].directory.", DirectorySpec),
        ("sources[].git.", GitSpec),
    ],
)
def test_keys_and_defaults_are_those_of_the_dataclasses(prefix: str, type_: type[Any]) -> None:
    ours = {path.removeprefix(prefix): part for path, part, _ in KEYS if re.fullmatch(re.escape(prefix) + r"\w+", path)}
    ours.pop("apiVersion", None)
    derived = {"owner", "text", "sha256", "warnings"} if type_ is Spec else set()
    fields = {field.name: field for field in dataclasses.fields(type_) if field.name not in derived}
    assert set(ours) == set(fields)
    for key, part in ours.items():
        if "default" in part:
            assert _as_yaml(key, fields[key].default) == part["default"], key


def _as_yaml(key: str, default: Any) -> Any:
    if dataclasses.is_dataclass(default):
        assert default == type(default)()  # type: ignore[misc]
        return {}
    if isinstance(default, tuple):
        return list(default)
    return f"{default:04o}" if key == "permissions" else default


def test_every_key_stands_in_the_reference() -> None:
    reference = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.\[\]]+)` \|[^|]*\|([^|]*)\|", reference, re.MULTILINE))
    assert set(rows) == {path for path, _, _ in KEYS}
    for path, part, optional in KEYS:
        if optional:
            shown = part["default"] if isinstance(part["default"], str) else json.dumps(part["default"])
            assert rows[path].strip().strip("`").strip('"') == shown, path


def _example_text(uncommented: bool) -> str:
    text = (ROOT / "vio4wd.yaml.example").read_text(encoding="utf-8")
    if uncommented:
        lists = "relays|hugepages|sources|pins|port_control|services"
        text = re.sub(rf"^({lists}): (\[\]|\{{\}})", r"\1:", text, flags=re.MULTILINE)
        text = re.sub(r"^#   ", "  ", text, flags=re.MULTILINE)
    return text


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield f"{prefix}{key}"
        yield from _paths(inner, f"{prefix}{key}.")
        for item in inner if isinstance(inner, list) else ():
            yield from _paths(item, f"{prefix}{key}[].")


def test_the_example_file_holds_the_defaults() -> None:
    """But for the directory of sockets: /tmp is what virtio-forwarder had, and not what is to be copied."""
    spec = schema.parse(_example_text(uncommented=False), "vio4wd.yaml.example")
    assert spec.vhost_user.directory == "/run/vio4wd/guests"
    assert dataclasses.replace(spec, text="", sha256="", vhost_user=Spec().vhost_user) == Spec()
    assert dataclasses.replace(spec.vhost_user, directory="/tmp") == Spec().vhost_user


def test_the_example_file_holds_every_key() -> None:
    text = _example_text(uncommented=True)
    document, _ = read_document(text, "vio4wd.yaml.example")
    assert set(_paths(plain(document.root))) == {path for path, _, _ in KEYS}
    alone = "".join(line for line in text.splitlines(keepends=True) if "# or, instead of" not in line)
    assert schema.parse(alone, "vio4wd.yaml.example").relays


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path) -> None:
    assert schema.load(path).sha256


@pytest.mark.parametrize("path", [*EXAMPLES, ROOT / "vio4wd.yaml.example"], ids=lambda path: path.name)
def test_editors_find_the_schema(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    hint = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert hint
    assert (path.parent / hint[1]).resolve() == SCHEMA_FILE
    assert second.startswith("#")
