"""Proxies and their listeners, as the values of the API. Changes nothing."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable

from kinety.agent.control import Control
from kinety.agent.proxies.proxies import Proxy
from kinety.api import overview, proxy
from kinety.explain.content import content_texts
from kinety.model.endpoint import EndpointId
from kinety.model.layer7 import Layer7Id
from kinety.proxy.listener import ProxyState

#: Seconds that a proxy has to say how it does.
_GLANCE = 1.0
#: Kinds of content, as people call what proxies speak.
_KINDS = {"http": "http", "dns": "dns", "server_names": "tls"}


async def at_a_glance(kinds: Iterable[Proxy]) -> tuple[overview.ProxyState, ...]:
    """How the proxies do; who looks at it waits no longer than a second. Of the event loop."""
    return tuple(await asyncio.gather(*map(_glance, kinds)))


async def _glance(kind: Proxy) -> overview.ProxyState:
    try:
        async with asyncio.timeout(_GLANCE):
            state = await kind.state()
    except TimeoutError:
        return overview.ProxyState(kind.name, True, 0, "it does not answer")
    return overview.ProxyState(state.name, state.pid is not None, len(state.traffic), state.problem)


def proxies(control: Control, states: Iterable[ProxyState]) -> proxy.Proxies:
    """Everything about proxies, given what each says of itself. For the worker thread."""
    states = tuple(states)
    traffic = {port: each for state in states for port, each in state.traffic.items()}
    users, flows = _users(control), control.datapath.flows.led()
    listeners = []
    for key, served in control.proxies.served(control.engine.layer7_sets.keys()):
        (kind,) = served.layer7.kinds or {"http"}
        seen = traffic.get(served.port)
        listeners.append(
            proxy.ProxyListener(
                port=served.port,
                kind=_KINDS[kind],
                rules=content_texts(served.layer7),
                policies=served.layer7.policies,
                endpoints=users[key],
                flows=flows.get(served.port, 0),
                leaving=not served.live,
                requests=seen.requests if seen else None,
                denied=seen.denied if seen else None,
                p50_milliseconds=seen.p50 if seen else None,
                p99_milliseconds=seen.p99 if seen else None,
            )
        )
    return proxy.Proxies(
        redirect=control.datapath.settings.redirect.name.lower(),
        redirect_remark=control.datapath.settings.redirect_remark,
        proxies=tuple(
            proxy.Proxy(each.name, each.pid, each.version, each.problem, each.starts) for each in states
        ),
        listeners=tuple(sorted(listeners, key=lambda each: each.port)),
    )


def _users(control: Control) -> Counter[Layer7Id]:
    """How many endpoints have a rule set that redirects to each set."""
    snapshot = control.engine.snapshot()
    pointing = {
        key: {verdict.layer7 for verdict in table.rows.values() if verdict.layer7}
        for key, table in snapshot.rule_sets.items()
    }
    users: defaultdict[Layer7Id, set[EndpointId]] = defaultdict(set)
    for endpoint, plan in snapshot.endpoints.items():
        for rule_set in (plan.egress, plan.ingress):
            for layer7 in pointing.get(rule_set, ()) if rule_set is not None else ():
                users[layer7].add(endpoint)
    return Counter({layer7: len(found) for layer7, found in users.items()})
