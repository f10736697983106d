"""``python -m kinety.datapath``: what ``kinety datapath inspect`` asks, answered as JSON."""

import json
import os
import sys
from dataclasses import asdict

from kinety.datapath.inspection import inspect, inspect_host
from kinety.datapath.template import packaged_object
from kinety.kernel.spec import CollectionSpec


def main() -> int:
    """Print every inspection. The exit status: 1 when the kernel or the object refuses."""
    try:
        if os.geteuid() != 0:
            raise PermissionError("programs are loaded to be inspected: run it as root")
        spec = CollectionSpec.parse(packaged_object())
        found = list(inspect(spec))
        try:
            found += inspect_host()
        except OSError as error:
            print(f"kinety: the node's own programs are left out: {error.strerror}", file=sys.stderr)
        print(json.dumps([asdict(each) for each in found]))
    except (OSError, ValueError) as error:
        notes = "; ".join([str(error), *getattr(error, "__notes__", ())])
        print(f"kinety: {' '.join(notes.split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
