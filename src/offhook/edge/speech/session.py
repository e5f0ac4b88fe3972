"""The server's half of one session: what waits to be sent, what may be sent again, what is told.

No I/O here: the slot that owns the worker process calls `take` and `receive`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

from offhook.base.limits import (
    SPEECH_CLOSE_TIMEOUT_S,
    SPEECH_PUSH_BYTES_MAX,
    SPEECH_QUEUED_MS,
    SPEECH_REPLAY_MS,
    SPEECH_SESSION_CRASHES_MAX,
)
from offhook.edge.speech.frames import Audio, Message, pack_audio, pack_message
from offhook.edge.speech.phrases import asked_phrases
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    OnEvent,
    Partial,
    SessionStats,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    Word,
)

log = structlog.get_logger(__name__)

_AT_MS_MAX = 1 << 53
_FLUSH = None


class PoolSession:
    """One track on its way through a worker process."""

    def __init__(self, session_id: int, config: SpeechConfig, language: str, on_event: OnEvent) -> None:
        self.session_id = session_id
        self._config = config
        self._language = language
        self._on_event = on_event
        self._bytes_per_ms = config.sample_rate_hz * 2 // 1000
        self._unsent: deque[Audio | None] = deque()
        self._unsent_ms = 0
        self._unsettled: deque[Audio | None] = deque()
        self._unsettled_ms = 0
        self._opened = False
        self._closing = False
        self._close_sent = False
        self._crashes_in_a_row = 0
        self._broken = False
        self._next_utterance = 0
        self._undecided_ms: dict[int, int] = {}
        """Utterances that were cut off and have no final yet, and how long they are."""
        self._flushes_sent = 0
        self._begun_ms = 0
        self._last_started = -1
        self._last_ended = -1
        self._stats = {"audio_ms": 0, "dropped_ms": 0, "partials": 0, "finals": 0, "crashes": 0}
        self._ended = asyncio.get_running_loop().create_future()
        self.wake: Callable[[], None] = lambda: None
        """Set by the slot: called when `take` has something."""
        self.leave: Callable[[], None] = lambda: None
        """Set by the slot: called once, when the session has ended."""

    @property
    def ended(self) -> bool:
        """True once `Closed` has been told."""
        return self._ended.done()

    def stats(self) -> SessionStats:
        """Return the counters so far."""
        return SessionStats(**self._stats)

    def waiting_ms(self) -> int:
        """Return how much audio has not been heard, or waits for its words; 0 after `flush` means all was told."""
        if self.ended:
            return 0
        return self._unsent_ms + sum(self._undecided_ms.values()) + self._flushes_sent

    def unfinished(self) -> list[tuple[int, bytes]]:
        """Return the audio that no final covers yet, as (start in ms, s16le), oldest first."""
        waiting = (*self._unsettled, *self._unsent)
        return [(item.at_ms, item.pcm) for item in waiting if item is not _FLUSH]

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take audio that begins at `at_ms`. When the worker is behind, the oldest audio is dropped."""
        duration_ms = len(pcm) // self._bytes_per_ms
        if not pcm or self._closing or self.ended:
            return
        self._stats["audio_ms"] += duration_ms
        if len(pcm) > SPEECH_PUSH_BYTES_MAX or not 0 <= at_ms < _AT_MS_MAX:
            self._stats["dropped_ms"] += duration_ms
            return
        self._queue(Audio(self.session_id, at_ms, bytes(pcm)))

    def flush(self) -> None:
        """End the utterance now, as if silence had been heard."""
        if self._closing or self.ended or (self._unsent and self._unsent[-1] is _FLUSH):
            return
        self._queue(_FLUSH)

    async def close(self) -> None:
        """Deliver the last final (for at most 2 s), then `Closed`. Safe to call twice."""
        if not self._closing:
            self._closing = True
            self.wake()
        if not self.ended:
            await asyncio.wait([self._ended], timeout=SPEECH_CLOSE_TIMEOUT_S)
        self.end()

    def end(self) -> None:
        """Tell `Closed` now; what has not been decoded is lost."""
        if self.ended:
            return
        self._ended.set_result(None)
        if not self._broken:  # else what is left is for another engine to hear
            self._stats["dropped_ms"] += sum(self._duration_ms(item) for item in self._unsent)
            self._unsent.clear()
            self._unsettled.clear()
        self.leave()
        self._tell(Closed(self.stats()))

    def fail(self, reason: str) -> None:
        """Tell that the session is lost, then `Closed`; what no final covers is kept (`unfinished`)."""
        if not self.ended:
            self._broken = True
            self._tell(Error(reason, recovering=False))
            self.end()

    def worker_ended(self) -> None:
        """Prepare to be heard again by another worker, or give up after too many."""
        if self.ended or not self._opened:
            return
        self._stats["crashes"] += 1
        self._crashes_in_a_row += 1
        if self._crashes_in_a_row > SPEECH_SESSION_CRASHES_MAX:
            self.fail("the speech worker ended again and again")
            return
        self._opened = self._close_sent = False
        self._undecided_ms.clear()
        self._flushes_sent = 0
        self._unsent.extendleft(reversed(self._unsettled))
        self._unsent_ms += self._unsettled_ms
        self._unsettled.clear()
        self._unsettled_ms = 0
        self._tell(
            Error("the speech worker ended; the audio since the last final is heard again", recovering=True)
        )

    def take(self) -> bytes:
        """Return the next bytes for the worker; empty when there is nothing to send."""
        if self.ended:
            return b""
        if not self._opened:
            self._opened = True
            return pack_message(self._open_message())
        if self._unsent:
            item = self._unsent.popleft()
            self._unsent_ms -= self._weight_ms(item)
            self._keep(item)
            if item is not _FLUSH:
                return pack_audio(item)
            self._flushes_sent += 1
            return pack_message({"op": "flush", "s": self.session_id})
        if self._closing and not self._close_sent:
            self._close_sent = True
            return pack_message({"op": "close", "s": self.session_id})
        return b""

    def receive(self, message: Message) -> None:
        """Take what the worker says about this session."""
        if self.ended:
            return
        self._follow(message)
        match message["ev"]:
            case "started" if message["u"] > self._last_started:
                self._last_started = message["u"]
                self._tell(SpeechStarted(message["at"], message["u"]))
            case "ended" if message["u"] > self._last_ended:
                self._last_ended = message["u"]
                self._tell(SpeechEnded(message["at"], message["u"]))
            case "partial":
                self._stats["partials"] += 1
                self._tell(Partial(**self._words(message)))
            case "final":
                self._next_utterance = message["u"] + 1
                self._settle(message["end"])
                if message["text"] is not None:
                    self._stats["finals"] += 1
                    self._tell(Final(**self._words(message)))
            case "settled":
                self._settle(message["ms"])
            case "failed":
                self._tell(Error("the model failed on one utterance", recovering=True))
            case "closed":
                self.end()
            case _:
                pass

    def _follow(self, message: Message) -> None:
        """Keep what waits for its words in step with the worker."""
        match message["ev"]:
            case "started":
                self._begun_ms = message["at"]
            case "ended":
                self._undecided_ms[message["u"]] = max(1, message["at"] - self._begun_ms)
            case "final":
                self._undecided_ms.pop(message["u"], None)
            case "flushed":
                self._flushes_sent = max(0, self._flushes_sent - 1)
            case _:
                pass

    def _open_message(self) -> Message:
        config = self._config
        return {
            "op": "open",
            "s": self.session_id,
            "utterance": self._next_utterance,
            "config": {
                "language": self._language,
                "phrases": asked_phrases(config.parameters),
                "interim": config.interim,
                "sample_rate_hz": config.sample_rate_hz,
                "endpoint_ms": config.endpoint_ms,
                "max_segment_s": config.max_segment_s,
                "partial_ms": config.partial_ms,
            },
        }

    def _words(self, message: Message) -> dict[str, Any]:
        return {
            "text": message["text"],
            "confidence": message["confidence"],
            "language": message["language"],
            "start_ms": message["start"],
            "end_ms": message["end"],
            "utterance_id": message["u"],
            "words": tuple(Word(*word) for word in message["words"]),
        }

    def _queue(self, item: Audio | None) -> None:
        self._unsent.append(item)
        self._unsent_ms += self._weight_ms(item)
        while self._unsent_ms > SPEECH_QUEUED_MS:
            dropped = self._unsent.popleft()
            self._unsent_ms -= self._weight_ms(dropped)
            self._stats["dropped_ms"] += self._duration_ms(dropped)
        self.wake()

    def _keep(self, item: Audio | None) -> None:
        self._unsettled.append(item)
        self._unsettled_ms += self._weight_ms(item)
        while self._unsettled_ms > SPEECH_REPLAY_MS:
            self._unsettled_ms -= self._weight_ms(self._unsettled.popleft())

    def _settle(self, until_ms: int) -> None:
        self._crashes_in_a_row = 0
        while self._unsettled:
            item = self._unsettled[0]
            if item is not None and item.at_ms + self._duration_ms(item) > until_ms:
                break
            self._unsettled_ms -= self._weight_ms(self._unsettled.popleft())
        if self._unsettled and (item := self._unsettled[0]) is not None and item.at_ms < until_ms:
            # The end of words that are final already must not be heard again.
            rest = Audio(item.session, until_ms, item.pcm[(until_ms - item.at_ms) * self._bytes_per_ms :])
            self._unsettled_ms += self._weight_ms(rest) - self._weight_ms(item)
            self._unsettled[0] = rest

    def _weight_ms(self, item: Audio | None) -> int:
        # Even the shortest item weighs something, or a queue of them would have no bound.
        return max(1, self._duration_ms(item))

    def _duration_ms(self, item: Audio | None) -> int:
        return 0 if item is None else len(item.pcm) // self._bytes_per_ms

    def _tell(self, event: SpeechEvent) -> None:
        try:
            self._on_event(event)
        except Exception as err:  # noqa: BLE001 - its bug must not end the worker's other sessions
            # Without the exception's text: it may hold the transcript.
            log.error("speech listener failed", event_kind=type(event).__name__, error=type(err).__name__)
