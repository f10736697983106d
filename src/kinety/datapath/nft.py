"""The program ``nft``, in its own language or in JSON. Source: nft(8), libnftables-json(5)."""

import errno
import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

FAMILY = "inet"
_NFT = "nft"
_TIMEOUT_SECONDS = 10


def carry_out(script: str) -> None:
    """Do all of a script in one transaction, or nothing. Raises OSError with what nft said."""
    run(["-f", "-"], script)


def replace_table(name: str, commands: Sequence[Json]) -> None:
    """Put a table in the place of one that may be there; the commands say what is in it. Raises OSError."""
    table = {"family": FAMILY, "name": name}
    commands = [
        {"add": {"table": table}},
        {"delete": {"table": table}},
        {"add": {"table": table}},
        *commands,
    ]
    run(["-j", "-f", "-"], json.dumps({"nftables": commands}))


def removal(name: str) -> str:
    """A script that removes a table, which need not be there."""
    return f"add table {FAMILY} {name}\ndelete table {FAMILY} {name}\n"


def delete_table(name: str) -> bool:
    """Remove a table; False when there was none, as without nft there cannot be. Raises OSError."""
    if shutil.which(_NFT) is None or not has_table(name):
        return False
    carry_out(removal(name))
    return True


def has_table(name: str) -> bool:
    """Whether there is a table. Raises OSError."""
    listing = json.loads(run(["-j", "list", "tables", FAMILY]))
    return any(item.get("table", {}).get("name") == name for item in listing["nftables"])


def list_table(name: str) -> list[Json]:
    """What is in a table, as nft lists it; nothing when there is none. Raises OSError."""
    if not has_table(name):
        return []
    found: list[Json] = json.loads(run(["-j", "list", "table", FAMILY, name]))["nftables"]
    return found


def run(arguments: list[str], text: str = "") -> str:
    """What nft prints. Raises OSError with what it complains of."""
    try:
        done = subprocess.run(
            [_NFT, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "masquerading and host ports need this program: install the package nftables,"
        hint += " or use --no-masquerade and no host ports"
        raise FileNotFoundError(errno.ENOENT, hint, _NFT) from error
    if done.returncode:
        raise OSError(f"nft {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout
