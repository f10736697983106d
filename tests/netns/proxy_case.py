"""Outside cases of what a proxy lets through (l7-proxy-cases), in our words.

A case is written for a proxy that also knows remotes and ports, which the datapath has settled here before
anything is redirected. They are settled in a few lines below, which the cases test as well, and what is left
of a check is a set of rules about content and a request. By number, left out are

====  =======================================================================================
case  why
====  =======================================================================================
5, 6  wrong ranges of ports, which are refused when a policy is read
9     steps with numeric precedence, which policies here cannot say (they have tiers)
13    step 2: a value in a secret, which is refused before any proxy hears of it
14    TLS that the proxy ends; it has no checks
15    values in secrets
16    the same, of a stream of the proxy's own kind
17    steps 2-4: numeric precedence; 6-8: TLS that the proxy ends and begins
19    numeric precedence
====  =======================================================================================
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kinety.model.layer7 import HeaderMatch, HttpRule, Layer7, NamePattern
from tests.conformance import data

_WRONG = (5, 6)
_FOREIGN = ("precedence", "sds_secret", "tls_context")
#: The proxy of the cases; rules for others do not count.
_PROXY = 42
#: A method that no case names, for those that name none.
_METHOD = "POST"


@dataclass(frozen=True, slots=True)
class Check:
    """One question: rules that decide, or ALLOW or DENY where rules about content have no say."""

    name: str
    content: Layer7 | bool
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    server_name: str | None
    allowed: bool


def checks() -> Iterator[Check]:
    """All checks of all cases but those above."""
    for number, case in enumerate(data("l7-proxy-cases")):
        for step, each in enumerate(case["steps"]):
            update = each["update"] or {}
            resources = {found["endpoint_ips"][0]: found for found in update.get("resources", ())}
            if number in _WRONG or any(word in json.dumps(update) for word in _FOREIGN) or not each["update"]:
                continue
            for place, check in enumerate(each["checks"]):
                yield _check(f"{number}.{step}.{place}", resources, check)


def _check(name: str, resources: dict[str, dict[str, Any]], check: dict[str, Any]) -> Check:
    address, remote, port, *_ = (text.strip().strip('"') for text in check["args"].split(","))
    direction = "egress" if "egress" in check["fn"].lower() else "ingress"
    policies = resources.get(address, {}).get(f"{direction}_per_port_policies")
    content = _content(policies or (), int(remote), int(port))
    pairs = re.findall(r'\{"([^"]+)", "([^"]*)"\}', check["args"])
    tls = check["fn"].startswith("tls")
    return Check(
        name,
        content,
        dict(pairs).get(":method", _METHOD),
        dict(pairs).get(":path", "/"),
        tuple((key, value) for key, value in pairs if not key.startswith(":")),
        check["args"].split(",")[3].strip().strip('"') if tls else None,
        check["allowed"],
    )


def _content(policies: Iterable[dict[str, Any]], remote: int, port: int) -> Layer7 | bool:
    """The rules about content that remain for a remote and a port, if it comes to that."""
    found: list[dict[str, Any]] = []
    for policy in policies:
        first = policy.get("port", 0)
        if first and not first <= port <= (policy.get("end_port") or first):
            continue
        rules = policy.get("rules", [{}])
        found += [
            each
            for each in rules
            if remote in each.get("remote_policies", [remote]) and each.get("proxy_id", _PROXY) == _PROXY
        ]
    if not found or any(each.get("deny") for each in found):
        return False
    if any("http_rules" not in each and "server_names" not in each for each in found):
        return True
    http = [rule for each in found for rule in each.get("http_rules", {}).get("http_rules", ())]
    names = [NamePattern(name) for each in found for name in each.get("server_names", ())]
    return Layer7(http=tuple(map(_rule, http)), server_names=tuple(names))


def _rule(rule: dict[str, Any]) -> HttpRule:
    pseudo = {"method": "", "path": "", "authority": ""}
    headers = []
    for each in rule.get("headers", ()):
        regex = each.get("safe_regex_match", {}).get("regex")
        if each["name"].startswith(":"):
            pseudo[each["name"][1:]] = regex if regex is not None else re.escape(each["exact_match"])
        else:
            headers.append(HeaderMatch(each["name"], each["exact_match"]))
    return HttpRule(pseudo["method"], pseudo["path"], pseudo["authority"], tuple(headers))
