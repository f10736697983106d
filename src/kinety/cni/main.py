"""``kinety-cni``: the entry point. Answers are JSON on standard output; the exit status of an error is 1."""

from __future__ import annotations

import os
import sys

from kinety.cni import network
from kinety.cni.call import Call, command, read_configuration, version_of
from kinety.cni.error import AGENT_FAILED, CniError
from kinety.cni.notation import read, write
from kinety.cni.operation import LOST, OPERATIONS
from kinety.cni.version import NEWEST, SUPPORTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, BinaryIO


def main() -> None:
    """Carry out what the environment and standard input say, and end the process.

    It ends without the interpreter's own tidying, which would take as long as an attach. The argument
    ``lost`` says that an agent had been asked, and died.
    """
    code, answer = run(os.environ, sys.stdin.buffer, lost=sys.argv[1:] == ["lost"])
    if answer is not None:
        sys.stdout.write(write(answer) + "\n")
    sys.stdout.flush()
    os._exit(code)


def run(
    environment: Mapping[str, str], stdin: BinaryIO, *, lost: bool = False
) -> tuple[int, Mapping[str, Any] | None]:
    """The exit status, and what is printed."""
    version = NEWEST
    try:
        asked = command(environment)
        configuration = read_configuration(stdin, optional=asked == "VERSION")
        said = version_of(configuration)
        if asked == "VERSION":
            return 0, {"cniVersion": said if configuration else NEWEST, "supportedVersions": SUPPORTED}
        version = said if said in SUPPORTED else NEWEST
        operation = LOST.get(asked, OPERATIONS[asked]) if lost else OPERATIONS[asked]
        return 0, operation(Call(environment, configuration, said))
    except CniError as error:
        return 1, error.answer(version)
    except Exception as error:  # a runtime reads JSON and no traceback
        sys.excepthook(type(error), error, error.__traceback__)
        failed = CniError(AGENT_FAILED, "the plugin failed", f"{type(error).__name__}: {error}")
        return 1, failed.answer(version)


def needs_own_process(data: bytes, socket: str) -> bool:
    """Whether the agent with this socket cannot do for a plugin's process what it is to do.

    Another agent's socket, or another plugin, which is to run where the runtime runs this one.
    """
    try:
        configuration = read(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(configuration, dict):
        return False
    try:
        return bool(configuration.get("ipam")) or network.socket_of(configuration) != socket
    except CniError:
        return False


if __name__ == "__main__":
    main()
