"""What this node's programs would not judge, and is refused therefore.

Without shadow rule sets (``--no-shadow``) a staged policy would be told of by nobody. Worse with audit:
everything would pass, and nobody would know. And not every kernel can judge the node's own packets.
"""

from collections.abc import Iterable, Set

from kinety.agent.declaration import Declaration, ParsedFile
from kinety.api.errors import refuse
from kinety.datapath.host import Host
from kinety.datapath.host_programs import UnsupportedError
from kinety.datapath.settings import Settings
from kinety.model.rule import Mode
from kinety.policy.error import Finding, PolicyError

#: How the node is written among those in audit.
NODE = ("", "node")
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


def refuse_about_nodes(host: Host, files: Iterable[ParsedFile]) -> None:
    """Raise PolicyError for rules about nodes, where the kernel cannot judge what nodes send and receive."""
    rules = [rule for file in files for policy in file.policies for rule in policy.rules if rule.about_nodes]
    if not rules:
        return
    try:
        host.require()
    except UnsupportedError as error:
        what, why = "this kernel cannot enforce rules about nodes (nodeSelector)", error.strerror or ""
        raise PolicyError(
            [Finding(each.origin.file, each.origin.line, 0, each.origin.path, what, why) for each in rules]
        ) from error


def refuse_audit(who: str) -> None:
    """Raise ApiError: an audit would let everything pass and tell of nothing."""
    raise refuse(409, f"{_WHY} what {who} does in audit; start the agent with --shadow")


def refuse_held(audited: Set[tuple[str, str]], declared: Iterable[Declaration]) -> None:
    """Raise ValueError when there is what nobody would judge, before anything is changed."""
    if audited:
        raise ValueError(
            f"{_WHY} {name_audited(*min(audited))}, which is in audit; end that first, or start with --shadow"
        )
    refuse_declared(declared)


def name_audited(namespace: str, name: str) -> str:
    """Who is in audit, as people say it."""
    if (namespace, name) == NODE:
        return "the node"
    return f"endpoint {namespace}/{name}" if name else f"namespace {namespace}"
