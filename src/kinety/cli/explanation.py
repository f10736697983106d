"""An explanation of a flow, for people."""

from collections.abc import Iterator

from kinety.api.insight import Explanation, Group, Miss, RulePlace, Side
from kinety.cli.output import counted, short_labels, text

#: Names of a group that people are told.
_SHOWN = 3
_BECOMES = {"allow": "is allowed", "deny": "is denied", "redirect": "is allowed as far as its content is"}


def explanation_lines(found: Explanation) -> Iterator[str]:
    """What becomes of the flow, what each end says and why, and what would let it through."""
    port = "" if found.protocol in ("ICMP", "ICMPv6") and found.port in (8, 128) else f"/{found.port}"
    yield f"{found.source} → {found.destination}, {found.protocol}{port}, {_BECOMES[found.verdict]}"
    for direction, side in (("egress", found.egress), ("ingress", found.ingress)):
        if side is not None:
            yield ""
            yield from _side(direction, side)
    if found.verdict != "deny":
        return
    yield ""
    yield from _edits(found)


def group_text(group: Group) -> str:
    """A group in a few words."""
    more = len(group.names) - _SHOWN
    shown = ", ".join(map(text, group.names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
    if group.all_but:
        return f"all but {shown}" if group.names else "everybody"
    return shown or "nobody"


def failures_text(miss: Miss) -> str:
    """The conditions of a rule that a flow fails, and why."""
    return "; ".join(f"{each.condition}: {text(each.reason)}" for each in miss.failures)


def _side(direction: str, side: Side) -> Iterator[str]:
    yield f"{direction} of {side.subject}: {side.verdict}, {_decision(side)}"
    chain = side.chain
    labels = short_labels(chain.labels)
    yield f"  peer      identity {chain.identity} ({text(labels)}), class {chain.class_id}"
    if chain.rule_set is not None:
        entry = f"entry {chain.entry.text}" if chain.entry else "no entry matches"
        yield f"  rule set  {chain.rule_set}, {entry}"
    if side.content:
        asked = f"; the request {side.request}" if side.request else ""
        yield f"  content   {text(side.content)}{asked}"
    if side.opening is not None:
        whom = f"{'from' if direction == 'ingress' else 'to'} {group_text(side.opening.peers)}"
        yield f"  the rule  allows {side.opening.traffic.text} {whom}"
    for number, miss in enumerate(side.nearest):
        head = "near      " if not number else "          "
        yield f"  {head}{_place(miss.place)}: {failures_text(miss)}"


def _decision(side: Side) -> str:
    if side.decided_by is not None:
        return f"by {_place(side.decided_by)}"
    if side.isolated_by is not None:
        return f"because no rule names the flow and {_place(side.isolated_by)} isolates it"
    return "because no rule isolates it"


def _place(place: RulePlace) -> str:
    return f"{text(place.rule)} ({text(place.path)})"


def _edits(found: Explanation) -> Iterator[str]:
    if not found.edits:
        yield "No edit of one rule lets it through."
        return
    yield "Any of these would let it through; each was tried:"
    for number, edit in enumerate(found.edits, 1):
        for index, step in enumerate(edit.steps):
            yield f"  {f'{number}.' if not index else '  '} {text(step.text)}"
        besides = f"opens something between {counted(edit.opened, 'other pair')} as well"
        yield f"     {besides if edit.opened else 'opens nothing else'}"
