"""``python -m kinety.agent``: what ``kinety agent`` becomes."""

import asyncio
import logging
import os
import sys

from kinety.agent.options import parse
from kinety.agent.store import StoreError
from kinety.agent.supervisor import clean, run


def main() -> int:
    """Run the agent, or clean up after it. The exit status: 0 when stopped, 1 when it could not run."""
    options = parse(sys.argv[1:])
    logging.basicConfig(
        stream=sys.stderr,
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        if os.geteuid() != 0:
            raise PermissionError("the agent must be run as root")
        if options.cleanup:
            clean(options)
        else:
            asyncio.run(run(options))
    except (OSError, ValueError, StoreError) as error:
        message = getattr(error, "strerror", None) or str(error)
        print(f"kinety: {' '.join(str(error).split()) or message}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
