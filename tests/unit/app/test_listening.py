"""Audio that can wait is given to an engine as fast as it takes it, and none of it is lost."""

import asyncio
from typing import Any, cast

import pytest

from offhook.app.listening import EngineStuck, Listener, best_rate_hz
from offhook.base import limits
from offhook.edge.speech.protocol import EngineInfo
from offhook.edge.speech.service import SpeechHandle

pytestmark = pytest.mark.unit


class SlowHandle:
    """Keeps what is pushed, and has heard a second more each time somebody looks."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.pushed: list[tuple[int, bytes]] = []
        self.flushed = False
        self.waiting = 0
        self.most = 0
        self._stuck = stuck

    def push(self, pcm: bytes, at_ms: int) -> None:
        self.pushed.append((at_ms, pcm))
        self.waiting += len(pcm) // 16
        self.most = max(self.most, self.waiting)

    def flush(self) -> None:
        self.flushed = True

    def waiting_ms(self) -> int:
        if not self._stuck:
            self.waiting = max(0, self.waiting - 1000)
        return self.waiting


def listener(handle: SlowHandle) -> Listener:
    return Listener(cast(SpeechHandle, handle), sample_rate_hz=8000)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.app.listening._LOOK_S", 0)


async def test_pieces_follow_one_another_whatever_they_came_in() -> None:
    handle = SlowHandle()
    heard = listener(handle)
    said = bytes(range(256)) * 100
    for at in range(0, len(said), 333):
        await heard.push(said[at : at + 333])
    await heard.flush(timeout_s=1)
    assert b"".join(pcm for _, pcm in handle.pushed) == said
    at_ms = 0
    for began_ms, pcm in handle.pushed:
        assert began_ms == at_ms
        at_ms += len(pcm) // 16
    assert handle.flushed
    assert heard.heard_ms == at_ms == 1600


async def test_an_hour_at_once_waits_for_the_engine() -> None:
    handle = SlowHandle()
    heard = listener(handle)
    await heard.push(bytes(16 * 3_600_000))
    await heard.flush(timeout_s=1)
    assert handle.most <= limits.SPEECH_AHEAD_MS + 100
    assert handle.waiting == 0
    assert heard.heard_ms == 3_600_000


async def test_an_engine_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.base.limits.SPEECH_STUCK_S", 0)
    heard = listener(SlowHandle(stuck=True))
    with pytest.raises(EngineStuck):
        await heard.push(bytes(16 * 20_000))
    with pytest.raises(EngineStuck):
        await heard.flush(timeout_s=0)


async def test_what_has_ended_takes_everything_and_waits_for_nothing() -> None:
    heard = listener(SlowHandle(stuck=True))
    heard.ended = True
    async with asyncio.timeout(1):
        await heard.push(bytes(16 * 60_000))
        await heard.flush(timeout_s=1)
    assert heard.heard_ms == 0


@pytest.mark.parametrize(
    ("engine_hz", "source_hz", "best_hz"),
    [
        ((8000,), 48_000, 8000),
        ((8000, 16_000), 8000, 8000),
        ((8000, 16_000), 11_025, 16_000),
        ((8000, 16_000), 48_000, 16_000),
        ((16_000, 8000), None, 16_000),
        ((16_000,), 8000, 16_000),
        ((8000, 16_000, 24_000), 48_000, 16_000),
    ],
)
def test_the_engine_hears_all_that_there_is_and_no_more(engine_hz: Any, source_hz: int, best_hz: int) -> None:
    assert best_rate_hz(EngineInfo("any", (), sample_rates_hz=engine_hz), source_hz) == best_hz
