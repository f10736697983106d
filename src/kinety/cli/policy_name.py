"""Policies as people call them: by name, with a namespace or a kind where that is not enough."""

from kinety.api.types import Policy

_SHORT_KINDS = {
    "cnp": "CiliumNetworkPolicy",
    "ccnp": "CiliumClusterwideNetworkPolicy",
    "netpol": "NetworkPolicy",
    "cnetpol": "ClusterNetworkPolicy",
    "anp": "AdminNetworkPolicy",
    "banp": "BaselineAdminNetworkPolicy",
    "ccg": "CiliumCIDRGroup",
    "svc": "Service",
}


def find_policy(policies: tuple[Policy, ...], name: str) -> Policy:
    """The policy that is meant. Raises ValueError when there is none, and when it could be several."""
    matches = [item for item in policies if name.lower() in _names(item)]
    if not matches:
        raise ValueError(f"there is no policy {name!r}")
    if len(matches) > 1:
        candidates = ", ".join("/".join(filter(None, (m.kind, m.namespace, m.name))) for m in matches)
        raise ValueError(f"{name!r} could be any of {candidates}")
    return matches[0]


def _names(item: Policy) -> set[str]:
    kinds = {item.kind, *(short for short, kind in _SHORT_KINDS.items() if kind == item.kind)}
    scoped = "/".join(filter(None, (item.namespace, item.name)))
    return {name.lower() for name in (item.name, scoped, *(f"{kind}/{scoped}" for kind in kinds))}
