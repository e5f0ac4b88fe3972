"""The recordings of calls: what is known of each file beside its audio."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from offhook.edge.store.store import Store

RecordingState = Literal["recording", "completed", "failed"]

_COLUMNS = (
    "recording_id, state, format, channels, call_control_id, call_leg_id, call_session_id, connection_id, "
    "caller, callee, file_name, initiated_by, told, route, started_at, ended_at, updated_at, duration_ms, size_bytes"
)
_PLACES = ", ".join("?" * 19)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """One recording. Times are seconds since 1970.

    `told` and `route` are JSON: what every webhook of its leg said when it began, and where they went;
    for a server that has to finish what another one began.
    """

    recording_id: str
    state: RecordingState
    format: Literal["wav", "mp3"]
    channels: Literal["single", "dual"]
    call_control_id: str
    call_leg_id: str
    call_session_id: str
    connection_id: str
    caller: str = field(repr=False)
    callee: str = field(repr=False)
    file_name: str = field(repr=False)
    initiated_by: str
    told: str = field(repr=False)
    route: str = field(repr=False)
    started_at: float
    ended_at: float | None = None
    updated_at: float
    duration_ms: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingFilter:
    """Which recordings are looked for; None is any. `equal` is by column."""

    equal: tuple[tuple[str, str], ...] = ()
    started_from: float | None = None
    started_until: float | None = None
    ended_from: float | None = None
    ended_until: float | None = None


FILTER_COLUMNS = (
    "call_control_id",
    "call_leg_id",
    "call_session_id",
    "connection_id",
    "caller",
    "callee",
)


class RecordingTable:
    """Recordings by their id."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, row: RecordingRow) -> "asyncio.Future[None]":
        """Keep a recording, in place of what has its id."""
        values = (
            row.recording_id, row.state, row.format, row.channels, row.call_control_id, row.call_leg_id,
            row.call_session_id, row.connection_id, row.caller, row.callee, row.file_name, row.initiated_by,
            row.told, row.route, row.started_at, row.ended_at, row.updated_at, row.duration_ms, row.size_bytes,
        )  # fmt: skip

        def job(db: sqlite3.Connection) -> None:
            db.execute(f"INSERT OR REPLACE INTO recordings ({_COLUMNS}) VALUES ({_PLACES})", values)

        return self._store.submit(job)

    def get(self, recording_id: str) -> "asyncio.Future[RecordingRow | None]":
        """Return a recording, whatever its state."""

        def job(db: sqlite3.Connection) -> RecordingRow | None:
            query = f"SELECT {_COLUMNS} FROM recordings WHERE recording_id = ?"
            values = db.execute(query, (recording_id,)).fetchone()
            return None if values is None else _row(values)

        return self._store.submit(job)

    async def page(
        self, wanted: RecordingFilter, *, first: int, count: int
    ) -> tuple[list[RecordingRow], int]:
        """Return some of the complete recordings that fit, newest first, and how many fit.

        Raises:
            StoreError: as `Store.read` does.
        """
        where, arguments = _where(wanted)

        def job(db: sqlite3.Connection) -> tuple[list[RecordingRow], int]:
            (total,) = db.execute(f"SELECT count(*) FROM recordings WHERE {where}", arguments).fetchone()
            query = (
                f"SELECT {_COLUMNS} FROM recordings WHERE {where} "
                "ORDER BY started_at DESC, recording_id LIMIT ? OFFSET ?"
            )
            rows = db.execute(query, (*arguments, count, first)).fetchall()
            return [_row(values) for values in rows], int(total)

        return await self._store.read(job)

    def delete(self, recording_ids: Sequence[str]) -> "asyncio.Future[int]":
        """Forget recordings; return how many there were."""
        wanted = tuple(recording_ids)

        def job(db: sqlite3.Connection) -> int:
            query = "DELETE FROM recordings WHERE recording_id = ?"
            return sum(db.execute(query, (recording_id,)).rowcount for recording_id in wanted)

        return self._store.submit(job)

    def unfinished(self) -> "asyncio.Future[list[RecordingRow]]":
        """Return the recordings whose end nobody has seen, oldest first."""
        return self._select("state = 'recording' ORDER BY started_at")

    def ended_before(self, moment: float, *, count_max: int) -> "asyncio.Future[list[RecordingRow]]":
        """Return recordings that ended before a moment."""
        return self._select("ended_at < ? ORDER BY ended_at LIMIT ?", (moment, count_max))

    def size_bytes(self) -> "asyncio.Future[int]":
        """Return how much all files take."""
        query = "SELECT coalesce(sum(size_bytes), 0) FROM recordings"
        return self._store.submit(lambda db: int(db.execute(query).fetchone()[0]))

    def _select(self, where: str, arguments: tuple[object, ...] = ()) -> "asyncio.Future[list[RecordingRow]]":
        def job(db: sqlite3.Connection) -> list[RecordingRow]:
            found = db.execute(f"SELECT {_COLUMNS} FROM recordings WHERE {where}", arguments).fetchall()
            return [_row(values) for values in found]

        return self._store.submit(job)


def _where(wanted: RecordingFilter) -> tuple[str, tuple[object, ...]]:
    parts = ["state = 'completed'"]
    arguments: list[object] = []
    for column, value in wanted.equal:
        assert column in FILTER_COLUMNS, "columns come from us, values from anybody"
        parts.append(f"{column} = ?")
        arguments.append(value)
    bounds = (
        ("started_at >= ?", wanted.started_from),
        ("started_at <= ?", wanted.started_until),
        ("ended_at >= ?", wanted.ended_from),
        ("ended_at <= ?", wanted.ended_until),
    )
    for part, bound in bounds:
        if bound is not None:
            parts.append(part)
            arguments.append(bound)
    return " AND ".join(parts), tuple(arguments)


def _row(values: tuple[object, ...]) -> RecordingRow:
    names = [name.strip() for name in _COLUMNS.split(",")]
    return RecordingRow(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]
