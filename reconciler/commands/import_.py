"""`vio4wd import`: virtio-forwarder's configuration file as a spec."""

from __future__ import annotations

import argparse
from pathlib import Path

from schema.paths import DEFAULTS_FILE

NAME = "import"
HELP = "make a spec of virtio-forwarder's configuration file"
EPILOG = """\
The file is read, never executed. Every variable becomes a key of the spec, or a remark that says why it does not; the
remarks stand in the spec as comments, and on standard error. See docs/migrating.md.

Examples:
  vio4wd import > vio4wd.yaml
  vio4wd import /etc/default/virtioforwarder -o /etc/vio4wd/vio4wd.yaml
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    default = f"(default: {DEFAULTS_FILE})"
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", default=DEFAULTS_FILE, help=default)
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the spec here, unless the file exists")


def execute(asked: argparse.Namespace) -> int:
    from reconciler.legacy.defaults import read_imported
    from reconciler.terminal.output import complain, put
    from schema import SpecError
    from schema.system.files import write_named
    from schema.system.logs import holds_token

    try:
        found = read_imported(asked.file)
    except SpecError as error:
        complain(f"Nothing was made of it. {error}")
        return 1
    for remark in found.remarks:
        complain(str(remark))
    if asked.out is None:
        put(found.text)
    elif asked.out.exists():
        complain(f"{asked.out} is there already, and was left as it is; give another name, or move it away")
        return 1
    else:
        write_named(asked.out, found.text, secret=holds_token(found.text))
        complain(f"Written to {asked.out}; see what it would do with: vio4wd plan {asked.out}")
    return 0
