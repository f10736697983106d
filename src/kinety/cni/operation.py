"""What the commands do: from a call to what is printed, None for nothing. Each raises CniError.

https://www.cni.dev/docs/spec/#cni-operations
"""

from __future__ import annotations

from kinety.api import departure
from kinety.cni import error, ipam, network
from kinety.cni.agent import AgentAway, Refusal, ask, quote
from kinety.cni.error import CniError
from kinety.cni.result import differences, result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from kinety.cni.call import Call

_ABSENT = 404


def add(call: Call) -> Mapping[str, Any]:
    """ADD: an interface whose policy is in force. A second one of the container's by that name is refused."""
    network.check(call.configuration)
    if call.configuration.get("ipam"):
        _require_new(call)
    try:
        given = ipam.delegate(call, "ADD")
        endpoint = _attached(call, network.endpoint_request(call, given))
    except CniError as failed:
        try:
            ipam.release(call)
        except CniError as further:
            failed.details = "; ".join(filter(None, (failed.details, str(further))))
        raise
    dns = network.dns(call.configuration) or given.get("dns") or {}
    return result(call.version, endpoint, call.netns, dns, call.configuration.get("prevResult"))


def _require_new(call: Call) -> None:
    """Before another plugin gives an address, and takes it back when the agent refuses: it may be in use."""
    try:
        _ask(call, "GET", _path(call.container, call.interface))
    except AgentAway as away:
        raise CniError(error.TRY_AGAIN_LATER, "the agent is away", str(away)) from away
    except Refusal as refusal:
        if refusal.status == _ABSENT:
            return
        raise _refused(refusal) from refusal
    raise CniError(error.CONFLICT, f"container {call.container} has an interface {call.interface} already")


def _attached(call: Call, request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        made: Mapping[str, Any] = _ask(call, "POST", "/v1/endpoints", request)
        return made
    except AgentAway as away:
        if away.asked:
            raise _taken_back(call, str(away)) from away
        raise CniError(error.TRY_AGAIN_LATER, "the agent is away", str(away)) from away
    except Refusal as refusal:
        raise _refused(refusal) from refusal


def _taken_back(call: Call, details: str) -> CniError:
    """Take away what an agent that went may have made all the same; the error to raise then."""
    try:
        _give_up(call, call.container, call.interface)
    except Refusal as refusal:
        details = f"{details}; then: {refusal}"
    return CniError(error.TRY_AGAIN_LATER, "the agent is away", details)


def add_again(call: Call) -> Mapping[str, Any]:
    """ADD, of which an agent had heard that died: nobody knows whether it was done."""
    raise _taken_back(call, "it went away in the middle of this")


def delete(call: Call) -> None:
    """DEL: done as well when there is nothing to do, and left to the agent's next start when it is away."""
    try:
        _give_up(call, call.container, call.interface)
    except Refusal as refusal:
        raise _refused(refusal) from refusal
    # Whoever gets the address next asks the agent, which has done what waits for it by then.
    ipam.release(call)


def check(call: Call) -> None:
    """CHECK: nothing of the result of ADD is gone, and policy is in force."""
    previous = call.configuration.get("prevResult")
    if not isinstance(previous, dict):
        raise CniError(error.INVALID_CONFIGURATION, "CHECK needs prevResult, the result of ADD")
    try:
        state = _ask(call, "GET", _path(call.container, call.interface))
    except AgentAway as away:
        raise CniError(error.TRY_AGAIN_LATER, "the agent is away", str(away)) from away
    except Refusal as refusal:
        raise _refused(refusal) from refusal
    try:
        found = differences(previous, state, call.interface)
    except (AttributeError, KeyError, TypeError) as wrong:
        raise CniError(
            error.INVALID_CONFIGURATION, "prevResult is no result of an ADD", str(wrong)
        ) from wrong
    if found:
        raise CniError(error.NOT_AS_ADDED, found[0], "; ".join(found[1:]))
    ipam.delegate(call, "CHECK")


def status(call: Call) -> None:
    """STATUS: an ADD would not fail because of the agent."""
    network.check(call.configuration)
    try:
        state = _ask(call, "GET", "/v1/status")
    except AgentAway as away:
        raise CniError(error.NOT_AVAILABLE, "the agent is away", str(away)) from away
    except Refusal as refusal:
        raise CniError(error.NOT_AVAILABLE, str(refusal)) from refusal
    if state["reconciliation"]["state"] != "in-sync":
        why = state["reconciliation"]["error"]
        raise CniError(
            error.LIMITED_CONNECTIVITY, "the kernel does not hold the policies in force", why or ""
        )
    for full in _exhausted(state["pools"]):
        raise CniError(error.NOT_AVAILABLE, f"address pool {full} is exhausted")
    ipam.delegate(call, "STATUS")


def _exhausted(pools: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The pools of each family that none of its pools has an address for."""
    for is_ipv6 in (False, True):
        own = [pool for pool in pools if (":" in pool["prefix"]) == is_ipv6]
        if own and all(pool["used"] + pool["quarantined"] >= pool["size"] for pool in own):
            yield ", ".join(pool["prefix"] for pool in own)


def collect(call: Call) -> None:
    """GC: interfaces of this network that the runtime does not know end. An error does not stop the rest."""
    valid = network.valid_attachments(call.configuration)
    failures = []
    try:
        for endpoint in _ask(call, "GET", f"/v1/attachments?network={quote(call.network)}"):
            container, interface = endpoint["attachment"]["container"], endpoint["interface"]
            if (container, interface) not in valid:
                try:
                    _give_up(call, container, interface)
                except Refusal as refusal:
                    failures.append(f"{container} {interface}: {refusal}")
    except AgentAway as away:
        raise CniError(error.TRY_AGAIN_LATER, "the agent is away", str(away)) from away
    except Refusal as refusal:
        raise _refused(refusal) from refusal
    try:
        ipam.delegate(call, "GC")
    except CniError as failed:
        failed.details = "; ".join(filter(None, (failed.details, *failures)))
        raise
    if failures:
        raise CniError(error.TRY_AGAIN_LATER, "not everything could be removed", "; ".join(failures))


OPERATIONS: Mapping[str, Callable[[Call], Mapping[str, Any] | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status,
    "GC": collect,
}

#: What is to be done instead, when an agent that was asked for it has died; the rest is done again.
LOST: Mapping[str, Callable[[Call], Mapping[str, Any] | None]] = {"ADD": add_again}


def _give_up(call: Call, container: str, interface: str) -> None:
    """Take an interface away, or leave that to the agent's next start. Raises Refusal or CniError.

    Of an agent that is there and silent nobody knows when it starts again: the runtime is to try again.
    """
    if _removed(call, container, interface):
        return
    state_dir = network.state_dir_of(call.configuration)
    try:
        departure.leave(state_dir, container, interface)
        # An agent that started meanwhile may have looked already: see kinety.api.departure.
        if _removed(call, container, interface):
            departure.forget(state_dir, container, interface)
    except OSError as failed:
        message = f"the agent is away, and {state_dir} cannot be written"
        raise CniError(error.TRY_AGAIN_LATER, message, str(failed)) from failed


def _removed(call: Call, container: str, interface: str) -> bool:
    """Whether an interface is gone now; not, when nobody is there. Raises Refusal or CniError."""
    try:
        _ask(call, "DELETE", _path(container, interface))
    except AgentAway as away:
        if away.silent:
            raise CniError(error.TRY_AGAIN_LATER, "the agent is silent", str(away)) from away
        return False
    except Refusal as refusal:
        if refusal.status != _ABSENT:
            raise
    return True


def _ask(call: Call, method: str, path: str, body: Any = None) -> Any:
    return ask(network.socket_of(call.configuration), method, path, body)


def _path(container: str, interface: str) -> str:
    return f"/v1/attachments/{quote(container)}/{quote(interface)}"


def _refused(refusal: Refusal) -> CniError:
    """The agent's refusal in the words of the specification."""
    code = {
        400: error.INVALID_CONFIGURATION,
        404: error.UNKNOWN_CONTAINER,
        409: error.CONFLICT,
        503: error.TRY_AGAIN_LATER,
        507: error.NO_ROOM,
    }.get(refusal.status, error.AGENT_FAILED)
    variable = {"netns": "CNI_NETNS", "interface": "CNI_IFNAME"}.get(refusal.path)
    if code == error.INVALID_CONFIGURATION and variable:
        return CniError(error.INVALID_ENVIRONMENT, f"{variable}: {refusal}")
    return CniError(code, str(refusal))
