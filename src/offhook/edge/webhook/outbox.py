"""The durable outbox: an event that was put is delivered or visibly failed, whatever happens to us.

An event goes to the database first and to the sender once it is there, about a millisecond later: what
a receiver has heard of, a crash cannot undo. Where memory has no room, it waits in the database
("parked") until the sender asks.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import structlog
from yarl import URL

from offhook.base.clock import Clock, iso_time
from offhook.base.ids import RandomBytes, system_random, uuid4
from offhook.base.limits import (
    WEBHOOK_STORED_TIMEOUT_S,
    WEBHOOKS_IN_MEMORY_MAX,
    WEBHOOKS_IN_MEMORY_PER_ORIGIN_MAX,
)
from offhook.call.values import WebhookRoute
from offhook.edge.store import FORM, AttemptRow, Deliveries, DeliveryRow, Revival, StoreError
from offhook.edge.webhook.counters import WebhookCounters
from offhook.proto.webhook import Event, RetrySchedule, encode_event

log = structlog.get_logger(__name__)

_RESULTS_HELD_S = 0.1
_RESULTS_HELD_MAX = 200


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the outbox says of an event it took."""

    event_id: str
    durable: bool
    """False when the store did not take it: it will be sent, but a crash now would lose it."""
    first_attempt: asyncio.Future[bool]
    """Resolves when the first attempt has ended: whether it was delivered. Also at shutdown, with False."""


@dataclass(slots=True, eq=False)
class Held:
    """A delivery in memory."""

    row: DeliveryRow
    first_attempt: asyncio.Future[bool]
    loaded: bool = False
    """It came from the database, not from a `put` of this moment."""
    troubled: bool = False
    """An attempt has failed and was logged."""
    released: bool = False
    """It no longer takes a place in memory."""

    def first_attempt_ended(self, delivered: bool) -> None:
        """Let go whoever waits for the first attempt. Safe to call again."""
        if not self.first_attempt.done():
            self.first_attempt.set_result(delivered)


class Outbox:
    """Takes events and keeps them until a receiver has them.

    `put` may be called before the sender starts and after it has closed; such events wait in the
    database. The order of a call's `put`s is the order of its first attempts.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        clock: Clock,
        *,
        schedule: RetrySchedule | None = None,
        random: RandomBytes = system_random,
        in_memory_max: int = WEBHOOKS_IN_MEMORY_MAX,
        in_memory_per_origin_max: int = WEBHOOKS_IN_MEMORY_PER_ORIGIN_MAX,
    ) -> None:
        self.counters = WebhookCounters()
        self.schedule = schedule or RetrySchedule()
        self._deliveries = deliveries
        self._clock = clock
        self._random = random
        self._in_memory_max = in_memory_max
        self._in_memory_per_origin_max = in_memory_per_origin_max
        self._sink: Callable[[Held], None] | None = None
        self._attached_at = 0.0
        self._by_origin: Counter[str] = Counter()
        self._waiters: dict[str, asyncio.Future[bool]] = {}
        # Legs with parked events that come first: later events of theirs queue up behind them.
        self._behind: Counter[str] = Counter()
        self._store_failing = False
        self._delivered: list[tuple[DeliveryRow, AttemptRow]] = []
        self._flush_timer: asyncio.TimerHandle | None = None

    async def put(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        occurred_at: float,
        route: WebhookRoute,
        call_leg_id: str,
    ) -> Receipt:
        """Take an event; returns when it is durable, and its first attempt begins then.

        Never raises for a full disk: the event is sent from memory then and `Receipt.durable` says so.
        A disk that does not answer holds the first attempt up for `WEBHOOK_STORED_TIMEOUT_S` and no longer.
        """
        now = self._clock.now()
        occurred = iso_time(occurred_at)
        route = route.of_event(event_type)
        event = Event(event_type, uuid4(self._random), occurred, payload)
        row = DeliveryRow(
            event_id=event.id,
            call_leg_id=call_leg_id,
            event_type=event_type,
            occurred_at=occurred,
            data=encode_event(event),
            url=route.url,
            failover_url=route.failover_url,
            timeout_s=route.timeout_s,
            created_at=now,
            next_attempt_at=now,
            expires_at=now + self.schedule.give_up_after_s,
            method=f"{FORM}{route.method}" if route.form else route.method,
            retries_s=route.retries_s.get(event_type),
        )
        self.counters.taken_total += 1
        first_attempt: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._sink is not None and self._has_room(row):
            durable = await self._store_and_hold(row, first_attempt)
        else:
            durable = await self._park_new(row, first_attempt)
        return Receipt(row.event_id, durable, first_attempt)

    def schedule_of(self, row: DeliveryRow) -> RetrySchedule:
        """Return when `row` is tried again: its application may say so itself (contract 3.3)."""
        if row.retries_s is None:
            return self.schedule
        return replace(self.schedule, fast_waits_s=row.retries_s, slow_waits_s=())

    async def attach(self, sink: Callable[[Held], None]) -> None:
        """Hand deliveries to `sink` from now on; what an earlier process left waits in the database."""
        assert self._sink is None, "one sender"
        self._attached_at = self._clock.now()
        left = await self._deliveries.park_all(now=self._attached_at)
        self.counters.parked = sum(left.values())
        self._behind = Counter(left)
        self._sink = sink

    def detach(self) -> None:
        """Hand out nothing more; later events wait in the database."""
        self._sink = None
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(False)
        self._waiters.clear()

    async def load_due(self, count_max: int) -> int:
        """Bring parked deliveries that are due to the sender; returns how many came."""
        if self._sink is None or not self.counters.parked or count_max <= 0:
            return 0
        try:
            rows = await self._deliveries.take_due(until=self._clock.now(), count_max=count_max)
        except StoreError as err:
            self._store_failed(err)
            return 0
        self.counters.parked = max(0, self.counters.parked - len(rows))
        for row in rows:
            waiter = self._waiters.pop(row.event_id, None)
            self._take_place(row)
            self._hold(row, waiter or asyncio.get_running_loop().create_future(), loaded=True)
            if row.progress.attempts == 0 or row.created_at < self._attached_at:
                self._no_longer_behind(row.call_leg_id)
        return len(rows)

    async def resend(self, event_id: str) -> bool:
        """Send an ended delivery anew, and one that waits at once; False when there is no such one.

        Raises:
            StoreError: the store does not take it.
        """
        self.flush()
        now = self._clock.now()
        expires_at = now + self.schedule.give_up_after_s
        # Counted before it is written, or a load in between would count it away twice.
        self.counters.parked += 1
        revival = None
        try:
            revival = await self._deliveries.revive(event_id, now=now, expires_at=expires_at)
        finally:
            if revival is not Revival.REVIVED:
                self.counters.parked -= 1
        self.counters.resent_total += revival is Revival.REVIVED
        return revival is not Revival.UNKNOWN

    async def prune(self, *, delivered_kept_s: float, failed_kept_s: float, kept_max: int) -> int:
        """Forget ended deliveries that are old or too many; returns how many."""
        now = self._clock.now()
        try:
            return await self._deliveries.prune(
                ended_before=now - delivered_kept_s, failed_before=now - failed_kept_s, kept_max=kept_max
            )
        except StoreError as err:
            self._store_failed(err)
            return 0

    def delivered(self, held: Held, attempt: AttemptRow) -> None:
        """Note that a receiver has it, and let go of it."""
        self.counters.delivered_total += 1
        self._delivered.append((held.row, attempt))
        if len(self._delivered) >= _RESULTS_HELD_MAX:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_RESULTS_HELD_S, self.flush)
        self._release(held)

    def flush(self) -> None:
        """Write what was delivered, many in one go: it is the disk that costs, and a crash before
        this only means that some receiver sees an event a second time."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._delivered:
            self._watch(self._deliveries.delivered(tuple(self._delivered)))
            self._delivered.clear()

    def failed(self, held: Held, attempt: AttemptRow) -> None:
        """Note that it is given up, and let go of it."""
        self.counters.failed_total += 1
        self._watch(self._deliveries.failed(held.row, attempt))
        self._release(held)

    def again(self, held: Held, attempt: AttemptRow) -> None:
        """Note a failed attempt that is soon followed by another; it stays in memory."""
        self._watch(self._deliveries.again(held.row, attempt, parked=False))

    async def park(self, held: Held, attempt: AttemptRow) -> bool:
        """Note a failed attempt and let it wait in the database; False when that is not possible."""
        # Counted before it is written, or a load in between would count it away twice.
        self.counters.parked += 1
        if not await self._is_stored(self._deliveries.again(held.row, attempt, parked=True)):
            self.counters.parked -= 1
            return False
        self._release(held)
        return True

    def abandon(self, held: Held) -> None:
        """Let go of it if that has not happened yet: the next start finds it in the database."""
        self._release(held)

    def _has_room(self, row: DeliveryRow) -> bool:
        return (
            self.counters.in_memory < self._in_memory_max
            and self._by_origin[origin_of(row.url)] < self._in_memory_per_origin_max
            and row.call_leg_id not in self._behind
        )

    async def _store_and_hold(self, row: DeliveryRow, first_attempt: asyncio.Future[bool]) -> bool:
        self._take_place(row)
        stored = self._deliveries.insert(row, parked=False)
        await asyncio.wait((stored,), timeout=WEBHOOK_STORED_TIMEOUT_S)
        self.counters.sent_unstored_total += not stored.done()
        handed_out = self._hold(row, first_attempt)
        durable = await self._is_stored(stored)
        if not durable and not handed_out:
            self._lost(row)
        return durable

    def _take_place(self, row: DeliveryRow) -> None:
        self.counters.in_memory += 1
        self._by_origin[origin_of(row.url)] += 1

    def _hold(self, row: DeliveryRow, first_attempt: asyncio.Future[bool], *, loaded: bool = False) -> bool:
        """Hand out what has taken its place; False after `detach`: the next start finds it in the database."""
        held = Held(row, first_attempt, loaded)
        if self._sink is not None:
            self._sink(held)
            return True
        held.first_attempt_ended(False)
        self._release(held)
        return False

    def _release(self, held: Held) -> None:
        if held.released:
            return
        held.released = True
        self.counters.in_memory -= 1
        origin = origin_of(held.row.url)
        self._by_origin[origin] -= 1
        if not self._by_origin[origin]:
            del self._by_origin[origin]

    async def _park_new(self, row: DeliveryRow, first_attempt: asyncio.Future[bool]) -> bool:
        if self._sink is None:
            first_attempt.set_result(False)
        else:
            self._waiters[row.event_id] = first_attempt
        self._behind[row.call_leg_id] += 1
        self.counters.parked += 1
        if await self._is_stored(self._deliveries.insert(row, parked=True)):
            return True
        self.counters.parked -= 1
        self._waiters.pop(row.event_id, None)
        self._no_longer_behind(row.call_leg_id)
        if self._sink is not None and self.counters.in_memory < 2 * self._in_memory_max:
            self._take_place(row)
            self._hold(row, first_attempt)
            return False
        self._lost(row)
        if not first_attempt.done():
            first_attempt.set_result(False)
        return False

    def _lost(self, row: DeliveryRow) -> None:
        self.counters.dropped_total += 1
        log.error(
            "webhook lost: no room in memory and none on disk",
            event_id=row.event_id,
            event_type=row.event_type,
        )

    def _no_longer_behind(self, call_leg_id: str) -> None:
        if call_leg_id not in self._behind:
            return
        self._behind[call_leg_id] -= 1
        if self._behind[call_leg_id] <= 0:
            del self._behind[call_leg_id]

    async def _is_stored(self, stored: asyncio.Future[None]) -> bool:
        try:
            await stored
        except StoreError as err:
            self._store_failed(err)
            return False
        if self._store_failing:
            self._store_failing = False
            log.info("webhook store works again")
        return True

    def _watch(self, stored: asyncio.Future[None]) -> None:
        stored.add_done_callback(self._watched)

    def _watched(self, stored: asyncio.Future[None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            if isinstance(err := stored.exception(), StoreError):
                self._store_failed(err)

    def _store_failed(self, err: StoreError) -> None:
        self.counters.not_durable_total += 1
        if not self._store_failing:
            self._store_failing = True
            log.error("webhook store fails; events are kept in memory only", reason=str(err))


@lru_cache(maxsize=4096)
def origin_of(url: str) -> str:
    """Return scheme, host and port of `url`: what attempts are bounded by, and all a log may show."""
    try:
        return str(URL(url).origin())
    except ValueError:
        return "unusable"
