"""One spec out of several files: those of a directory, and those of sources.

Files beside each other say different things: the second that says something else about the same key, relay, VF or
socket is refused, and the first is named. Only a host's own file is laid over the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from schema.loading.build import build
from schema.loading.loader import MAX_FILE_BYTES, against, conclude, parse, read, refused
from schema.nodes import Document, Mapping, Node, Path, Place, Problem, Scalar, SpecError, plain
from schema.nodes import Sequence as List
from schema.rules.host_policy import Whose
from schema.rules.spec_rules import sources
from schema.spec import FILE, Spec
from schema.yaml12 import MAX_NODES, at


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
    host: str = field(default="", compare=False)
    """The name of the host whose own file `over` is; empty where that is not known."""

    @property
    def texts(self) -> tuple[Text, ...]:
        return (*self.base, *((self.over,) if self.over is not None else ()))


def compose(trees: Sequence[Tree]) -> Spec:
    """The spec of all files: the first tree's, with what its `sources` gave as the others. Raises SpecError.

    A single file is the spec with its text as it is. Of several the text is one made of them, which says the same."""
    only = _only_text(trees)
    if only is not None:
        return _with_maker(parse(only.content, only.name), trees[0])
    _refuse_large(trees)
    room = Room()
    first, *others = (_read_tree(tree, room) for tree in trees)
    document = _beside([_without_sources(first) if others else first, *map(_refuse_sources, others)])
    content = json.dumps(plain(document.root), ensure_ascii=False, indent=1) + "\n"
    if len(content.encode()) > MAX_FILE_BYTES:
        raise refused(document.file, f"all files together are larger than {MAX_FILE_BYTES:,} bytes; no spec needs that")
    return conclude(document, content, hashlib.sha256(content.encode()).hexdigest(), _whose(trees, document))


def _whose(trees: Sequence[Tree], document: Document) -> Whose:
    """Whether what stands somewhere is the first tree's, which is the host's own. A name of a file that others have too
    is nobody's."""
    own, *others = ({text.name for text in tree.texts} for tree in trees)
    names = own.difference(*others)
    return lambda path: (document.place(path).file or document.file) in names


class Room:
    """How much the files of one spec may still say together."""

    def __init__(self) -> None:
        self._values = MAX_NODES

    def take(self, document: Document) -> Document:
        """Raises SpecError when that is too much."""
        self._values -= document.values
        if self._values < 0:
            message = f"more than {MAX_NODES:,} values up to here in all files, of all sources together; write less"
            raise refused(document.file, message)
        return document


def _refuse_large(trees: Sequence[Tree]) -> None:
    """Raises SpecError, before any of it is looked at."""
    room = MAX_FILE_BYTES
    for text in (text for tree in trees for text in tree.texts):
        room -= len(text.content)
        if room < 0:
            message = f"more than {MAX_FILE_BYTES:,} bytes up to here in all files, of all sources together; write less"
            raise refused(text.name, message)


def read_ahead(tree: Tree) -> None:
    """Reads the files, so that whoever composes them soon finds that done."""
    room = Room()
    with contextlib.suppress(SpecError):
        _refuse_large([tree])
        for text in tree.texts:
            if (document := _valid(text)) is not None:
                room.take(document)


def _valid(text: Text) -> Document | None:
    try:
        return read(text.content, text.name)[1]
    except SpecError:  # which is said where it is composed
        return None


def _with_maker(spec: Spec, tree: Tree) -> Spec:
    return replace(spec, owner=tree.owner, warnings=(*tree.remarks, *spec.warnings))


def head(tree: Tree) -> Spec:
    """What the host's own tree says by itself, before its sources are read. What has to fit together can't be judged by
    then. Raises SpecError."""
    _refuse_large([tree])
    document = _read_tree(tree, Room())
    spec = build(plain(document.root), "", "")
    if problems := (*sources(spec, document), *against(spec, document)):
        raise SpecError(problems)
    return spec


def _only_text(trees: Sequence[Tree]) -> Text | None:
    alone = len(trees) == 1 and len(trees[0].base) == 1 and trees[0].over is None
    return trees[0].base[0] if alone else None


def document_of(tree: Tree) -> Document:
    """Its files as one, as `compose` reads them. Raises SpecError."""
    return _read_tree(tree, Room())


def _read_tree(tree: Tree, room: Room) -> Document:
    """All broken files are said at once."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for text in tree.texts:
        try:
            found = read(text.content, text.name)[1]
        except SpecError as error:
            problems += error.problems
            continue
        documents.append(_stamped(room.take(found)))
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
    whole = _joined([(document, _root(document)) for document in documents], (), problems)
    if problems:
        raise SpecError(problems)
    return Document(documents[0].file, whole)


def _joined(parts: Sequence[tuple[Document, Mapping]], path: Path, problems: list[Problem]) -> Mapping:
    """What documents have at this path, which is the root or a mapping below it, as one. Takes a time that grows with
    all that they hold, not with its square."""
    entries: dict[str, list[tuple[Document, Node]]] = {}
    places: dict[str, Place] = {}
    for document, mapping in parts:
        for key, node in mapping.entries.items():
            entries.setdefault(key, []).append((document, node))
        places = {**mapping.key_places, **places}
    joined = {key: _one(nodes, (*path, key), problems) for key, nodes in entries.items()}
    return Mapping(parts[0][1].place, joined, places)


def _one(nodes: Sequence[tuple[Document, Node]], path: Path, problems: list[Problem]) -> Node:
    """What several documents say of one key."""
    known = nodes[0][1]
    lists = [node for _, node in nodes if isinstance(node, List)]
    if len(path) == 1 and len(nodes) > 1 and len(lists) == len(nodes):
        return List(known.place, _in_a_row(lists))
    mappings = [(document, node) for document, node in nodes if isinstance(node, Mapping)]
    if len(path) == 1 and len(nodes) > 1 and len(mappings) == len(nodes):
        return _joined(mappings, path, problems)
    value = plain(known)
    for document, node in nodes[1:]:
        if plain(node) != value:
            there = at(known.place, node.place)
            problems.append(document.problem(path, f"has another value in {there}; keep one of them", node.place))
    return known


def _in_a_row(lists: Sequence[List]) -> list[Node]:
    """What is no list nor mapping, and stood in an earlier one, is not said again."""
    before: set[object] = set()
    items: list[Node] = []
    for each in lists:
        here = [_word(item) for item in each.items]
        items += [item for item, word in zip(each.items, here, strict=True) if word is None or word not in before]
        before.update(here)
    return items


def _word(item: Node) -> object:
    """What two that say the same have in common; None for what may be said twice. To Python, True is 1."""
    return (type(item.value), item.value) if isinstance(item, Scalar) else None


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
