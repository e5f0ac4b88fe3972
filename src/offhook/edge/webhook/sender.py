"""Sends what the outbox holds: in order within a call, side by side across calls, until it is taken.

The next event of a call waits for the end of the first attempt of the one before it, so a receiver
that works sees a call's events in order and one that does not holds nothing up for long.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from offhook.base.clock import Clock
from offhook.base.limits import (
    WEBHOOK_ATTEMPTS_IN_FLIGHT_MAX,
    WEBHOOK_ATTEMPTS_PER_ORIGIN_MAX,
    WEBHOOK_TIMEOUT_MAX_S,
    WEBHOOK_TIMEOUT_S,
    WEBHOOKS_ENDED_KEPT_MAX,
    WEBHOOKS_LOADED_MAX,
)
from offhook.base.tasks import TaskSet
from offhook.edge.store import AttemptRow
from offhook.edge.webhook.outbox import Held, Outbox, origin_of
from offhook.edge.webhook.post import Poster, PostResult
from offhook.proto.webhook import Again, Delivered, GivenUp, Verdict, after_attempt

log = structlog.get_logger(__name__)

_ORIGINS_PACED_MAX = 4096
PARKED_BEYOND_S = 5.0
"""A delivery with a longer wait than this gives up its place in memory."""


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """What an installation may change about sending.

    Args:
        timeout_s: how long a receiver may take when its route does not say (contract 3.3).
        in_flight_max: attempts at once.
        per_origin_max: attempts at once to one scheme, host and port.
        per_s: attempts a second to one scheme, host and port; 0: any number.
        load_every_s: how often the database is asked for deliveries that are due.
        delivered_kept_s: how long delivered events stay in the log.
        failed_kept_s: how long failed events stay and can be sent again.
        ended_kept_max: how many of both stay at most.
        prune_every_s: how often old ones are removed.
    """

    timeout_s: float = WEBHOOK_TIMEOUT_S
    in_flight_max: int = WEBHOOK_ATTEMPTS_IN_FLIGHT_MAX
    per_origin_max: int = WEBHOOK_ATTEMPTS_PER_ORIGIN_MAX
    per_s: float = 0.0
    load_every_s: float = 1.0
    delivered_kept_s: float = 3 * 86400.0
    failed_kept_s: float = 30 * 86400.0
    ended_kept_max: int = WEBHOOKS_ENDED_KEPT_MAX
    prune_every_s: float = 60.0


class WebhookSender:
    """Works off an outbox. `start` it before the first call, `close` it after the last."""

    def __init__(
        self, outbox: Outbox, poster: Poster, clock: Clock, settings: SenderSettings | None = None
    ) -> None:
        self._outbox = outbox
        self._poster = poster
        self._clock = clock
        self._settings = settings or SenderSettings()
        self._gate = _Gate(self._settings.in_flight_max, self._settings.per_origin_max)
        self._pace = Pace(self._settings.per_s)
        self._tasks = TaskSet()
        self._posting: set[asyncio.Task[None]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._last_of_leg: dict[str, asyncio.Future[bool]] = {}
        self._loaded = 0
        self._wake = asyncio.Event()
        self._tender: asyncio.Task[None] | None = None
        self._closing = False

    async def start(self) -> None:
        """Open the pool and take up what an earlier process left."""
        await self._poster.open()
        await self._outbox.attach(self._admit)
        if self._outbox.counters.parked:
            log.info("webhooks left by an earlier run will be sent", count=self._outbox.counters.parked)
        self._tender = self._tasks.start(self._tend(), name="webhook-tender")

    async def close(self, grace_s: float) -> None:
        """Let attempts under way end within `grace_s`; what is undelivered stays in the database."""
        self._closing = True
        self._outbox.detach()
        for task in self._deliveries - self._posting:
            task.cancel()
        if self._posting:
            await asyncio.wait(set(self._posting), timeout=grace_s)
        await self._tasks.close()
        self._outbox.flush()
        await self._poster.close()

    def wake(self) -> None:
        """Look for due deliveries now, after `Outbox.resend` for instance."""
        self._wake.set()

    def _admit(self, held: Held) -> None:
        leg = held.row.call_leg_id
        previous = self._last_of_leg.get(leg)
        self._last_of_leg[leg] = held.first_attempt
        self._loaded += held.loaded
        task = self._tasks.start(self._deliver(held, previous), name="webhook-delivery")
        self._deliveries.add(task)
        task.add_done_callback(lambda task: self._ended(task, held))

    def _ended(self, task: asyncio.Task[None], held: Held) -> None:
        self._deliveries.discard(task)
        self._outbox.abandon(held)
        held.first_attempt_ended(False)
        leg = held.row.call_leg_id
        if self._last_of_leg.get(leg) is held.first_attempt:
            del self._last_of_leg[leg]
        if held.loaded:
            self._loaded -= 1
            if self._loaded <= WEBHOOKS_LOADED_MAX // 2:
                self._wake.set()

    async def _deliver(self, held: Held, previous: asyncio.Future[bool] | None) -> None:
        if previous is not None and not previous.done():
            await asyncio.wait((previous,))
        going_on = not self._closing
        while going_on:
            going_on = await self._attempt(held) and not self._closing
            if going_on:
                await asyncio.sleep(held.row.next_attempt_at - self._clock.now())

    async def _attempt(self, held: Held) -> bool:
        """Make one attempt and record it; True when another is to be made from memory."""
        url = held.row.urls[held.row.progress.url_index]
        number = held.row.progress.attempts + 1
        if (wait_s := self._pace.take(origin_of(url), self._clock.now())) > 0:
            self._outbox.counters.paced_total += 1
            await asyncio.sleep(wait_s)
            if self._closing:
                return False
        async with self._gate.passing(origin_of(url)):
            task = asyncio.current_task()
            assert task is not None
            self._posting.add(task)
            try:
                started_at = self._clock.now()
                result = await self._post(held, url, number)
                finished_at = self._clock.now()
            finally:
                self._posting.discard(task)
        attempt = AttemptRow(
            number, url, started_at, finished_at, result.status, result.reason, result.exchange
        )
        return await self._settle(held, attempt, result)

    async def _post(self, held: Held, url: str, number: int) -> PostResult:
        row = held.row
        counters = self._outbox.counters
        counters.attempts_total += 1
        counters.retried_total += number > 1
        # An application may say 0, which can only mean that it does not care (contract 3.3).
        timeout_s = min(row.timeout_s or self._settings.timeout_s, WEBHOOK_TIMEOUT_MAX_S)
        try:
            result = await self._poster.post(
                row.data,
                event_id=row.event_id,
                attempt=number,
                url=url,
                timeout_s=timeout_s,
                method=row.method if row.progress.url_index == 0 else "POST",
            )
        except Exception as err:
            # Whatever our own mistake is, it must not cost the event.
            log.exception("webhook attempt broke", event_id=row.event_id)
            result = PostResult(Verdict.RETRY, reason=f"internal error: {type(err).__name__}")
        counters.attempts_failed_total += result.verdict is not Verdict.DELIVERED
        return result

    async def _settle(self, held: Held, attempt: AttemptRow, result: PostResult) -> bool:
        step = after_attempt(
            self._outbox.schedule_of(held.row),
            held.row.progress,
            result.verdict,
            urls=len(held.row.urls),
            now=attempt.finished_at,
            expires_at=held.row.expires_at,
            retry_after_s=result.retry_after_s,
        )
        entered_slow = step.progress.round > 0 and held.row.progress.round == 0
        held.row = replace(held.row, progress=step.progress)
        match step:
            case Delivered():
                self._outbox.delivered(held, attempt)
                held.first_attempt_ended(True)
                if held.troubled or attempt.number > 1:
                    log.info("webhook delivered after all", attempts=attempt.number, **_names(held))
                return False
            case GivenUp(reason=why):
                self._outbox.failed(held, attempt)
                held.first_attempt_ended(False)
                log.error("webhook given up", why=why, reason=result.reason, **_names(held))
                return False
            case Again(at=at):
                held.row = replace(held.row, next_attempt_at=at)
                held.first_attempt_ended(False)
                if not held.troubled or entered_slow:
                    held.troubled = True
                    text = "webhook not delivered yet" if entered_slow else "webhook attempt failed"
                    log.warning(text, reason=result.reason, to=origin_of(attempt.url), **_names(held))
                if at - attempt.finished_at > PARKED_BEYOND_S and await self._outbox.park(held, attempt):
                    return False
                if at - attempt.finished_at <= PARKED_BEYOND_S:
                    self._outbox.again(held, attempt)
                return True

    async def _tend(self) -> None:
        """Bring in what is due and forget what is old, now and then, until cancelled."""
        prune_at = self._clock.now()
        while True:
            self._wake.clear()
            loaded = 0
            try:
                loaded = await self._outbox.load_due(WEBHOOKS_LOADED_MAX - self._loaded)
                if self._clock.now() >= prune_at:
                    prune_at = self._clock.now() + await self._prune()
            except Exception:
                # Whatever our own mistake is, what waits in the database must not wait for ever.
                log.exception("webhook tender broke")
            if not loaded or self._loaded >= WEBHOOKS_LOADED_MAX:
                await self._pause()

    async def _prune(self) -> float:
        """Forget old deliveries; returns in how many seconds to look again."""
        settings = self._settings
        pruned = await self._outbox.prune(
            delivered_kept_s=settings.delivered_kept_s,
            failed_kept_s=settings.failed_kept_s,
            kept_max=settings.ended_kept_max,
        )
        return settings.load_every_s if pruned else settings.prune_every_s

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.load_every_s):
                await self._wake.wait()
        except TimeoutError:
            pass


class Pace:
    """Spreads attempts to one origin over time: a second's worth at once, then evenly."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at: dict[str, float] = {}

    def take(self, origin: str, now: float) -> float:
        """Take the next place of `origin`; return how long to wait for it."""
        if self._per_s <= 0:
            return 0.0
        if len(self._free_at) >= _ORIGINS_PACED_MAX:
            self._free_at = {key: at for key, at in self._free_at.items() if at > now}
        at = max(self._free_at.get(origin, now), now)
        self._free_at[origin] = at + 1 / self._per_s
        burst_s = max(1.0 - 1 / self._per_s, 0.0)
        return max(at - burst_s - now, 0.0)


class _Gate:
    """Bounds attempts, first to one origin, then altogether, so that waiting for one holds no place of all."""

    def __init__(self, in_flight_max: int, per_origin_max: int) -> None:
        self._all = asyncio.Semaphore(in_flight_max)
        self._per_origin_max = per_origin_max
        self._origins: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def passing(self, origin: str) -> AsyncIterator[None]:
        """Hold a place while the body runs."""
        semaphore, users = self._origins.get(origin, (None, 0))
        semaphore = semaphore or asyncio.Semaphore(self._per_origin_max)
        self._origins[origin] = (semaphore, users + 1)
        try:
            async with semaphore, self._all:
                yield
        finally:
            _, users = self._origins[origin]
            if users == 1:
                del self._origins[origin]
            else:
                self._origins[origin] = (semaphore, users - 1)


def _names(held: Held) -> dict[str, str]:
    return {
        "event_id": held.row.event_id,
        "event_type": held.row.event_type,
        "call_leg_id": held.row.call_leg_id,
    }
