"""virtioforwarder_port_control.py: adds and removes VFs, bonds and sockets.

Exit code 0 on OK, else 1. `query_pci` prints the PCI address, or the bond's name, that is served on a socket, and
nothing where that is a socket of the template that serves none.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from reconciler.legacy.clients.wire import PORT_CONTROL, NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse

OPS = {
    "add": PortControlRequest.ADD,
    "remove": PortControlRequest.REMOVE,
    "add_sock": PortControlRequest.ADD_SOCK,
    "remove_sock": PortControlRequest.REMOVE_SOCK,
    "query_pci": PortControlRequest.QUERY_PCI,
}
GARBAGE = "garbag\u00e9".encode()
_ADDRESS = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])", re.IGNORECASE)
"""Whether there can be such a function is the service's business. (The spec's own parser takes 70 ms to import.)"""


def pci_address(text: str) -> PortControlRequest.PciAddress:
    """A PCI address, with or without its domain."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no PCI address, such as 0000:11:22.3")
    domain, bus, slot, function = (int(part or "0", 16) for part in found.groups())
    return PortControlRequest.PciAddress(domain=domain, bus=bus, slot=slot, function=function)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="virtioforwarder_port_control.py")
    parser.add_argument("op", metavar="OP", choices=OPS, help=f"one of {', '.join(OPS)}")
    parser.add_argument("--vhost-path", help="path of the vhost-user socket, with add_sock, remove_sock and query_pci")
    parser.add_argument("--virtio-id", metavar="virtio-id", type=int, help="the relay")
    parser.add_argument("--crash-after-send", action="store_true", help="end after sending the request (for tests)")
    parser.add_argument(
        "--pci-addr", default=[], action="append", type=pci_address, help="PCI address; several make a bond"
    )
    parser.add_argument("--name", help="the bond's name, which begins with net_bonding")
    parser.add_argument(
        "--mode",
        choices=range(7),
        type=int,
        default=1,
        help="of a bond: 0 round-robin, 1 active-backup, 2 balance, 3 broadcast, 4 802.3ad, 5 tlb, 6 alb (default: 1)",
    )
    parser.add_argument("--zmq_ep", default=PORT_CONTROL, help=f"the service's endpoint (default: {PORT_CONTROL})")
    parser.add_argument(
        "--conditional", action="store_true", help="add of a VF that is there, or remove of what is not, is no error"
    )
    parser.add_argument("--send-garbage", action="store_true", help="send garbage instead of a request (for tests)")
    return parser


def request_of(asked: argparse.Namespace) -> PortControlRequest:
    """The message that the options ask for."""
    request = PortControlRequest(op=OPS[asked.op], pci_addrs=asked.pci_addr, conditional=asked.conditional)
    if asked.virtio_id is not None:
        request.virtio_id = asked.virtio_id
    if asked.name is not None:
        request.name, request.mode = asked.name, asked.mode
    if asked.vhost_path is not None:
        request.vhost_path = asked.vhost_path
    return request


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments().parse_args(argv)
    try:
        request = GARBAGE if asked.send_garbage else request_of(asked)
    except ValueError as error:  # a number that the wire can't carry
        print(f"--virtio-id: {error}", file=sys.stderr)
        return 1
    try:
        with Service(asked.zmq_ep or PORT_CONTROL) as service:
            if asked.crash_after_send:
                service.send(request)
                print("ended after sending, as asked", file=sys.stderr)
                return 1
            reply = service.ask(request, PortControlResponse())
    except NoReply as error:
        print(error, file=sys.stderr)
        return 1
    if reply.status != PortControlResponse.OK:
        print(reply)
        return 1
    if reply.query_string:
        print(reply.query_string)
    return 0


if __name__ == "__main__":
    sys.exit(main())
