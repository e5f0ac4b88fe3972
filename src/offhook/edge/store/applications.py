"""The Call Control applications that were made over the API."""

import asyncio
import sqlite3
from dataclasses import dataclass, field

from offhook.edge.store.store import Store


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """One application; `members` is the JSON object of what it was made with."""

    id: str
    members: str = field(repr=False)
    created_at: str
    updated_at: str


class ApplicationTable:
    """Applications by their id."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> "asyncio.Future[list[ApplicationRow]]":
        """Return all of them, oldest first."""

        def job(db: sqlite3.Connection) -> list[ApplicationRow]:
            query = "SELECT id, members, created_at, updated_at FROM applications ORDER BY created_at, id"
            return [ApplicationRow(*row) for row in db.execute(query)]

        return self._store.submit(job)

    def put(self, row: ApplicationRow) -> "asyncio.Future[None]":
        """Keep an application, in place of what has its id."""
        values = (row.id, row.members, row.created_at, row.updated_at)

        def job(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO applications VALUES (?, ?, ?, ?)", values)

        return self._store.submit(job)

    def delete(self, application_id: str) -> "asyncio.Future[None]":
        """Forget an application and its Dialogflow connection, whose secret nobody could delete any more."""

        def job(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM applications WHERE id = ?", (application_id,))
            db.execute("DELETE FROM dialogflow_connections WHERE connection_id = ?", (application_id,))

        return self._store.submit(job)
