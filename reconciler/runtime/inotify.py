"""The kernel's word on changes of files, as long as it has some to give: instances and watches are rationed per user.
Whoever has none looks every few seconds instead, and says which limit is to be raised."""

from __future__ import annotations

import errno
import select
import threading
from pathlib import Path

from inotify_simple import Event, INotify

LIMITS = Path("/proc/sys/fs/inotify")
WORDS = {errno.EMFILE: ("instance", "max_user_instances"), errno.ENOSPC: ("watch", "max_user_watches")}


class Inotify:
    """One instance, had as soon as there is one. Its descriptor is the same all the while. Raises nothing."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._making = threading.Lock()
        self._instance: INotify | None = None
        self.fault = ""
        """What was refused since `forgive`, as a sentence."""

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return self._epoll.fileno()

    def forgive(self) -> None:
        """What was refused is about to be tried again."""
        self.fault = ""

    def add(self, path: Path, mask: int) -> int | None:
        """The number of its watch; None when it can't be watched, or is not there. From any thread."""
        try:
            return int(self._had().add_watch(path, mask))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM):
                self.fault = _sentence(error)
            return None  # else it went meanwhile, or may not be read

    def _had(self) -> INotify:
        """Raises OSError."""
        with self._making:
            if self._instance is None:
                self._instance = INotify(nonblocking=True)
                self._epoll.register(self._instance, select.EPOLLIN)
            return self._instance

    def remove(self, number: int) -> None:
        try:
            self._had().rm_watch(number)
        except OSError:
            return  # the kernel removed it together with its directory

    def read(self) -> list[Event]:
        """What has happened, without waiting."""
        if self._instance is None:
            return []
        try:
            return list(self._instance.read(timeout=0))
        except OSError:
            return []

    def close(self) -> None:
        if self._instance is not None:
            self._instance.close()
        self._epoll.close()


def _sentence(error: OSError) -> str:
    what, limit = WORDS.get(error.errno or 0, ("instance", ""))
    if not limit:
        return f"changes of files are noticed late, every 5 s: inotify does not work ({error.strerror})"
    try:
        now = f" (now {(LIMITS / limit).read_text().strip()})"
    except OSError:
        now = ""
    return (
        f"changes of files are noticed late, every 5 s: no inotify {what} is left for this user; "
        f"raise the sysctl fs.inotify.{limit}{now}"
    )
