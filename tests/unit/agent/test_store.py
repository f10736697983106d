import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kinety.agent.schema import SCHEMA_VERSION
from kinety.agent.store import EndpointRecord, Store, StoreError
from kinety.api.types import Attachment
from kinety.identity.named_prefix import NamedPrefix, Outside
from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.identity import Identity
from kinety.model.label import Label
from kinety.model.layer7 import NamePattern
from kinety.model.rule import PolicyKey, RuleId

EMPIRE = frozenset({Label("k8s", "org", "empire"), Label("k8s", "ünïcode", "")})

PREFIX = Prefix.parse("10.0.0.0/8")
NAMED = NamedPrefix(PREFIX, frozenset({NamePattern("*.example.com"), NamePattern("a.com")}))
OUTSIDE: dict[Identity, Outside] = {Identity(2**24 + 1): PREFIX, Identity(2**24 + 2): NAMED}


def record(number: int, name: str = "deathstar", ipv4: bytes | None = b"\x01" * 16) -> EndpointRecord:
    listens = frozenset({Listen.parse("http=80/TCP"), Listen.parse("dns=53/UDP")})
    endpoint = Endpoint(EndpointId(number), "default", name, EMPIRE, ipv4, None, listens)
    return EndpointRecord(endpoint, "/run/netns/x", 4026532000, "eth0")


def key(name: str) -> PolicyKey:
    return PolicyKey("CiliumNetworkPolicy", "default", name)


def test_everything_survives_reopening(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    with store.transaction():
        store.put_endpoint(record(3))
        store.put_policies("a.yaml", "text", [key("a"), key("b")])
        store.put_numbers({Identity(256): EMPIRE}, OUTSIDE, {RuleId(7): "a rule"})
    store.close()
    again = Store(tmp_path / "s.db")
    assert again.endpoints() == (record(3),)
    (document,) = again.documents()
    assert (document.file, document.text) == ("a.yaml", "text")
    assert document.policies == {key("a"), key("b")}
    assert again.identities() == {EMPIRE: 256}
    assert again.outside() == {PREFIX: 2**24 + 1, NAMED: 2**24 + 2}
    assert again.rules() == {"a rule": 7}
    with again.transaction():
        again.delete_numbers([Identity(256), *OUTSIDE], [RuleId(7)])
    assert (again.identities(), again.outside(), again.rules()) == ({}, {}, {})
    again.close()


def test_commits_wait_for_no_disk_and_the_log_is_emptied_beside_them(tmp_path: Path) -> None:
    path, log = tmp_path / "s.db", tmp_path / "s.db-wal"
    store = Store(path)
    texts = [f"text {number} {'x' * 20_000}" for number in range(200)]
    before = path.read_bytes()

    def commit(numbers: range) -> None:
        for number in numbers:
            with store.transaction():
                store.put_policies("a.yaml", texts[number], [key("a")])

    commit(range(200))
    assert log.stat().st_size > 1000 * 4096, "by now SQLite would have written the file"
    assert path.read_bytes() == before
    with store.transaction(), ThreadPoolExecutor(1) as other:
        store.put_policies("b.yaml", "open", [key("b")])
        other.submit(store.tidy).result()
    alone = tmp_path / "alone.db"
    alone.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(alone)) as read:
        assert read.execute("SELECT text FROM document").fetchall() == [(texts[199],)]
    assert store.policy_text(key("b")) == ("b.yaml", "open")
    store.close()


def test_the_log_begins_anew_when_all_of_it_is_in_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")

    def commit(numbers: range) -> int:
        for number in numbers:
            with store.transaction():
                store.put_policies("a.yaml", f"{number} {'x' * 20_000}", [key("a")])
        return (tmp_path / "s.db-wal").stat().st_size

    length = commit(range(150))
    store.tidy()
    assert commit(range(150, 290)) == length
    assert store.policy_text(key("a")) == ("a.yaml", f"289 {'x' * 20_000}")
    store.close()


def test_little_is_left_in_the_log_until_there_is_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    before = (tmp_path / "s.db").read_bytes()
    with store.transaction():
        store.put_policies("a.yaml", "text", [key("a")])
    store.tidy()
    assert (tmp_path / "s.db").read_bytes() == before
    store.close()


def test_ids_are_never_given_twice(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    assert store.last_endpoint_id() == 0
    with store.transaction():
        store.put_endpoint(record(5))
        store.delete_endpoint(EndpointId(5))
    assert store.endpoints() == ()
    assert store.last_endpoint_id() == 5
    store.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")

    def fail() -> None:
        with store.transaction():
            store.put_endpoint(record(1))
            store.put_policies("a.yaml", "text", [key("a")])
            raise OSError("kernel")

    with pytest.raises(OSError, match="kernel"):
        fail()
    assert store.endpoints() == ()
    assert store.documents() == ()
    with store.transaction():
        store.put_endpoint(record(1))
    assert store.endpoints() == (record(1),)
    store.close()


@pytest.mark.parametrize("other", [record(2, ipv4=None), record(2, name="xwing"), record(1, "x", None)])
def test_ids_names_and_addresses_are_unique(tmp_path: Path, other: EndpointRecord) -> None:
    store = Store(tmp_path / "s.db")
    with store.transaction():
        store.put_endpoint(record(1))
    with pytest.raises(StoreError, match="UNIQUE"), store.transaction():
        store.put_endpoint(other)
    assert store.endpoints() == (record(1),)
    store.close()


def test_a_text_lives_as_long_as_a_policy_comes_from_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    with store.transaction():
        store.put_policies("one.yaml", "first", [key("a"), key("b")])
    with store.transaction():
        store.put_policies("two.yaml", "second", [key("a")])
    assert store.policy_text(key("a")) == ("two.yaml", "second")
    assert store.policy_text(key("b")) == ("one.yaml", "first")
    with store.transaction():
        store.put_policies("two.yaml", "second", [key("a")])
        store.delete_policy(key("b"))
    assert [document.file for document in store.documents()] == ["two.yaml"]
    with store.transaction():
        store.delete_policy(key("a"))
    assert store.policy_text(key("a")) is None
    count = sqlite3.connect(tmp_path / "s.db").execute("SELECT count(*) FROM document").fetchone()
    assert count == (0,)
    store.close()


def test_an_attachment_lives_and_goes_with_its_endpoint(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    own = replace(record(1), attachment=Attachment("c1", "blue"))
    with store.transaction():
        store.put_endpoint(own)
        store.put_endpoint(record(2, "x", None))
    assert [each.attachment for each in store.endpoints()] == [Attachment("c1", "blue"), None]
    again = replace(record(3, "y", None), attachment=Attachment("c1", "red"))
    with pytest.raises(StoreError, match="UNIQUE"), store.transaction():
        store.put_endpoint(again)
    with store.transaction():
        store.delete_endpoint(EndpointId(1))
        store.put_endpoint(again)
    store.close()
    assert [each.attachment for each in Store(tmp_path / "s.db").endpoints()] == [
        None,
        Attachment("c1", "red"),
    ]


def test_labels_of_a_runtime_are_kept_apart(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    web, db = (frozenset({Label("container", "app", name)}) for name in ("web", "db"))
    own = replace(record(1), attachment=Attachment("c1", "blue"))
    made = own.relabelled(web)
    assert made.endpoint.labels == EMPIRE | web
    with store.transaction():
        store.put_endpoint(made)
    assert store.endpoints() == (made,)
    with store.transaction():
        store.put_labels(made.relabelled(db))
    store.close()
    (found,) = Store(tmp_path / "s.db").endpoints()
    assert (found.endpoint.labels, found.runtime_labels) == (EMPIRE | db, db)
    assert found.relabelled(frozenset()) == own


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_newer_store_is_refused_untouched(tmp_path: Path, version: int) -> None:
    path = tmp_path / "s.db"
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"version {version} and this Kinety reads {SCHEMA_VERSION}"):
        Store(path)
    assert path.read_bytes() == before


def test_a_store_of_the_first_version_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = Store(path)
    with store.transaction():
        store.put_endpoint(record(3))
    store.close()
    first = sqlite3.connect(path)
    first.executescript(
        "ALTER TABLE endpoint DROP COLUMN listens; ALTER TABLE endpoint DROP COLUMN wishes;"
        "ALTER TABLE prefix DROP COLUMN patterns;"
        "DROP TABLE audit; DROP TABLE attachment; DROP TABLE lease; DROP TABLE listener; DROP TABLE name;"
        "PRAGMA user_version = 1"
    )
    first.close()
    again = Store(path)
    (known,) = again.endpoints()
    assert known.endpoint == replace(record(3).endpoint, listens=frozenset())
    with again.transaction():
        again.put_endpoint(record(4, "xwing", None))
        again.put_audit("default", "", True)
        again.put_endpoint(replace(record(5, "tie", None), attachment=Attachment("c1", "blue")))
    again.close()
    assert [each.endpoint.name for each in Store(path).endpoints()] == ["deathstar", "xwing", "tie"]


def test_who_is_in_audit_is_remembered_once_and_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    with store.transaction():
        for name in ("xwing", "xwing", ""):
            store.put_audit("default", name, True)
    assert store.audited() == {("default", "xwing"), ("default", "")}
    with store.transaction():
        store.put_audit("default", "xwing", False)
        store.put_audit("prod", "nobody", False)
    store.close()
    assert Store(tmp_path / "s.db").audited() == {("default", "")}


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="garbage"):
        Store(garbage)
    foreign = tmp_path / "foreign"
    sqlite3.connect(foreign).executescript("CREATE TABLE theirs (x)").connection.close()
    with pytest.raises(StoreError, match="not a store of Kinety"):
        Store(foreign)
    with pytest.raises(StoreError, match="unable to open"):
        Store(tmp_path / "no" / "such" / "directory")


def test_a_damaged_store_is_refused_at_once_and_kept(tmp_path: Path) -> None:
    """Its head is whole and its tables are not: that must not be found out by a request."""
    path = tmp_path / "s.db"
    store = Store(path)
    with store.transaction():
        for number in range(1, 200):
            store.put_endpoint(record(number, f"endpoint-{number}", number.to_bytes(16, "big")))
    store.close()
    data = bytearray(path.read_bytes())
    assert len(data) > 16384
    data[8192:12288] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"s\.db: .*(damaged|malformed).*move the file away"):
        Store(path)
    assert path.read_bytes() == data


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    program = f"""
import os, sys
from tests.unit.agent.test_store import record
from kinety.agent.store import Store
store = Store({str(tmp_path / "s.db")!r})
with store.transaction():
    store.put_endpoint(record(1))
store._connection.execute("BEGIN IMMEDIATE")
store.put_endpoint(record(2, "half", None))
os.kill(os.getpid(), {int(signal.SIGKILL)})
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=os.getcwd(), check=False)
    assert ended.returncode == -signal.SIGKILL
    store = Store(tmp_path / "s.db")
    assert store.endpoints() == (record(1),)
    store.close()
