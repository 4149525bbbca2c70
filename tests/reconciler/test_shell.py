"""Shell fragments, read as bash reads them: each case is also given to bash, and the answers are compared."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.legacy.shell import read_fragment

UNDERSTOOD = [
    "A=1",
    "A=1,2 # workers",
    "A=",
    "A=''",
    'A="a b"',
    "A='a \"b\" $c'",
    'A="a \\"b\\" \\$c \\\\ \\d"',
    "A=a\\ b",
    "A=a#b",
    "A=a\\\nb",
    'A="a\\\nb"',
    "A='a\\\nb'",
    "A='a\nb'",
    "  A=1;B=2 C=3",
    "export A=1",
    "export A",
    "A=1\nexport A\nA=2",
    "declare -a A=(1 2)",
    "A=(0000:05:08.1=1 0000:05:08.2=2)",
    "A=(\n  0000:05:08.1=1  # the first\n  '0000:05:08.2=2'\n\n)\nB=1",
    "A=()",
    "A=(a b)\nA+=(c)",
    "A=a\nA+=b",
    "A=a\nA+=(b)",
    "A=(a b)\nA+=c",
    "A=/tmp\nB=$A/x\nC=\"${A}/y z\"",
    "A=(a b)\nB=$A",
    "A=$",
    'A="$ 1"',
    "# A=1",
    "A=1\r\nB=2\r\n",
    "A='x'\"y\"z",
    "A=virtio-forwarder%u.sock",
    "A=a=b",
    "A=~x*?",
]  # fmt: skip


def in_bash(text: str, names: list[str]) -> dict[str, list[str]]:
    """What bash makes of it: each name's words, exactly."""
    ask = "".join(f'\nprintf "%s\\1" {name} "${{{name}[@]}}"; printf "\\2"' for name in names)
    script = text.replace("\r\n", "\n") + ask
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={}, timeout=60)
    rows = [row.split("\1")[:-1] for row in done.stdout.split("\2")[:-1]]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_it_reads_as_bash_reads(text: str) -> None:
    fragment = read_fragment(text)
    assert fragment.remarks == ()
    assert {name: list(value.words) for name, value in fragment.values.items()} == in_bash(text, list(fragment.values))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=$(id -u)", "an expansion stands here that only a shell can do"),
        ("A=${B:-1}", "an expansion stands here that only a shell can do"),
        ("A=`id`", "a command stands in backquotes"),
        ("A=$HOME", "$HOME is not set in this file"),
        ("rm -rf /tmp/x", "'rm' is a command"),
        (". /etc/other", "'.' is a command"),
        ("A=1 rm x", "'rm' is a command"),
        ("test -n x && A=1", "'test' is a command"),
        ("A=1 && B=2", "'&' has a meaning to a shell here"),
        ("A=(1; 2)", "';' has a meaning to a shell here"),
        ("A=(1 &2)", "'&' has a meaning to a shell here"),
        ("A=(1 (2))", "'(' has a meaning to a shell here"),
        ("A=1 | x", "'|' has a meaning to a shell here"),
        ("A='1", "a quote is opened and never closed"),
        ('A="1', "a quote is opened and never closed"),
        ("A=(1 2", "an array is opened and never closed"),
        ("A=([0]=x)", "an array with subscripts stands here"),
    ],
)
def test_what_needs_a_shell_is_named_and_leaves_no_trace(text: str, sentence: str) -> None:
    fragment = read_fragment(f"B=0\n{text}")
    assert fragment.values.keys() == {"B"}
    assert fragment.remarks[0] == (2, f"{sentence}; nothing is executed, and nothing is taken from this line")


def test_lines_after_it_are_read_and_counted() -> None:
    fragment = read_fragment("A=a\\\nb\nrm x\nB=(1\n2)\nC=3\n")
    assert [(name, value.line) for name, value in fragment.values.items()] == [("A", 1), ("B", 4), ("C", 6)]
    assert [line for line, _ in fragment.remarks] == [3]


@given(st.text(alphabet="AB=()'\"\\$`#;&| \n\t\0{}+%a1", max_size=60))
def test_nothing_makes_it_fail_or_hang(text: str) -> None:
    fragment = read_fragment(text)
    assert all(line >= 1 and sentence for line, sentence in fragment.remarks)
