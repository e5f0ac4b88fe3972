"""Speech for services that are fakes: every word is a tone, so that what was said is in the audio itself.

A fake that listens needs no script, and hears the same again when audio is replayed.
"""

import math
from array import array
from dataclasses import dataclass
from itertools import pairwise

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
VOCABULARY = (*_NUMBERS, "yes", "no", "hello", "world", "please", "thanks", "today", "tomorrow")
WORD_MS, GAP_MS = 160, 80
_FRAME_MS = 10
_SYLLABLE_MS = 40
"""Words are louder and softer in turns: what is always as loud is a tone."""
_LOUD = 1_000
_WORD_MS_MIN = 80
_HZ_LOWEST, _HZ_STEP = 300, 90


@dataclass(frozen=True, slots=True)
class Heard:
    """One word and when it was said, in ms of the audio that the fake got."""

    text: str
    start_ms: int
    end_ms: int


def silence(ms: int, rate_hz: int = 8_000) -> bytes:
    """Return s16le silence."""
    return bytes(rate_hz * ms // 1000 * 2)


def say(text: str, rate_hz: int = 8_000) -> bytes:
    """Return s16le: the words of `text`, each followed by a short gap."""
    return b"".join(_word(word, rate_hz) + silence(GAP_MS, rate_hz) for word in text.split())


def chunks(pcm: bytes, ms: int = 20, rate_hz: int = 8_000) -> list[bytes]:
    """Return `pcm` in pieces of `ms`."""
    size = rate_hz * ms // 1000 * 2
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


class Ear:
    """Hears the words of `say` in audio that comes in pieces."""

    def __init__(self, rate_hz: int = 8_000) -> None:
        self._rate_hz = rate_hz
        self._frame_bytes = rate_hz * _FRAME_MS // 1000 * 2
        self._rest = b""
        self._word: list[int] = []
        self.now_ms = 0
        self.loud_until_ms = 0
        """When it was loud last."""
        self.loud_since_ms: int | None = None
        """When the word that is being said began."""

    @property
    def quiet_ms(self) -> int:
        """How long it has been quiet."""
        return self.now_ms - self.loud_until_ms

    def push(self, pcm: bytes) -> list[Heard]:
        """Take s16le; return the words that ended in it."""
        self._rest += pcm
        words = []
        while len(self._rest) >= self._frame_bytes:
            frame, self._rest = self._rest[: self._frame_bytes], self._rest[self._frame_bytes :]
            word = self._frame(array("h", frame))
            if word is not None:
                words.append(word)
        return words

    def _frame(self, samples: "array[int]") -> Heard | None:
        self.now_ms += _FRAME_MS
        if max(map(abs, samples)) >= _LOUD:
            if self.loud_since_ms is None:
                self.loud_since_ms = self.now_ms - _FRAME_MS
            self._word.extend(samples)
            self.loud_until_ms = self.now_ms
            return None
        if self.loud_since_ms is None:
            return None
        start_ms, samples_of_word = self.loud_since_ms, self._word
        self.loud_since_ms, self._word = None, []
        if self.loud_until_ms - start_ms < _WORD_MS_MIN:
            return None
        hz = _crossings(samples_of_word) * self._rate_hz / (2 * len(samples_of_word))
        index = min(max(0, round((hz - _HZ_LOWEST) / _HZ_STEP)), len(VOCABULARY) - 1)
        return Heard(VOCABULARY[index], start_ms, self.loud_until_ms)


def _word(word: str, rate_hz: int) -> bytes:
    hz = _HZ_LOWEST + _HZ_STEP * VOCABULARY.index(word)
    step = 2 * math.pi * hz / rate_hz
    loud = rate_hz * _SYLLABLE_MS // 1000
    samples = (
        round((8_000 if n // loud % 2 == 0 else 4_000) * math.cos(step * n))
        for n in range(rate_hz * WORD_MS // 1000)
    )
    return array("h", samples).tobytes()


def _crossings(samples: list[int]) -> int:
    return sum((one < 0) != (other < 0) for one, other in pairwise(samples))
