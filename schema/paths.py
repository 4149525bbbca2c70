"""Where vio4wd keeps its files, said once. Each directory can be moved by an environment variable, so that several
instances live side by side."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FILE = Path("/etc/vio4wd/vio4wd.yaml")
"""The spec that is read when a command is given none."""
DEFAULTS_FILE = Path("/etc/default/virtioforwarder")
"""virtio-forwarder's configuration file."""


def run_dir() -> Path:
    """Sockets and locks of what runs now: `$VIO4WD_RUN_DIR`, or /run/vio4wd."""
    return Path(os.environ.get("VIO4WD_RUN_DIR") or "/run/vio4wd")


def state_dir() -> Path:
    """What outlives a restart: `$VIO4WD_STATE_DIR`, or /var/lib/vio4wd."""
    return Path(os.environ.get("VIO4WD_STATE_DIR") or "/var/lib/vio4wd")


def cache_dir() -> Path:
    """What can be made again, compiled loops above all: `$VIO4WD_CACHE_DIR`, or /var/cache/vio4wd."""
    return Path(os.environ.get("VIO4WD_CACHE_DIR") or "/var/cache/vio4wd")


def sys_dir() -> Path:
    """What the kernel says of network devices and their VFs: `$VIO4WD_SYS_DIR`, or /sys."""
    return Path(os.environ.get("VIO4WD_SYS_DIR") or "/sys")


@dataclass(frozen=True, slots=True)
class OwnDirectories:
    """Where vio4wd's own files are: nobody's sockets lie among them."""

    run: str = "/run/vio4wd"
    kept: tuple[str, ...] = ("/var/lib/vio4wd", "/var/cache/vio4wd")

    def holds(self, path: str) -> bool:
        """Whether one of these files or directories has, or may have, this path, or it leads through one. Beside those
        in `run` others may lie."""
        path, run, *kept = map(_in_run, (path, self.run, *self.kept))
        name = path.removeprefix(f"{run}/").partition("/")[0] if path.startswith(f"{run}/") else ""
        whole = path in (run, *kept) or any(path.startswith(f"{each}/") for each in kept)
        return whole or _OWN_NAME.fullmatch(name) is not None


def _in_run(path: str) -> str:
    """/var/run leads to /run, wherever both are (Filesystem Hierarchy Standard 3.0, 5.13)."""
    return path.removeprefix("/var") if f"{path}/".startswith("/var/run/") else path


_OWN_NAME = re.compile(r"(engine-\d+|watch|apply|run)\..*|sync|dpdk")


def own_directories() -> OwnDirectories:
    return OwnDirectories(str(run_dir()), (str(state_dir()), str(cache_dir())))


def engine_socket(run: Path, shard: int = 0) -> Path:
    """Where an engine answers requests."""
    return run / f"engine-{shard}.sock"


def engine_events(run: Path, shard: int = 0) -> Path:
    """Where an engine says what happens."""
    return run / f"engine-{shard}.events"


def sync_file(run: Path) -> Path:
    """Who touches it has the watch read its file and all sources at once."""
    return run / "sync"


def engine_parameters(state: Path, shard: int = 0) -> Path:
    """The start-up parameters that the reconciler leaves for an engine."""
    return state / f"engine-{shard}.json"


def normal_path(path: str) -> str:
    """The path without repeated slashes, `.` parts and a trailing slash. `..` is not resolved: rules refuse it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)
