"""virtioforwarder_config.py: which CPUs serve which relay, as protobuf prints it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from reconciler.legacy.clients.wire import CONFIG, NoReply, Service
from reconciler.legacy.virtioforwarder_pb2 import ConfigRequest, ConfigResponse


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="virtioforwarder_config.py")
    parser.add_argument("--config-ep", default=CONFIG, help=f"the service's endpoint (default: {CONFIG})")
    parser.add_argument("--crash-after-send", action="store_true", help="end after sending the request (for tests)")
    parser.add_argument("--send-garbage", action="store_true", help="send garbage instead of a request (for tests)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    asked = arguments().parse_args(argv)
    request = b"@" if asked.send_garbage else ConfigRequest()
    try:
        with Service(asked.config_ep or CONFIG) as service:
            if asked.crash_after_send:
                service.send(request)
                print("ended after sending, as asked", file=sys.stderr)
                return 1
            print(service.ask(request, ConfigResponse()))
    except NoReply as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
