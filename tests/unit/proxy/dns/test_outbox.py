"""Values on their way to the other end of the link."""

import asyncio
import socket

from kinety.proxy.dns import frame
from kinety.proxy.dns.outbox import Outbox


def test_values_that_come_quickly_leave_together_and_in_order() -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        far.setblocking(False)
        _, writer = await asyncio.open_unix_connection(sock=near)
        outbox = Outbox(writer)
        for number in range(3):
            outbox.put({"known": number})
        wanted = [frame.encode({"known": number}) for number in range(5)]
        assert await loop.sock_recv(far, 4096) == b"".join(wanted[:3])
        for number in (3, 4):
            outbox.put({"known": number})
        assert await loop.sock_recv(far, 4096) == b"".join(wanted[3:])
        outbox.put({"known": 5})
        writer.close()
        assert await loop.sock_recv(far, 4096) == b""
        far.close()

    asyncio.run(play())
