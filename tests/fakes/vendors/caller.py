"""Somebody who talks to an engine, and what the engine says of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from offhook.edge.speech.protocol import (
    Error,
    Final,
    Partial,
    SpeechConfig,
    SpeechEngine,
    SpeechEvent,
    SpeechSession,
)
from tests.fakes.vendors.talk import chunks, say, silence

_FRAME_MS = 20


class Caller:
    """One session; audio goes in a few times faster than it is spoken."""

    def __init__(self, config: SpeechConfig) -> None:
        self.config = config
        self.events: list[SpeechEvent] = []
        self.session: SpeechSession
        self._at_ms = 0
        self._told = asyncio.Event()

    def on_event(self, event: SpeechEvent) -> None:
        self.events.append(event)
        self._told.set()

    async def say(self, text: str, *, pause_ms: int = 900) -> None:
        """Say words of `talk`, and then nothing for `pause_ms`."""
        rate_hz = self.config.sample_rate_hz
        for frame in chunks(say(text, rate_hz) + silence(pause_ms, rate_hz), _FRAME_MS, rate_hz):
            self.session.push(frame, self._at_ms)
            self._at_ms += _FRAME_MS
            await asyncio.sleep(_FRAME_MS / 5000)

    async def until(self, kind: type[Any], count: int = 1) -> list[Any]:
        """Wait for so many events of a kind; return them."""
        async with asyncio.timeout(30):
            while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
                self._told.clear()
                await self._told.wait()
        return found

    def texts(self) -> list[str]:
        """Return the finals' texts."""
        return [event.text for event in self.events if isinstance(event, Final)]

    def spoken(self) -> list[tuple[str, int, int]]:
        """Return the finals' words with their times."""
        finals = [event for event in self.events if isinstance(event, Final)]
        return [(word.text, word.start_ms, word.end_ms) for event in finals for word in event.words]

    def partials(self) -> list[str]:
        """Return the partials' texts."""
        return [event.text for event in self.events if isinstance(event, Partial)]

    def errors(self) -> list[Error]:
        """Return what broke."""
        return [event for event in self.events if isinstance(event, Error)]


@asynccontextmanager
async def calling(engine: SpeechEngine, config: SpeechConfig) -> AsyncIterator[Caller]:
    """Open a session; it is closed at the end, and its engine as well."""
    caller = Caller(config)
    await engine.ensure_available(config.options)
    caller.session = await engine.open(config, caller.on_event)
    try:
        yield caller
    finally:
        await caller.session.close()
        await engine.close()
