"""Which mappings the kernel has, in a file: what comes and goes is added, and now and then all written anew.

Writing all of them whenever one comes held the interpreter for 200 ms where there were fifty thousand, and
every question waited for that.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import IO

from kinety.model.address import IPAddress
from kinety.proxy.dns.stamp import damaged, fresh, is_current, opened, stamp

#: A name, and an address that the kernel knows it by.
Mapped = tuple[str, IPAddress]

_FORMAT = 2
#: Lines beyond twice what is known that are borne; mappings that are written before others have their turn.
_SPARE, _CHUNK = 4096, 256


class Journal:
    """The file, open for what comes and goes."""

    def __init__(self, path: Path, known: Mapping[Mapped, float]) -> None:
        """Have these mappings in the file and no others. Raises OSError."""
        self._path = path
        self._writing = asyncio.Lock()
        #: What has come and gone since it was last added, and since all began to be written anew.
        self._unsaid: list[str] = []
        self._meanwhile: list[str] = []
        self._lines = 0
        #: Something could not be added: there may be half a line now.
        self._broken = False
        write(path, known)
        self._file: IO[str] = path.open("a")

    def note(self, mapped: Mapped, until: float | None) -> None:
        """The kernel has a mapping until then at least (monotonic seconds), or no longer."""
        self._unsaid.append(_line(mapped, until))

    def flush(self) -> None:
        """Have on disk what was noted. Raises OSError; then nothing is added before all was written anew."""
        unsaid, self._unsaid = self._unsaid, []
        self._meanwhile += unsaid if self._writing.locked() else ()
        self._lines += len(unsaid)
        if self._broken or not unsaid:
            return
        self._broken = True
        self._file.write("".join(unsaid))
        self._file.flush()
        self._broken = False

    async def keep_short(self, known: Mapping[Mapped, float]) -> None:
        """Write the file anew, where much in it is over or something is missing. Raises OSError."""
        if self._broken or self._lines > 2 * len(known) + _SPARE:
            await self.write_anew(known)

    async def write_anew(self, known: Mapping[Mapped, float]) -> None:
        """Have these mappings in the file and no others, a few at a time. Raises OSError."""
        async with self._writing:
            self.flush_quietly()
            self._meanwhile = []
            rows = list(known.items())
            file = _begun(fresh(self._path))
            try:
                for start in range(0, len(rows), _CHUNK):
                    file.writelines(_line(*row) for row in rows[start : start + _CHUNK])
                    await asyncio.sleep(0)
                self.flush_quietly()
                file.writelines(self._meanwhile)
                file.flush()
                fresh(self._path).replace(self._path)
            except BaseException:
                file.close()
                raise
            self._file.close()
            self._file, self._lines, self._broken = file, len(rows) + len(self._meanwhile), False

    def flush_quietly(self) -> None:
        """As `flush`, where a file that is not complete is no harm."""
        with suppress(OSError):
            self.flush()

    def close(self) -> None:
        """Let go of the file, with what was noted in it."""
        self.flush_quietly()
        with suppress(OSError):
            self._file.close()


def write(path: Path, known: Mapping[Mapped, float]) -> None:
    """Make a file with these mappings, whole or not at all. Raises OSError."""
    with _begun(fresh(path)) as file:
        file.writelines(_line(mapped, until) for mapped, until in known.items())
    fresh(path).replace(path)


def read(path: Path) -> dict[Mapped, float] | None:
    """What a file says that the kernel has; None without one of this boot and version.

    Half a line at the end is what a killed process leaves, and is nothing. Raises ValueError for other
    damage.
    """
    try:
        lines = path.read_text().split("\n")
        return _replayed(lines[1:-1]) if is_current(json.loads(lines[0]), _FORMAT) else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, error) from error


def _replayed(lines: Iterable[str]) -> dict[Mapped, float]:
    known: dict[Mapped, float] = {}
    for line in lines:
        name, address, until = json.loads(line)
        mapped = (str(name), ip_address(address))
        if until is None:
            known.pop(mapped, None)
        else:
            known[mapped] = float(until)
    return known


def _begun(path: Path) -> IO[str]:
    """A file with its first line."""
    file = opened(path)
    file.write(json.dumps(stamp(_FORMAT)) + "\n")
    return file


def _line(mapped: Mapped, until: float | None) -> str:
    name, address = mapped
    return json.dumps([name, str(address), until]) + "\n"
