"""Webhook deliveries as rows, and what may be done with them.

A pending row is either held by the process (`parked` = 0) or waits in the file until it is due
(`parked` = 1). A process that starts parks all of them, whatever the last one held.
"""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from offhook.base.limits import WEBHOOK_ATTEMPTS_LOGGED_MAX
from offhook.edge.store.store import Store
from offhook.proto.webhook import Progress

_ROW = (
    "event_id, call_leg_id, event_type, occurred_at, data, url, failover_url, timeout_s, created_at, "
    "next_attempt_at, expires_at, attempts, url_index, url_attempts, round, refused, method, retries"
)
_VIEW = f"{_ROW}, state, ended_at, started_at"
_PRUNED_AT_ONCE_MAX = 1_000


class Revival(Enum):
    """What became of the wish to send a delivery again."""

    REVIVED = "revived"
    """It had ended and is pending again."""
    PENDING = "pending"
    """It had not ended; if it waited, it is due now."""
    UNKNOWN = "unknown"


FORM = "FORM "
"""Stands before the method of a delivery whose payload alone is sent, as a form."""


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
    method: str = "POST"
    """How the primary URL is asked, perhaps after `FORM`; the failover URL is always posted to."""
    retries_s: tuple[float, ...] | None = None
    """Waits between its attempts in place of the installation's schedule."""

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
    exchange: str | None = field(default=None, repr=False)
    """JSON of the headers sent and of what came back; None where nothing was kept."""


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery as a person looks at it."""

    row: DeliveryRow
    state: str
    ended_at: float | None
    attempts: tuple[AttemptRow, ...]
    started_at: float | None = None
    """When the first attempt began."""


@dataclass(frozen=True, slots=True)
class DeliverySearch:
    """Which deliveries a list is to hold; what is None does not matter. Times are inclusive."""

    state: str | None = None
    event_types: tuple[str, ...] | None = None
    webhook_contains: str | None = None
    attempts_contain: str | None = None
    started_from: float | None = None
    started_until: float | None = None
    finished_from: float | None = None
    finished_until: float | None = None


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

    def revive(self, event_id: str, *, now: float, expires_at: float) -> "asyncio.Future[Revival]":
        """Make an ended delivery pending again, and one that waits due `now`."""
        return self._store.submit(lambda db: _revive(db, event_id, now, expires_at))

    def prune(self, *, ended_before: float, failed_before: float, kept_max: int) -> asyncio.Future[int]:
        """Drop delivered and failed rows older than these times, and the oldest beyond `kept_max`.

        At most a thousand a call, so that new events need not wait; returns how many went.
        """
        return self._store.submit(lambda db: _prune(db, ended_before, failed_before, kept_max))

    def find(self, event_id: str) -> asyncio.Future[DeliveryView | None]:
        """Return one delivery with the log of its attempts."""
        return self._store.submit(lambda db: _find(db, event_id))

    async def search(
        self, search: DeliverySearch, *, first: int, count: int
    ) -> tuple[list[DeliveryView], int]:
        """Return `count` deliveries from number `first` on, newest first, and how many there are in all.

        Runs beside the writer; sees everything that was submitted before.

        Raises:
            StoreError: too many search at once, or it took too long.
        """
        await self._store.submit(lambda db: None)
        return await self._store.read(lambda db: _search(db, search, first, count))

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
        f"INSERT INTO deliveries ({_ROW}, parked) VALUES ({', '.join('?' * 19)})",
        (
            row.event_id, row.call_leg_id, row.event_type, row.occurred_at, row.data, row.url, row.failover_url,
            row.timeout_s, row.created_at, row.next_attempt_at, row.expires_at,
            p.attempts, p.url_index, p.url_attempts, p.round, p.refused, row.method,
            None if row.retries_s is None else json.dumps(row.retries_s), parked,
        ),
    )  # fmt: skip


def _after_attempt(
    db: sqlite3.Connection, row: DeliveryRow, attempt: AttemptRow, state: str, *, parked: bool
) -> None:
    p = row.progress
    ended_at = None if state == "pending" else attempt.finished_at
    found = db.execute(
        "UPDATE deliveries SET state = ?, parked = ?, ended_at = ?, next_attempt_at = ?, attempts = ?, "
        "url_index = ?, url_attempts = ?, round = ?, refused = ?, started_at = coalesce(started_at, ?) "
        "WHERE event_id = ?",
        (
            state, parked, ended_at, row.next_attempt_at, p.attempts,
            p.url_index, p.url_attempts, p.round, p.refused, attempt.started_at, row.event_id,
        ),
    ).rowcount  # fmt: skip
    if not found:
        # Its insert failed, on a full disk perhaps. What is still wanted is kept from now on.
        _insert(db, row, parked)
        db.execute(
            "UPDATE deliveries SET state = ?, ended_at = ?, started_at = ? WHERE event_id = ?",
            (state, ended_at, attempt.started_at, row.event_id),
        )
    db.execute(
        "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.event_id, attempt.number, attempt.url, attempt.started_at, attempt.finished_at,
            attempt.http_status, attempt.error, attempt.exchange,
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


def _revive(db: sqlite3.Connection, event_id: str, now: float, expires_at: float) -> Revival:
    revived = db.execute(
        "UPDATE deliveries SET state = 'pending', parked = 1, ended_at = NULL, url_index = 0, url_attempts = 0, "
        "round = 0, refused = 0, next_attempt_at = ?, expires_at = ? WHERE event_id = ? AND state <> 'pending'",
        (now, expires_at, event_id),
    ).rowcount
    if revived:
        return Revival.REVIVED
    db.execute(
        "UPDATE deliveries SET next_attempt_at = min(next_attempt_at, ?) WHERE event_id = ? AND parked = 1",
        (now, event_id),
    )
    known = db.execute("SELECT 1 FROM deliveries WHERE event_id = ?", (event_id,)).fetchone()
    return Revival.UNKNOWN if known is None else Revival.PENDING


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
    values = db.execute(f"SELECT {_VIEW} FROM deliveries WHERE event_id = ?", (event_id,)).fetchone()
    return None if values is None else _view(db, values)


def _recent(db: sqlite3.Connection, count_max: int, call_leg_id: str | None) -> list[DeliveryView]:
    where, arguments = ("", ()) if call_leg_id is None else ("WHERE call_leg_id = ?", (call_leg_id,))
    found = db.execute(
        f"SELECT {_VIEW} FROM deliveries {where} ORDER BY ordinal DESC LIMIT ?",
        (*arguments, count_max),
    ).fetchall()
    return [_view(db, values) for values in found]


def _search(
    db: sqlite3.Connection, search: DeliverySearch, first: int, count: int
) -> tuple[list[DeliveryView], int]:
    where, arguments = _conditions(search)
    (total,) = db.execute(f"SELECT count(*) FROM deliveries WHERE {where}", arguments).fetchone()
    found = db.execute(
        f"SELECT {_VIEW} FROM deliveries WHERE {where} ORDER BY ordinal DESC LIMIT ? OFFSET ?",
        (*arguments, count, first),
    ).fetchall()
    return [_view(db, values) for values in found], total


def _conditions(search: DeliverySearch) -> tuple[str, list[Any]]:
    """Return the condition in SQL, made of fixed texts, and its arguments."""
    simple: list[tuple[str, Any]] = [
        ("state = ?", search.state),
        ("instr(data, CAST(? AS BLOB))", search.webhook_contains),
        (
            "EXISTS (SELECT 1 FROM attempts WHERE attempts.event_id = deliveries.event_id AND "
            "instr(url || ' ' || coalesce(http_status, '') || ' ' || coalesce(error, '') || ' ' || "
            "coalesce(exchange, ''), ?))",
            search.attempts_contain,
        ),
        ("started_at >= ?", search.started_from),
        ("started_at <= ?", search.started_until),
        ("ended_at >= ?", search.finished_from),
        ("ended_at <= ?", search.finished_until),
    ]
    chosen = [(text, value) for text, value in simple if value is not None]
    texts, arguments = [text for text, _ in chosen], [value for _, value in chosen]
    if search.event_types is not None:
        texts.append(f"event_type IN ({', '.join('?' * len(search.event_types))})")
        arguments += search.event_types
    return " AND ".join(texts) or "1", arguments


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
        "SELECT number, url, started_at, finished_at, http_status, error, exchange FROM attempts "
        "WHERE event_id = ? ORDER BY number",
        (values[0],),
    ).fetchall()
    state, ended_at, started_at = values[18:]
    return DeliveryView(_row(values), state, ended_at, tuple(AttemptRow(*a) for a in attempts), started_at)


def _row(values: tuple[Any, ...]) -> DeliveryRow:
    row = DeliveryRow(*values[:11])
    return replace(
        row,
        data=bytes(row.data),
        progress=Progress(*values[11:16]),
        method=values[16],
        retries_s=None if values[17] is None else tuple(json.loads(values[17])),
    )
