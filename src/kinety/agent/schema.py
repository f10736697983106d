"""The tables of the store, and what makes those of an older version the same."""

from kinety.agent import lease
from kinety.agent.names import table as name_table
from kinety.agent.proxies import port as proxy_port

SCHEMA_VERSION = 10

SCHEMA = f"""
CREATE TABLE endpoint (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    ipv4 BLOB UNIQUE,
    ipv6 BLOB UNIQUE,
    netns TEXT NOT NULL,
    netns_inode INTEGER NOT NULL, -- Namespace.number, which once was the inode
    interface TEXT NOT NULL,
    listens TEXT NOT NULL DEFAULT '[]',
    wishes TEXT NOT NULL DEFAULT '{{}}',
    UNIQUE (namespace, name)
);
CREATE TABLE attachment (
    endpoint INTEGER PRIMARY KEY REFERENCES endpoint ON DELETE CASCADE,
    container TEXT NOT NULL,
    interface TEXT NOT NULL,
    network TEXT NOT NULL,
    labels TEXT NOT NULL DEFAULT '[]',
    UNIQUE (container, interface)
);
CREATE TABLE document (
    digest BLOB PRIMARY KEY,
    file TEXT NOT NULL,
    text TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE policy (
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL REFERENCES document,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE INDEX policy_digest ON policy (digest);
CREATE TABLE identity (
    number INTEGER PRIMARY KEY,
    labels TEXT NOT NULL UNIQUE
);
CREATE TABLE prefix (
    number INTEGER PRIMARY KEY,
    address BLOB NOT NULL,
    length INTEGER NOT NULL,
    patterns TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE rule (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE audit (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
{lease.SCHEMA};
{proxy_port.SCHEMA};
{name_table.SCHEMA};
"""

#: What makes a store of the version before one of this version.
MIGRATIONS = {
    2: "ALTER TABLE endpoint ADD COLUMN listens TEXT NOT NULL DEFAULT '[]'",
    3: "CREATE TABLE audit (namespace TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (namespace, name))"
    " WITHOUT ROWID",
    4: "CREATE TABLE attachment (endpoint INTEGER PRIMARY KEY REFERENCES endpoint ON DELETE CASCADE,"
    " container TEXT NOT NULL, interface TEXT NOT NULL, network TEXT NOT NULL,"
    " UNIQUE (container, interface))",
    5: lease.SCHEMA,
    6: "ALTER TABLE attachment ADD COLUMN labels TEXT NOT NULL DEFAULT '[]'",
    7: "ALTER TABLE endpoint ADD COLUMN wishes TEXT NOT NULL DEFAULT '{}'",
    8: "ALTER TABLE prefix ADD COLUMN patterns TEXT NOT NULL DEFAULT '[]'",
    9: name_table.SCHEMA,
    10: proxy_port.SCHEMA,
}
