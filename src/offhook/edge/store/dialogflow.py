"""The Dialogflow connections of applications. Their service accounts are secrets: the file is 0600."""

import asyncio
import sqlite3
from dataclasses import dataclass, field

from offhook.edge.store.store import Store

_COLUMNS = "connection_id, dialogflow_api, service_account, conversation_profile_id, location, environment"


@dataclass(frozen=True, slots=True)
class DialogflowRow:
    """One connection; `service_account` is the JSON object as given."""

    connection_id: str
    dialogflow_api: str
    service_account: str = field(repr=False)
    conversation_profile_id: str | None = None
    location: str | None = None
    environment: str | None = None


class DialogflowConnections:
    """Connections by the id of their application."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, connection_id: str) -> "asyncio.Future[DialogflowRow | None]":
        """Return a connection."""

        def job(db: sqlite3.Connection) -> DialogflowRow | None:
            query = f"SELECT {_COLUMNS} FROM dialogflow_connections WHERE connection_id = ?"
            row = db.execute(query, (connection_id,)).fetchone()
            return None if row is None else DialogflowRow(*row)

        return self._store.submit(job)

    def put(self, row: DialogflowRow, *, new: bool) -> "asyncio.Future[bool]":
        """Keep a connection in place of what there was; without `new` only where there was one.

        Returns:
            Whether it is kept now.
        """
        values = (
            row.connection_id,
            row.dialogflow_api,
            row.service_account,
            row.conversation_profile_id,
            row.location,
            row.environment,
        )

        def job(db: sqlite3.Connection) -> bool:
            deleted = db.execute(
                "DELETE FROM dialogflow_connections WHERE connection_id = ?", (row.connection_id,)
            )
            if not new and deleted.rowcount == 0:
                return False
            db.execute(f"INSERT INTO dialogflow_connections ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)
            return True

        return self._store.submit(job)

    def delete(self, connection_id: str) -> "asyncio.Future[bool]":
        """Forget a connection; return whether there was one."""

        def job(db: sqlite3.Connection) -> bool:
            query = "DELETE FROM dialogflow_connections WHERE connection_id = ?"
            return db.execute(query, (connection_id,)).rowcount > 0

        return self._store.submit(job)

    def count(self) -> "asyncio.Future[int]":
        """Return how many there are."""
        return self._store.submit(
            lambda db: int(db.execute("SELECT count(*) FROM dialogflow_connections").fetchone()[0])
        )
