"""Policies in few words, for the tests of this folder."""

from textwrap import indent

from kinety.model.rule import Policy, Rule
from kinety.policy.document import Document
from kinety.policy.error import Finding, PolicyError
from kinety.policy.parse import parse_policies

HEAD = """\
apiVersion: cilium.io/v2
kind: {kind}
metadata:
  name: sample
spec:
"""
#: The line of the first line of a spec.
FIRST = 6

NAMESPACED = "CiliumNetworkPolicy"
CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"


def text(spec: str, kind: str = NAMESPACED) -> str:
    """A document whose spec is the given YAML."""
    return HEAD.format(kind=kind) + indent(spec.strip("\n"), "  ") + "\n"


def parse(document: str, file: str = "p.yaml") -> tuple[Policy, ...]:
    return parse_policies([Document(file, document)])


def rules(spec: str, kind: str = NAMESPACED) -> tuple[Rule, ...]:
    """The rules of the policy with a spec."""
    (policy,) = parse(text(spec, kind))
    return policy.rules


def rule(item: str, section: str = "ingress", kind: str = NAMESPACED) -> Rule:
    """The rule that one item of a section becomes."""
    (found,) = rules(f"endpointSelector: {{}}\n{section}:\n- {indent(item.strip(), '  ').strip()}", kind)
    return found


def refused(document: str) -> tuple[Finding, ...]:
    """What is found wrong with a document that must be refused."""
    try:
        accepted = parse(document)
    except PolicyError as error:
        return error.findings
    raise AssertionError(f"accepted as {accepted}")


def refused_rule(item: str, section: str = "ingress", kind: str = NAMESPACED) -> Finding:
    """The one thing that is wrong with an item of a section."""
    spec = f"endpointSelector: {{}}\n{section}:\n- {indent(item.strip(), '  ').strip()}"
    (finding,) = refused(text(spec, kind))
    return finding
