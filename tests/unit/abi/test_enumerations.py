"""The generated enumerations: names without their prefix, and a sentence for every reason."""

from __future__ import annotations

from kinety import abi


def test_prefixes_are_gone_and_counts_are_constants() -> None:
    assert abi.Direction(1) is abi.Direction.INGRESS
    assert abi.ReservedIdentity.KUBE_APISERVER == 7
    assert abi.EndpointFlag.READY | 0 == 1
    assert abi.RuleSetSlot.NONE == 0
    assert len(abi.Direction) == abi.DIRECTION_COUNT == 2
    assert max(abi.Reason) < abi.REASON_COUNT


def test_every_reason_has_a_sentence_of_its_own() -> None:
    sentences = [reason.sentence for reason in abi.Reason]
    assert len(set(sentences)) == len(sentences)
    assert abi.Reason.POLICY_DENIED.sentence == "Denied by policy"
