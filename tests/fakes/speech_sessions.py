"""A speech engine that says what a test tells it to say, breaks off when told to, and holds only so many tracks."""

from collections.abc import Mapping
from typing import Any

from offhook.base.errors import LimitReached
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    Error,
    Final,
    OnEvent,
    Partial,
    SessionStats,
    SpeechConfig,
    SpeechEngine,
    SpeechEvent,
)
from offhook.edge.speech.service import SpeechService


class HandSession:
    """A session in the hands of a test; keeps what was pushed and has no final."""

    def __init__(self, engine: "HandEngine", config: SpeechConfig, on_event: OnEvent) -> None:
        self.config = config
        self.heard: list[tuple[int, bytes]] = []
        self.flushes = 0
        self.closed = False
        self.words_at_close = ""
        self._engine = engine
        self._on_event = on_event
        self.utterance = 0

    def push(self, pcm: bytes, at_ms: int) -> None:
        if not self.closed:
            self.heard.append((at_ms, pcm))

    def flush(self) -> None:
        self.flushes += 1

    def say(self, text: str, *, final: bool = True, ends: bool = True, at_ms: int = 0, **more: Any) -> None:
        """Tell words; a final covers all that was heard so far."""
        words: dict[str, Any] = {
            "text": text,
            "confidence": 0.9,
            "language": self.config.language,
            "start_ms": at_ms,
            "end_ms": at_ms + 100,
            "utterance_id": self.utterance,
            **more,
        }
        if not final:
            self._on_event(Partial(**words))
            return
        self.utterance += ends
        self.heard.clear()
        self._on_event(Final(**words, utterance_end=ends))

    def tell(self, event: SpeechEvent) -> None:
        """Tell something else."""
        self._on_event(event)

    def break_off(self, reason: str = "the vendor hung up") -> None:
        """End without having been asked to."""
        self._on_event(Error(reason, recovering=False))
        self._end()

    def stats(self) -> SessionStats:
        return SessionStats(audio_ms=100 * len(self.heard))

    def waiting_ms(self) -> int:
        return 100 * len(self.heard)

    def unfinished(self) -> list[tuple[int, bytes]]:
        return list(self.heard)

    async def close(self) -> None:
        if not self.closed and self.words_at_close:
            self.say(self.words_at_close)
        self._end()

    def _end(self) -> None:
        if not self.closed:
            self.closed = True
            self._engine.open_now -= 1
            self._on_event(Closed(self.stats()))


class HandEngine(SpeechEngine):
    """Opens sessions that a test speaks through; `refusing` is raised by `open`."""

    def __init__(self, name: str = "hand", *, tracks_max: int | None = None, **info: Any) -> None:
        self.info = EngineInfo(name=name, languages=info.pop("languages", ()), **info)
        self.sessions: list[HandSession] = []
        self.refusing: Exception | None = None
        self.tracks_max = tracks_max
        self.open_now = 0

    async def open(self, config: SpeechConfig, on_event: OnEvent) -> HandSession:
        if self.refusing is not None:
            raise self.refusing
        if self.room() == 0:
            raise LimitReached("no room")
        self.open_now += 1
        self.sessions.append(HandSession(self, config, on_event))
        return self.sessions[-1]

    def room(self) -> int | None:
        return None if self.tracks_max is None else self.tracks_max - self.open_now


def service_of(engine: SpeechEngine, *others: SpeechEngine, **settings: Any) -> SpeechService:
    """Return a service whose every API name is served by `engine`; `others` are there too."""
    service = SpeechService(default_engine=engine.info.name, **settings)
    engines: Mapping[str, SpeechEngine] = {each.info.name: each for each in (engine, *others)}
    service._engines.update(engines)
    return service
