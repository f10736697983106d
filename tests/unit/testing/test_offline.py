"""The plan's answers to scenarios: verdicts and rules of both ends, each family and direction."""

from kinety.policy.document import Document
from kinety.testing import offline
from kinety.testing.outcome import UNJUDGED, Result
from kinety.testing.parse import parse_scenarios
from tests.unit.testing.both_sides import SCENARIO


def results() -> list[Result]:
    def none(scenario: str, path: str) -> Document:
        raise AssertionError("no policy is in another file")

    (scenario,) = parse_scenarios([Document("s.yaml", SCENARIO)], none)
    return list(offline.run(scenario))


def test_every_probe_is_as_expected_in_every_family() -> None:
    for result in results():
        assert result.ok, (str(result.probe), result.telling)
        assert tuple(answer.family for answer in result.answers) == result.probe.families


def test_sides_say_which_rule_decided_or_that_the_default_did() -> None:
    sides = [(str(result.telling.egress), str(result.telling.ingress)) for result in results()]
    assert sides == [
        ("allow: s.yaml:13", "allow: s.yaml:27"),
        ("default deny", "allow: s.yaml:27"),
        ("default deny", "allow: s.yaml:25"),
        ("allow: s.yaml:15", "-"),
        ("default deny", "-"),
        ("allow: s.yaml:16", "-"),
        ("deny: s.yaml:18", "-"),
        ("-", "allow: option allow-localhost"),
        ("-", "default deny"),
        ("default allow", "default allow"),
        ("-", "allow: s.yaml:29"),
        ("-", "default deny"),
        ("-", "allow: s.yaml:29"),
        ("-", "default deny"),
        ("default allow", "-"),
    ]


def test_an_end_that_is_no_endpoint_has_no_say() -> None:
    outward = results()[3].telling
    assert outward.ingress is UNJUDGED
