"""One spec out of several files: those of a directory, and those of sources.

Files beside each other say different things: the second that says something else about the same key, relay, VF or
socket is refused, and the first is named. Only a host's own file is laid over the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schema.build import build
from schema.host_policy import Whose
from schema.loader import MAX_FILE_BYTES, against, conclude, parse, read, refused
from schema.nodes import Document, Mapping, Node, Path, Scalar, plain
from schema.nodes import Sequence as List
from schema.problem import Problem, SpecError
from schema.rules import sources
from schema.spec import FILE, Spec
from schema.yaml12 import at


@dataclass(frozen=True, slots=True)
class Text:
    """One file."""

    name: str
    """As it stands in messages."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Tree:
    """The files that say together what is wanted."""

    base: tuple[Text, ...]
    """Beside each other, in the order of their names."""
    over: Text | None = None
    """Laid over them: its values win key by key, its relays take the places of those with the same id."""
    owner: str = FILE
    """Who wants what the first of several trees says."""
    remarks: tuple[Problem, ...] = ()
    """Warnings of whoever made the text."""


def compose(trees: Sequence[Tree]) -> Spec:
    """The spec of all files: the first tree's, with what its `sources` gave as the others. Raises SpecError.

    A single file is the spec with its text as it is. Of several the text is one made of them, which says the same."""
    only = _only_text(trees)
    if only is not None:
        return _with_maker(parse(only.content, only.name), trees[0])
    first, *others = (_read_tree(tree) for tree in trees)
    document = _beside([_without_sources(first) if others else first, *map(_refuse_sources, others)])
    content = json.dumps(plain(document.root), ensure_ascii=False, indent=1) + "\n"
    if len(content.encode()) > MAX_FILE_BYTES:
        raise refused(document.file, f"all files together are larger than {MAX_FILE_BYTES:,} bytes; no spec needs that")
    return conclude(document, content, hashlib.sha256(content.encode()).hexdigest(), _whose(trees, document))


def _whose(trees: Sequence[Tree], document: Document) -> Whose:
    """Whether what stands somewhere is the first tree's, which is the host's own. A name of a file that others have too
    is nobody's."""
    own, *others = ({text.name for text in _texts(tree)} for tree in trees)
    names = own.difference(*others)
    return lambda path: (document.place(path).file or document.file) in names


def _texts(tree: Tree) -> tuple[Text, ...]:
    return (*tree.base, *((tree.over,) if tree.over is not None else ()))


def _with_maker(spec: Spec, tree: Tree) -> Spec:
    return replace(spec, owner=tree.owner, warnings=(*tree.remarks, *spec.warnings))


def head(tree: Tree) -> Spec:
    """What the host's own tree says by itself, before its sources are read. What has to fit together can't be judged by
    then. Raises SpecError."""
    document = _read_tree(tree)
    spec = build(plain(document.root), "", "")
    if problems := (*sources(spec, document), *against(spec, document)):
        raise SpecError(problems)
    return spec


def _only_text(trees: Sequence[Tree]) -> Text | None:
    alone = len(trees) == 1 and len(trees[0].base) == 1 and trees[0].over is None
    return trees[0].base[0] if alone else None


def _read_tree(tree: Tree) -> Document:
    """All broken files are said at once."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for text in _texts(tree):
        try:
            documents.append(_stamped(read(text.content, text.name)[1]))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    if tree.over is None:
        return _beside(documents)
    *base, over = documents
    return _laid_over(_beside(base), over) if base else over


def _stamped(document: Document) -> Document:
    """With the file's name, and the list's index, in every place."""
    root = document.root
    assert isinstance(root, Mapping), "the schema wants a mapping"
    stamped = _named(root, document.file)
    for node in stamped.entries.values() if isinstance(stamped, Mapping) else ():
        if isinstance(node, List):
            node.items = [replace(n, place=replace(n.place, index=i)) for i, n in enumerate(node.items)]
    return Document(document.file, stamped)


def _named(node: Node, file: str) -> Node:
    place = replace(node.place, file=file)
    if isinstance(node, Mapping):
        entries = {key: _named(child, file) for key, child in node.entries.items()}
        return Mapping(place, entries, {key: replace(p, file=file) for key, p in node.key_places.items()})
    if isinstance(node, List):
        return List(place, [_named(item, file) for item in node.items])
    return replace(node, place=place)


def _root(document: Document) -> Mapping:
    assert isinstance(document.root, Mapping), "the schema wants a mapping"
    return document.root


def _beside(documents: Sequence[Document]) -> Document:
    """Lists one after the other, mappings key by key; another value for the same key is refused."""
    problems: list[Problem] = []
    first, *others = documents
    whole = _root(first)
    for other in others:
        whole = _joined(whole, other, (), problems)
    if problems:
        raise SpecError(problems)
    return Document(first.file, whole)


def _joined(whole: Mapping, other: Document, path: Path, problems: list[Problem]) -> Mapping:
    """`whole` with what `other` has at this path, which is the root or a mapping below it."""
    more = other.at(path)
    assert isinstance(more, Mapping), "the schema wants a mapping"
    entries = dict(whole.entries)
    for key, node in more.entries.items():
        known = entries.get(key)
        if known is None:
            entries[key] = node
        elif not path and isinstance(known, List) and isinstance(node, List):
            named = [plain(item) for item in known.items if isinstance(item, Scalar)]  # said twice is said once
            entries[key] = List(known.place, [*known.items, *(item for item in node.items if plain(item) not in named)])
        elif not path and isinstance(known, Mapping) and isinstance(node, Mapping):
            entries[key] = _joined(known, other, (key,), problems)
        elif plain(known) != plain(node):
            there = at(known.place, node.place)
            problems.append(other.problem((*path, key), f"has another value in {there}; keep one of them", node.place))
    return Mapping(whole.place, entries, {**more.key_places, **whole.key_places})


def _laid_over(base: Document, over: Document) -> Document:
    below, above = _root(base), _root(over)
    entries = dict(below.entries)
    for key, node in above.entries.items():
        known = entries.get(key)
        if isinstance(known, Mapping) and isinstance(node, Mapping):
            entries[key] = Mapping(
                node.place, {**known.entries, **node.entries}, {**known.key_places, **node.key_places}
            )
        elif key == "relays" and isinstance(known, List) and isinstance(node, List):
            taken = {_id(item) for item in node.items}
            entries[key] = List(node.place, [*(i for i in known.items if _id(i) not in taken), *node.items])
        else:
            entries[key] = node
    return Document(base.file, Mapping(below.place, entries, {**below.key_places, **above.key_places}))


def _id(relay: Node) -> object:
    value: object = plain(relay)["id"]
    return value


def _refuse_sources(document: Document) -> Document:
    """Raises SpecError."""
    path = ("sources",)
    if document.at(path) is not None:
        message = "a source can't name further sources; write them where this one is named"
        raise SpecError([document.problem(path, message, document.key_place(path))])
    return document


def _without_sources(document: Document) -> Document:
    root = _root(document)
    return Document(document.file, replace(root, entries={k: v for k, v in root.entries.items() if k != "sources"}))
