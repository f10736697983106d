"""What docs/reference/precedence.md says, as policies and questions.

A probe is ``from PEER PROTOCOL/PORT`` (ingress) or ``to PEER PROTOCOL/PORT`` (egress), then what is
expected: ``allow`` or ``deny``, and the rule that decided, ``POLICY SECTION[INDEX]``; none is a default.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """Policies by name, each the spec without its subject, and probes, one a line."""

    policies: dict[str, str]
    probes: str
    allow_localhost: bool = True
    #: Applied after everybody was asked once; then the ``later`` probes hold.
    then: dict[str, str] = field(default_factory=dict)
    later: str = ""


A = "fromEndpoints: [{matchLabels: {app: a}}]"
B = "fromEndpoints: [{matchLabels: {app: b}}]"
TO_A = "toEndpoints: [{matchLabels: {app: a}}]"
EVERYBODY = "fromEntities: [all]"
UDP_53 = "toPorts: [{ports: [{port: '53', protocol: UDP}]}]"


def tcp(*ports: str) -> str:
    """A list of single ports, or of ranges with a dash."""
    items = []
    for each in ports:
        first, _, last = each.partition("-")
        items.append(f"{{port: '{first}', protocol: TCP{f', endPort: {last}' if last else ''}}}")
    return f"toPorts: [{{ports: [{', '.join(items)}]}}]"


SILENCE = {
    "open": Case({}, "from a tcp/80 allow\nto a udp/53 allow\nfrom world icmp/8 allow\nto host tcp/22 allow"),
    "other-subject": Case(
        {"other": f"subject: {{app: a}}\ningress: [{{{B}}}]\negress: [{{}}]"},
        "from b tcp/80 allow\nfrom a tcp/80 allow\nto world tcp/443 allow",
    ),
    "isolated": Case(
        {"p": f"ingress: [{{{A}, {tcp('80')}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/81 deny\nfrom a udp/80 deny\nfrom b tcp/80 deny\n"
        "from world tcp/80 deny\nfrom stranger tcp/80 deny",
    ),
    "directions-apart": Case(
        {"p": f"ingress: [{{{A}}}]"},
        "from b tcp/80 deny\nto b tcp/80 allow\nto world udp/53 allow",
        then={"p": f"egress: [{{{TO_A}}}]"},
        later="to b tcp/80 deny\nto a tcp/80 allow p egress[0]\nfrom b tcp/80 allow\nfrom world tcp/80 allow",
    ),
    "deny-isolates": Case(
        {"p": f"ingressDeny: [{{{A}}}]"},
        "from a tcp/80 deny p ingressDeny[0]\nfrom b tcp/80 deny\nfrom world tcp/80 deny\nto a tcp/80 allow",
    ),
    "no-default-deny": Case(
        {"p": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{A}}}]\ningressDeny: [{{{B}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom b tcp/80 deny p ingressDeny[0]\nfrom world tcp/80 allow",
    ),
    "no-default-deny-is-not-open": Case(
        {
            "p": f"enableDefaultDeny: {{ingress: false}}\ningress: [{{{A}}}]",
            "q": f"ingress: [{{{B}}}]",
        },
        "from a tcp/80 allow p ingress[0]\nfrom b tcp/80 allow q ingress[0]\nfrom world tcp/80 deny",
    ),
    "default-deny-alone": Case(
        {"p": f"enableDefaultDeny: {{ingress: true, egress: false}}\negress: [{{{TO_A}}}]"},
        "from a tcp/80 deny\nfrom world udp/53 deny\nto b tcp/80 allow\nto a tcp/80 allow p egress[0]",
    ),
}

OVERLAP = {
    "deny-beats-allow": Case(
        {"p": f"ingress: [{{{A}, {tcp('80')}}}]\ningressDeny: [{{{A}, {tcp('80')}}}]"},
        "from a tcp/80 deny p ingressDeny[0]",
        then={"p": f"ingress: [{{{A}, {tcp('80')}}}]"},
        later="from a tcp/80 allow p ingress[0]",
    ),
    "deny-some-ports": Case(
        {"p": f"ingress: [{{{A}}}]\ningressDeny: [{{{A}, {tcp('80', '1000-1999')}}}]"},
        "from a tcp/80 deny p ingressDeny[0]\nfrom a tcp/79 allow p ingress[0]\n"
        "from a tcp/81 allow p ingress[0]\n"
        "from a tcp/999 allow p ingress[0]\nfrom a tcp/1000 deny p ingressDeny[0]\n"
        "from a tcp/1999 deny p ingressDeny[0]\nfrom a tcp/2000 allow p ingress[0]\n"
        "from a udp/80 allow p ingress[0]\nfrom a icmp/8 allow p ingress[0]",
    ),
    "deny-more-ports": Case(
        {
            "p": f"ingress: [{{{A}, {tcp('80')}}}, {{{B}, {tcp('443')}}}]",
            "q": f"ingressDeny: [{{{A}, {tcp('1-1024')}}}, {{{B}}}]",
        },
        "from a tcp/80 deny q ingressDeny[0]\nfrom b tcp/443 deny q ingressDeny[1]\nfrom a tcp/2000 deny",
    ),
    "deny-some-peers": Case(
        {"p": f"ingress: [{{{EVERYBODY}, {tcp('80')}}}]\ningressDeny: [{{{A}}}]"},
        "from a tcp/80 deny p ingressDeny[0]\nfrom b tcp/80 allow p ingress[0]\n"
        "from world tcp/80 allow p ingress[0]",
    ),
    "deny-more-peers": Case(
        {"p": f"ingress: [{{{A}, {tcp('80')}}}]\ningressDeny: [{{{tcp('80')}}}]"},
        "from a tcp/80 deny p ingressDeny[0]\nfrom world tcp/80 deny p ingressDeny[0]\nfrom a tcp/81 deny",
    ),
    "deny-other-words": Case(
        {"p": f"ingress: [{{{A}}}]\ningressDeny: [{{fromEndpoints: [{{matchLabels: {{tier: front}}}}]}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom a-front tcp/80 deny p ingressDeny[0]",
    ),
    "deny-across": Case(
        {
            "p": f"ingress: [{{{A}, {tcp('80-90')}}}]\n"
            f"ingressDeny: [{{fromEndpoints: [{{matchLabels: {{tier: front}}}}], {tcp('85-99')}}}]"
        },
        "from a tcp/85 allow p ingress[0]\nfrom a-front tcp/84 allow p ingress[0]\n"
        "from a-front tcp/85 deny p ingressDeny[0]\nfrom a-front tcp/90 deny p ingressDeny[0]\n"
        "from a-front tcp/95 deny p ingressDeny[0]\nfrom a tcp/95 deny\nfrom b-front tcp/84 deny",
    ),
    "deny-other-policy": Case(
        {
            "a-allows": f"ingress: [{{{A}}}, {{{B}}}]",
            "z-denies": f"ingressDeny: [{{{A}, {tcp('80')}}}]",
            "cluster/z-denies-too": f"ingressDeny: [{{{B}, {tcp('80')}}}]",
        },
        "from a tcp/80 deny z-denies ingressDeny[0]\nfrom b tcp/80 deny cluster/z-denies-too ingressDeny[0]\n"
        "from a tcp/81 allow a-allows ingress[0]\nfrom b tcp/81 allow a-allows ingress[1]",
    ),
    "allows-add-up": Case(
        {"p": f"ingress: [{{{A}, {tcp('80')}}}, {{{A}, {tcp('90-99')}}}]", "q": f"ingress: [{{{B}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/95 allow p ingress[1]\n"
        "from b tcp/7 allow q ingress[0]\n"
        "from a tcp/85 deny",
    ),
    "protocols-apart": Case(
        {"p": f"ingress: [{{{A}, {UDP_53}}}, {{{B}, {tcp('53')}}}]"},
        "from a udp/53 allow p ingress[0]\nfrom a tcp/53 deny\nfrom b tcp/53 allow p ingress[1]\n"
        "from b udp/53 deny",
    ),
    "any-protocol": Case(
        {"p": f"ingress: [{{{A}, toPorts: [{{ports: [{{port: '53'}}]}}]}}, {{{B}}}]"},
        "from a tcp/53 allow p ingress[0]\nfrom a udp/53 allow p ingress[0]\n"
        "from a sctp/53 allow p ingress[0]\n"
        "from a icmp/53 deny\nfrom b icmp/8 allow p ingress[1]\nfrom b icmpv6/128 allow p ingress[1]\n"
        "from b gre/0 allow p ingress[1]\nfrom a gre/0 deny",
    ),
    "icmp-types": Case(
        {"p": f"ingress: [{{{A}, icmps: [{{fields: [{{type: 8}}, {{family: IPv6, type: EchoRequest}}]}}]}}]"},
        "from a icmp/8 allow p ingress[0]\nfrom a icmpv6/128 allow p ingress[0]\nfrom a icmp/0 deny\n"
        "from a icmp/128 deny\nfrom a icmpv6/8 deny\nfrom a tcp/8 deny\nfrom b icmp/8 deny",
    ),
}

CIDRS = "fromCIDR: [198.51.0.0/16, '2001:db8::/32']"
NARROW = "fromCIDR: [198.51.100.0/24, '2001:db8:1::/48']"
EXCEPT = (
    "fromCIDRSet: [{cidr: 198.51.0.0/16, except: [198.51.100.0/24]},"
    " {cidr: '2001:db8::/32', except: ['2001:db8:1::/48']}]"
)
PEERS = {
    "any-peer": Case(
        {"p": f"ingress: [{{{tcp('80')}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom host tcp/80 allow p ingress[0]\n"
        "from world tcp/80 allow p ingress[0]\n"
        "from stranger tcp/80 allow p ingress[0]\nfrom world tcp/81 deny\nfrom a tcp/81 deny",
    ),
    "any-peer-adds": Case(
        {"p": f"ingress: [{{{tcp('80')}}}, {{{A}, {tcp('443')}}}]"},
        "from a tcp/80 allow p ingress[0]\nfrom a tcp/443 allow p ingress[1]\nfrom b tcp/443 deny",
    ),
    "unnamed-peer": Case(
        {"p": f"ingress: [{{{A}}}, {{{tcp('80')}}}]", "q": f"ingressDeny: [{{{tcp('80-85')}}}]"},
        "from stranger tcp/80 deny q ingressDeny[0]\nfrom stranger tcp/86 deny\n"
        "from a tcp/86 allow p ingress[0]",
    ),
    "late-peer": Case(
        {"p": f"ingress: [{{{A}}}, {{{tcp('80')}}}]"},
        "from newcomer tcp/80 allow p ingress[1]\nfrom newcomer tcp/81 deny",
        then={"q": "ingressDeny: [{fromEndpoints: [{matchLabels: {app: newcomer}}]}]"},
        later="from newcomer tcp/80 deny q ingressDeny[0]\nfrom b tcp/80 allow p ingress[1]",
    ),
    "every-endpoint": Case(
        {"p": "ingress: [{fromEndpoints: [{}]}]"},
        "from a tcp/80 allow p ingress[0]\nfrom b udp/53 allow p ingress[0]\nfrom foreign tcp/80 deny\n"
        "from world tcp/80 deny\nfrom host tcp/80 deny",
        allow_localhost=False,
    ),
    "world": Case(
        {"p": "ingress: [{fromEntities: [world]}]", "q": f"subject: {{app: b}}\ningress: [{{{NARROW}}}]"},
        "from world tcp/80 allow p ingress[0]\nfrom narrow tcp/80 allow p ingress[0]\nfrom a tcp/80 deny\n"
        "from foreign tcp/80 deny\nfrom host tcp/80 deny",
        allow_localhost=False,
    ),
    "families": Case(
        {
            "p": f"ingress: [{{fromCIDR: [0.0.0.0/0], {tcp('4')}}}, {{fromCIDR: ['::/0'], {tcp('6')}}},"
            f" {{fromEntities: [world-ipv4], {tcp('44')}}}, {{fromEntities: [world-ipv6], {tcp('66')}}}]"
        },
        "from world4 tcp/4 allow p ingress[0]\nfrom world6 tcp/4 deny\nfrom world6 tcp/6 allow p ingress[1]\n"
        "from world4 tcp/6 deny\nfrom world4 tcp/44 allow p ingress[2]\nfrom world6 tcp/44 deny\n"
        "from world6 tcp/66 allow p ingress[3]\nfrom world4 tcp/66 deny",
    ),
    "cidr-not-endpoint": Case(
        {"p": "ingress: [{fromCIDR: [0.0.0.0/0, '::/0', 10.0.0.0/8, 'fd00::/8']}]"},
        "from world tcp/80 allow p ingress[0]\nfrom a tcp/80 deny\nfrom foreign tcp/80 deny\n"
        "from host tcp/80 deny",
        allow_localhost=False,
    ),
    "cidr-nested": Case(
        {"p": f"ingress: [{{{CIDRS}, {tcp('80')}}}, {{{NARROW}, {tcp('443')}}}]"},
        "from narrow tcp/80 allow p ingress[0]\nfrom narrow tcp/443 allow p ingress[1]\n"
        "from wide tcp/80 allow p ingress[0]\nfrom wide tcp/443 deny\nfrom world tcp/80 deny",
    ),
    "cidr-deny-wide": Case(
        {"p": f"ingress: [{{{NARROW}}}]\ningressDeny: [{{{CIDRS}, {tcp('80')}}}]"},
        "from narrow tcp/80 deny p ingressDeny[0]\nfrom narrow tcp/81 allow p ingress[0]\n"
        "from wide tcp/80 deny p ingressDeny[0]\nfrom wide tcp/81 deny",
    ),
    "cidr-deny-narrow": Case(
        {"p": f"ingress: [{{{CIDRS}}}]\ningressDeny: [{{{NARROW}}}]"},
        "from narrow tcp/80 deny p ingressDeny[0]\nfrom wide tcp/80 allow p ingress[0]\n"
        "from world tcp/80 deny",
    ),
    "cidr-except": Case(
        {"p": f"ingress: [{{{EXCEPT}}}, {{{NARROW}, {tcp('443')}}}]"},
        "from wide tcp/80 allow p ingress[0]\nfrom narrow tcp/80 deny\n"
        "from narrow tcp/443 allow p ingress[1]",
    ),
    "cidr-except-deny": Case(
        {"p": f"ingress: [{{fromEntities: [world]}}]\ningressDeny: [{{{EXCEPT}}}]"},
        "from wide tcp/80 deny p ingressDeny[0]\nfrom narrow tcp/80 allow p ingress[0]\n"
        "from world tcp/80 allow p ingress[0]",
    ),
}

HOST = {
    "localhost": Case(
        {"p": "ingress: [{}]"},
        "from host tcp/80 allow option\nfrom host icmp/8 allow option\nfrom a tcp/80 deny\n"
        "from world tcp/80 deny",
    ),
    "localhost-denied": Case(
        {"p": f"ingressDeny: [{{fromEntities: [host], {tcp('22')}}}]"},
        "from host tcp/22 deny p ingressDeny[0]\nfrom host tcp/80 allow option",
    ),
    "localhost-ingress-only": Case(
        {"p": f"egress: [{{{TO_A}}}]"},
        "to host tcp/80 deny\nto a tcp/80 allow p egress[0]\nfrom host tcp/80 allow",
    ),
    "localhost-off": Case(
        {"p": f"ingress: [{{fromEntities: [host], {tcp('22')}}}]"},
        "from host tcp/80 deny\nfrom host tcp/22 allow p ingress[0]\nfrom a tcp/22 deny",
        allow_localhost=False,
    ),
}

NOTHING = {
    "says-nothing": Case(
        {"p": "ingress: [{}]"}, "from a tcp/80 deny\nfrom world tcp/80 deny\nto a tcp/80 allow"
    ),
    "no-peers": Case(
        {
            "p": f"ingress: [{{fromEndpoints: []}}, {{fromEntities: [], {tcp('80')}}}, {{fromCIDR: []}},"
            " {fromCIDRSet: []}]\negress: [{toEndpoints: []}]"
        },
        "from a tcp/80 deny\nfrom world tcp/80 deny\nto a tcp/80 deny\nto world tcp/80 deny",
    ),
    "entity-none": Case(
        {"p": "ingress: [{fromEntities: [none]}]\negress: [{toEntities: [all]}]"},
        "from a tcp/80 deny\nfrom world tcp/80 deny\nto a tcp/80 allow p egress[0]\n"
        "to world icmp/8 allow p egress[0]\nto host gre/0 allow p egress[0]",
    ),
    "deny-nothing": Case(
        {"p": "ingressDeny: [{}]", "q": f"ingress: [{{{A}}}]"},
        "from a tcp/80 allow q ingress[0]\nfrom b tcp/80 deny",
        then={"q": f"egress: [{{{TO_A}}}]"},
        later="from a tcp/80 deny",
    ),
    "empty-section": Case(
        {"p": f"ingress: []\negress: [{{{TO_A}}}]"},
        "from a tcp/80 allow\nfrom world tcp/80 allow\nto b tcp/80 deny",
    ),
}

ATTRIBUTION = {
    "first-written": Case(
        {
            "p": f"ingress: [{{{B}}}, {{{EVERYBODY}, {tcp('80')}}}, {{{A}}}]\n"
            f"ingressDeny: [{{{A}, {tcp('90')}}}, {{{tcp('85-95')}}}]"
        },
        "from a tcp/80 allow p ingress[1]\nfrom a tcp/81 allow p ingress[2]\n"
        "from b tcp/80 allow p ingress[0]\n"
        "from a tcp/90 deny p ingressDeny[0]\nfrom a tcp/91 deny p ingressDeny[1]\n"
        "from b tcp/90 deny p ingressDeny[1]",
    ),
    "first-policy": Case(
        {
            "b": f"ingress: [{{{A}}}, {{{B}}}]",
            "a": f"ingress: [{{{A}}}]",
            "cluster/z": f"ingress: [{{{A}, {tcp('80')}}}]",
        },
        "from a tcp/80 allow cluster/z ingress[0]\nfrom a tcp/81 allow a ingress[0]\n"
        "from b tcp/80 allow b ingress[1]\nfrom world tcp/80 deny",
    ),
    "named-allow": Case(
        {"a": f"ingress: [{{{A}}}]", "z": f"ingressDeny: [{{{A}, {tcp('80')}}}]"},
        "from a tcp/80 deny z ingressDeny[0]\nfrom a tcp/81 allow a ingress[0]",
    ),
    "named-option": Case(
        {"p": f"ingress: [{{fromEntities: [host], {tcp('80')}}}]"},
        "from host tcp/80 allow p ingress[0]\nfrom host tcp/81 allow option\nfrom a tcp/80 deny",
    ),
    "named-nobody": Case(
        {"p": f"ingress: [{{{A}}}]"},
        "from b tcp/80 deny\nto b tcp/80 allow\nfrom a tcp/80 allow p ingress[0]",
    ),
}

CASES = SILENCE | OVERLAP | PEERS | HOST | NOTHING | ATTRIBUTION
