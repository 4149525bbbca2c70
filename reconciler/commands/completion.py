"""`vio4wd completion`: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse

NAME = "completion"
HELP = "print what bash, zsh or tcsh needs to complete vio4wd's command lines"
EPILOG = """\
Examples:
  vio4wd completion bash > /etc/bash_completion.d/vio4wd
  eval "$(vio4wd completion bash)"                       for this shell alone
  vio4wd completion zsh > /usr/local/share/zsh/site-functions/_vio4wd
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def execute(asked: argparse.Namespace) -> int:
    import shtab

    from reconciler.terminal.output import say
    from schema.loading.keys import keys

    top = asked.whole()
    for command in _commands(top):
        for action in command._actions:  # argparse has no public list of a parser's arguments
            if action.metavar in ("FILE", "PLAN"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar == "KEY":
                action.choices = list(keys())
    say(shtab.complete(top, asked.shell))
    return 0


def _commands(top: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        command
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
        for command in action.choices.values()
    ]
