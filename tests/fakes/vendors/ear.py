"""What a speech service hears in the audio of `word_second`: every second of it is a word. Pure."""

import array
from dataclasses import dataclass, field

from offhook.edge.speech.protocol import Word
from tests.fakes.vendors.memory import LOUD

WORDS_MAX = 10_000
_WORD_MS = 1000


@dataclass
class Began:
    """Speech after silence."""

    at_ms: int


@dataclass
class SoFar:
    """The words of an utterance that goes on; comes every half second."""

    words: list[Word]


@dataclass
class Utterance:
    """All words between two silences."""

    words: list[Word]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start_ms(self) -> int:
        return self.words[0].start_ms

    @property
    def end_ms(self) -> int:
        return self.words[-1].end_ms


Heard = Began | SoFar | Utterance


@dataclass
class Ear:
    """Hears one stream of s16le audio."""

    rate_hz: int = 8000
    endpoint_ms: int = 500
    at_ms: int = 0
    _rest: bytes = b""
    _words: list[Word] = field(default_factory=list)
    _number: int = -1
    _quiet_ms: int = 0

    def hear(self, pcm: bytes) -> list[Heard]:
        """Return what is new with this audio."""
        data = self._rest + pcm
        per_ms = self.rate_hz // 1000
        whole = len(data) // (2 * per_ms) * (2 * per_ms)
        self._rest = data[whole:]
        heard: list[Heard] = []
        for sample in array.array("h", data[:whole])[::per_ms]:
            heard += self._millisecond(sample - LOUD)
        return heard

    def finish(self) -> list[Heard]:
        """Return the last utterance, if one goes on."""
        words, self._words, self._number = self._words, [], -1
        return [Utterance(words)] if words else []

    def _millisecond(self, number: int) -> list[Heard]:
        at_ms = self.at_ms
        self.at_ms += 1
        if not 0 <= number < WORDS_MAX:
            self._number = -1
            self._quiet_ms += 1
            return self.finish() if self._words and self._quiet_ms >= self.endpoint_ms else []
        heard: list[Heard] = [] if self._words else [Began(at_ms)]
        self._quiet_ms = 0
        last = self._words[-1] if self._words else None
        if last is None or number != self._number or at_ms - last.start_ms >= _WORD_MS:
            self._number = number
            self._words.append(Word(f"w{number}", at_ms, at_ms + 1, confidence=0.75))
        else:
            self._words[-1] = Word(last.text, last.start_ms, at_ms + 1, confidence=0.75)
        if (at_ms + 1 - self._words[0].start_ms) % 500 == 0:
            heard.append(SoFar(list(self._words)))
        return heard
