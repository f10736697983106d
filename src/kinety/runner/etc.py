"""Files of /etc that a command sees instead of the node's: resolv.conf and hosts.

They are in a mount namespace of the command's and on a file system in memory that nobody else sees, so
there is nothing to remove, whatever becomes of the command.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kinety.kernel import libc

RESOLV_CONF = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")
#: Where the file system in memory is for a moment, unseen by others: no file that is replaced is below it.
_WORKSHOP = Path("/sys")
#: Of resolv.conf, what is not a comment.
_SAYING = {"nameserver", "search", "domain", "options", "sortlist"}


def resolv_conf(nodes: str, servers: Sequence[str], search: Sequence[str] = ()) -> str:
    """A resolv.conf(5) with these name servers and search domains; what is not given is the node's."""
    given = [f"nameserver {each}" for each in servers] + ([f"search {' '.join(search)}"] if search else [])
    replaced = ({"nameserver"} if servers else set()) | ({"search", "domain"} if search else set())
    kept = [
        line
        for line in nodes.splitlines()
        if line.split()[:1] and line.split()[0] in _SAYING and line.split()[0] not in replaced
    ]
    return "".join(f"{line}\n" for line in given + kept)


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
