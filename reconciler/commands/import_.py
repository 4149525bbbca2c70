"""`vio4wd import`: virtio-forwarder's configuration file as a spec."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "import"
HELP = "make a spec of virtio-forwarder's configuration file"
DEFAULT = Path("/etc/default/virtioforwarder")
EPILOG = """\
The file is read, never executed. Every variable becomes a key of the spec, or a remark that says why it does not; the
remarks stand in the spec as comments, and on standard error. See docs/migrating.md.

Examples:
  vio4wd import > vio4wd.yaml
  vio4wd import /etc/default/virtioforwarder -o /etc/vio4wd/vio4wd.yaml
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", default=DEFAULT, help=f"(default: {DEFAULT})")
    parser.add_argument("-o", "--out", metavar="FILE", type=Path, help="write the spec here, unless the file exists")


def execute(asked: argparse.Namespace) -> int:
    import schema
    from reconciler.files import write_atomically
    from reconciler.legacy.defaults import UnusableError, imported
    from reconciler.output import complain

    text = asked.file.read_bytes().decode("utf-8", "replace")
    try:
        found = imported(text, str(asked.file))
        schema.parse(found.text, "the spec")
    except (UnusableError, schema.SpecError) as error:
        complain(f"Nothing was made of it. {error}")
        return 1
    for remark in found.remarks:
        complain(remark)
    if asked.out is None:
        print(found.text, end="")
    elif asked.out.exists():
        complain(f"{asked.out} is there already, and was left as it is; give another name, or move it away")
        return 1
    else:
        write_atomically(asked.out, found.text)
        complain(f"Written to {asked.out}; see what it would do with: vio4wd plan {asked.out}")
    return 0
