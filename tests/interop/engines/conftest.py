"""What the engines on this machine share: a service that hears with one of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.speech.protocol import Partial, SpeechConfig, SpeechEvent
from offhook.edge.speech.service import SpeechService

Start = Callable[[str, dict[str, Any]], Awaitable[SpeechService]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a service whose only engine is the named one, with its options; ended with the test."""
    # These tests are about words, not about how busy the machine is.
    monkeypatch.setattr("offhook.edge.speech.session.SPEECH_CLOSE_TIMEOUT_S", 60.0)
    services: list[SpeechService] = []

    async def begin(engine: str, options: dict[str, Any]) -> SpeechService:
        service = SpeechService(default_engine=engine, options={engine: options})
        services.append(service)
        assert await service.inspect() == {}
        await service.warm_up()
        return service

    yield begin
    for service in services:
        await service.close()


async def partials(service: SpeechService, pcm: bytes, **config: Any) -> list[SpeechEvent]:
    """Return all events of speech that goes on until there is a partial."""
    events: list[SpeechEvent] = []
    handle = await service.open(object(), SpeechConfig(interim=True, **config), "Google", events.append)
    handle.push(pcm, 0)
    async with asyncio.timeout(120):
        while not any(isinstance(event, Partial) for event in events):
            await asyncio.sleep(0.05)
    await handle.close()
    return events


def package_folder(name: str) -> Path:
    """Return the folder of a package that holds a model, or skip the test where it is not installed."""
    module = pytest.importorskip(name, reason="`make test-engines` installs it")
    return Path(module.__file__).parent
