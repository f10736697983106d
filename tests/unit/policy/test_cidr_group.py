import pytest

from kinety.model.address import Prefix
from kinety.model.label import Label
from kinety.model.reference import CidrGroup
from kinety.policy.document import Document
from kinety.policy.error import PolicyError
from kinety.policy.parse import parse_objects

GOOD = """\
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: vpn, labels: {role: vpn}}
spec:
  externalCIDRs: [10.1.2.3/8, 192.0.2.1, '2001:db8::/32', 10.0.0.0/8]
"""


def groups(document: str) -> tuple[CidrGroup, ...]:
    return parse_objects([Document("g.yaml", document)]).cidr_groups


def test_a_group() -> None:
    prefixes = sorted(map(Prefix.parse, ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")))
    expected = CidrGroup("vpn", frozenset({Label("cidrgroup", "role", "vpn")}), tuple(prefixes))
    assert groups(GOOD) == (expected,)
    assert groups(GOOD.replace("cilium.io/v2", "cilium.io/v2alpha1")) == (expected,)


def test_a_group_may_be_empty() -> None:
    (found,) = groups(GOOD[: GOOD.index("[10.")] + "[]\n")
    assert found.prefixes == ()


@pytest.mark.parametrize(
    ("change", "line", "path", "message", "hint"),
    [
        (("192.0.2.1", "nowhere"), 5, "spec.externalCIDRs[1]", "is not an address prefix", "10.0.0.0/8"),
        (("externalCIDRs", "externalCIDR"), 4, "spec", "externalCIDRs is missing", ""),
        (("  externalCIDRs", "externalCIDRs"), 5, "externalCIDRs", "belongs under spec", "indent it"),
        (("role: vpn}", "'a b': vpn}"), 3, 'metadata.labels["a b"]', "is not a label key", ""),
        (("role: vpn}", "role: a b}"), 3, "metadata.labels.role", "is not a label value", ""),
        (("name: vpn", "name: VPN"), 3, "metadata.name", "cannot be a name", ""),
        (
            ("name: vpn", "name: vpn, namespace: a"),
            3,
            "metadata.namespace",
            "is in no namespace",
            "remove it",
        ),
        (("cilium.io/v2", "cilium.io/v1"), 1, "apiVersion", "unknown apiVersion", "write cilium.io/v2"),
    ],
)
def test_bad_groups(change: tuple[str, str], line: int, path: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        groups(GOOD.replace(*change))
    found = next(each for each in caught.value.findings if each.path == path)
    assert found.line == line
    assert message in found.message
    assert hint in found.hint
