"""A BPF object on its way to the agent."""

import base64
from typing import IO


def encoded_object(elf: IO[bytes]) -> str:
    """What a file holds, in base64. Raises ValueError when that does not fit into a request."""
    from kinety.api.reload import OBJECT_LIMIT

    content = elf.read(OBJECT_LIMIT + 1)
    if len(content) > OBJECT_LIMIT:
        raise ValueError(f"{elf.name}: larger than {OBJECT_LIMIT} bytes; strip it of what is for debuggers")
    return base64.b64encode(content).decode()
