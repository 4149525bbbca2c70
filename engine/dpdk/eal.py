"""The environment abstraction layer: one per process, started once, with no device probed by itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.dpdk.library import Dpdk, DpdkError, check, function, rte_errno
from schema.system.logs import LEVELS, without_token

ABSENT_PCI_ADDRESS = "ffff:ff:1f.7"
"""Allowing only a device that cannot be stops the probing at start; `--no-pci` would make every later attach fail."""
NO_HUGE_MIB = 1024
MAIN_LCORE = 0


@dataclass(frozen=True, slots=True)
class EalParameters:
    prefix: str
    main_cpu: int
    lcore_cpus: Mapping[int, int]
    """Worker lcore id, from 1, to the CPU that it starts on."""
    run_dir: Path
    """DPDK puts its runtime directory below it: `<run_dir>/dpdk/<prefix>`."""
    hugepages: bool
    log_level: int
    """DPDK's, 1 (emergency) to 8 (debug)."""
    vfio_vf_token: str | None = None


def free_hugepages() -> int:
    """How many hugepages of any size are free on this host."""
    counts = Path("/sys/kernel/mm/hugepages").glob("*/free_hugepages")
    return sum(int(path.read_text()) for path in counts)


def arguments(parameters: EalParameters) -> list[str]:
    """The EAL's command line. Lcore ids are never CPU ids: main is 0, workers are 1 to n."""
    lcores = {MAIN_LCORE: parameters.main_cpu, **parameters.lcore_cpus}
    memory = ["--in-memory"] if parameters.hugepages else ["--no-huge", "-m", str(NO_HUGE_MIB)]
    token = ["--vfio-vf-token", parameters.vfio_vf_token] if parameters.vfio_vf_token else []
    return [
        "vio4wd",
        "--lcores",
        ",".join(f"{lcore}@{cpu}" for lcore, cpu in lcores.items()),
        "--main-lcore",
        str(MAIN_LCORE),
        *memory,
        "-a",
        ABSENT_PCI_ADDRESS,
        "--file-prefix",
        parameters.prefix,
        "--no-telemetry",
        *[
            word
            for pattern, level in log_levels(parameters.log_level)
            for word in ("--log-level", f"{pattern}:{level}")
        ],
        *token,
    ]


def runtime_directory(run_dir: Path, prefix: str) -> Path:
    return run_dir / "dpdk" / prefix


def clear_runtime_directory(run_dir: Path, prefix: str) -> None:
    """Removes what an EAL of this prefix left; its process must have ended."""
    shutil.rmtree(runtime_directory(run_dir, prefix), ignore_errors=True)
    with contextlib.suppress(OSError):
        (run_dir / "dpdk").rmdir()


class Eal:
    """The started EAL of this process. Its calls need no EAL thread; `init` makes the caller the main lcore."""

    def __init__(self, dpdk: Dpdk) -> None:
        self._dpdk = dpdk
        self._init = function(dpdk.eal, "rte_eal_init", ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
        self._cleanup = function(dpdk.eal, "rte_eal_cleanup")
        self._launch = function(
            dpdk.eal, "rte_eal_remote_launch", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint
        )
        self._wait = function(dpdk.eal, "rte_eal_wait_lcore", ctypes.c_int, ctypes.c_uint)
        self._log_level = function(
            dpdk.eal, "rte_log_set_level_pattern", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32
        )
        self._tsc_hz = function(dpdk.eal, "rte_get_tsc_hz", ctypes.c_uint64)
        self.tsc_hz: int = 0

    def init(self, parameters: EalParameters) -> None:
        """Starts the EAL on the calling thread, which is bound to main_cpu from then on. Raises DpdkError."""
        clear_runtime_directory(parameters.run_dir, parameters.prefix)
        os.environ["RUNTIME_DIRECTORY"] = str(parameters.run_dir)
        words = [word.encode() for word in arguments(parameters)]
        vector = (ctypes.c_char_p * len(words))(*words)
        if self._init(len(words), vector) < 0:
            shown = without_token(" ".join(arguments(parameters)[1:]))
            raise DpdkError(f"rte_eal_init({shown})", rte_errno(self._dpdk))
        self.tsc_hz = self._tsc_hz()

    def launch(self, function_address: int, argument: int, lcore: int) -> None:
        """Runs machine code `int f(void *argument)` on a waiting lcore. Raises DpdkError."""
        check(f"rte_eal_remote_launch on lcore {lcore}", self._launch(function_address, argument, lcore))

    def wait(self, lcore: int) -> None:
        """Blocks until the lcore's function has returned."""
        self._wait(lcore)

    def set_log_level(self, level: int) -> None:
        for pattern, number in log_levels(level):
            self._log_level(pattern.encode(), number)

    def cleanup(self) -> None:
        self._cleanup()


DEBUG, NOTICE, CRITICAL = 8, 6, 3


def log_levels(level: int) -> list[tuple[str, int]]:
    """Patterns of DPDK's log types with their level. Its info is for debugging, and vhost's errors too: a guest's side
    could fill the log with them, and what it is cut off for the engine says itself."""
    if level == DEBUG:
        return [("*", level)]
    return [("*", min(level, NOTICE)), ("lib.vhost.*", min(level, CRITICAL))]


def log_level(name: str) -> int:
    """DPDK counts from 1."""
    return LEVELS.index(name) + 1
