"""A request that was not carried out, and why, as both sides of the socket know it."""

from http import HTTPStatus

from kinety.api.types import Problem


class ApiError(Exception):
    """The agent refused a request. ``problem`` is the body of the answer, ``status`` its HTTP status.

    400 the request is wrong; 404 no such thing; 409 conflicts with what there is; 413 too large;
    415 not JSON; 503 the kernel refused and the agent is trying again; 507 no room in a map or a pool.
    """

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.error)
        self.status = HTTPStatus(status)
        self.problem = problem

    def __str__(self) -> str:
        place = ""
        if self.problem.file is not None:
            place = self.problem.file
            if self.problem.line is not None:
                place += f":{self.problem.line}"
            place += ": "
        if self.problem.path:
            place += f"{self.problem.path}: "
        return place + self.problem.error


class AgentUnreachable(ConnectionError):
    """Nobody answers on the agent's socket."""


def refuse(
    status: int,
    error: str,
    *,
    file: str | None = None,
    line: int | None = None,
    path: str | None = None,
    log: str | None = None,
) -> ApiError:
    """An ApiError from its parts."""
    return ApiError(status, Problem(error, file, line, path, log))
