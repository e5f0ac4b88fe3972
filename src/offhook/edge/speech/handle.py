"""One track as its owner sees it: a session of one engine, and of another when that breaks off.

Nothing is told twice: utterances keep rising over the change, one that was being spoken keeps its
number, and the next engine hears only what no final covers yet.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Hashable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from offhook.base.errors import LimitReached
from offhook.base.limits import SPEECH_CLOSE_TIMEOUT_S, SPEECH_FALLBACK_TIMEOUT_S, SPEECH_REPLAY_MS
from offhook.edge.speech.meters import EngineMeter
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    Error,
    Final,
    OnEvent,
    Partial,
    Replaced,
    SessionStats,
    SpeechConfig,
    SpeechEnded,
    SpeechError,
    SpeechEvent,
    SpeechSession,
    SpeechStarted,
)

log = structlog.get_logger(__name__)

_Numbered = SpeechStarted | SpeechEnded | Partial | Final


@dataclass(slots=True)
class Serving:
    """The engine of a track, as it serves it."""

    name: str
    info: EngineInfo
    meter: EngineMeter
    session: SpeechSession | None = None


class Surroundings(Protocol):
    """What a track needs of the service."""

    def now(self) -> float:
        """Return steady seconds."""

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background."""

    def serving(self, name: str) -> Serving:
        """Return what is known of an engine.

        Raises:
            SpeechUnavailable: it cannot run here.
        """

    async def open_session(
        self, serving: Serving, config: SpeechConfig, on_event: OnEvent, *, forced: bool
    ) -> SpeechSession:
        """Open a session; `forced`: without what the engine cannot do.

        Raises:
            SpeechUnavailable: the engine cannot run here, or not as asked.
            LimitReached: it is full.
        """

    def ended(self, key: Hashable) -> None:
        """Take note that a track has told its last event."""


class SpeechHandle:
    """One open track, by the key its owner gave it.

    Args:
        config: what the app asked for; each engine gets what of it it can do.
        on_event: hears everything, `Closed` last.
        fallback: the engine that goes on when the first one breaks off, if any.
    """

    def __init__(
        self,
        key: Hashable,
        config: SpeechConfig,
        on_event: OnEvent,
        around: Surroundings,
        *,
        fallback: str | None,
    ) -> None:
        self.key = key
        self._config = config
        self._on_event = on_event
        self._around = around
        self._fallback = fallback
        self._serving: Serving | None = None
        self._turn = 0
        self._numbers = _Numbers()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._flush_waits = False
        self._taking_over: asyncio.Task[None] | None = None
        self._closing = False
        self._over = False
        self._past = SessionStats()
        self._audio_ms = 0
        self._dropped_ms = 0
        self._heard_until_ms = 0
        self._heard_at_s = 0.0
        self._bytes_per_ms = config.sample_rate_hz * 2 // 1000

    @property
    def over(self) -> bool:
        """True once `Closed` has been told."""
        return self._over

    @property
    def engine(self) -> str:
        """The engine that really serves it, by now."""
        assert self._serving is not None, "opened before anybody asks"
        return self._serving.name

    @property
    def info(self) -> EngineInfo:
        """What that engine can do."""
        assert self._serving is not None, "opened before anybody asks"
        return self._serving.info

    async def open(self, name: str, *, reason: str | None = None) -> None:
        """Open the first session, with the engine `name`; `reason` says why it is the fallback already.

        Raises:
            SpeechUnavailable: it cannot run here, or not as asked.
            LimitReached: it is full.
        """
        await self._begin(name, forced=reason is not None)
        if reason is not None:
            self._fallback = None
            self._tell(Replaced(name, reason))

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take s16le audio that begins at `at_ms` of the leg's clock. Never blocks or raises."""
        if self._over or self._closing:
            return
        duration_ms = len(pcm) // self._bytes_per_ms
        self._heard_until_ms, self._heard_at_s = at_ms + duration_ms, self._around.now()
        self._audio_ms += duration_ms
        serving = self._serving
        if serving is not None:
            serving.meter.totals["audio_ms"] += duration_ms
        if serving is None or serving.session is None:
            self._wait(at_ms, pcm)
        else:
            serving.session.push(pcm, at_ms)

    def flush(self) -> None:
        """End the utterance now, as if silence had been heard."""
        if self._serving is not None and self._serving.session is not None:
            self._serving.session.flush()
        else:
            self._flush_waits = True

    def waiting_ms(self) -> int:
        """Return how much audio has not been heard or waits for its words (see `SpeechSession`)."""
        session = None if self._serving is None else self._serving.session
        return self._waiting_bytes // self._bytes_per_ms + (0 if session is None else session.waiting_ms())

    async def close(self) -> None:
        """Deliver the last final (for at most 2 s, twice that while an engine takes over), then `Closed`.

        Safe to call twice.
        """
        self._closing = True
        if self._taking_over is not None:
            await asyncio.wait([self._taking_over], timeout=SPEECH_CLOSE_TIMEOUT_S)
            self._taking_over.cancel()
        if self._serving is not None and self._serving.session is not None:
            await self._serving.session.close()
        self._end()

    def stats(self) -> SessionStats:
        """Return the counters so far, of all its engines."""
        session = None if self._serving is None else self._serving.session
        now = SessionStats() if session is None else session.stats()
        return replace(
            _sum(self._past, now),
            audio_ms=self._audio_ms,
            dropped_ms=self._past.dropped_ms + now.dropped_ms + self._dropped_ms,
        )

    def dropping(self) -> tuple[str, int]:
        """Return its engine and how much audio that has dropped of the session that goes on, in ms."""
        session = None if self._serving is None else self._serving.session
        return self.engine, 0 if session is None else session.stats().dropped_ms

    async def _begin(self, name: str, *, forced: bool) -> None:
        serving = self._around.serving(name)
        self._turn += 1
        turn = self._turn
        session = await self._around.open_session(
            serving, self._config, lambda event: self._hear(turn, event), forced=forced
        )
        serving.meter.totals["sessions"] += 1
        serving.session = session
        self._serving = serving

    def _hear(self, turn: int, event: SpeechEvent) -> None:
        if turn != self._turn or self._over:
            return  # of an engine that has been replaced
        serving = self._serving
        totals = None if serving is None else serving.meter.totals
        match event:
            case Error(recovering=False):
                if totals is not None:
                    totals["failures"] += 1
                self._broke_off(event)
            case Closed():
                self._end()
            case SpeechStarted() | SpeechEnded() | Partial() | Final():
                if serving is not None:
                    self._count(serving.meter, event)
                self._tell(self._numbers.continued(event))
            case _:
                if totals is not None and isinstance(event, Error):
                    totals["recoveries"] += 1
                self._tell(event)

    def _count(self, meter: EngineMeter, event: SpeechEvent) -> None:
        if isinstance(event, Partial):
            meter.totals["partials"] += 1
        elif isinstance(event, Final) and event.text:
            meter.totals["finals"] += 1
            since_s = self._around.now() - self._heard_at_s
            meter.latency.add(since_s + (self._heard_until_ms - event.end_ms) / 1000)

    def _broke_off(self, error: Error) -> None:
        serving, fallback = self._serving, self._fallback
        unfinished = [] if serving is None or serving.session is None else serving.session.unfinished()
        if fallback is None or self._closing or serving is None or serving.name == fallback:
            self._dropped_ms += sum(len(pcm) for _, pcm in unfinished) // self._bytes_per_ms
            self._tell(error)
            return
        log.warning("speech falls back", engine=serving.name, fallback=fallback, reason=error.reason)
        serving.meter.totals["fallbacks"] += 1
        self._retire(serving)
        self._turn += 1
        self._numbers.begin_again()
        for at_ms, pcm in unfinished:
            self._wait(at_ms, pcm)
        self._fallback = None
        self._taking_over = self._around.start(self._take_over(fallback, error.reason))

    async def _take_over(self, name: str, reason: str) -> None:
        try:
            async with asyncio.timeout(SPEECH_FALLBACK_TIMEOUT_S):
                await self._begin(name, forced=True)
        except (SpeechError, LimitReached, TimeoutError) as error:
            log.error("the fallback engine cannot take over", fallback=name, reason=str(error))
            self._tell(Error(f"{reason}, and the fallback engine cannot take over", recovering=False))
            self._end()
            return
        self._tell(Replaced(name, reason))
        assert self._serving is not None, "it has begun"
        session = self._serving.session
        while self._waiting and session is not None:
            at_ms, pcm = self._waiting.popleft()
            session.push(pcm, at_ms)
        self._waiting_bytes = 0
        if self._flush_waits and session is not None:
            session.flush()

    def _wait(self, at_ms: int, pcm: bytes) -> None:
        self._waiting.append((at_ms, pcm))
        self._waiting_bytes += len(pcm)
        while self._waiting_bytes > SPEECH_REPLAY_MS * self._bytes_per_ms:
            _, dropped = self._waiting.popleft()
            self._waiting_bytes -= len(dropped)
            self._dropped_ms += len(dropped) // self._bytes_per_ms

    def _retire(self, serving: Serving) -> None:
        """Keep what a session that has ended did."""
        if serving.session is not None:
            stats = serving.session.stats()
            self._past = _sum(self._past, stats)
            serving.meter.totals["dropped_ms"] += stats.dropped_ms
            serving.session = None

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        self._dropped_ms += self._waiting_bytes // self._bytes_per_ms
        self._waiting.clear()
        if self._serving is not None:
            self._retire(self._serving)
            self._serving.meter.totals["dropped_ms"] += self._dropped_ms
        self._around.ended(self.key)
        self._tell(Closed(self.stats()))

    def _tell(self, event: SpeechEvent) -> None:
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 - its bug must not end the engine's other sessions
            # Without the exception's text: it may hold the transcript.
            log.error("speech listener failed", event_kind=type(event).__name__, error=type(error).__name__)


class _Numbers:
    """Numbers utterances over all sessions of a track."""

    def __init__(self) -> None:
        self._offset = 0
        self._last = -1
        self._last_is_over = True

    def begin_again(self) -> None:
        """Let the next session's utterance 0 be the one that goes on, or the next one."""
        self._offset = self._last + 1 if self._last_is_over else self._last

    def continued(self, event: _Numbered) -> _Numbered:
        """Return the event with the number that the track's owner knows its utterance by."""
        number = event.utterance_id + self._offset
        if number >= self._last:
            self._last = number
            self._last_is_over = isinstance(event, Final) and event.utterance_end
        return replace(event, utterance_id=number)


def _sum(one: SessionStats, other: SessionStats) -> SessionStats:
    return SessionStats(
        audio_ms=one.audio_ms + other.audio_ms,
        dropped_ms=one.dropped_ms + other.dropped_ms,
        partials=one.partials + other.partials,
        finals=one.finals + other.finals,
        crashes=one.crashes + other.crashes,
    )
