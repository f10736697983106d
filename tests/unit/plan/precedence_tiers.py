"""Tiers and content in docs/reference/precedence.md: cases like those of `tests.unit.plan.precedence`.

``admin-5/NAME`` and ``baseline-5/NAME`` are ClusterNetworkPolicies of that tier and priority. After the rule
that redirects come the paths of requests that may pass.
"""

from tests.unit.plan.precedence import EVERYBODY, A, B, Case, tcp


def peer(side: str, app: str) -> str:
    return f"{side}: [{{pods: {{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: {app}}}}}}}}}]"


def protocols(first: int, last: int | None = None) -> str:
    ports = f"number: {first}" if last is None else f"range: {{start: {first}, end: {last}}}"
    return f"protocols: [{{tcp: {{destinationPort: {{{ports}}}}}}}]"


FROM_A, FROM_B, TO_A = peer("from", "a"), peer("from", "b"), peer("to", "a")
FROM_PODS = "from: [{namespaces: {}}]"
TO_WORLD = "to: [{networks: [192.0.2.0/24, '2a00::/16']}]"


def rules(*items: str, section: str = "ingress") -> str:
    """``Deny, FROM_A, …``: an action, then fields."""
    written = ", ".join("{action: " + item + "}" for item in items)
    return f"{section}: [{written}]"


TIERS = {
    "admin-deny": Case(
        {"p": f"ingress: [{{{A}}}]", "admin-9/x": rules(f"Deny, {FROM_A}, {protocols(80)}")},
        "from a tcp/80 deny admin-9/x ingress[0]\nfrom a tcp/81 allow p ingress[0]\nfrom b tcp/80 deny",
    ),
    "admin-allow": Case(
        {
            "p": f"ingress: [{{{B}}}]\ningressDeny: [{{{A}}}]",
            "admin-9/x": rules(f"Accept, {FROM_A}, {protocols(80)}"),
        },
        "from a tcp/80 allow admin-9/x ingress[0]\nfrom a tcp/81 deny p ingressDeny[0]\n"
        "from stranger tcp/80 deny\nfrom b tcp/80 allow p ingress[0]",
    ),
    "admin-first": Case(
        {
            "admin-1/z": rules(
                f"Deny, {FROM_A}, {protocols(80, 85)}", f"Accept, {FROM_PODS}, {protocols(80)}"
            ),
            "admin-2/b": rules(f"Accept, {FROM_A}", f"Deny, {FROM_PODS}, {protocols(90)}"),
            "admin-2/a": rules(f"Deny, {FROM_A}, {protocols(90)}"),
        },
        "from a tcp/80 deny admin-1/z ingress[0]\nfrom b tcp/80 allow admin-1/z ingress[1]\n"
        "from a tcp/86 allow admin-2/b ingress[0]\nfrom a tcp/90 deny admin-2/a ingress[0]\n"
        "from b tcp/90 deny admin-2/b ingress[1]",
    ),
    "admin-isolates-nobody": Case(
        {"admin-1/x": rules(f"Accept, {FROM_A}"), "baseline-1/y": rules(f"Accept, {TO_A}", section="egress")},
        "from a tcp/80 allow admin-1/x ingress[0]\nfrom b tcp/80 allow\n"
        "to a tcp/80 allow baseline-1/y egress[0]\nto b tcp/80 allow\nto world tcp/80 allow",
        then={"p": f"ingress: [{{{B}, {tcp('80')}}}]"},
        later="from a tcp/81 allow admin-1/x ingress[0]\nfrom b tcp/80 allow p ingress[0]\n"
        "from b tcp/81 deny",
    ),
    "pass": Case(
        {
            "admin-1/x": rules(f"Pass, {FROM_A}, {protocols(80)}", f"Deny, {FROM_PODS}"),
            "p": f"ingress: [{{{A}}}, {{{B}}}]",
        },
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny admin-1/x ingress[1]\n"
        "from b tcp/80 deny admin-1/x ingress[1]",
        then={"p": f"ingressDeny: [{{{A}}}]"},
        later="from a tcp/80 deny p ingressDeny[0]",
    ),
    "pass-order": Case(
        {
            "admin-1/x": rules(f"Deny, {FROM_A}, {protocols(80)}"),
            "admin-2/y": rules(f"Pass, {FROM_A}"),
            "admin-3/z": rules(f"Deny, {FROM_PODS}, {protocols(80, 90)}"),
        },
        "from a tcp/80 deny admin-1/x ingress[0]\nfrom a tcp/81 allow\n"
        "from b tcp/80 deny admin-3/z ingress[0]\nfrom b tcp/91 allow",
    ),
    "pass-to-baseline": Case(
        {
            "admin-1/x": rules(f"Pass, {FROM_A}"),
            "admin-2/y": rules(f"Accept, {FROM_PODS}"),
            "baseline-1/z": rules(f"Deny, {FROM_PODS}"),
        },
        "from a tcp/80 deny baseline-1/z ingress[0]\nfrom b tcp/80 allow admin-2/y ingress[0]",
        then={"p": f"ingress: [{{{A}, {tcp('80')}}}]"},
        later="from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny",
    ),
    "baseline": Case(
        {
            "baseline-1/x": rules(f"Accept, {FROM_A}, {protocols(80)}"),
            "baseline-2/y": rules(f"Deny, {FROM_A}", f"Accept, {FROM_PODS}"),
            "baseline-3/z": rules(f"Deny, {TO_WORLD}", section="egress"),
        },
        "from a tcp/80 allow baseline-1/x ingress[0]\nfrom a tcp/81 deny baseline-2/y ingress[0]\n"
        "from b tcp/80 allow baseline-2/y ingress[1]\nfrom world tcp/80 allow\n"
        "to world tcp/80 deny baseline-3/z egress[0]\nto a tcp/80 allow",
    ),
    "baseline-isolated": Case(
        {
            "baseline-1/x": rules(f"Accept, {FROM_PODS}"),
            "baseline-2/y": rules(f"Deny, {TO_A}", section="egress"),
            "p": f"ingress: [{{{A}, {tcp('80')}}}]",
        },
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny\nfrom b tcp/80 deny\n"
        "to a tcp/80 deny baseline-2/y egress[0]\nto b tcp/80 allow",
    ),
    "baseline-open": Case(
        {
            "baseline-1/x": rules(f"Deny, {FROM_PODS}"),
            "p": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{A}, {tcp('80')}}}]",
        },
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny baseline-1/x ingress[0]\n"
        "from b tcp/80 deny baseline-1/x ingress[0]\nfrom world tcp/80 allow",
    ),
    "baseline-pass": Case(
        {"baseline-1/x": rules(f"Pass, {FROM_A}"), "baseline-2/y": rules(f"Deny, {FROM_PODS}")},
        "from a tcp/80 allow\nfrom b tcp/80 deny baseline-2/y ingress[0]",
    ),
}

AB, C = "{path: /a}, {path: /b}", "{path: /c}"
TIER = "fromEndpoints: [{matchLabels: {tier: front}}]"


def http(requests: str, *ports: str) -> str:
    """Ports, and the requests that may be made there."""
    plain = tcp(*ports)
    return f"{plain.removesuffix('}]')}, rules: {{http: [{requests}]}}}}]"


CONTENT = {
    "content": Case(
        {"p": f"ingress: [{{{A}, {http(AB, '80')}}}]"},
        "from a tcp/80 redirect p ingress[0] /a /b\nfrom a tcp/81 deny\nfrom b tcp/80 deny\n"
        "from a udp/80 deny",
    ),
    "content-adds-up": Case(
        {"p": f"ingress: [{{{A}, {http(AB, '80-89')}}}]", "q": f"ingress: [{{{TIER}, {http(C, '80')}}}]"},
        "from a tcp/80 redirect p ingress[0] /a /b\nfrom a-front tcp/80 redirect p ingress[0] /a /b /c\n"
        "from b-front tcp/80 redirect q ingress[0] /c\nfrom a-front tcp/81 redirect p ingress[0] /a /b\n"
        "from b-front tcp/81 deny",
    ),
    "content-other-peers": Case(
        {"p": f"ingress: [{{{A}, {http(AB, '80')}}}]", "q": f"ingress: [{{{B}, {tcp('80')}}}]"},
        "from a tcp/80 redirect p ingress[0] /a /b\nfrom b tcp/80 allow q ingress[0]\n"
        "from stranger tcp/80 deny",
    ),
    "content-beside-plain": Case(
        {"p": f"ingress: [{{{A}, {http(AB, '80', '90-99')}}}]", "q": f"ingress: [{{{tcp('80', '95')}}}]"},
        "from a tcp/80 allow q ingress[0]\nfrom a tcp/95 allow q ingress[0]\n"
        "from a tcp/94 redirect p ingress[0] /a /b\nfrom b tcp/80 allow q ingress[0]\nfrom b tcp/94 deny",
    ),
    "content-beside-wider": Case(
        {
            "p": f"ingress: [{{{A}, {http(AB, '80')}}}, {{{A}, {tcp('79-81')}}}, {{{B}}}]",
            "q": f"ingress: [{{{EVERYBODY}, {http(C, '80')}}}]",
        },
        "from a tcp/80 redirect p ingress[0] /a /b /c\nfrom a tcp/79 allow p ingress[1]\n"
        "from a tcp/81 allow p ingress[1]\nfrom b tcp/80 redirect q ingress[0] /c\n"
        "from b tcp/79 allow p ingress[2]\nfrom b icmp/8 allow p ingress[2]\nfrom a tcp/82 deny",
    ),
    "content-every-range": Case(
        {
            "p": f"ingress: [{{{A}, {http(AB, '80')}}}, {{{A}, {http(C, '80-89')}}}]",
            "q": f"ingress: [{{{A}, {tcp('80-85')}}}]",
        },
        "from a tcp/80 redirect p ingress[0] /a /b /c\nfrom a tcp/81 allow q ingress[0]\n"
        "from a tcp/86 redirect p ingress[1] /c\nfrom a tcp/90 deny",
    ),
    "content-denied": Case(
        {"p": f"ingress: [{{{A}, {http(AB, '80-89')}}}]\ningressDeny: [{{{A}, {tcp('80-85')}}}]"},
        "from a tcp/80 deny p ingressDeny[0]\nfrom a tcp/86 redirect p ingress[0] /a /b",
    ),
    "content-and-tiers": Case(
        {
            "p": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{A}, {http(AB, '80-89')}}}]",
            "admin-1/x": rules(f"Accept, {FROM_A}, {protocols(80)}", f"Deny, {FROM_A}, {protocols(81)}"),
            "baseline-1/y": rules(f"Deny, {FROM_PODS}"),
        },
        "from a tcp/80 allow admin-1/x ingress[0]\nfrom a tcp/81 deny admin-1/x ingress[1]\n"
        "from a tcp/82 redirect p ingress[0] /a /b\nfrom a tcp/90 deny baseline-1/y ingress[0]",
    ),
    "content-localhost": Case(
        {"p": f"ingress: [{{{http(AB, '80')}}}]"},
        "from host tcp/80 redirect p ingress[0] /a /b\nfrom host tcp/81 allow option\n"
        "from world tcp/80 redirect p ingress[0] /a /b\nfrom world tcp/81 deny",
    ),
    "content-not-isolating": Case(
        {"p": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{A}, {http(AB, '80')}}}]"},
        "from a tcp/80 redirect p ingress[0] /a /b\nfrom a tcp/81 allow\nfrom b tcp/80 allow",
    ),
}

CASES = TIERS | CONTENT
