"""Webhook deliveries as rows, and what may be done with them.

A pending row is either held by the process (`parked` = 0) or waits in the file until it is due
(`parked` = 1). A process that starts parks all of them, whatever the last one held.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from offhook.base.limits import WEBHOOK_ATTEMPTS_LOGGED_MAX
from offhook.edge.store.store import Store
from offhook.proto.webhook import Progress

_ROW = (
    "event_id, call_leg_id, event_type, occurred_at, data, url, failover_url, timeout_s, created_at, "
    "next_attempt_at, expires_at, attempts, url_index, url_attempts, round, refused"
)
_PRUNED_AT_ONCE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One event for one receiver, with all that is needed to try it again after a restart."""

    event_id: str
    call_leg_id: str
    event_type: str
    occurred_at: str
    data: bytes = field(repr=False)
    """The encoded `data` object of the envelope."""
    url: str = field(repr=False)
    failover_url: str | None = field(repr=False)
    timeout_s: float | None
    created_at: float
    next_attempt_at: float
    expires_at: float
    progress: Progress = field(default_factory=Progress)

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs to try, the primary first."""
        return (self.url,) if self.failover_url is None else (self.url, self.failover_url)


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One HTTP try, as the delivery log shows it."""

    number: int
    url: str = field(repr=False)
    started_at: float
    finished_at: float
    http_status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as a person looks at it."""

    row: DeliveryRow
    state: str
    ended_at: float | None
    attempts: tuple[AttemptRow, ...]


class Deliveries:
    """The deliveries of a store. Every method gives a future that resolves when it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, row: DeliveryRow, *, parked: bool) -> asyncio.Future[None]:
        """Keep a new pending delivery."""
        return self._store.submit(lambda db: _insert(db, row, parked))

    def delivered(self, results: Sequence[tuple[DeliveryRow, AttemptRow]]) -> asyncio.Future[None]:
        """End deliveries well. Each row holds the progress after its attempt."""
        return self._store.submit(lambda db: _delivered(db, results))

    def failed(self, row: DeliveryRow, attempt: AttemptRow) -> asyncio.Future[None]:
        """End a delivery that is given up; it stays and can be revived."""
        return self._store.submit(lambda db: _after_attempt(db, row, attempt, "failed", parked=False))

    def again(self, row: DeliveryRow, attempt: AttemptRow, *, parked: bool) -> asyncio.Future[None]:
        """Note a failed attempt; `row` says when and where the next one is."""
        return self._store.submit(lambda db: _after_attempt(db, row, attempt, "pending", parked=parked))

    def park_all(self, *, now: float) -> asyncio.Future[dict[str, int]]:
        """Let every pending delivery wait in the file, due `now`; returns how many each leg has.

        A start is a good moment to try again what an outage held up, and only rows that are due
        together come in the order in which they were put.
        """
        return self._store.submit(lambda db: _park_all(db, now))

    def take_due(self, *, until: float, count_max: int) -> asyncio.Future[list[DeliveryRow]]:
        """Hand out parked deliveries that are due at `until`, the longest due first."""
        return self._store.submit(lambda db: _take_due(db, until, count_max))

    def revive(self, event_id: str, *, now: float, expires_at: float) -> asyncio.Future[bool]:
        """Make a failed delivery pending again, due `now`; False when there is no such one."""
        return self._store.submit(lambda db: _revive(db, event_id, now, expires_at))

    def prune(self, *, ended_before: float, failed_before: float, kept_max: int) -> asyncio.Future[int]:
        """Drop delivered and failed rows older than these times, and the oldest beyond `kept_max`.

        At most a thousand a call, so that new events need not wait; returns how many went.
        """
        return self._store.submit(lambda db: _prune(db, ended_before, failed_before, kept_max))

    def find(self, event_id: str) -> asyncio.Future[DeliveryView | None]:
        """Return one delivery with the log of its attempts."""
        return self._store.submit(lambda db: _find(db, event_id))

    def recent(self, *, count_max: int, call_leg_id: str | None = None) -> asyncio.Future[list[DeliveryView]]:
        """Return the newest deliveries, of one leg or of all, newest first."""
        return self._store.submit(lambda db: _recent(db, count_max, call_leg_id))

    def of_unended_legs(self) -> asyncio.Future[list[DeliveryRow]]:
        """Return all rows of the legs that were told to begin but not to end, in the order they were put."""
        return self._store.submit(_of_unended_legs)

    def count(self) -> asyncio.Future[dict[str, int]]:
        """Return the number of deliveries in each state that occurs."""
        return self._store.submit(_count)


def _insert(db: sqlite3.Connection, row: DeliveryRow, parked: bool) -> None:
    p = row.progress
    db.execute(
        f"INSERT INTO deliveries ({_ROW}, parked) VALUES ({', '.join('?' * 17)})",
        (
            row.event_id, row.call_leg_id, row.event_type, row.occurred_at, row.data, row.url, row.failover_url,
            row.timeout_s, row.created_at, row.next_attempt_at, row.expires_at,
            p.attempts, p.url_index, p.url_attempts, p.round, p.refused, parked,
        ),
    )  # fmt: skip


def _after_attempt(
    db: sqlite3.Connection, row: DeliveryRow, attempt: AttemptRow, state: str, *, parked: bool
) -> None:
    p = row.progress
    ended_at = None if state == "pending" else attempt.finished_at
    found = db.execute(
        "UPDATE deliveries SET state = ?, parked = ?, ended_at = ?, next_attempt_at = ?, attempts = ?, "
        "url_index = ?, url_attempts = ?, round = ?, refused = ? WHERE event_id = ?",
        (
            state, parked, ended_at, row.next_attempt_at, p.attempts,
            p.url_index, p.url_attempts, p.round, p.refused, row.event_id,
        ),
    ).rowcount  # fmt: skip
    if not found:
        # Its insert failed, on a full disk perhaps. What is still wanted is kept from now on.
        _insert(db, row, parked)
        db.execute(
            "UPDATE deliveries SET state = ?, ended_at = ? WHERE event_id = ?",
            (state, ended_at, row.event_id),
        )
    db.execute(
        "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            row.event_id, attempt.number, attempt.url, attempt.started_at, attempt.finished_at,
            attempt.http_status, attempt.error,
        ),
    )  # fmt: skip
    if attempt.number > WEBHOOK_ATTEMPTS_LOGGED_MAX:
        db.execute(
            "DELETE FROM attempts WHERE event_id = ? AND number <= ?",
            (row.event_id, attempt.number - WEBHOOK_ATTEMPTS_LOGGED_MAX),
        )


def _delivered(db: sqlite3.Connection, results: Sequence[tuple[DeliveryRow, AttemptRow]]) -> None:
    for row, attempt in results:
        _after_attempt(db, row, attempt, "delivered", parked=False)


def _park_all(db: sqlite3.Connection, now: float) -> dict[str, int]:
    db.execute("UPDATE deliveries SET parked = 1, next_attempt_at = ? WHERE state = 'pending'", (now,))
    return dict(
        db.execute(
            "SELECT call_leg_id, count(*) FROM deliveries WHERE state = 'pending' GROUP BY call_leg_id"
        ).fetchall()
    )


def _take_due(db: sqlite3.Connection, until: float, count_max: int) -> list[DeliveryRow]:
    due = db.execute(
        f"SELECT {_ROW} FROM deliveries WHERE state = 'pending' AND parked = 1 AND next_attempt_at <= ? "
        "ORDER BY next_attempt_at, ordinal LIMIT ?",
        (until, count_max),
    ).fetchall()
    rows = [_row(values) for values in due]
    db.executemany("UPDATE deliveries SET parked = 0 WHERE event_id = ?", [(row.event_id,) for row in rows])
    return rows


def _revive(db: sqlite3.Connection, event_id: str, now: float, expires_at: float) -> bool:
    found = db.execute(
        "UPDATE deliveries SET state = 'pending', parked = 1, ended_at = NULL, url_index = 0, url_attempts = 0, "
        "round = 0, refused = 0, next_attempt_at = ?, expires_at = ? WHERE event_id = ? AND state = 'failed'",
        (now, expires_at, event_id),
    ).rowcount
    return found == 1


def _prune(db: sqlite3.Connection, ended_before: float, failed_before: float, kept_max: int) -> int:
    gone = 0
    for state, before in (("delivered", ended_before), ("failed", failed_before)):
        gone += _forget(
            db, "state = ? AND ended_at < ? ORDER BY ended_at", (state, before), _PRUNED_AT_ONCE_MAX - gone
        )
    (ended,) = db.execute("SELECT count(*) FROM deliveries WHERE state <> 'pending'").fetchone()
    return gone + _forget(db, "1 ORDER BY ordinal", (), min(ended - kept_max, _PRUNED_AT_ONCE_MAX - gone))


def _forget(db: sqlite3.Connection, which: str, arguments: tuple[str | float, ...], count_max: int) -> int:
    """Delete the oldest ended rows. The end of a call goes after its beginning, which a failed
    delivery keeps longer: else the call would look cut off by a crash (`of_unended_legs`)."""
    if count_max <= 0:
        return 0
    return db.execute(
        "DELETE FROM deliveries WHERE ordinal IN (SELECT ordinal FROM deliveries AS row WHERE "
        "NOT (event_type = 'call.hangup' AND EXISTS (SELECT 1 FROM deliveries AS first "
        "WHERE first.call_leg_id = row.call_leg_id AND first.event_type = 'call.initiated')) "
        f"AND state <> 'pending' AND {which} LIMIT ?)",
        (*arguments, count_max),
    ).rowcount


def _find(db: sqlite3.Connection, event_id: str) -> DeliveryView | None:
    values = db.execute(
        f"SELECT {_ROW}, state, ended_at FROM deliveries WHERE event_id = ?", (event_id,)
    ).fetchone()
    return None if values is None else _view(db, values)


def _recent(db: sqlite3.Connection, count_max: int, call_leg_id: str | None) -> list[DeliveryView]:
    where, arguments = ("", ()) if call_leg_id is None else ("WHERE call_leg_id = ?", (call_leg_id,))
    found = db.execute(
        f"SELECT {_ROW}, state, ended_at FROM deliveries {where} ORDER BY ordinal DESC LIMIT ?",
        (*arguments, count_max),
    ).fetchall()
    return [_view(db, values) for values in found]


def _of_unended_legs(db: sqlite3.Connection) -> list[DeliveryRow]:
    found = db.execute(
        f"SELECT {_ROW} FROM deliveries WHERE call_leg_id IN ("
        "SELECT call_leg_id FROM deliveries WHERE event_type = 'call.initiated' "
        "EXCEPT SELECT call_leg_id FROM deliveries WHERE event_type = 'call.hangup') ORDER BY ordinal"
    ).fetchall()
    return [_row(values) for values in found]


def _count(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())


def _view(db: sqlite3.Connection, values: tuple[Any, ...]) -> DeliveryView:
    attempts = db.execute(
        "SELECT number, url, started_at, finished_at, http_status, error FROM attempts "
        "WHERE event_id = ? ORDER BY number",
        (values[0],),
    ).fetchall()
    return DeliveryView(_row(values[:16]), values[16], values[17], tuple(AttemptRow(*a) for a in attempts))


def _row(values: tuple[Any, ...]) -> DeliveryRow:
    row = DeliveryRow(*values[:11])
    return replace(row, data=bytes(row.data), progress=Progress(*values[11:16]))
