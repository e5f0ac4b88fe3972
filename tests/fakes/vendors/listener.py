"""The utterances in the audio of `talk.say`, for services that tell words with their times. Pure."""

from dataclasses import dataclass, field

from tests.fakes.vendors.talk import Ear, Heard, chunks

_FRAME_MS = 20


@dataclass
class Began:
    """Speech after silence."""

    at_ms: int


@dataclass
class SoFar:
    """The words of an utterance that goes on; comes after each word."""

    words: list[Heard]


@dataclass
class Utterance:
    """All words between two silences."""

    words: list[Heard]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


Told = Began | SoFar | Utterance


@dataclass
class Listener:
    """Hears one stream of s16le audio."""

    rate_hz: int = 8000
    endpoint_ms: int = 500
    _words: list[Heard] = field(default_factory=list)
    _speaking: bool = False

    def __post_init__(self) -> None:
        self._ear = Ear(self.rate_hz)

    @property
    def at_ms(self) -> int:
        """How much was heard."""
        return self._ear.now_ms

    def hear(self, pcm: bytes) -> list[Told]:
        """Return what is new with this audio."""
        told: list[Told] = []
        for frame in chunks(pcm, _FRAME_MS, self.rate_hz):
            words = self._ear.push(frame)
            if not self._speaking and (words or self._ear.loud_since_ms is not None):
                self._speaking = True
                told.append(Began(words[0].start_ms if words else self._ear.loud_since_ms or 0))
            if words:
                self._words += words
                told.append(SoFar(list(self._words)))
            if self._speaking and self._ear.quiet_ms >= self.endpoint_ms:
                told += self.finish()
        return told

    def finish(self) -> list[Told]:
        """Return the last utterance, if one goes on."""
        words, self._words, self._speaking = self._words, [], False
        return [Utterance(words)] if words else []
