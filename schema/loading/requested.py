"""A relay that another owner than the file asks for, held to the rules that a file's relays are held to."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from collections.abc import Mapping as AnyMapping
from dataclasses import replace
from typing import Any

from schema.document.nodes import Document, Mapping, Node, Place, Problem, Scalar, Sequence, SpecError
from schema.document.yaml12 import UNSEEN
from schema.loading.build import build
from schema.loading.loader import against
from schema.rules import spec_rules as rules
from schema.rules.check import check
from schema.rules.host_policy import Policy, in_force
from schema.spec import RelaySpec, Spec, VhostUserSpec

_REQUEST, _SPEC = Place(0, 0, "the request"), Place(0, 0, "the spec in force")


def requested_relay(id_: int, wanted: AnyMapping[str, Any], owner: str, spec: Spec) -> RelaySpec:
    """The relay that somebody asks for beside those of `spec`; `wanted` is an entry of `relays` without its id. Raises
    SpecError with everything that no spec could have, and what this host's policy does not allow others."""
    # Of vhost_user what makes a socket's path: whether the rest is allowed was asked when the spec was read.
    vhost_user = VhostUserSpec(directory=spec.vhost_user.directory, name=spec.vhost_user.name)
    relay = json.dumps({"id": id_, **wanted})
    return _allowed(relay, owner, replace(Spec(), engine=spec.engine, vhost_user=vhost_user), in_force())


@functools.lru_cache(maxsize=256)
def _allowed(relay: str, owner: str, around: Spec, policy: Policy) -> RelaySpec:
    """`relay` is JSON."""
    value = {"apiVersion": "vio4wd/v1", "relays": [json.loads(relay)]}
    root = _node(value, _REQUEST)
    assert isinstance(root, Mapping)
    document = Document(owner, root)
    if problems := (*_unseen(root, document), *check(document)):
        raise SpecError(problems)
    workers = _node({"worker_cpus": list(around.engine.worker_cpus)}, _SPEC)
    root.entries["engine"] = workers
    spec = replace(around, relays=build(value, "", "").relays)
    if problems := (*rules.errors(spec, document), *against(spec, document, lambda path: path[0] != "relays", policy)):
        raise SpecError(problems)
    return spec.relays[0]


def _node(value: Any, place: Place) -> Node:
    """A value of JSON as a document has it."""
    if isinstance(value, dict):
        return Mapping(place, {key: _node(each, place) for key, each in value.items()}, dict.fromkeys(value, place))
    if isinstance(value, list):
        return Sequence(place, [_node(each, place) for each in value])
    text = value if isinstance(value, str) else json.dumps(value)
    return Scalar(place, value, text, isinstance(value, str))


def _unseen(node: Node, document: Document) -> Iterator[Problem]:
    if isinstance(node, Scalar):
        if not node.text.isprintable():
            yield document.problem((), UNSEEN, node.place)
        return
    for child in node.entries.values() if isinstance(node, Mapping) else node.items:
        yield from _unseen(child, document)
