"""How the agent and the DNS proxy speak: JSON, each value with its length before it, over a unix socket.

From the agent come orders, acknowledged when in force: ``{"serial": n, ORDER}``, an order being one of
``"state": …``, ``"put": {id: [port, patterns]}``, ``"remove": [id]``, ``"watch": [pattern]``,
``"forget": [[name, address]]``, ``"protect": …``, ``"statistics": true``. And, about answer n,
``{"known": n}`` or ``{"failed": n}``.

From the proxy come ``{"done": n, "error": text or null, "value": …}``, ``{"denied": […], "lost": count}``,
and ``{"answer": n, "client": address, "name": …, "chain": …, "addresses": [[address, seconds]]}``.
"""

import asyncio
import json
from typing import Any

_LENGTH_BYTES = 4
#: A state with a hundred thousand mappings is 8 MB.
_LONGEST = 1 << 26

Value = dict[str, Any]


def encode(value: Value) -> bytes:
    """A value as it is sent."""
    text = json.dumps(value, separators=(",", ":")).encode()
    return len(text).to_bytes(_LENGTH_BYTES, "big") + text


async def receive(reader: asyncio.StreamReader) -> Value:
    """The next value. Raises EOFError at the end, OSError, and ValueError for what is none."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if length > _LONGEST:
        raise ValueError(f"a value of {length} bytes, at most {_LONGEST} are read")
    value = json.loads(await reader.readexactly(length))
    if not isinstance(value, dict):
        raise ValueError("that is no object")
    return value
