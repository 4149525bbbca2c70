"""Commands of vio4wd without a start of Python for each, which takes a fifth of a second.

One process has imported all of it, and forks one more for each command.

    python -m tests.kit.command_server SOCKET      SOCKET: the number of an open descriptor

A command finds what it would in a process of its own: arguments, environment, directory, standard streams, signals, and
how Python ends. Tests of how a process starts, and of those that stay, start a real one.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.kit import cleanup
from tests.kit.paths import ROOT

_MAX_REQUEST_BYTES = 1 << 20


def run(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(["vio4wd", *arguments], capture_output=True, text=True)`, with nothing on standard input."""
    request = json.dumps({"arguments": list(arguments), "environment": dict(environment), "directory": str(directory)})
    ended, writer = os.pipe()
    with open(os.devnull) as nothing, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = [nothing.fileno(), out.fileno(), err.fileno(), writer]
        socket.send_fds(_server(), [request.encode()], streams)
        os.close(writer)
        code = _code(ended, arguments, timeout_s)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read(), err.read())


def _code(ended: int, arguments: Sequence[str], timeout_s: float) -> int:
    """How it ended: its process id comes first, then its exit code. Raises TimeoutExpired when that takes too long."""
    deadline, said = time.monotonic() + timeout_s, b""
    with open(ended, "rb", buffering=0) as reader:
        while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (more := reader.read(64)):
                return int(said.split()[1])
            said += more
    if said:
        os.kill(int(said), signal.SIGKILL)
    raise subprocess.TimeoutExpired(list(arguments), timeout_s)


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = [sys.executable, "-m", "tests.kit.command_server", str(theirs.fileno())]
    subprocess.run(line, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, check=True)
    theirs.close()
    cleanup.register(ours, ours.close)
    return ours


def _serve(requests: socket.socket) -> Sequence[str] | None:
    """In the process of a command its arguments; None in the server's, when nobody is left to ask."""
    while True:
        request, fds, _, _ = socket.recv_fds(requests, _MAX_REQUEST_BYTES, 4)
        if not request:
            return None
        if not os.fork():
            requests.close()
            return _forked(json.loads(request), fds)
        for fd in fds:
            os.close(fd)


def _forked(request: Mapping[str, object], fds: Sequence[int]) -> Sequence[str]:
    """Forks the command, which goes on from here; this process waits for it and says how it ended."""
    *streams, writer = fds
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        os.close(writer)
        return _become(request, streams)
    os.write(writer, f"{child} ".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.write(writer, str(code).encode())
    os._exit(0)


def _become(request: Mapping[str, object], streams: Sequence[int]) -> Sequence[str]:
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", errors="backslashreplace", buffering=1)  # noqa: SIM115
    os.chdir(str(request["directory"]))
    os.environ.clear()
    os.environ.update(dict(request["environment"]))  # type: ignore[call-overload]
    arguments = [str(each) for each in request["arguments"]]  # type: ignore[attr-defined]
    sys.argv = [str(ROOT / "reconciler" / "__main__.py"), *arguments]
    return arguments


def main(descriptor: int) -> int:
    if os.fork():
        return 0  # some tests say that theirs is a process without children

    from reconciler import cli
    from reconciler.commands.watch import COMMANDS_ALONE
    from schema.system.whole import import_all

    import_all(("schema", "state", "reconciler"), COMMANDS_ALONE)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    arguments = _serve(socket.socket(fileno=descriptor))
    return 0 if arguments is None else cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
