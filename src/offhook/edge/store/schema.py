"""The tables, and how an older file becomes a newer one.

`PRAGMA user_version` counts the migrations that were applied. A released migration is never
changed; a new one is appended.
"""

import sqlite3

from offhook.base.errors import ConfigError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE deliveries (
        ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        call_leg_id TEXT NOT NULL,
        event_type TEXT NOT NULL,
        occurred_at TEXT NOT NULL,
        data BLOB NOT NULL,
        url TEXT NOT NULL,
        failover_url TEXT,
        timeout_s REAL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
        parked INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        url_index INTEGER NOT NULL DEFAULT 0,
        url_attempts INTEGER NOT NULL DEFAULT 0,
        round INTEGER NOT NULL DEFAULT 0,
        refused INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        next_attempt_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        ended_at REAL
    );
    CREATE INDEX deliveries_due ON deliveries (next_attempt_at, ordinal)
        WHERE state = 'pending' AND parked = 1;
    CREATE INDEX deliveries_ended ON deliveries (state, ended_at) WHERE state <> 'pending';
    CREATE INDEX deliveries_of_leg ON deliveries (call_leg_id, ordinal);

    CREATE TABLE attempts (
        event_id TEXT NOT NULL REFERENCES deliveries (event_id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        url TEXT NOT NULL,
        started_at REAL NOT NULL,
        finished_at REAL NOT NULL,
        http_status INTEGER,
        error TEXT,
        PRIMARY KEY (event_id, number)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE dialogflow_connections (
        connection_id TEXT PRIMARY KEY,
        dialogflow_api TEXT NOT NULL,
        service_account TEXT NOT NULL,
        conversation_profile_id TEXT,
        location TEXT,
        environment TEXT
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE deliveries ADD COLUMN method TEXT NOT NULL DEFAULT 'POST';
    ALTER TABLE deliveries ADD COLUMN retries TEXT;
    ALTER TABLE deliveries ADD COLUMN started_at REAL;
    UPDATE deliveries SET started_at = (SELECT min(started_at) FROM attempts
        WHERE attempts.event_id = deliveries.event_id);
    ALTER TABLE attempts ADD COLUMN exchange TEXT;
    """,
    """
    CREATE TABLE applications (
        id TEXT PRIMARY KEY,
        members TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE recordings (
        recording_id TEXT PRIMARY KEY,
        state TEXT NOT NULL CHECK (state IN ('recording', 'completed', 'failed')),
        format TEXT NOT NULL,
        channels TEXT NOT NULL,
        call_control_id TEXT NOT NULL,
        call_leg_id TEXT NOT NULL,
        call_session_id TEXT NOT NULL,
        connection_id TEXT NOT NULL,
        caller TEXT NOT NULL,
        callee TEXT NOT NULL,
        file_name TEXT NOT NULL,
        initiated_by TEXT NOT NULL,
        told TEXT NOT NULL,
        route TEXT NOT NULL,
        started_at REAL NOT NULL,
        ended_at REAL,
        updated_at REAL NOT NULL,
        duration_ms INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL
    );
    CREATE INDEX recordings_started ON recordings (started_at);
    CREATE INDEX recordings_ended ON recordings (ended_at);
    CREATE INDEX recordings_of_leg ON recordings (call_leg_id);
    """,
)


def migrate(db: sqlite3.Connection) -> None:
    """Bring the file to the newest schema, each step in one transaction.

    Raises:
        ConfigError: the file was written by a newer Offhook.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ConfigError(
            "the data directory was written by a newer Offhook; upgrade this one or set OFFHOOK_DATA_DIR"
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        # executescript would commit what is open, so the transaction is written into the script.
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
