"""One track at a vendor's service: a session that outlives its connections.

A connection that is lost is replaced by another that hears again what no final covers yet; one that
becomes old is replaced before the vendor ends it. It is cut off for good only when the vendor refuses
or was lost too often without a word in between; what it leaves unfinished is there for another engine.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import structlog

from offhook.base.limits import (
    SPEECH_CLOSE_TIMEOUT_S,
    SPEECH_PUSH_BYTES_MAX,
    VENDOR_HEALTHY_S,
    VENDOR_IDLE_FLUSH_S,
    VENDOR_RETRY_AFTER_S_MAX,
    VENDOR_RETRY_S,
    VENDOR_ROTATION_RETRY_S,
    VENDOR_ROTATION_WAIT_S,
)
from offhook.base.tasks import TaskSet
from offhook.edge.speech.protocol import Closed, Error, OnEvent, SessionStats, SpeechConfig, SpeechEvent, Word
from offhook.edge.speech.vendors.backlog import Backlog
from offhook.edge.speech.vendors.dialect import (
    Dialect,
    Done,
    Said,
    Settled,
    Speaking,
    Transport,
    Trouble,
    Unreadable,
    VendorEvent,
)
from offhook.edge.speech.vendors.link import Link, LinkLost, open_link
from offhook.edge.speech.vendors.narrator import Narrator

log = structlog.get_logger(__name__)

_AT_MS_MAX = 1 << 53
_PCM_BYTES_PER_SAMPLE = 2


class _GivenUp(Exception):
    """No connection is worth another try."""


class VendorSession:
    """A `SpeechSession` over any transport and dialect.

    Args:
        config: what was asked for; checked.
        make_dialect: returns a new dialect for each connection.
        tasks: holds what runs in the background; the engine's.
        counters: totals of the engine.
    """

    def __init__(
        self,
        config: SpeechConfig,
        make_dialect: Callable[[SpeechConfig], Dialect],
        transport: Transport,
        on_event: OnEvent,
        *,
        tasks: TaskSet,
        counters: Counter[str],
    ) -> None:
        self._config = config
        self._make_dialect = make_dialect
        self._transport = transport
        self._on_event = on_event
        self._tasks = tasks
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._per_ms = config.sample_rate_hz // 1000
        self._backlog = Backlog(config.sample_rate_hz, chunk_ms=make_dialect(config).chunk_ms)
        self._narrator = Narrator(config, self._tell)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._wake = asyncio.Event()
        self._pushed_at_s = self._loop.time()
        self._idle_flushed = True
        self._closing = False
        self._finished = False
        self._in_trouble = False
        self._failures = 0
        self._losses = 0
        self._audio_samples = 0
        self._refused_ms = 0
        self._ended = self._loop.create_future()
        self._run_task = tasks.start(self._run(), name="speech vendor session")

    @property
    def ended(self) -> bool:
        """True once `Closed` has been told."""
        return self._ended.done()

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take audio that begins at `at_ms`. When the vendor is behind, the oldest audio is dropped."""
        if not pcm or self._closing or self.ended:
            return
        samples = len(pcm) // _PCM_BYTES_PER_SAMPLE
        self._audio_samples += samples
        if len(pcm) > SPEECH_PUSH_BYTES_MAX or not 0 <= at_ms < _AT_MS_MAX:
            self._refused_ms += samples // self._per_ms
            return
        self._backlog.push(pcm, at_ms)
        self._pushed_at_s = self._loop.time()
        self._idle_flushed = False
        if self._backlog.waiting:
            self._wake.set()

    def flush(self) -> None:
        """End the utterance now, as if silence had been heard."""
        if not self._closing and not self.ended:
            self._backlog.flush()
            self._wake.set()

    async def close(self) -> None:
        """Deliver the last final (for at most 2 s), then `Closed`. Safe to call twice."""
        self._closing = True
        self._wake.set()
        if not self.ended:
            await asyncio.wait([self._ended], timeout=SPEECH_CLOSE_TIMEOUT_S)
        self.end()

    def end(self) -> None:
        """Tell `Closed` now; what the vendor has not said yet is lost."""
        if self.ended:
            return
        self._ended.set_result(None)
        self._run_task.cancel()
        self._narrator.end()
        self._counters["dropped_ms"] += self.stats().dropped_ms
        self._tell(Closed(self.stats()))

    def stats(self) -> SessionStats:
        """Return the counters so far; `crashes` are lost connections."""
        return SessionStats(
            audio_ms=self._audio_samples // self._per_ms,
            dropped_ms=self._refused_ms + self._backlog.dropped_samples // self._per_ms,
            partials=self._narrator.told.partials,
            finals=self._narrator.told.finals,
            crashes=self._losses,
        )

    def waiting_ms(self) -> int:
        """Return how much audio waits to be sent, and a little more while an utterance has no final."""
        if self.ended:
            return 0
        return self._backlog.waiting_ms + (0 if self._narrator.idle else 1)

    def unfinished(self) -> list[tuple[int, bytes]]:
        """Return the audio that no final covers yet, as (start in ms, s16le), oldest first."""
        return self._backlog.pieces()

    async def _run(self) -> None:
        try:
            link = await self._connect()
            while True:
                after = await self._work(link)
                if after is None:
                    break
                link = after
        except _GivenUp as gone:
            self._fail(str(gone))
        except Exception as err:  # noqa: BLE001 - the caller must hear that nothing is heard any more
            # Without the exception's text: it may hold what was said.
            log.error("speech vendor session failed", error=type(err).__name__)
            self._fail("the session with the service failed")
        finally:
            self.end()

    def _fail(self, reason: str) -> None:
        if not self.ended:
            self._counters["given_up"] += 1
            self._tell(Error(reason, recovering=False))

    async def _connect(self) -> Link:
        """Return a link that hears what is unsettled; try as often as is reasonable."""
        while True:
            try:
                link = await self._open()
            except LinkLost as lost:
                await self._bear(lost.trouble)
                continue
            self._in_trouble = False
            return self._take_over(link)

    async def _open(self) -> Link:
        return await open_link(
            lambda: self._make_dialect(self._config),
            self._transport,
            self._config.sample_rate_hz,
            self._tasks,
        )

    def _take_over(self, link: Link) -> Link:
        if not self._backlog.rewind():
            # Nothing follows that could end it.
            self._narrator.end()
        link.floor_ms = self._narrator.told_until_ms
        return link

    async def _bear(self, trouble: Trouble) -> None:
        """Wait before another try, or give up."""
        if not trouble.retry or self._failures == len(VENDOR_RETRY_S):
            raise _GivenUp(trouble.reason)
        if not self._in_trouble:
            self._in_trouble = True
            self._tell(Error(trouble.reason, recovering=True))
        pause_s = max(VENDOR_RETRY_S[self._failures], min(trouble.retry_after_s, VENDOR_RETRY_AFTER_S_MAX))
        self._failures += 1
        self._counters["retries"] += 1
        await asyncio.sleep(pause_s)

    async def _work(self, link: Link) -> Link | None:
        """Serve until the link is done; return the link that comes after it, None after the end."""
        receiving = self._tasks.start(self._receive(link), name="speech vendor receive")
        sending = self._tasks.start(self._send(link), name="speech vendor send")
        rotating = self._tasks.start(self._rotate(link), name="speech vendor rotate")
        work = (rotating, receiving, sending)
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            results = [task.result() for task in work if task in done]
        except asyncio.CancelledError:
            if rotating.done() and not rotating.cancelled():
                self._tasks.start(rotating.result().close(), name="speech vendor close")
            raise
        finally:
            for task in work:
                task.cancel()
            self._tasks.start(link.close(), name="speech vendor close")
        match results[0]:
            case Link() as fresh:
                self._counters["rotations"] += 1
                return self._take_over(fresh)
            case Trouble() as trouble if not self._finished:
                self._losses += 1
                self._counters["reconnects"] += 1
                if link.owes_nothing and self._loop.time() - link.opened_at_s >= VENDOR_HEALTHY_S:
                    self._failures = 0
                await self._bear(trouble)
                return await self._connect()
            case _:
                return None

    async def _receive(self, link: Link) -> Trouble | None:
        while True:
            try:
                events = await link.listen()
            except LinkLost as lost:
                return lost.trouble
            for event in events:
                if isinstance(event, Trouble):
                    return event
                if isinstance(event, Done):
                    early = Trouble("the service ended the session", retry=True)
                    return None if self._finished else early
                self._hear(link, event)

    def _hear(self, link: Link, event: VendorEvent) -> None:
        to_leg = link.timeline.leg_ms
        match event:
            case Speaking(at_ms):
                if to_leg(at_ms) >= link.floor_ms:
                    self._narrator.speaking(to_leg(at_ms))
            case Said():
                said = on_leg(link, event)
                self._narrator.said(said, floor_ms=link.floor_ms)
                if event.final:
                    self._backlog.settle(said.end_ms)
                    if event.text and said.end_ms > link.floor_ms:
                        self._failures = 0
            case Settled(until_ms):
                self._failures = 0
                self._backlog.settle(to_leg(until_ms, end=True))
            case Unreadable():
                self._counters["messages_unreadable"] += 1
            case _:
                pass
        if self._narrator.idle:
            self._quiet.set()
        elif self._quiet.is_set():
            self._quiet.clear()
            # An utterance that goes on must end, even if no more audio comes.
            self._wake.set()

    async def _send(self, link: Link) -> Trouble | None:
        try:
            while True:
                self._wake.clear()
                if self._closing:
                    self._backlog.cut()
                piece = self._backlog.take()
                if piece is not None:
                    await link.send_piece(piece)
                elif self._closing:
                    self._finished = True
                    await link.finish()
                    await _for_ever()
                else:
                    await self._wait(link)
        except LinkLost as lost:
            return lost.trouble

    async def _wait(self, link: Link) -> None:
        """Wait for audio; say that we are still here; end an utterance whose audio stopped."""
        flush_at_s: float | None = None
        if not self._idle_flushed:  # also while nobody speaks yet: the vendor may tell it late
            flush_at_s = self._pushed_at_s + VENDOR_IDLE_FLUSH_S
        due_s = min((at for at in (link.keep_alive_at_s, flush_at_s) if at is not None), default=None)
        try:
            async with asyncio.timeout_at(due_s):
                await self._wake.wait()
        except TimeoutError:
            if flush_at_s is not None and self._loop.time() >= flush_at_s:
                self._idle_flushed = True
                self._backlog.flush()
            keep_alive_at_s = link.keep_alive_at_s
            if keep_alive_at_s is not None and self._loop.time() >= keep_alive_at_s:
                await link.keep_alive()

    async def _rotate(self, link: Link) -> Link:
        """Return another link when this one has become old."""
        bounds = link.rotate_from_s()
        if bounds is None:
            return await _for_ever()
        from_s, until_s = bounds
        await asyncio.sleep(from_s - self._loop.time())
        await self._until_quiet(until_s)
        fresh = await self._open_patiently()
        try:
            await self._until_quiet(min(until_s, self._loop.time() + VENDOR_ROTATION_WAIT_S))
        except asyncio.CancelledError:
            self._tasks.start(fresh.close(), name="speech vendor close")
            raise
        return fresh

    async def _open_patiently(self) -> Link:
        while True:
            try:
                return await self._open()
            except LinkLost:
                # The old one still works; it is missed when the vendor ends it.
                await asyncio.sleep(VENDOR_ROTATION_RETRY_S)

    async def _until_quiet(self, until_s: float) -> None:
        try:
            async with asyncio.timeout_at(until_s):
                await self._quiet.wait()
        except TimeoutError:
            pass

    def _tell(self, event: SpeechEvent) -> None:
        try:
            self._on_event(event)
        except Exception as err:  # noqa: BLE001 - its bug must not end the session
            # Without the exception's text: it may hold the transcript.
            log.error("speech listener failed", event_kind=type(event).__name__, error=type(err).__name__)


async def _for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def on_leg(link: Link, said: Said) -> Said:
    """Return `said` with its times on the leg's clock."""
    to_leg = link.timeline.leg_ms
    words = tuple(
        Word(word.text, to_leg(word.start_ms), to_leg(word.end_ms, end=True), word.confidence, word.speaker)
        for word in said.words
    )
    start_ms = to_leg(said.start_ms)
    return replace(said, start_ms=start_ms, end_ms=max(start_ms, to_leg(said.end_ms, end=True)), words=words)
