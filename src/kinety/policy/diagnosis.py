"""Why a document does not have the shape of a policy: pydantic's findings in our words, with a way out."""

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from kinety.policy.document import (
    NULL,
    LocatedMapping,
    LocatedSequence,
    Path,
    Tree,
    path_text,
    spelled,
)
from kinety.policy.error import Finding
from kinety.policy.schema import Model

_PEERS = frozenset({"fromEndpoints", "fromCIDR", "fromCIDRSet", "fromEntities", "fromNodes", "fromRequires"})
_PEERS |= frozenset({"toEndpoints", "toCIDR", "toCIDRSet", "toEntities", "toNodes", "toRequires"})
_PEERS |= frozenset({"toServices", "toFQDNs"})
_DIRECTIONS = ("ingress", "ingressDeny", "egress", "egressDeny")
_MISSING_HINTS: Mapping[str, str] = {
    "endpointSelector": "write `endpointSelector: {}` to select every pod in scope",
    "metadata": "a policy needs a name: `metadata: {name: my-policy}`",
    "name": "a policy needs a name",
    "podSelector": "write `podSelector: {}` to select every pod",
    "namespaceSelector": "write `namespaceSelector: {}` to select every namespace",
    "subject": "write `subject: {namespaces: {}}` to select every pod",
    "action": "write what becomes of the traffic",
    "priority": "write 0 to 1000; the lower is asked first",
    "tier": "write Admin or Baseline",
    "from": "write `from: [{namespaces: {}}]` for every pod",
    "to": "write `to: [{namespaces: {}}]` for every pod",
    "cidr": "write a prefix such as 10.0.0.0/8 or 2001:db8::/32",
    "type": "write the ICMP type's number or name",
    "operator": "write In, NotIn, Exists or DoesNotExist",
}


#: For a mapping, fields that exist but not there: message, and what to write.
Elsewhere = Mapping[type[Model], Mapping[str, tuple[str, str]]]


def diagnose(
    tree: Tree, prefix: Path, model: type[Model], error: ValidationError, elsewhere: Elsewhere | None = None
) -> Iterator[Finding]:
    """Findings about the object at ``prefix`` that ``model`` refused.

    ``elsewhere`` is for kinds other than those of ``cilium.io/v2``, whose fields are known here.
    """
    for found in error.errors(include_url=False, include_context=False):
        path = prefix + found["loc"]
        match found["type"]:
            case "extra_forbidden":
                yield _stray(tree, path, _model_at(model, found["loc"][:-1]), elsewhere)
            case "missing":
                hint = _MISSING_HINTS.get(str(path[-1]), "")
                yield tree.finding(path[:-1], f"{path[-1]} is missing", hint)
            case kind:
                yield _mistyped(tree, path, kind)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if any is close."""
    by_folded = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), by_folded, n=1, cutoff=0.7)
    return by_folded[found[0]] if found else None


def describe(value: Any) -> str:
    """A value in a few words, for messages."""
    if isinstance(value, LocatedMapping):
        return "a mapping"
    if isinstance(value, LocatedSequence):
        return "a list"
    if value is NULL:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {spelled(value)}"
    if isinstance(value, str):
        return f"the text {_shortened(value)!r}"
    return f"the unquoted {_shortened(spelled(value))}"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _mistyped(tree: Tree, path: Path, kind: str) -> Finding:
    value, field = tree.value_at(path), path[-1]
    if value is NULL:
        hint = _MISSING_HINTS.get(str(field), "leave the field out, or give it a value")
        if field in _PEERS:
            hint = "write [] for no peer, or leave the field out for any peer"
        return tree.finding(path, "there is no value", hint)
    match kind:
        case "string_type":
            quoted = not isinstance(value, LocatedMapping | LocatedSequence)
            hint = f'quote it: "{spelled(value)}"' if quoted else ""
            return tree.finding(path, f"expected text, found {describe(value)}", hint)
        case "list_type":
            hint = "begin each item with `- `" if isinstance(value, LocatedMapping) else "write a list"
            return tree.finding(path, f"expected a list, found {describe(value)}", hint)
        case "model_type" | "dict_type":
            hint = "remove the `- `" if isinstance(value, LocatedSequence) else ""
            return tree.finding(path, f"expected a mapping, found {describe(value)}", hint)
        case "bool_type":
            return tree.finding(path, f"expected true or false, found {describe(value)}")
        case "int_type":
            bare = isinstance(value, str) and value.isdecimal()
            hint = f"write it without quotes: {value}" if bare else ""
            return tree.finding(path, f"expected a number, found {describe(value)}", hint)
        case _:
            return tree.finding(path, f"unexpected {describe(value)}")


def _stray(tree: Tree, path: Path, model: type[Model] | None, elsewhere: Elsewhere | None) -> Finding:
    """The finding about a field that does not belong where it stands."""
    field = str(path[-1])
    if model is None:
        return tree.finding(path, f"unknown field {field!r}")
    if field in model.LATER:
        return tree.finding(path, f"{field} is not supported yet", model.LATER[field])
    if field in model.REFUSED:
        reason, hint = model.REFUSED[field]
        return tree.finding(path, f"{field} is not supported: {reason}", hint)
    if field in model.ALLOW_ONLY:
        return tree.finding(path, f"{field} cannot be in a deny rule", "remove it, or write an allow rule")
    home = _home(tree, path, field) if elsewhere is None else elsewhere.get(model, {}).get(field)
    if home:
        return tree.finding(path, *home)
    known = _fields(model)
    if meant := closest(field, (*known, *model.LATER, *model.REFUSED)):
        return tree.finding(path, f"unknown field {field!r}", f"did you mean {meant}?")
    return tree.finding(path, f"unknown field {field!r}", f"known here: {', '.join(known)}")


def _home(tree: Tree, path: Path, field: str) -> tuple[str, str] | None:
    """Message and hint for a field that exists, only elsewhere."""
    parent = path[:-1]
    level = [step for step in parent if isinstance(step, str)]
    section = next((step for step in level if step in _DIRECTIONS), None)
    if field == "podSelector":
        return f"{field} is a field of NetworkPolicy", "write endpointSelector"
    if section is None and _is_of_a_rule(field):
        return _inside_rule(tree, parent, field)
    if section is not None and field in _PEERS:
        return _other_way(section, field)
    if section is None and not level and field in (*_DIRECTIONS, "endpointSelector", "enableDefaultDeny"):
        return f"{field} belongs under spec", "indent it to stand inside spec"
    if section is not None and field in (*_DIRECTIONS, "endpointSelector", "enableDefaultDeny"):
        return f"{field} belongs beside {section}, directly under spec", "indent it less"
    if holder := _holder(field, section):
        return f"{field} belongs inside {holder}", "indent it to stand there"
    return None


def _holder(field: str, section: str | None) -> str | None:
    """The field whose value ought to hold a field that stands too far out."""
    side = "from" if section in _DIRECTIONS[:2] else "to"
    match field:
        case "matchLabels" | "matchExpressions":
            return f"an item of {side}Endpoints" if section else "endpointSelector"
        case "cidr" | "except":
            return f"an item of {side}CIDRSet"
        case "port" | "endPort" | "protocol":
            return "an item of toPorts' ports"
        case "ports":
            return "an item of toPorts"
        case "fields":
            return "an item of icmps"
    return None


def _is_of_a_rule(field: str) -> bool:
    return field in _PEERS or field in ("toPorts", "icmps")


def _inside_rule(tree: Tree, spec: Path, field: str) -> tuple[str, str]:
    """A field of a rule stands outside every rule: say which rule it was probably meant for."""
    wanted: tuple[str, ...] = _DIRECTIONS[:2] if field.startswith("from") else _DIRECTIONS[2:]
    if field in ("toPorts", "icmps"):
        wanted = _DIRECTIONS
    for section in wanted:
        path = (*spec, section) if _has(tree, spec, section) else (*spec, "spec", section)
        rules = tree.value_at(path)
        if isinstance(rules, LocatedSequence) and rules and isinstance(rules[0], LocatedMapping):
            first = next(iter(rules[0]), None)
            line = tree.place_of((*path, 0))[0]
            beside = f"indent it to stand beside {first}" if first else "put it there"
            rule = path_text((*path, 0))
            return (
                f"{field} belongs inside a rule, not beside {section}",
                f"move it into {rule} (line {line}): {beside}",
            )
    return f"{field} belongs inside an item of {wanted[0]}", f"write `{wanted[0]}: [{{{field}: ...}}]`"


def _other_way(section: str, field: str) -> tuple[str, str] | None:
    ingress = section.startswith("ingress")
    turned = f"from{field[2:]}" if ingress and field.startswith("to") else ""
    if not ingress and field.startswith("from"):
        turned = f"to{field[4:]}"
    if not turned:
        return None
    hint = f"write {turned}" if turned in _PEERS else "write it in an egress rule of those who connect"
    return f"{field} is not a field of {section}", hint


def _has(tree: Tree, path: Path, field: str) -> bool:
    holder = tree.value_at(path)
    return isinstance(holder, LocatedMapping) and field in holder


def _fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _model_at(model: type[Model], path: tuple[str | int, ...]) -> type[Model] | None:
    """The model that describes the mapping at a path inside ``model``'s."""
    found: type[Model] | None = model
    for step in path:
        if found is None or isinstance(step, int):
            continue
        annotations = [
            info.annotation for name, info in found.model_fields.items() if step == (info.alias or name)
        ]
        found = _model_in(annotations[0]) if annotations else None
    return found


def _model_in(annotation: Any) -> type[Model] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, Model) else None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
