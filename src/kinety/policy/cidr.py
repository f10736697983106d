"""Address prefixes as policies write them."""

from kinety.model.address import Prefix
from kinety.policy.document import Path
from kinety.policy.report import Report

#: Stands in for a prefix that was reported; the object is refused anyway.
EVERYWHERE = Prefix.parse("::/0")


def prefix_of(report: Report, path: Path, text: str, *, bare: bool = False) -> Prefix | None:
    """A prefix, or with ``bare`` a single address too; None when something was reported."""
    prefix: Prefix | None
    example = "write a prefix such as 10.0.0.0/8 or 2001:db8::/32"
    if "/" not in text and not bare:
        report.add(path, f"{text!r} has no prefix length", example)
        return None
    try:
        prefix = Prefix.parse(text)
    except ValueError:
        prefix = None
    if prefix is None or "%" in text:
        report.add(path, f"{text!r} is not an address prefix", example)
        return None
    if ":" in text and prefix.is_ipv4:
        report.add(path, f"{text!r} is an IPv4 prefix written as IPv6", f"write {prefix}")
        return None
    return prefix


def exceptions(report: Report, path: Path, texts: list[str], of: Prefix | None) -> tuple[Prefix, ...]:
    """Prefixes that are left out of one, or with ``of`` None of ones not known here; sorted."""
    found: set[Prefix] = set()
    for index, text in enumerate(texts):
        where = (*path, index)
        left_out = prefix_of(report, where, text)
        if left_out is None:
            continue
        # All addresses are 16 bytes, so ::/0 would contain IPv4.
        if of is not None and (of.is_ipv4 != left_out.is_ipv4 or not of.contains(left_out)):
            report.add(where, f"{text} is not inside {of}", "leave out only parts of cidr")
        found.add(left_out)
    return tuple(sorted(found))
