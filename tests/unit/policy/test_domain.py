import pytest

from kinety.model.layer7 import NamePattern
from tests.unit.policy.sample import refused_rule, rule


def pattern(item: str) -> NamePattern:
    found = rule(f"toPorts: [{{ports: [{{port: '53'}}], rules: {{dns: [{item}]}}}}]", "egress")
    assert found.layer7 is not None
    return found.layer7.dns[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com", "example.com"),
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("_sip._tcp.example.com", "_sip._tcp.example.com"),
        ("3com.com", "3com.com"),
        ("localhost", "localhost"),
        ("x" * 255, "x" * 255),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert pattern(f"{{matchName: '{name}'}}") == NamePattern(expected)
    assert pattern(f"{{matchPattern: '{name}'}}") == NamePattern(expected)


@pytest.mark.parametrize(
    "text", ["*", "*.example.com", "a*b.example.com", "**.example.com", "example.*", "*.*"]
)
def test_patterns(text: str) -> None:
    assert pattern(f"{{matchPattern: '{text}'}}") == NamePattern(text)


@pytest.mark.parametrize(
    ("item", "field", "message", "hint"),
    [
        ("{}", "", "there is neither matchName nor matchPattern", "one of them"),
        ("{matchName: a, matchPattern: b}", "", "there is matchName and matchPattern", "one of them"),
        ("{matchName: ''}", ".matchName", "the name is empty", "example.com"),
        ("{matchPattern: ''}", ".matchPattern", "the name is empty", "example.com"),
        (
            f"{{matchName: {'x' * 256}}}",
            ".matchName",
            "256 characters; DNS names have at most 255",
            "shorter",
        ),
        (f"{{matchPattern: {'x' * 256}}}", ".matchPattern", "256 characters", ""),
        ("{matchName: '*.a.b'}", ".matchName", "a name is taken as it is", "write matchPattern"),
        ("{matchName: 'a b'}", ".matchName", "'a b' is not a DNS name", "xn--"),
        ("{matchName: a..b}", ".matchName", "is not a DNS name", ""),
        ("{matchName: 'ä.b'}", ".matchName", "is not a DNS name", "xn--"),
        ("{matchName: .}", ".matchName", "is not a DNS name", ""),
        ("{matchPattern: 'a/b'}", ".matchPattern", "is not a pattern of DNS names", "between dots"),
        ("{matchPattern: 'a.**.b'}", ".matchPattern", "** stands at the front only", "write * here"),
        ("{matchPattern: '**'}", ".matchPattern", "** stands at the front only", ""),
        ("{matchPattern: '*.'}", ".matchPattern", "is not clear about labels", '"*"'),
        ("{matchPattern: '.*'}", ".matchPattern", "is not a pattern", ""),
    ],
)
def test_impossible_names(item: str, field: str, message: str, hint: str) -> None:
    found = refused_rule(f"toFQDNs: [{item}]", "egress")
    assert found.path == f"spec.egress[0].toFQDNs[0]{field}"
    assert message in found.message
    assert hint in found.hint
