"""``python -m kinety.proxy.dns``: the process. Started by the agent, and by nobody else."""

import argparse
import asyncio
import contextlib
import gc
import logging
import signal
import sys
from pathlib import Path

from kinety.proxy.dns.worker import Worker


def main() -> int:
    """Serve until SIGTERM or SIGINT. Exit status 1 when that cannot begin."""
    parser = argparse.ArgumentParser(prog="kinety-dns", description="The DNS proxy of a Kinety agent.")
    parser.add_argument("--run-directory", type=Path, required=True, help="where the agent's socket is")
    parser.add_argument("--source-ports", required=True, help="FIRST-LAST, of what is sent to servers")
    parser.add_argument("--release", default="", help="of the agent: another one starts the process anew")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    first, _, last = chosen.source_ports.partition("-")
    # Questions make no cycles, and looking through all that is remembered takes too long to do it often.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    try:
        asyncio.run(_until_told(chosen.run_directory, range(int(first), int(last) + 1)))
    except (OSError, ValueError) as error:
        logging.error("the DNS proxy does not start: %s", error)
        return 1
    return 0


async def _until_told(directory: Path, ports: range) -> None:
    serving = asyncio.create_task(Worker(directory, ports).run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    sys.exit(main())
