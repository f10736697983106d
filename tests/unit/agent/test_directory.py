from dataclasses import replace

from kinety.agent.directory import _REMEMBERED, Directory
from kinety.api.types import EventRule
from kinety.model.identity import Identity
from kinety.model.label import Label
from kinety.model.rule import RuleId
from tests.unit.agent.conftest import files, record

LABELS = {Identity(256): frozenset({Label("k8s", "org", "empire"), Label("k8s", "class", "deathstar")})}
(RULE, OTHER) = files("rule1")[0].policies[0].rules


def test_an_endpoint_is_found_by_id_and_by_either_address() -> None:
    directory, endpoint = Directory(LABELS.get), record(7, "server").endpoint
    directory.add_endpoint(endpoint)
    assert endpoint.ipv4 is not None
    assert endpoint.ipv6 is not None
    assert (
        directory.endpoint(endpoint.id)
        == directory.at(endpoint.ipv4)
        == directory.at(endpoint.ipv6)
        == endpoint
    )
    directory.remove_endpoint(endpoint)
    assert (
        directory.endpoint(endpoint.id) is directory.at(endpoint.ipv4) is directory.at(endpoint.ipv6) is None
    )


def test_labels_are_sorted_and_unknown_identities_have_none() -> None:
    directory = Directory(LABELS.get)
    assert directory.labels(Identity(256)) == ("k8s:class=deathstar", "k8s:org=empire")
    assert directory.labels(Identity(257)) == ()


def test_a_rule_is_its_place_and_the_default_has_none() -> None:
    directory = Directory(LABELS.get)
    directory.change_rules({RuleId(2): RULE})
    policy = "CiliumNetworkPolicy/default/rule1"
    assert directory.rule(RuleId(2)) == EventRule(2, policy, "rule1.yaml", 7, "spec.ingress[0]")
    assert directory.rule(RuleId(0)) == EventRule(0, None, None, None, None)
    assert directory.rule(RuleId(3)) == EventRule(3, None, None, None, None)


def test_a_rule_says_what_its_policy_wants_said() -> None:
    directory = Directory(LABELS.get)
    directory.change_rules({RuleId(2): replace(RULE, log="seen"), RuleId(3): RULE})
    assert [directory.rule(RuleId(number)).log for number in (2, 3, 0)] == ["seen", "", ""]


def test_removed_rules_are_known_for_events_on_their_way_and_not_for_ever() -> None:
    directory = Directory(LABELS.get)
    numbers = [RuleId(number) for number in range(1, _REMEMBERED + 2)]
    directory.change_rules(dict.fromkeys(numbers, RULE))
    directory.change_rules({}, numbers)
    assert directory.rule(numbers[0]).file is None
    assert directory.rule(numbers[1]).file == "rule1.yaml"


def test_a_number_given_again_is_the_new_rules() -> None:
    directory = Directory(LABELS.get)
    directory.change_rules({RuleId(1): RULE})
    directory.change_rules({}, [RuleId(1)])
    directory.change_rules({RuleId(1): OTHER})
    others = [RuleId(number) for number in range(2, _REMEMBERED + 2)]
    directory.change_rules(dict.fromkeys(others, RULE))
    directory.change_rules({}, others)
    assert directory.rule(RuleId(1)).line == OTHER.origin.line == 8
