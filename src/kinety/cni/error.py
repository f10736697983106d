"""What a runtime is told when a command failed.

https://www.cni.dev/docs/spec/#error
"""

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
NOT_DECODED = 6
INVALID_CONFIGURATION = 7
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51
# From 100 on they are the plugin's own.
AGENT_FAILED = 100
CONFLICT = 101
NO_ROOM = 102
NOT_AS_ADDED = 103


class CniError(Exception):
    """A command was not carried out. ``details`` says more than the one sentence of ``msg``, or is empty."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg
        self.details = details

    def answer(self, version: str) -> dict[str, object]:
        """The error as JSON, in a version of the specification."""
        told: dict[str, object] = {"cniVersion": version, "code": self.code, "msg": self.msg}
        return told | {"details": self.details} if self.details else told
