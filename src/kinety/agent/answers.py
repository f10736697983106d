"""What policies mean, as the values of the API. Runs on the worker thread; changes nothing."""

from collections.abc import Sequence

from kinety.agent.declaration import ParsedFile
from kinety.api import insight
from kinety.api.decode import decode
from kinety.api.errors import refuse
from kinety.explain.answer import denial_value, difference_value, explanation_value, lint_value, matrix_value
from kinety.explain.denial import denial as explain_denial
from kinety.explain.difference import difference
from kinety.explain.flow import explain, question, request_of
from kinety.explain.lint import lint
from kinety.explain.matrix import matrix
from kinety.model.endpoint import EndpointId
from kinety.model.identity import Identity
from kinety.model.rule import Direction
from kinety.plan.engine import Engine


def explanation(
    engine: Engine,
    source: str,
    destination: str,
    protocol: str,
    port: int | None,
    request: tuple[str | None, str | None] = (None, None),
) -> insight.Explanation:
    """Why a flow is let through or not. Raises ApiError for ends and protocols that there are not."""
    try:
        asked = question(engine, source, destination, protocol, port, request_of(*request))
        return decode(insight.Explanation, explanation_value(explain(engine, asked)))
    except ValueError as error:
        raise refuse(400, str(error)) from error


def denial(
    engine: Engine, endpoint: EndpointId, direction: Direction, peer: Identity, protocol: int, port: int
) -> insight.Denial | None:
    """Why an endpoint denies a flow by default; None where it does not."""
    found = explain_denial(engine, endpoint, direction, peer, protocol, port)
    return None if found is None else decode(insight.Denial, denial_value(found))


def changes(engine: Engine, files: Sequence[ParsedFile]) -> tuple[insight.VerdictChange, ...]:
    """Every verdict that putting these policies in force would change."""
    declared = (each for file in files for each in file.declarations.values())
    facts = [each.fact for each in declared if each.fact is not None]
    values = difference_value(engine, difference(engine, facts))
    return tuple(decode(insight.VerdictChange, value) for value in values)


def findings(engine: Engine) -> tuple[insight.PolicyFinding, ...]:
    """What is odd about the policies in force."""
    return tuple(decode(insight.PolicyFinding, value) for value in lint_value(lint(engine)))


def verdicts(engine: Engine) -> tuple[insight.VerdictRow, ...]:
    """Every verdict of every endpoint."""
    return tuple(decode(insight.VerdictRow, value) for value in matrix_value(engine, matrix(engine)))
