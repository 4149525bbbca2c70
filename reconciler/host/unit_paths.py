"""Where systemd lets engines write, as the host's policy has it: a generator of drop-ins (systemd.generator(7)), which
`packaging/vio4wd-generator` calls at each boot and each `systemctl daemon-reload`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from schema.rules.host_policy import Policy, in_force

UNIT = "vio4wd-engine@.service"
FILE = "10-host-policy.conf"


def drop_in(policy: Policy) -> str:
    """What the unit has beyond its own file; empty when the policy lists no directories of sockets. One that is not
    there yet does not keep an engine from starting."""
    directories = policy.sockets or ()
    if not directories:
        return ""
    lines = [f"ReadWritePaths={_word(f'-{directory}')}" for directory in directories]
    return "\n".join([f"# directories.sockets of {policy.file}", "[Service]", *lines, ""])


def _word(path: str) -> str:
    """As systemd.syntax(7) and systemd.unit(5) want it quoted."""
    quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{quoted}"'


def main(argv: Sequence[str]) -> int:
    """Writes the drop-in below the first directory of the three that systemd gives. A policy that can't be used gives
    none, and no exit code but 0 would help a host that starts."""
    text = drop_in(in_force())
    if text and argv:
        directory = Path(argv[0], f"{UNIT}.d")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
