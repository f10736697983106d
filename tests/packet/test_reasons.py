"""Every reason is provoked by some packet of the tables, or it is said why none can."""

from kinety.abi import EventKind, Reason
from tests.packet import (
    test_datagram,
    test_endpoint,
    test_fragment,
    test_header,
    test_hook,
    test_host_port,
    test_icmp_error,
    test_neighbour,
    test_policy,
    test_rate,
    test_shadow,
    test_tcp,
)
from tests.packet.table import Case, Step

TABLES: tuple[list[Case], ...] = (
    test_datagram.CASES,
    test_endpoint.CASES,
    test_fragment.CASES,
    test_header.CASES,
    test_hook.CASES,
    test_host_port.CASES,
    test_icmp_error.CASES,
    test_neighbour.CASES,
    test_policy.CASES,
    test_rate.CASES,
    test_shadow.CASES,
    test_tcp.CASES,
)

#: Of nodes that do without something.
OFF = (*test_endpoint.OFF.values(), test_fragment.OFF)

EXCEPTIONS = {
    Reason.CONNTRACK_FULL: "an LRU map makes room; it fails only while other processors hold every row",
    Reason.HOST_ALLOWED: "of the node's own programs, whose tables are in test_host.py",
    Reason.HOST_EXEMPT: "likewise",
    Reason.FORWARDED_PROXY: "a test run gives no packet a socket; tests/netns/test_redirect.py does",
    Reason.PROXY_BYPASSED: "likewise",
    Reason.PROXY_PORT_TAKEN: "likewise",
    Reason.TRANSLATION_LOST: "likewise; tests/netns/test_redirect_nat.py",
    Reason.PACKET_REWRITE: "the kernel refuses only when it has no memory for a copy of the packet",
}


def steps() -> list[Step]:
    """Every packet of every table."""
    return [
        step for table in (*TABLES, *OFF) for case in table for step in case.steps if isinstance(step, Step)
    ]


def test_every_reason_occurs_or_has_an_excuse() -> None:
    provoked = {step.expect for step in steps()}
    missing = set(Reason) - provoked - EXCEPTIONS.keys()
    assert not missing, f"no table provokes {', '.join(sorted(reason.name for reason in missing))}"
    assert not provoked & EXCEPTIONS.keys(), "an excuse for a reason that can be provoked"


def test_every_drop_is_provoked_in_each_direction_where_it_can_be() -> None:
    """Reasons of one program only are those that the other has no code for."""
    one_way = {
        Reason.FORWARDED_LOCAL,
        Reason.FORWARDED_STACK,
        Reason.FORWARDED_ENDPOINT,
        Reason.ANSWERED,
        Reason.SOURCE_ADDRESS,
        Reason.SOURCE_SPOOFED,
        Reason.LOOPBACK,
        Reason.DESTINATION_NOT_READY,
    }
    by_program = {
        program: {step.expect for step in steps() if step.program == program}
        for program in ("from_endpoint", "to_endpoint")
    }
    missing = {
        f"{reason.name} in {program}"
        for program, found in by_program.items()
        for reason in set(Reason) - one_way - EXCEPTIONS.keys() - found
    }
    assert not missing


def test_every_kind_of_event_occurs() -> None:
    kinds = {
        EventKind.DROP: any(step.judge for step in steps()),
        EventKind.NEW_FLOW: any(step.flows for step in steps()),
        EventKind.VERDICT_CHANGE: any(step.changes for step in steps()),
        EventKind.SHADOW: any(step.shadows for step in steps()),
    }
    assert kinds.keys() == set(EventKind)
    assert all(kinds.values()), kinds


def test_names_of_cases_are_their_own() -> None:
    for table in TABLES:
        names = [case.name for case in table]
        assert len(names) == len(set(names)), sorted(names)
