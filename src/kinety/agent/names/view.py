"""What DNS said, as the values of the API; and what the API says in its place."""

from ipaddress import ip_address

from kinety.agent.control import Control
from kinety.agent.names.names import Names
from kinety.api import naming, overview
from kinety.api.errors import refuse
from kinety.model.address import IPAddress, unpack_address
from kinety.model.layer7 import NamePattern
from kinety.model.name import Answer
from kinety.policy.domain import is_name, pattern_named

_LONGEST = 2**31 - 1  # RFC 2181, 8


def mappings(control: Control, names: Names, match: str | None) -> naming.Names:
    """Mappings of a pattern, or all. Raises ApiError for what is no pattern."""
    wanted = names.cache.matching(NamePattern("*") if match is None else _pattern(match))
    asked = control.engine.registry.patterns()
    found = names.statistics()
    return naming.Names(
        mappings=tuple(
            naming.NameMapping(
                name,
                str(unpack_address(address)),
                round(names.seconds_left(expires), 1),
                names.held((name, address)),
                tuple(sorted(each.pattern for each in asked if each.matches(name))),
                control.engine.identity_of_address(address),
            )
            for (name, address), expires in sorted(wanted.items())
        ),
        known=found.mappings,
        held=found.held,
        evicted=found.evicted,
        refused=found.refused,
        crowded=found.crowded,
        mappings_at_most=names.cache.room,
        addresses_at_most=names.cache.most,
        seconds_at_least=names.cache.least,
    )


def counts(names: Names) -> overview.NameCounts:
    """How many mappings there are, and what went wrong."""
    found = names.statistics()
    return overview.NameCounts(
        found.mappings, names.cache.room, found.held, found.evicted, found.refused, found.crowded
    )


def end_of(control: Control, names: Names, text: str) -> str:
    """An end of a flow as people write it: an endpoint's name, or the first address that DNS gave a name.

    IPv4 is before IPv6. What is neither stays what it is.
    """
    if ("default", text) in control.endpoints:
        return text
    mapped = names.cache.of(text.lower().removesuffix("."))
    addresses = sorted(
        (unpack_address(each) for _, each in mapped), key=lambda each: (each.version, each.packed)
    )
    return str(addresses[0]) if addresses else text


def answer(name: str, told: naming.NameAnswer) -> Answer:
    """What somebody says in the place of DNS. Raises ApiError when it cannot be."""
    if not 0 <= told.ttl <= _LONGEST:
        raise refuse(400, f"a lifetime of {told.ttl} s is none that DNS has", path="ttl")
    addresses = tuple((_address(each), told.ttl) for each in told.addresses)
    return Answer(folded(name), addresses)


async def forgotten(names: Names, name: str) -> naming.NamesForgotten:
    """Forget a name. Raises ApiError for one that is not known."""
    count = await names.clean(folded(name))
    if not count:
        raise refuse(404, f"no address of {name!r} is known")
    return naming.NamesForgotten(count)


def folded(name: str) -> str:
    """A name as it is kept. Raises ApiError for what is none."""
    folded = name.lower().removesuffix(".")
    if not is_name(folded):
        raise refuse(400, f"{name!r} is not a DNS name; write letters, digits, - and _ between dots")
    return folded


def _pattern(text: str) -> NamePattern:
    try:
        return pattern_named(text)
    except ValueError as error:
        raise refuse(400, str(error)) from error


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError as error:
        raise refuse(400, str(error), path="addresses") from error
