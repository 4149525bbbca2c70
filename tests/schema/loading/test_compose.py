"""Several files as one spec: what is merged, what is refused, and with which words."""

from __future__ import annotations

import pytest

import schema
from schema import Spec, Text, Tree
from schema.loading.compose import compose, head

HEAD = "apiVersion: vio4wd/v1\n"


def text(name: str, body: str) -> Text:
    return Text(name, (HEAD + body).encode())


def tree(*bodies: str, over: str | None = None) -> Tree:
    """Files a.yaml, b.yaml, ..."""
    base = tuple(text(f"{letter}.yaml", body) for letter, body in zip("abcdef", bodies, strict=False))
    return Tree(base, text("hosts/me.yaml", over) if over is not None else None)


def relays(*ids: int) -> str:
    return "relays:\n" + "".join(f'  - {{id: {i}, vf: "net_null{i}", cpus: [1]}}\n' for i in ids)


def refusal(*trees: Tree) -> str:
    with pytest.raises(schema.SpecError) as caught:
        compose(trees)
    return str(caught.value)


def same(one: Spec, other: Spec) -> bool:
    return (one.engine, one.vhost_user, one.relays, one.hugepages) == (
        other.engine,
        other.vhost_user,
        other.relays,
        other.hugepages,
    )


def test_a_single_file_is_the_spec_with_its_own_text() -> None:
    body = "# mine\n" + relays(1)
    spec = compose([tree(body)])
    assert spec == schema.parse(HEAD + body, "a.yaml")
    assert spec.text == HEAD + body


def test_files_beside_each_other_are_one_spec() -> None:
    files = tree("engine: {main_cpu: 3}\n" + relays(1), "engine: {worker_cpus: [1, 2]}\n" + relays(2, 0), relays(7))
    spec = compose([files])
    assert [relay.id for relay in spec.relays] == [1, 2, 0, 7]
    assert (spec.engine.main_cpu, spec.engine.worker_cpus) == (3, (1, 2))


def test_the_text_of_several_files_says_the_same() -> None:
    files = tree('vhost_user: {permissions: "0600", directory: /tmp/ü}\n' + relays(1), relays(2), over=relays(2, 3))
    spec = compose([files])
    again = schema.parse(spec.text, "again")
    assert same(spec, again)
    assert again.sha256 == spec.sha256


def test_the_same_said_twice_is_no_conflict() -> None:
    keys = "engine: {worker_cpus: [1, 2], idle: busy}\n"
    assert compose([tree(keys, keys)]).engine.idle == "busy"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (relays(1), relays(1), "b.yaml:3:10: relays[0].id: id 1 belongs to relays[0] already (a.yaml:3:10)"),
        (
            relays(4, 1),
            "relays:\n  - {id: 2, vf: net_null1}\n",
            "b.yaml:3:17: relays[0].vf: net_null1 belongs to relay 1 already (a.yaml:4:17)",
        ),
        (
            "relays: [{id: 1, vf: net_null1, socket: /x}]\n",
            "relays: [{id: 2, vf: net_null2, socket: /x}]\n",
            "b.yaml:2:41: relays[0].socket: the socket /x belongs to relay 1 already (a.yaml:2:41)",
        ),
        (
            "engine: {main_cpu: 3}\n",
            "engine: {idle: busy, main_cpu: 0}\n",
            "b.yaml:2:32: engine.main_cpu: has another value in a.yaml:2:20; keep one of them",
        ),
        (
            "vhost_user: {directory: /a}\n",
            "vhost_user: {directory: /b}\n",
            "b.yaml:2:25: vhost_user.directory: has another value in a.yaml:2:25; keep one of them",
        ),
        (
            "port_control: {ipc: {}}\n",
            "port_control: {ovsdb: {}}\n",
            "b.yaml:2:16: port_control.ovsdb: there is one port control only, and ipc is given already (a.yaml:2:16)",
        ),
    ],
)
def test_a_conflict_names_both_places(first: str, second: str, message: str) -> None:
    assert message in refusal(tree(first, second))
    assert message in refusal(tree(first), Tree((text("b.yaml", second),)))


def test_every_broken_file_is_said() -> None:
    said = refusal(tree("relay: []\n", relays(1), "engine: {idle: lazy}\n"))
    assert "a.yaml:2:1: relay: unknown key" in said
    assert "c.yaml:2:16: engine.idle: must be one of" in said


def test_what_belongs_together_may_stand_in_two_files() -> None:
    pinned = "relays: [{id: 1, vf: net_null1, cpus: [7]}]\n"
    assert "CPU 7 is not among engine.worker_cpus" in refusal(tree(pinned))
    assert compose([tree(pinned, "engine: {worker_cpus: [7]}\n")]).relays[0].cpus == (7, 7)


def test_a_hosts_own_file_is_laid_over_the_others() -> None:
    base = "engine: {worker_cpus: [1, 2], idle: busy, main_cpu: 3}\n" + relays(1, 2)
    own = "engine: {worker_cpus: [1]}\nrelays: [{id: 2, vf: net_null9}, {id: 5, vf: net_null5}]\n"
    spec = compose([tree(base, over=own)])
    assert (spec.engine.worker_cpus, spec.engine.idle) == ((1,), "busy")
    assert {relay.id: relay.vf.name for relay in spec.relays if relay.vf} == {
        1: "net_null1",
        2: "net_null9",
        5: "net_null5",
    }
    assert spec.relays[1].cpus is None  # the whole relay is the host's, not only what it says anew


def test_a_hosts_own_file_may_be_all_there_is() -> None:
    assert [relay.id for relay in compose([Tree((), text("hosts/me.yaml", relays(3)))]).relays] == [3]


def test_a_conflict_with_the_hosts_own_file_names_it() -> None:
    said = refusal(tree(relays(1), over="relays: [{id: 2, vf: net_null1}]\n"))
    assert "hosts/me.yaml:2:22: relays[0].vf: net_null1 belongs to relay 1 already (a.yaml:3:17)" in said


def test_sources_are_read_only_where_the_spec_begins() -> None:
    named = "sources: [{directory: {path: /d}}]\n"
    assert [source.name for source in head(tree(named + relays(1))).sources] == ["directory /d"]
    assert compose([tree(named), tree(relays(1))]).sources == ()
    assert "b.yaml:2:1: sources: a source can't name further sources" in refusal(
        tree(named), Tree((text("b.yaml", named),))
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[{directory: {path: /d}}, {directory: {path: /d/}}]", "sources[1]: directory /d stands twice, first"),
        ("[{directory: {path: /d/../e}}]", "sources[0].directory.path: '..' is not allowed"),
        ("[{git: {url: /r, path: a/../b}}]", "sources[0].git.path: '..' is not allowed"),
    ],
)
def test_what_sources_may_not_be(body: str, message: str) -> None:
    with pytest.raises(schema.SpecError) as caught:
        head(tree(f"sources: {body}\n"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=evil",
        "ext::sh -c evil",
        "ext::evil",
        "-oProxyCommand=evil:x",
        "host",
        "../relative",
        "https://two words",
    ],
)
def test_a_url_that_would_run_something_is_refused(url: str) -> None:
    with pytest.raises(schema.SpecError, match="must be a URL that git clones"):
        head(tree(f'sources: [{{git: {{url: "{url}"}}}}]\n'))


@pytest.mark.parametrize("url", ["git@host:network.git", "/srv/x.git", "https://u:secret@h/x.git", "ssh://h/x", "h:x"])
def test_a_url_that_git_clones_is_taken(url: str) -> None:
    (source,) = head(tree(f'sources: [{{git: {{url: "{url}"}}}}]\n')).sources
    assert "secret" not in source.name


def test_a_refused_url_is_shown_without_its_password() -> None:
    said = refusal(tree("sources: [{git: {url: 'https://ann:s3cr3t@h/two words'}}]\n"))
    assert "not 'https://h/two words'" in said


def vfs(*names: str) -> str:
    return "bind_vfs:\n" + "".join(f"- {name}\n" for name in names)


def test_words_of_many_files_are_joined_in_order_and_once() -> None:
    spec = compose([tree(vfs("a", "b"), vfs("b", "c"), vfs("c", "a", "d"))])
    assert spec.bind_vfs == ("a", "b", "c", "d")


def test_all_files_together_have_the_bounds_of_one() -> None:
    """However many there are, and wherever they come from; what is too much is not even parsed."""
    many = [f"n{number}" for number in range(3400)]
    assert len(compose([tree(vfs(*many))]).bind_vfs) == 3400
    said = refusal(tree(vfs(*many)), tree(vfs(*many[:-1])), Tree((text("x.yaml", vfs(*many[:-2])),)))
    assert said == "x.yaml:1:1: more than 10,000 values up to here in all files, of all sources together; write less"
    large = [Text(f"{letter}.yaml", HEAD.encode() + b"#" * 400_000 + b"\n") for letter in "abc"]
    said = refusal(Tree(tuple(large)), tree(relays(1)))
    assert said == "c.yaml:1:1: more than 1,048,576 bytes up to here in all files, of all sources together; write less"


def test_of_very_many_problems_the_first_are_said() -> None:
    lines = refusal(tree("engine: {worker_cpus: [" + ", ".join(["x"] * 9000) + "]}\n")).splitlines()
    assert len(lines) == 101
    assert "from here on there are 8,900 more problems, not shown" in lines[-1]


def test_a_list_of_different_kinds_costs_no_more_than_another() -> None:
    """jsonschema compares each item with each where they can't be sorted, which took 9 s of these."""
    mixed = ", ".join(f'"{number}"' if number % 2 else str(number) for number in range(9000))
    assert "must be a whole number" in refusal(tree(f"engine: {{worker_cpus: [{mixed}]}}\n"))
