"""Shell fragments, read as bash reads them: each case is also given to bash, and the answers are compared."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.legacy.shell import read_fragment
from tests.kit.runner.repetitions import times

CORPUS = [path.with_suffix(".txt") for path in sorted((Path(__file__).parent / "defaults").glob("*.yaml"))]

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
    "A='x'\"y\"z",
    "A=virtio-forwarder%u.sock",
    "A=a=b",
    "A=x*?",
    "# a \\\nA=1",
    "A=1 # \\\nB=2",
    "A=a\\\\\nB=1",
    "A=(a b)\nA=c",
    "A=(a b)\nA=",
    "A=()\nA=x",
    "A='~/x'",
    "A=\\~/x",
    "A={a,b}",
    "A=(\"a b\" '*')",
    "B=x\nA=($B y)",
    "B='a b'\nA=(\"$B\")",
    "A=1 B=$A",
    "export A B=1",
    "declare A\nA=1",
    "declare -ax A=(1 2)",
    "readonly A=1",
    "A=\"$\"",
    "A=a!b",
    "A=(a # c \\\n b)",
    "A=1 ;\nB=2 ; # c",
    "A=1\u00a0B=2",
    "A=1\fB=2",
]  # fmt: skip


LEFT_ALONE = ["umask 022\nA=1", "ulimit -c unlimited\nA=1", ": a b\nA=1", "true\nA=1", "echo A=2\nA=1"]
"""Commands that change no variable."""


def in_bash(texts: list[str], names: list[str], where: Path) -> list[dict[str, list[str]]]:
    """What bash makes of each when it sources it: each name's words, exactly; a name that is not set is left out."""
    (where / "empty").mkdir(exist_ok=True)
    script = ""
    for number, text in enumerate(texts):
        (where / str(number)).write_text(text, newline="")
        script += f"(. {where}/{number} >/dev/null 2>&1\n"
        for name in names:
            script += f'printf "%s\\2" "${{{name}+set}}" "${{#{name}[@]}}" "${{{name}[@]}}"; printf "\\3"\n'
        script += 'printf "\\4") </dev/null\n'
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, capture_output=True, check=True, env={}, timeout=60, cwd=where / "empty")
    found = []
    for row in done.stdout.decode("utf-8", "surrogateescape").split("\4")[:-1]:
        values = dict(zip(names, (part.split("\2") for part in row.split("\3")), strict=False))
        found.append({name: words[2:-1] for name, words in values.items() if words[1] != "0" or words[0]})
    return found


def ours(text: str) -> dict[str, list[str]]:
    return {name: list(value.words) for name, value in read_fragment(text).values.items() if value.words}


@pytest.mark.parametrize("text", UNDERSTOOD)
def test_it_reads_as_bash_reads(text: str, tmp_path: Path) -> None:
    fragment = read_fragment(text)
    assert (fragment.remarks, fragment.foreign) == ((), ())
    assert in_bash([text], list(fragment.values), tmp_path) == [ours(text)]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_files_of_sites_are_read_as_bash_reads_them(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert in_bash([text], list(read_fragment(text).values), tmp_path) == [ours(text)]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_a_command_that_changes_nothing_is_left_alone(text: str, tmp_path: Path) -> None:
    fragment = read_fragment(text)
    assert fragment.foreign == ()
    assert fragment.remarks == ((1, f"'{text.split()[0]}' is a command; it is not executed here"),)
    assert in_bash([text], ["A"], tmp_path) == [ours(text)] == [{"A": ["1"]}]


TOKENS = (
    *("A=", "B=", "A+=", "export A=", "declare B=", "declare -a ", "readonly ", "A=(", "B+=(", "(", ")", " ", "\n"),
    *("'", '"', "\\", "$A", "${B}", "$", "~", "*", "{a,b}", "#", ";", "\t", "a", "=", ":", "1", "[0]", "\\\n", "''"),
    *("/", ",", "|", "&", "<", "`", "!", "true ", "echo ", "\r", "\u00e9", "x y", '""', "A=(a b)\n", "B='c d'\n"),
)


def test_whatever_is_not_refused_is_what_bash_gives(tmp_path: Path) -> None:
    """Random fragments, most of which only a shell can read."""
    chance = random.Random(20261127)
    many = ("".join(chance.choices(TOKENS, k=chance.randint(1, 14))) for _ in range(times(20_000, 400_000)))
    taken = [text for text in many if not read_fragment(text).foreign]
    for at in range(0, len(taken), 500):
        part = taken[at : at + 500]
        for text, theirs in zip(part, in_bash(part, ["A", "B"], tmp_path), strict=True):
            assert {name: ours(text).get(name, []) for name in "AB"} == {"A": [], "B": [], **theirs}, repr(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A=$(id -u)", "an expansion stands here that only a shell can do"),
        ("A=${B:-1}", "an expansion stands here that only a shell can do"),
        (": ${A:=1}", "an expansion stands here that only a shell can do"),
        ("A=$((1+2))", "an expansion stands here that only a shell can do"),
        ("A=$[1+2]", "an expansion stands here that only a shell can do"),
        ("A=$1", "an expansion stands here that only a shell can do"),
        ("A=$?", "an expansion stands here that only a shell can do"),
        ("A=$'x\\n'", "an expansion stands here that only a shell can do"),
        ('A=$"x"', "an expansion stands here that only a shell can do"),
        ("A=`id`", "a command stands in backquotes"),
        ("A=$HOME", "$HOME is not set in this file"),
        ("export A=1 C=$A", "$A is not set in this file before this line"),
        ("A=x$B\\\n", "$B may go on in the next line; write ${B}"),
        ("A=~/x", "'~' stands for a home directory here"),
        ("A=x:~root", "'~' stands for a home directory here"),
        ("A=(*.c)", "'*' may make several words of this one"),
        ("A=({a,b})", "'{' may make several words of this one"),
        ("export A={a,b}", "'{' may make several words of this one"),
        ("C='a b'\nA=($C)", "$C is not one word here; put it in double quotes"),
        ("rm -rf /tmp/x", "'rm' is a command"),
        (". /etc/other", "'.' is a command"),
        ("source /etc/other", "'source' is a command"),
        ("if true; then\nA=1\nfi", "'if' is a command"),
        ("for A in 1; do :; done", "'for' is a command"),
        ("while read A; do :; done", "'while' is a command"),
        ("case x in x) A=1;; esac", "'case' is a command"),
        ("f() {\nA=1\n}", "'f' is a command"),
        ("function f { A=1; }", "'function' is a command"),
        ("{ A=1; }", "'{' is a command"),
        ("(A=1)", "'(' has a meaning to a shell here"),
        ("cat <<X\nA=1\nX", "'cat' is a command"),
        (": <<X\nA=1\nX", "'<' has a meaning to a shell here"),
        ("return", "'return' is a command"),
        ("exit 0", "'exit' is a command"),
        ("unset B", "'unset' is a command"),
        ("set -e", "'set' is a command"),
        ("eval A=1", "'eval' is a command"),
        ("read A <<<x", "'read' is a command"),
        ("printf -v A x", "'printf' is a command"),
        ("let A=1", "'let' is a command"),
        ("local A=1", "'local' is a command"),
        ("trap 'B=1' EXIT", "'trap' is a command"),
        ("[ -n x ] && A=1", "'[' is a command"),
        ("! A=1", "'!' is a command"),
        ("A=1 rm x", "'rm' is a command"),
        ("A=1 export C=2", "'export' is a command"),
        ("A[1]=x", "'A[1]=x' is a command"),
        ("\u00e9=1", "'\u00e9=1' is a command"),
        ("'export' A=1", "'export' is a command"),
        ("test -n x && A=1", "'test' is a command"),
        ("true && A=1", "'&' has a meaning to a shell here"),
        ("echo x >/tmp/x", "'>' has a meaning to a shell here"),
        ("A=1 && C=2", "'&' has a meaning to a shell here"),
        ("A=(1; 2)", "';' has a meaning to a shell here"),
        ("A=(1 &2)", "'&' has a meaning to a shell here"),
        ("A=(1 (2))", "'(' has a meaning to a shell here"),
        ("A=(1)x", "something follows an array without a blank"),
        ("A=1 | x", "'|' has a meaning to a shell here"),
        ("; A=1", "';' has a meaning to a shell here"),
        ("A=1;;", "';;' has a meaning to a shell here"),
        ("A='1", "a quote is opened and never closed"),
        ('A="1', "a quote is opened and never closed"),
        ("A=(1 2", "an array is opened and never closed"),
        ("A=1\\", "the file ends with a backslash"),
        ("A=([0]=x)", "an array with subscripts stands here"),
        ("export 'A=1'", "'export A=1' does more than to assign"),
        ("export -n B", "'export -n' does more than to assign"),
        ("declare -i A=1+2", "'declare -i' does more than to assign"),
        ("declare -u A=x", "'declare -u' does more than to assign"),
        ("declare -n A=B", "'declare -n' does more than to assign"),
        ("declare -a A='(1 2)'", "a declaration may take '(' for the beginning of an array"),
        ("export A=1 C=(2)", "an array comes second in a declaration, which bash reads in an order of its own"),
        ("readonly A=1; A=2", "A is read-only"),
        ("UID=1", "UID is a variable of bash's own"),
        ("RANDOM=1", "RANDOM is a variable of bash's own"),
        ("IFS=,", "IFS is a variable of bash's own"),
        ("BASH_ENV=x", "BASH_ENV is a variable of bash's own"),
    ],
)
def test_what_needs_a_shell_is_named_with_its_line(text: str, sentence: str) -> None:
    first = read_fragment(f"B=0\n{text}").foreign[0]
    assert first == (2 + text.startswith("C='a b'"), sentence)


def test_lines_after_it_are_read_and_counted() -> None:
    fragment = read_fragment("A=a\\\nb\nrm x\nB=(1\n2)\nC=3\n")
    assert [(name, value.line) for name, value in fragment.values.items()] == [("A", 1), ("B", 4), ("C", 6)]
    assert [line for line, _ in fragment.foreign] == [3]


@given(st.text(alphabet="AB=()'\"\\$`#;&| \n\t\0{}+%a1", max_size=60))
def test_nothing_makes_it_fail_or_hang(text: str) -> None:
    fragment = read_fragment(text)
    assert all(line >= 1 and sentence for line, sentence in (*fragment.remarks, *fragment.foreign))
