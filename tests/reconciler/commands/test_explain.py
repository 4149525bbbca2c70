"""`explain` and `completion`: what the terminal knows by itself, from the schema and the parser."""

from __future__ import annotations

import json
import subprocess

import pytest

from reconciler.cli import main
from schema.loading.keys import keys


def test_every_key_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for path, key in keys().items():
        assert main(["explain", path]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith(f"{path}: {key.part['title']}\n")
        assert " ".join(key.part["description"].split()) in " ".join(shown.split())
        assert max(map(len, shown.splitlines())) <= 100, "examples are not wrapped, but none is that long"


def test_what_may_be_and_what_is_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", "relays[].bond.mode"])
    shown = capsys.readouterr().out
    assert "  allowed   round-robin, active-backup, balance, broadcast, 802.3ad, tlb, alb\n" in shown
    assert "  default   active-backup\n" in shown
    main(["explain", "relays.id"])
    assert "  allowed   at least 0, at most 63\n  default   none, it must be given\n" in capsys.readouterr().out
    main(["explain", "relays.bond"])
    assert "keys below: relays.bond.name, relays.bond.mode, relays.bond.members\n" in capsys.readouterr().out


def test_all_keys_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == list(keys())
    assert main(["explain", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == listed


def test_an_unknown_key_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "relays.cpu"]) == 1
    assert capsys.readouterr().err == "a spec has no key 'relays.cpu'; is relays.cpus meant?\n"
    assert main(["explain", "%"]) == 1
    assert "vio4wd explain lists them all" in capsys.readouterr().err


def completed(script: str, line: str) -> set[str]:
    """What bash offers for the last word of a command line."""
    words = line.split(" ")
    ask = f"""{script}
COMP_WORDS=({" ".join(words[:-1])} "{words[-1]}") COMP_CWORD={len(words) - 1}
_shtab_vio4wd vio4wd "{words[-1]}" "{words[-2]}"
printf "%s\n" "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert completed(script, "vio4wd st") == {"stats", "status"}
    assert "--detailed-exitcode" in completed(script, "vio4wd plan --")
    assert completed(script, "vio4wd explain relays.cp") == {"relays.cpus"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_are_served(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert "vio4wd" in capsys.readouterr().out
