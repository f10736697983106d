"""toPorts[].rules and .serverNames as what a rule asks of the content of traffic.

An empty list of rules is refused, because readers do not agree on whether it means any content or
none; ``http: [{}]`` is any request.
"""

import re
from typing import Any

from kinety.model.header import FRAMING, MOST_MISMATCHES, MOST_WORDS
from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, Mismatch, NamePattern
from kinety.model.rule import Direction
from kinety.policy.diagnosis import closest
from kinety.policy.document import Path
from kinety.policy.domain import names_of, pattern_of
from kinety.policy.metadata import check_name, check_namespace
from kinety.policy.regex import mistake
from kinety.policy.report import Report
from kinety.policy.schema import DomainName, Http, Ports, Rules, Secret
from kinety.policy.schema import HeaderMatch as HeaderMatchItem

#: RFC 9110, 5.1 and 5.6.2: a header's name is a token.
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+\Z")
#: RFC 9110, 5.5: what a header's value never holds.
_NOT_A_VALUE = re.compile("[\0\r\n]")
_MISMATCHES = {each.value: each for each in Mismatch}


def content_of(
    report: Report, path: Path, item: Ports, direction: Direction, namespace: str
) -> Layer7 | None:
    """What one item of toPorts asks of content; None when it asks nothing, or something was reported.

    ``namespace`` is where secrets are that name none.
    """
    if item.rules is None and item.server_names is None:
        return None
    if item.rules is not None and item.server_names is not None:
        message = "serverNames and rules cannot be in one item: what TLS hides cannot be read"
        report.add((*path, "serverNames"), message, "make a second item, for another port")
    http, dns = _rules(report, (*path, "rules"), item.rules, namespace)
    server_names = _server_names(report, (*path, "serverNames"), item.server_names)
    if dns and direction is Direction.INGRESS:
        hint = "write them in an egress rule of those who ask"
        report.add((*path, "rules", "dns"), "DNS rules are about questions that endpoints ask", hint)
    _check_ports(report, path, item)
    return Layer7(http, dns, server_names)


def _check_ports(report: Report, path: Path, item: Ports) -> None:
    """Content needs ports that say which protocol to expect."""
    is_dns = item.rules is not None and item.rules.dns is not None
    what = "serverNames are" if item.rules is None else "DNS rules are" if is_dns else "HTTP rules are"
    carriers = ("TCP", "UDP", "ANY") if is_dns else ("TCP",)
    for index, port in enumerate(item.ports or ()):
        where = (*path, "ports", index)
        protocol = port.protocol or "ANY"
        if protocol not in carriers:
            message = f"{what} about {' and '.join(carriers[:2])}, not {protocol}"
            report.add(where, message, f"write `protocol: {carriers[0]}`")
        if port.port in ("0", 0) and not isinstance(port.port, bool):
            report.add((*where, "port"), "content cannot be judged at every port", "name the port")
        elif is_dns and port.end is not None and str(port.end) != str(port.port):
            report.add((*where, "endPort"), "DNS rules are for single ports", "write `port: 53`")


def _rules(
    report: Report, path: Path, rules: Rules | None, namespace: str
) -> tuple[tuple[HttpRule, ...], tuple[NamePattern, ...]]:
    if rules is None:
        return (), ()
    if rules.http is not None and rules.dns is not None:
        report.add((*path, "dns"), "http and dns cannot be in one item", "make a second item for dns")
    elif rules.http is None and rules.dns is None:
        hint = "leave rules out to allow the whole port, or write `http: [...]` or `dns: [...]`"
        report.add(path, "no rules are named", hint)
    for name, found in (("http", rules.http), ("dns", rules.dns)):
        if found is not None and not found:
            every = "[{}]" if name == "http" else "[{matchPattern: '*'}]"
            report.add((*path, name), f"{name} is empty", f"write `{name}: {every}` for every message")
    http = [
        _http(report, (*path, "http", index), item, namespace) for index, item in enumerate(rules.http or ())
    ]
    return tuple(dict.fromkeys(http)), _names(report, (*path, "dns"), rules.dns)


def _names(report: Report, path: Path, items: list[DomainName] | None) -> tuple[NamePattern, ...]:
    found = [names_of(report, (*path, index), item) for index, item in enumerate(items or ())]
    return tuple(sorted({each for each in found if each is not None}))


def _server_names(report: Report, path: Path, texts: list[str] | None) -> tuple[NamePattern, ...]:
    if texts is not None and not texts:
        report.add(path, "serverNames is empty", "leave it out for every name, or name some")
    found = [pattern_of(report, (*path, index), text) for index, text in enumerate(texts or ())]
    return tuple(sorted({each for each in found if each is not None}))


def _http(report: Report, path: Path, item: Http, namespace: str) -> HttpRule:
    for name in ("method", "path", "host"):
        text: Any = getattr(item, name)
        if text and (problem := mistake(text)):
            hint = "write an extended regular expression for the whole value, such as /public/.*"
            report.add((*path, name), f"{text!r} is no expression: {problem}", hint)
    headers = [
        _header(report, (*path, "headers", index), text) for index, text in enumerate(item.headers or ())
    ]
    headers += [
        _header_match(report, (*path, "headerMatches", index), match, namespace)
        for index, match in enumerate(item.header_matches or ())
    ]
    rule = HttpRule(item.method or "", item.path or "", item.host or "", tuple(dict.fromkeys(headers)))
    if (count := sum(each.mismatch is not None for each in rule.headers)) > MOST_MISMATCHES:
        message = f"{count} headers may mismatch, and at most {MOST_MISMATCHES} of one rule can"
        report.add(
            (*path, "headerMatches"), message, "leave mismatch out of some: then they refuse the request"
        )
    return rule


def _header(report: Report, path: Path, text: str) -> HeaderMatch:
    """``Name value``, ``Name: value`` or a bare name."""
    name, space, value = text.partition(" ")
    name = name.removesuffix(":")
    _check_header_name(report, path, name)
    if not space:
        return HeaderMatch(name)
    _check_header_value(report, path, value.strip())
    return HeaderMatch(name, value.strip())


def _check_header_name(report: Report, path: Path, name: str) -> None:
    if not _TOKEN.match(name):
        report.add(path, f"{name!r} cannot be the name of a header", 'write "Name value", or a name alone')
    elif (count := len(name.split("-"))) > MOST_WORDS:
        message = f"the name of the header has {count} words, and at most {MOST_WORDS} can be judged"
        report.add(path, message, "ask for another header")


def _check_header_value(report: Report, path: Path, value: str) -> None:
    if not value:
        report.add(path, "the value is empty", "leave it out to ask for the header only")
    if _NOT_A_VALUE.search(value):
        report.add(path, "a header's value has no line breaks", "remove them")


def _header_match(report: Report, path: Path, item: HeaderMatchItem, namespace: str) -> HeaderMatch:
    _check_header_name(report, (*path, "name"), item.name)
    if item.value is not None:
        _check_header_value(report, (*path, "value"), item.value)
    if item.value is not None and item.secret is not None:
        report.add((*path, "secret"), "value and secret cannot both be given", "keep one of them")
    mismatch = None
    if item.mismatch is not None:
        mismatch = _MISMATCHES.get(item.mismatch)
        where = (*path, "mismatch")
        if mismatch is None:
            meant = closest(item.mismatch, _MISMATCHES)
            hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(_MISMATCHES)}"
            report.add(where, f"unknown mismatch {item.mismatch!r}", hint)
        elif mismatch in (Mismatch.ADD, Mismatch.REPLACE) and item.value is None and item.secret is None:
            report.add(where, f"there is no value to {item.mismatch}", "write value, or secret")
        elif mismatch is not Mismatch.LOG and item.name.lower() in FRAMING:
            message = f"{item.name} cannot be changed: it says where a message ends, or where it goes"
            report.add(where, message, "write LOG, or leave mismatch out to refuse the request")
    return HeaderMatch(
        item.name, item.value, _secret(report, (*path, "secret"), item.secret, namespace), mismatch
    )


def _secret(report: Report, path: Path, item: Secret | None, namespace: str) -> tuple[str, str] | None:
    if item is None:
        return None
    check_name(report, (*path, "name"), item.name)
    if item.namespace is not None:
        check_namespace(report, (*path, "namespace"), item.namespace)
    return item.namespace or namespace or "default", item.name
