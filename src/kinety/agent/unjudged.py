"""What is only told of when the programs ask shadow rule sets: refused where they do not (``--no-shadow``).

A staged policy would be told of by nobody. Worse with audit: everything would pass, and nobody would know.
"""

from collections.abc import Iterable, Set

from kinety.agent.declaration import Declaration, ParsedFile
from kinety.api.errors import refuse
from kinety.datapath.settings import Settings
from kinety.model.rule import Mode
from kinety.policy.error import Finding, PolicyError

_WHY = "with --no-shadow nobody would judge"


def refuse_declared(declared: Iterable[Declaration]) -> None:
    """Raise PolicyError for every policy that is not in force."""
    findings = [
        Finding(
            each.file,
            each.line,
            0,
            "",
            f"{_WHY} a policy that is {each.mode.value}",
            "put it into force, or start the agent with --shadow",
        )
        for each in declared
        if each.mode is not Mode.ENFORCED
    ]
    if findings:
        raise PolicyError(findings)


def refuse_files(settings: Settings, files: Iterable[ParsedFile]) -> None:
    """Raise PolicyError for policies that a node's programs would not judge."""
    if not settings.shadow:
        refuse_declared(each for file in files for each in file.declarations.values())


def refuse_audit(who: str) -> None:
    """Raise ApiError: an audit would let everything pass and tell of nothing."""
    raise refuse(409, f"{_WHY} what {who} does in audit; start the agent with --shadow")


def refuse_held(audited: Set[tuple[str, str]], declared: Iterable[Declaration]) -> None:
    """Raise ValueError when there is what nobody would judge, before anything is changed."""
    if audited:
        namespace, name = min(audited)
        who = f"endpoint {namespace}/{name}" if name else f"namespace {namespace}"
        raise ValueError(f"{_WHY} {who}, which is in audit; end that first, or start with --shadow")
    refuse_declared(declared)
