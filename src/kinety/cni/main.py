"""``kinety-cni``: the entry point. Answers are JSON on standard output; the exit status of an error is 1."""

from __future__ import annotations

import os
import sys

from kinety.cni.call import Call, command, read_configuration, version_of
from kinety.cni.error import AGENT_FAILED, CniError
from kinety.cni.notation import write
from kinety.cni.operation import OPERATIONS
from kinety.cni.version import NEWEST, SUPPORTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO


def main() -> None:
    """Carry out what the environment and standard input say, and end the process.

    It ends without the interpreter's own tidying, which would take as long as an attach.
    """
    code, answer = run(os.environ, sys.stdin.buffer)
    if answer is not None:
        sys.stdout.write(write(answer) + "\n")
    sys.stdout.flush()
    os._exit(code)


def run(environment: Mapping[str, str], stdin: BinaryIO) -> tuple[int, Mapping[str, Any] | None]:
    """The exit status, and what is printed."""
    version = NEWEST
    try:
        asked = command(environment)
        configuration = read_configuration(stdin, optional=asked == "VERSION")
        said = version_of(configuration)
        if asked == "VERSION":
            return 0, {"cniVersion": said if configuration else NEWEST, "supportedVersions": SUPPORTED}
        version = said if said in SUPPORTED else NEWEST
        return 0, OPERATIONS[asked](Call(environment, configuration, said))
    except CniError as error:
        return 1, error.answer(version)
    except Exception as error:  # a runtime reads JSON and no traceback
        sys.excepthook(type(error), error, error.__traceback__)
        failed = CniError(AGENT_FAILED, "the plugin failed", f"{type(error).__name__}: {error}")
        return 1, failed.answer(version)


if __name__ == "__main__":
    main()
