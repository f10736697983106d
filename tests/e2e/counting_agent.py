"""An agent that counts what it tells Envoy: ``python -m tests.e2e.counting_agent FILE OPTIONS…``.

A byte in the file is a message that was sent: of listeners or of routes, whatever is in it.
"""

import os
import sys
from typing import Any
from unittest.mock import patch

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from grpclib.server import Stream

from kinety.agent.__main__ import main

_send: Any = Stream.send_message


async def counted(self: Any, message: Any) -> None:
    """Write it down before it goes."""
    if isinstance(message, DeltaDiscoveryResponse):
        os.write(COUNT, b".")
    await _send(self, message)


if __name__ == "__main__":
    COUNT = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    with patch.object(Stream, "send_message", counted):
        sys.exit(main())
