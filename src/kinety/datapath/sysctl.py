"""The kernel's settings of this network namespace. Source: Documentation/networking/ip-sysctl.rst."""

from pathlib import Path

NET = Path("/proc/sys/net")
_OF_NO_INTERFACE = ("all", "default")


def set_sysctl(path: Path, value: str) -> int:
    """See to it that a setting has a value; returns how many writes that took. Raises OSError."""
    if path.read_text().split() == value.split():
        return 0
    path.write_text(value)
    return 1


def lower(name: str) -> int:
    """Leave a setting of IPv4 to each interface, where the larger one of its own and that of all counts.

    All others keep what counted until now. Returns how many writes that took. Raises OSError.
    """
    places = NET / "ipv4/conf"
    common = int((places / "all" / name).read_text())
    if not common:
        return 0
    writes = 0
    for path in places.glob(f"*/{name}"):
        if path.parent.name != "all" and int(path.read_text()) < common:
            writes += set_sysctl(path, str(common))
    return writes + set_sysctl(places / "all" / name, "0")
