"""Audio from anywhere but a call, given to a recogniser as fast as it takes it.

A call must never wait, so there the oldest audio is dropped when an engine is behind; a file or a
socket can wait, so here nothing is.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from offhook.base import limits
from offhook.edge.speech.handle import SpeechHandle
from offhook.edge.speech.protocol import EngineInfo, Word

_PIECE_MS = 100
_CRUMB_MS = 20
"""Less than this is kept until more comes: a message for every sample would cost more than the sample."""
_LOOK_S = 0.01


class EngineStuck(Exception):
    """The engine takes no more audio, and has not said why."""


def best_rate_hz(info: EngineInfo, source_hz: int | None) -> int:
    """Return the rate at which the engine hears all that a source of that rate, if it is known, has."""
    rates = [rate for rate in info.sample_rates_hz if rate in (8000, 16000)] or [8000]
    enough = [rate for rate in rates if source_hz is not None and rate >= min(source_hz, max(rates))]
    return min(enough, default=max(rates))


def words_as_json(words: Sequence[Word]) -> list[dict[str, Any]]:
    """Return words as `call.transcription` has them."""
    return [
        {
            "word": word.text,
            "start_ms": word.start_ms,
            "end_ms": word.end_ms,
            "confidence": word.confidence,
            **({} if word.speaker is None else {"speaker": word.speaker}),
        }
        for word in words
    ]


class Listener:
    """One channel of s16le on its way into one session of a recogniser."""

    def __init__(self, handle: SpeechHandle, *, sample_rate_hz: int) -> None:
        self._handle = handle
        self._rate_hz = sample_rate_hz
        self._bytes_per_ms = sample_rate_hz * 2 // 1000
        self._rest = bytearray()
        self._at_ms = 0
        self.ended = False
        """To be set with `Closed`: nothing is pushed or waited for any more."""

    @property
    def heard_ms(self) -> int:
        """How much audio has been pushed."""
        return self._at_ms

    async def push(self, pcm: bytes) -> None:
        """Take samples; returns when there is room for more.

        Raises:
            EngineStuck: there was none for `SPEECH_STUCK_S`.
        """
        self._rest += pcm
        while len(self._rest) >= _CRUMB_MS * self._bytes_per_ms and not self.ended:
            await self._wait_below(limits.SPEECH_AHEAD_MS, timeout_s=limits.SPEECH_STUCK_S)
            self._push()

    async def flush(self, *, timeout_s: float) -> None:
        """End the utterance; returns when all that was said has been told.

        Raises:
            EngineStuck: that took longer than `timeout_s`.
        """
        if not self.ended:
            self._push()
        self._handle.flush()
        await self._wait_below(1, timeout_s=timeout_s)

    async def close(self) -> None:
        """End the session; `Closed` has been told when this returns."""
        await self._handle.close()

    def _push(self) -> None:
        # Whole milliseconds, so that the clock of the session never drifts from its audio.
        piece_ms = min(len(self._rest) // self._bytes_per_ms, _PIECE_MS)
        piece = bytes(self._rest[: piece_ms * self._bytes_per_ms])
        del self._rest[: len(piece)]
        if piece:
            self._handle.push(piece, self._at_ms)
            self._at_ms += piece_ms

    async def _wait_below(self, wanted_ms: int, *, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                # Engines tell no moment at which they have room; a look costs nothing.
                while not self.ended and self._handle.waiting_ms() >= wanted_ms:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise EngineStuck("the engine takes no more audio") from None
