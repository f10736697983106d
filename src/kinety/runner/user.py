"""Whom a command runs as: ``USER[:GROUP]``, names or numbers."""

import grp
import os
import pwd
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class User:
    """Numbers of a user and a group, and of the groups that the user is in besides."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``user``, ``user:group``, or either by number. Raises ValueError for whom there is not.

        A number that no user has is taken as it is, in the group of the same number and in no other.
        """
        name, colon, group = text.partition(":")
        entry = _user(name)
        if entry is None:
            if not _is_number(name):
                raise ValueError(
                    f"there is no user {name!r}; write a name that `getent passwd` has, or a number"
                )
            uid = own = int(name)
            groups: tuple[int, ...] = ()
        else:
            uid, own = entry.pw_uid, entry.pw_gid
            groups = tuple(os.getgrouplist(entry.pw_name, own))
        if not colon:
            return cls(uid, own, groups)
        return cls(uid, _group(group), groups)

    def become(self) -> None:
        """Give up what the process is for this user, for good. Raises OSError."""
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except KeyError:
        return None


def _group(name: str) -> int:
    if _is_number(name):
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        message = f"there is no group {name!r}; write a name that `getent group` has, or a number"
        raise ValueError(message) from error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < 2**32 - 1
