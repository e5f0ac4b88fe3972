"""Turns what connections say into the events of one session: every word once, in order. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from offhook.edge.speech.protocol import (
    Final,
    Partial,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    Word,
)
from offhook.edge.speech.vendors.dialect import Said


@dataclass(slots=True)
class Told:
    """How much was told."""

    partials: int = 0
    finals: int = 0


class Narrator:
    """Numbers utterances and tells them. All times here are the leg's."""

    def __init__(self, config: SpeechConfig, tell: Callable[[SpeechEvent], None]) -> None:
        self._config = config
        self._tell = tell
        self._utterance_id = 0
        self._open = False
        self._last_ms = 0
        self.told = Told()
        self.told_until_ms = 0
        """Where the last final ended; another connection must not tell again what lies before."""

    @property
    def idle(self) -> bool:
        """True while no utterance goes on."""
        return not self._open

    def speaking(self, at_ms: int) -> None:
        """Somebody began to speak."""
        self._last_ms = max(self._last_ms, at_ms)
        if not self._open:
            self._open = True
            self._tell(SpeechStarted(at_ms, self._utterance_id))

    def said(self, said: Said, *, floor_ms: int) -> None:
        """Take words of a connection that began when all before `floor_ms` had been told."""
        fresh = _after(said, floor_ms)
        if fresh is None:
            return
        text = fresh.text.strip()
        if text:
            self.speaking(fresh.start_ms)
            self._last_ms = max(self._last_ms, fresh.end_ms)
        if not fresh.final:
            if text and self._config.interim:
                self.told.partials += 1
                self._tell(Partial(**self._fields(fresh, text)))
            return
        utterance_id = self._utterance_id
        if fresh.utterance_end:
            self.end(fresh.end_ms)
        if text:
            self.told.finals += 1
            self.told_until_ms = max(self.told_until_ms, fresh.end_ms)
            self._tell(
                Final(
                    **{**self._fields(fresh, text), "utterance_id": utterance_id},
                    utterance_end=fresh.utterance_end,
                )
            )

    def end(self, at_ms: int | None = None) -> None:
        """The utterance that goes on is over."""
        if self._open:
            self._open = False
            self._tell(
                SpeechEnded(self._last_ms if at_ms is None else max(at_ms, self._last_ms), self._utterance_id)
            )
            self._utterance_id += 1

    def _fields(self, said: Said, text: str) -> dict[str, Any]:
        return {
            "text": text,
            "confidence": said.confidence,
            "language": said.language or self._config.language,
            "start_ms": said.start_ms,
            "end_ms": said.end_ms,
            "utterance_id": self._utterance_id,
            "words": said.words,
        }


def _after(said: Said, floor_ms: int) -> Said | None:
    """Return what of it lies after `floor_ms`; None when nothing does."""
    if said.start_ms >= floor_ms:
        return said
    if said.end_ms <= floor_ms:
        return None
    if not said.words:
        return replace(said, start_ms=floor_ms)
    words: tuple[Word, ...] = tuple(
        word for word in said.words if (word.start_ms + word.end_ms) // 2 >= floor_ms
    )
    if len(words) == len(said.words):
        return said
    if not words and not said.utterance_end:
        return None
    return replace(
        said,
        text=" ".join(word.text for word in words),
        words=words,
        start_ms=max(floor_ms, words[0].start_ms) if words else floor_ms,
    )
