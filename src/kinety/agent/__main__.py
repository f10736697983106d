"""``python -m kinety.agent``: what ``kinety agent`` becomes."""

import sys

from kinety.agent.options import Options, parse


def main() -> int:
    """Run the agent, or clean up after it. The exit status: 0 when stopped, 1 when it could not run."""
    options = parse(sys.argv[1:])
    if error := _failure(options):
        print(f"kinety: {' '.join(error.split())}", file=sys.stderr)
        return 1
    return 0


def _failure(options: Options) -> str | None:
    """Run, and say why that was not possible."""
    # Imported late, so that --help and a wrong option answer at once.
    import asyncio
    import logging
    import os

    from kinety.agent.store import StoreError
    from kinety.agent.supervisor import clean, run
    from kinety.kernel.program import VerifierRefusal
    from kinety.plan.change import CapacityError

    level = options.log_level.upper()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("hpack").setLevel(logging.INFO)  # which tells of every header of every message
    try:
        if os.geteuid() != 0:
            raise PermissionError("the agent must be run as root")
        if options.cleanup:
            clean(options)
        else:
            asyncio.run(run(options))
    except OSError as error:
        if isinstance(error, VerifierRefusal):
            logging.getLogger(__name__).debug("the verifier's log:\n%s", error.log)
        place = f"{error.filename}: " if error.filename else ""
        return "; ".join([place + (error.strerror or str(error)), *getattr(error, "__notes__", ())])
    except (ValueError, StoreError, CapacityError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
