from __future__ import annotations

import os
import pwd

import pytest

from kinety.runner.user import User

NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize("name", ["nobody", str(NOBODY.pw_uid)])
def test_a_user_has_its_groups(name: str) -> None:
    groups = tuple(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert User.parse(name) == User(NOBODY.pw_uid, NOBODY.pw_gid, groups)


def test_a_group_may_be_another() -> None:
    assert User.parse("nobody:root").gid == 0
    assert User.parse("nobody:4242").gid == 4242


def test_a_number_that_nobody_has() -> None:
    assert User.parse("424242") == User(424242, 424242, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody-at-all", "there is no user 'nobody-at-all'; write a name"),
        ("", "there is no user ''"),
        (":root", "there is no user ''"),
        ("4294967295", "there is no user '4294967295'"),
        ("-1", "there is no user '-1'"),
        ("nobody:no-group-at-all", "there is no group 'no-group-at-all'; write a name"),
        ("nobody:", "there is no group ''"),
    ],
)
def test_whom_there_is_not(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        User.parse(text)
