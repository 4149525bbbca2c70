"""A guest without a machine: dpdk-testpmd with virtio-user ports on vhost-user sockets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.kit.guests.testpmd import Cpus, Testpmd
from tests.kit.waiting import wait_for

MODES = ("icmpecho", "io", "mac", "rxonly", "txonly")
QUEUE_SIZE = 256
"""Descriptors per virtqueue, as QEMU has them by default."""


class TestpmdGuest(Testpmd):
    """A guest with one virtio port per socket.

    `io` and `mac` send back what comes on the same port, `icmpecho` answers ARP and ping for any address, `rxonly` and
    `txonly` do half of that. The sockets must be there when it is entered. Entered, it is connected; `start()` makes
    it forward. `device` are more arguments of each virtio device: with `,server=1` it makes the sockets and waits.
    `beside` are devices that it has after them.
    """

    __test__ = False

    def __init__(
        self,
        sockets: Sequence[Path | str],
        mode: str = "icmpecho",
        cpus: Cpus | None = None,
        queues: int = 1,
        frame_bytes: int = 64,
        queue_size: int = QUEUE_SIZE,
        memory_mib: int = 256,
        options: Sequence[str] = (),
        device: str = "",
        beside: Sequence[str] = (),
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"a guest can't be {mode!r}; it can be one of {', '.join(MODES)}")
        self.sockets = tuple(Path(path) for path in sockets)
        vdevs = [virtio_user(index, path, queues, queue_size) + device for index, path in enumerate(self.sockets)]
        vdevs += beside
        own = ["--port-topology=loop", f"--rxq={queues}", f"--txq={queues}", f"--rxd={queue_size}"]
        super().__init__(
            vdevs,
            mode,
            cpus,
            memory_mib,
            [*own, f"--txd={queue_size}", f"--txpkts={frame_bytes}", *options],
        )

    @classmethod
    def started(
        cls, sockets: Sequence[Path | str], mode: str = "icmpecho", cpus: Cpus | None = None, device: str = ""
    ) -> TestpmdGuest:
        """A guest that is connected and forwards; end it with `quit()` or `kill()`."""
        guest = cls(sockets, mode, cpus, device=device)
        guest.__enter__()
        guest.start()
        return guest


def virtio_user(index: int, path: Path, queues: int = 1, queue_size: int = QUEUE_SIZE) -> str:
    """The virtual device of a guest's port on a socket. Its MAC is of the guest's own making, from the index."""
    mac = f"02:00:00:00:{index >> 8:02x}:{index & 255:02x}"
    return f"net_virtio_user{index},path={path},mac={mac},queues={queues},queue_size={queue_size}"


def wait_for_socket(path: Path, timeout_s: float = 30.0) -> None:
    """Wait until a vhost-user socket is there. Raises `WaitTimeoutError`."""
    wait_for(f"the socket {path}", path.is_socket, timeout_s)
