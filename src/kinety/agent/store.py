"""What must survive a restart, in one SQLite file.

Facts are kept as they came: endpoints with their labels, addresses and named ports, leases of addresses,
what DNS said, who is in audit, and the text of policy files (a rule's file and line come from parsing it
again). Besides facts only the numbers that must not change under running traffic are kept: identities and
rule ids. Everything else is computed again.

Write-ahead logging with ``synchronous=NORMAL``: a killed agent loses nothing that was committed; a
machine that loses power may lose the last moments, but never half of a change. What waits for the disk is
bringing the log into the file, 6 ms on a fast one. SQLite does that in the middle of some commit; here it is
done when nobody waits, and by SQLite only when the log has grown long without a quiet moment.
https://www.sqlite.org/wal.html
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from kinety.agent import lease
from kinety.agent.names.table import NameTable
from kinety.agent.proxies import port as proxy_port
from kinety.agent.schema import MIGRATIONS, SCHEMA, SCHEMA_VERSION
from kinety.agent.wishes import Wishes
from kinety.api.types import Attachment
from kinety.identity.named_prefix import NamedPrefix, Outside
from kinety.model.address import Prefix
from kinety.model.endpoint import Endpoint, EndpointId, Listen
from kinety.model.identity import Identity
from kinety.model.label import Label, Labels
from kinety.model.layer7 import NamePattern
from kinety.model.rule import PolicyKey, RuleId
from kinety.plan.change import Change

#: Commits that make it worth while to bring the log into the file; pages of 4 KiB that make it necessary.
_WORTH_WHILE, _NECESSARY = 100, 4000


class StoreError(Exception):
    """The store cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint and where its interface went: path and number of the network namespace, name in it.

    ``attachment`` is the container it is for, where a runtime asked for it, and ``runtime_labels`` are those
    of the endpoint's labels that the runtime gives the container.
    """

    endpoint: Endpoint
    netns: str
    netns_number: int
    interface: str
    attachment: Attachment | None = None
    runtime_labels: Labels = frozenset()
    wishes: Wishes = field(default_factory=Wishes)

    def relabelled(self, runtime_labels: Labels) -> "EndpointRecord":
        """The same with other labels of the runtime; its own stay."""
        labels = self.endpoint.labels - self.runtime_labels | runtime_labels
        return replace(self, endpoint=replace(self.endpoint, labels=labels), runtime_labels=runtime_labels)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A policy file's text, and the policies that are in force as this text says."""

    file: str
    text: str
    policies: frozenset[PolicyKey]


class Store:
    """One connection, for one thread at a time. Changes are made inside ``transaction``."""

    def __init__(self, path: Path) -> None:
        """Open the store, or make a new one. Raises StoreError."""
        self._path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise StoreError(
                f"store {path}: {error}; move the file away to start with an empty one"
            ) from error
        self.leases = lease.LeaseTable(self._connection)
        self.proxy_ports = proxy_port.PortTable(self._connection)
        self.names = NameTable(self._connection)
        #: Since the log was brought into the file.
        self._commits = 0

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA wal_autocheckpoint = {_NECESSARY}")
        run("PRAGMA foreign_keys = ON")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0 and not run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in SCHEMA.split(";"):
                run(statement)
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif 0 < version < SCHEMA_VERSION:
            for later in range(version + 1, SCHEMA_VERSION + 1):
                run(MIGRATIONS[later])
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"store {self._path} has schema version {version} and this Kinety reads {SCHEMA_VERSION}; "
                + ("use a newer Kinety" if version > SCHEMA_VERSION else "it is not a store of Kinety")
            )
        run("COMMIT")
        (found,) = run("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"the file is damaged ({found.splitlines()[-1]})")

    def close(self) -> None:
        """Close the connection; what is not committed is gone."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside, or none of it when an exception leaves the block.

        Raises StoreError when the file cannot be written.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
            self._commits += 1
        except sqlite3.Error as error:
            self._rollback()
            raise StoreError(f"store {self._path}: {error}") from error
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def tidy(self) -> None:
        """Bring the log into the file if much was committed, beside transactions. Raises StoreError."""
        if self._commits < _WORTH_WHILE:
            return
        self._commits = 0
        try:
            with closing(sqlite3.connect(self._path)) as own:
                own.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error

    # Endpoints

    def endpoints(self) -> tuple[EndpointRecord, ...]:
        """Every endpoint, in the order they were made."""
        rows = self._connection.execute(
            "SELECT id, namespace, name, endpoint.labels, ipv4, ipv6, listens, netns, netns_inode,"
            " endpoint.interface, container, network, attachment.labels, wishes"
            " FROM endpoint LEFT JOIN attachment ON endpoint = id ORDER BY id"
        )
        return tuple(
            EndpointRecord(
                Endpoint(
                    EndpointId(id_),
                    namespace,
                    name,
                    _read_labels(labels),
                    ipv4,
                    ipv6,
                    frozenset(map(Listen.parse, json.loads(listens))),
                ),
                netns,
                inode,
                interface,
                None if container is None else Attachment(container, network),
                _read_labels(runtime_labels or "[]"),
                Wishes.parse(wishes),
            )
            for (
                id_,
                namespace,
                name,
                labels,
                ipv4,
                ipv6,
                listens,
                netns,
                inode,
                interface,
                container,
                network,
                runtime_labels,
                wishes,
            ) in rows
        )

    def last_endpoint_id(self) -> EndpointId:
        """The highest id ever given; ids are never given twice."""
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'endpoint'").fetchone()
        return EndpointId(row[0] if row else 0)

    def put_endpoint(self, record: EndpointRecord) -> None:
        """Add an endpoint. Raises StoreError when its name, an address or its attachment is another's."""
        endpoint = record.endpoint
        self._connection.execute(
            "INSERT INTO endpoint"
            " (id, namespace, name, labels, ipv4, ipv6, listens, netns, netns_inode, interface, wishes)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                endpoint.id,
                endpoint.namespace,
                endpoint.name,
                _write_labels(endpoint.labels),
                endpoint.ipv4,
                endpoint.ipv6,
                json.dumps(sorted(map(str, endpoint.listens))),
                record.netns,
                record.netns_number,
                record.interface,
                str(record.wishes),
            ),
        )
        if record.attachment is not None:
            self._connection.execute(
                "INSERT INTO attachment (endpoint, container, interface, network, labels)"
                " VALUES (?, ?, ?, ?, ?)",
                (
                    endpoint.id,
                    record.attachment.container,
                    record.interface,
                    record.attachment.network,
                    _write_labels(record.runtime_labels),
                ),
            )

    def put_labels(self, record: EndpointRecord) -> None:
        """An endpoint that a runtime asked for has these labels now."""
        run, number = self._connection.execute, record.endpoint.id
        run("UPDATE endpoint SET labels = ? WHERE id = ?", (_write_labels(record.endpoint.labels), number))
        run(
            "UPDATE attachment SET labels = ? WHERE endpoint = ?",
            (_write_labels(record.runtime_labels), number),
        )

    def delete_endpoint(self, endpoint: EndpointId) -> None:
        """Forget an endpoint."""
        self._connection.execute("DELETE FROM endpoint WHERE id = ?", (endpoint,))

    def audited(self) -> frozenset[tuple[str, str]]:
        """Endpoints in audit by namespace and name, and namespaces, with an empty name."""
        return frozenset(self._connection.execute("SELECT namespace, name FROM audit"))

    def put_audit(self, namespace: str, name: str, on: bool) -> None:
        """Say whether an endpoint, or with an empty name a namespace, is in audit."""
        statement = (
            "INSERT OR IGNORE INTO audit VALUES (?, ?)"
            if on
            else "DELETE FROM audit WHERE namespace = ? AND name = ?"
        )
        self._connection.execute(statement, (namespace, name))

    # Policies

    def documents(self) -> tuple[DocumentRecord, ...]:
        """Every text that a policy in force comes from."""
        found: dict[bytes, tuple[str, str, set[PolicyKey]]] = {}
        for digest, file, text, kind, namespace, name in self._connection.execute(
            "SELECT digest, file, text, kind, namespace, name FROM policy JOIN document USING (digest)"
            " ORDER BY file, digest"
        ):
            found.setdefault(digest, (file, text, set()))[2].add(PolicyKey(kind, namespace, name))
        return tuple(DocumentRecord(file, text, frozenset(keys)) for file, text, keys in found.values())

    def put_policies(self, file: str, text: str, policies: Iterable[PolicyKey]) -> None:
        """Say that these policies are in force as the text of this file says."""
        digest = sha256(f"{file}\0{text}".encode()).digest()
        run = self._connection.execute
        run("INSERT OR IGNORE INTO document VALUES (?, ?, ?)", (digest, file, text))
        for key in policies:
            previous = self._digest(key)
            if previous != digest:
                run("INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?)", (*_columns(key), digest))
                self._drop_unused(previous)

    def delete_policy(self, key: PolicyKey) -> None:
        """Forget a policy, and its text when it was the last one in it."""
        previous = self._digest(key)
        self._connection.execute(
            "DELETE FROM policy WHERE kind = ? AND namespace = ? AND name = ?", _columns(key)
        )
        self._drop_unused(previous)

    def policy_text(self, key: PolicyKey) -> tuple[str, str] | None:
        """File name and whole text that a policy comes from."""
        row: tuple[str, str] | None = self._connection.execute(
            "SELECT file, text FROM policy JOIN document USING (digest)"
            " WHERE kind = ? AND namespace = ? AND name = ?",
            _columns(key),
        ).fetchone()
        return row

    def _digest(self, key: PolicyKey) -> bytes | None:
        row = self._connection.execute(
            "SELECT digest FROM policy WHERE kind = ? AND namespace = ? AND name = ?", _columns(key)
        ).fetchone()
        return row[0] if row else None

    def _drop_unused(self, digest: bytes | None) -> None:
        self._connection.execute(
            "DELETE FROM document WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM policy WHERE digest = ?1)",
            (digest,),
        )

    # Numbers

    def identities(self) -> dict[Labels, Identity]:
        """The number of every set of labels that has one."""
        rows = self._connection.execute("SELECT labels, number FROM identity")
        return {_read_labels(labels): Identity(number) for labels, number in rows}

    def outside(self) -> dict[Outside, Identity]:
        """The number of every prefix that policies name, and of what DNS names make of addresses."""
        rows = self._connection.execute("SELECT address, length, patterns, number FROM prefix")
        return {
            _read_outside(Prefix(address, length), patterns): Identity(number)
            for address, length, patterns, number in rows
        }

    def rules(self) -> dict[str, int]:
        """The number of every rule that has one, by the rule's lasting name."""
        return dict(self._connection.execute("SELECT name, number FROM rule"))

    def write_numbers(self, change: Change) -> None:
        """Follow a step of the plan."""
        self.delete_numbers(change.identities_freed, change.rules_removed)
        self.put_numbers(change.identities, change.outside, change.rule_names)

    def put_numbers(
        self,
        identities: Mapping[Identity, Labels],
        outside: Mapping[Identity, Outside],
        rules: Mapping[RuleId, str],
    ) -> None:
        """Remember numbers of sets of labels, of who is outside, and of rules by their lasting names."""
        many = self._connection.executemany
        many(
            "INSERT OR REPLACE INTO identity VALUES (?, ?)",
            [(number, _write_labels(labels)) for number, labels in identities.items()],
        )
        many(
            "INSERT OR REPLACE INTO prefix (number, address, length, patterns) VALUES (?, ?, ?, ?)",
            [(number, *_write_outside(each)) for number, each in outside.items()],
        )
        many("INSERT OR REPLACE INTO rule VALUES (?, ?)", rules.items())

    def delete_numbers(self, identities: Iterable[Identity], rules: Iterable[RuleId]) -> None:
        """Forget numbers that nobody has any more."""
        many = self._connection.executemany
        freed = [(number,) for number in identities]
        many("DELETE FROM identity WHERE number = ?", freed)
        many("DELETE FROM prefix WHERE number = ?", freed)
        many("DELETE FROM rule WHERE number = ?", [(number,) for number in rules])


def _columns(key: PolicyKey) -> tuple[str, str, str]:
    return key.kind, key.namespace, key.name


def _write_outside(each: Outside) -> tuple[bytes, int, str]:
    if isinstance(each, Prefix):
        return each.packed, each.length, "[]"
    patterns = sorted(pattern.pattern for pattern in each.patterns)
    return each.prefix.packed, each.prefix.length, json.dumps(patterns)


def _read_outside(prefix: Prefix, patterns: str) -> Outside:
    found = frozenset(map(NamePattern, json.loads(patterns)))
    return NamedPrefix(prefix, found) if found else prefix


def _write_labels(labels: Labels) -> str:
    ordered = sorted((label.source, label.key, label.value) for label in labels)
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def _read_labels(text: str) -> Labels:
    return frozenset(Label(*parts) for parts in json.loads(text))
