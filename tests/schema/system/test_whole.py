"""A process that runs needs nothing more from the disk of what it is made of."""

from __future__ import annotations

import subprocess
import sys

from tests.kit.paths import ROOT

TAKEN_AWAY = """
import ast, sys
from importlib.util import resolve_name
from pathlib import Path
from reconciler.commands.watch import COMMANDS_ALONE
from schema.system.whole import import_all
packages, but = ("schema", "state", "reconciler"), COMMANDS_ALONE
import_all(packages, but)
for name, module in list(sys.modules.items()):
    if name.split(".")[0] not in packages or name.startswith(but) or not getattr(module, "__file__", None):
        continue
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in packages:
            if node.module not in sys.modules and not node.module.startswith(but):
                print(name, node.module)
"""


def test_whatever_the_modules_of_a_watch_may_import_later_is_there() -> None:
    line = [sys.executable, "-c", TAKEN_AWAY]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done
