import pytest

from kinety.model.label import NAMESPACE_KEY, NAMESPACE_LABELS_PREFIX, Label, Labels
from kinety.model.selector import LabelSelector, Operator, Requirement
from tests.unit.policy.sample import (
    CLUSTERWIDE,
    NAMESPACED,
    refused,
    refused_rule,
    rule,
    rules,
    text,
)

WORLD = frozenset({Label("reserved", "world-ipv4"), Label("cidr", "192.0.2.0/24")})
HOST = frozenset({Label("reserved", "host")})


def pod(namespace: str = "default", team: str = "red", **pairs: str) -> Labels:
    own = {Label("k8s", key, value) for key, value in pairs.items()}
    own |= {Label("k8s", NAMESPACE_KEY, namespace), Label("k8s", NAMESPACE_LABELS_PREFIX + "team", team)}
    return frozenset(own)


def peer(selector: str, kind: str = NAMESPACED) -> LabelSelector:
    (found,) = rule(f"fromEndpoints: [{selector}]", kind=kind).peers or ()
    assert isinstance(found, LabelSelector)
    return found


def subject(selector: str, kind: str = NAMESPACED) -> LabelSelector:
    return rules(f"endpointSelector: {selector}\ningress: [{{}}]", kind)[0].subject


@pytest.mark.parametrize("of", [peer, subject])
def test_everything_means_every_pod_of_the_namespace(of: type) -> None:
    selector = of("{}")
    assert selector.matches(pod())
    assert not selector.matches(pod("prod"))
    assert not selector.matches(HOST)
    assert not selector.matches(WORLD)


@pytest.mark.parametrize("of", [peer, subject])
def test_everything_means_every_pod_in_a_cluster_wide_policy(of: type) -> None:
    selector = of("{}", CLUSTERWIDE)
    assert selector.matches(pod())
    assert selector.matches(pod("prod"))
    assert not selector.matches(HOST)
    assert not selector.matches(WORLD)


@pytest.mark.parametrize("kind", [NAMESPACED, CLUSTERWIDE])
@pytest.mark.parametrize(
    "requirement",
    [
        "{key: app, operator: DoesNotExist}",
        "{key: app, operator: NotIn, values: [x]}",
        "{key: io.kubernetes.pod.namespace, operator: NotIn, values: [x]}",
        "{key: io.kubernetes.pod.namespace, operator: DoesNotExist}",
        "{key: io.cilium.k8s.namespace.labels.team, operator: NotIn, values: [blue]}",
        "{key: 'k8s:io.cilium.k8s.namespace.labels.team', operator: DoesNotExist}",
    ],
)
def test_what_is_no_endpoint_is_not_reached_by_lacking_a_label(requirement: str, kind: str) -> None:
    selector = peer(f"{{matchExpressions: [{requirement}]}}", kind)
    assert not selector.matches(HOST)
    assert not selector.matches(WORLD)
    assert not selector.matches(frozenset())


@pytest.mark.parametrize(
    ("expression", "selects"),
    [
        ("{key: app, operator: In, values: [web, api]}", {"web", "api"}),
        ("{key: app, operator: NotIn, values: [web]}", {"api", "db", ""}),
        ("{key: app, operator: Exists}", {"web", "api", "db"}),
        ("{key: app, operator: Exists, values: []}", {"web", "api", "db"}),
        ("{key: app, operator: DoesNotExist}", {""}),
    ],
)
def test_the_four_operators(expression: str, selects: set[str]) -> None:
    selector = peer(f"{{matchExpressions: [{expression}]}}")
    apps = {"web": pod(app="web"), "api": pod(app="api"), "db": pod(app="db"), "": pod(other="web")}
    assert {name for name, labels in apps.items() if selector.matches(labels)} == selects


def test_labels_and_expressions_must_all_hold() -> None:
    selector = peer("{matchLabels: {app: web}, matchExpressions: [{key: env, operator: Exists}]}")
    assert selector.matches(pod(app="web", env="dev"))
    assert not selector.matches(pod(app="web"))


def test_any_source_unless_one_is_named() -> None:
    assert Requirement("any", "app", Operator.IN, ("web",)) in peer("{matchLabels: {app: web}}").requirements
    named = peer("{matchLabels: {'container:app': web}}")
    assert Requirement("container", "app", Operator.IN, ("web",)) in named.requirements
    assert not named.matches(pod(app="web"))


def test_equal_selectors_are_equal_however_they_are_written() -> None:
    written = "{key: b, operator: In, values: ['2', '2']}, {key: a, operator: In, values: ['1']}"
    assert peer("{matchLabels: {a: '1', b: '2'}}") == peer(f"{{matchExpressions: [{written}]}}")


@pytest.mark.parametrize("key", ["io.kubernetes.pod.namespace", "k8s:io.kubernetes.pod.namespace"])
def test_a_peer_may_name_another_namespace(key: str) -> None:
    selector = peer(f"{{matchLabels: {{'{key}': prod, app: web}}}}")
    assert selector.matches(pod("prod", app="web"))
    assert not selector.matches(pod(app="web"))


def test_a_peer_may_name_namespaces_by_their_labels() -> None:
    selector = peer("{matchLabels: {'k8s:io.cilium.k8s.namespace.labels.team': blue}}")
    assert selector.matches(pod("x", team="blue"))
    assert selector.matches(pod("y", team="blue"))
    assert not selector.matches(pod(team="red"))


def test_nobody_but_kinety_vouches_for_a_namespace() -> None:
    forged = frozenset({Label("container", NAMESPACE_KEY, "prod")})
    assert not peer("{matchLabels: {io.kubernetes.pod.namespace: prod}}").matches(forged)


@pytest.mark.parametrize("expression", ["operator: DoesNotExist", "operator: NotIn, values: ['']"])
def test_a_peer_that_lacks_a_reserved_label_is_an_endpoint_in_scope(expression: str) -> None:
    selector = peer(f"{{matchExpressions: [{{key: 'reserved:init', {expression}}}]}}")
    assert selector.matches(pod())
    assert not any(selector.matches(each) for each in (pod("prod"), HOST, WORLD))


def test_a_peer_may_name_a_reserved_label() -> None:
    selector = peer("{matchLabels: {'reserved:host': ''}}")
    assert selector.matches(HOST)
    assert not selector.matches(pod())


def test_a_subject_may_repeat_its_own_namespace() -> None:
    assert subject("{matchLabels: {'k8s:io.kubernetes.pod.namespace': default}}") == subject("{}")


@pytest.mark.parametrize(
    "selector",
    [
        "{matchLabels: {'k8s:io.kubernetes.pod.namespace': prod}}",
        "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: NotIn, values: [default]}]}",
        "{matchExpressions: [{key: io.kubernetes.pod.namespace, operator: DoesNotExist}]}",
    ],
)
def test_a_subject_cannot_leave_its_namespace(selector: str) -> None:
    (finding,) = refused(text(f"endpointSelector: {selector}\ningress: [{{}}]"))
    assert finding.path == "spec.endpointSelector"
    assert "another namespace than the policy's own, 'default'" in finding.message
    assert CLUSTERWIDE in finding.hint


def test_a_cluster_wide_subject_may_name_a_namespace() -> None:
    selector = subject("{matchLabels: {'k8s:io.kubernetes.pod.namespace': prod}}", CLUSTERWIDE)
    assert selector.matches(pod("prod"))
    assert not selector.matches(pod())


@pytest.mark.parametrize("kind", [NAMESPACED, CLUSTERWIDE])
def test_no_subject_has_a_reserved_label(kind: str) -> None:
    spec = "endpointSelector: {matchLabels: {'reserved:host': ''}}\ningress: [{}]"
    (finding,) = refused(text(spec, kind))
    assert "reserved label" in finding.message


@pytest.mark.parametrize(
    ("selector", "path", "message", "hint"),
    [
        ("{matchLabels: {'': x}}", 'matchLabels[""]', "'' is not a label key", ""),
        ("{matchLabels: {'k8s:': x}}", 'matchLabels["k8s:"]', "is not a label key", ""),
        ("{matchLabels: {':app': x}}", 'matchLabels[":app"]', "is not a label key", ""),
        ("{matchLabels: {'a b': x}}", 'matchLabels["a b"]', "is not a label key", ""),
        ("{matchLabels: {'a/b/c': x}}", 'matchLabels["a/b/c"]', "is not a label key", ""),
        ("{matchLabels: {'/b': x}}", 'matchLabels["/b"]', "is not a label key", ""),
        ("{matchLabels: {app: 'Death Star'}}", "matchLabels.app", "is not a label value", "63"),
        (f"{{matchLabels: {{app: {'x' * 64}}}}}", "matchLabels.app", "is not a label value", ""),
        (
            "{matchLabels: {'reserved:hots': ''}}",
            'matchLabels["reserved:hots"]',
            "no reserved label",
            "host?",
        ),
        ("{matchLabels: {'reserved:host': x}}", 'matchLabels["reserved:host"]', "have no value", ""),
        (
            "{matchLabels: {'cidr:10.0.0.0/8': ''}}",
            'matchLabels["cidr:10.0.0.0/8"]',
            "no endpoint carries",
            "CIDR",
        ),
        (
            "{matchLabels: {'cidrgroup:a': ''}}",
            'matchLabels["cidrgroup:a"]',
            "no endpoint carries",
            "Selector",
        ),
        ("{matchLabels: {'fqdn:a.b': ''}}", 'matchLabels["fqdn:a.b"]', "no endpoint carries", "toFQDNs"),
        ("{matchLabels: {'node:zone': a}}", 'matchLabels["node:zone"]', "no endpoint carries", "fromNodes"),
        ("{matchLabels: {'port:http': a}}", 'matchLabels["port:http"]', "no endpoint carries", "toPorts"),
        ("{matchLabels: {'block:a': b}}", 'matchLabels["block:a"]', "no endpoint carries", "ipBlock"),
        (
            "{matchExpressions: [{key: a, operator: in, values: [b]}]}",
            "matchExpressions[0].operator",
            "",
            "In?",
        ),
        (
            "{matchExpressions: [{key: a, operator: Gt, values: ['1']}]}",
            "matchExpressions[0].operator",
            "",
            "Exists",
        ),
        ("{matchExpressions: [{key: a, operator: In}]}", "matchExpressions[0]", "at least one value", ""),
        (
            "{matchExpressions: [{key: a, operator: NotIn, values: []}]}",
            "matchExpressions[0]",
            "at least one",
            "",
        ),
        (
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
            "matchExpressions[0].values",
            "Exists takes no values",
            "In",
        ),
        ("{matchExpressions: [{key: '', operator: Exists}]}", "matchExpressions[0].key", "label key", ""),
        (
            "{matchExpressions: [{key: a, operator: In, values: ['b c']}]}",
            "matchExpressions[0].values[0]",
            "label value",
            "",
        ),
    ],
)
def test_impossible_selectors(selector: str, path: str, message: str, hint: str) -> None:
    found = refused_rule(f"fromEndpoints: [{selector}]")
    joint = "" if path.startswith("[") else "."
    assert found.path == f"spec.ingress[0].fromEndpoints[0]{joint}{path}"
    assert message in found.message
    assert hint in found.hint
