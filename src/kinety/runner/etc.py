"""Files of /etc that a command sees instead of the node's: resolv.conf and hosts.

They are in a mount namespace of the command's and on a file system in memory that nobody else sees, so
there is nothing to remove, whatever becomes of the command.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from kinety.kernel import libc

RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")
#: Where the file system in memory is for a moment, unseen by others: no file that is replaced is below it.
_WORKSHOP = Path("/sys")


def resolv_conf(nodes: str, servers: Iterable[str]) -> str:
    """A resolv.conf(5) with these name servers, and of the node's what it says besides: search, options."""
    kept = [line for line in nodes.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    return "".join(f"{line}\n" for line in [*(f"nameserver {each}" for each in servers), *kept])


def hosts(nodes: str, name: str, addresses: Iterable[str]) -> str:
    """A hosts(5) in which the name has these addresses, before all that the node's says."""
    return "".join(f"{address} {name}\n" for address in addresses) + nodes


def text_of(path: Path) -> str:
    """What the node's file says; nothing where there is none."""
    try:
        return path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def replace(files: Mapping[Path, str]) -> None:
    """Show this process other content in the place of files, and nobody else. Raises OSError.

    The process gets a mount namespace of its own; what is mounted on the node later appears there, too.
    """
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", Path("/"), "none", libc.MS_REC | libc.MS_SLAVE)
    libc.mount("kinety", _WORKSHOP, "tmpfs", options="mode=755")
    try:
        for path, text in files.items():
            made = _WORKSHOP / path.name
            made.write_text(text, errors="surrogateescape")
            made.chmod(0o644)
            try:
                libc.mount(str(made), path, "none", libc.MS_BIND)
            except FileNotFoundError as error:
                message = f"{path} cannot be replaced where there is none: make an empty one"
                raise FileNotFoundError(error.errno, message) from error
    finally:
        libc.unmount(_WORKSHOP, libc.MNT_DETACH)
