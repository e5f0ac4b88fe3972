"""Voice workers that crash, hang, cannot load or are not needed any more. Real processes, a fake model."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.edge.voice import service as service_module
from offhook.edge.voice.protocol import LanguageUnsupported, VoiceFailed, VoiceRejected, VoiceUnavailable
from offhook.edge.voice.service import VoiceService
from offhook.proto.ssml import Pause, Words, script_of_text
from tests.fakes.voice import RATE_HZ, REFERENCE, sound

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
Make = Callable[..., VoiceService]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'src'}")
    monkeypatch.setitem(service_module._SHIPPED, "fake", REFERENCE)
    made: list[VoiceService] = []

    def make(**options: Any) -> VoiceService:
        made.append(VoiceService(**{"default_voice": "fake", **options}))
        return made[-1]

    yield make
    for service in made:
        pids = service.pids()
        await service.close()
        assert service.pids() == []
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert service.counters()["speaks_open"] == 0


async def said(service: VoiceService, text: str) -> list[bytes]:
    async with asyncio.timeout(30), aclosing(service.speak(script_of_text(text), "female")) as pieces:
        return [pcm async for pcm in pieces]


async def test_a_script_becomes_its_pieces_in_order(make: Make) -> None:
    service = make()
    script = (Words("One two. Three."), Pause(250), Words("..."), Words("four"))
    async with aclosing(service.speak(script, "female")) as pieces:
        heard = [pcm async for pcm in pieces]
    assert heard == [sound("One"), sound("two"), sound("Three"), bytes(RATE_HZ // 2), sound("four")]
    assert service.counters() == {
        "speaks_open": 0,
        "workers": 1,
        "worker_restarts_total": 0,
        "speaks_total": 1,
        "speaks_failed_total": 0,
        "audio_ms_total": 650,
    }


async def test_what_a_voice_prints_does_not_reach_the_listener(make: Make) -> None:
    assert await said(make(), "print this") == [sound("print"), sound("this")]


async def test_a_worker_that_crashed_is_replaced_and_the_sentence_tried_again(
    make: Make, tmp_path: Path
) -> None:
    service = make()
    word = f"Crashonce:{tmp_path / 'crashed'}"
    assert await said(service, f"Before. {word}. After.") == [sound("Before"), sound(word), sound("After")]
    assert service.counters()["worker_restarts_total"] == 1


async def test_a_sentence_that_always_crashes_fails_and_the_next_text_is_spoken(make: Make) -> None:
    service = make()
    with pytest.raises(VoiceFailed):
        await said(service, "Before. Crash")
    assert await said(service, "after") == [sound("after")]
    assert service.counters()["speaks_failed_total"] == 1


async def test_a_worker_killed_while_idle_costs_nothing(make: Make) -> None:
    service = make()
    await said(service, "one")
    os.kill(service.pids()[0], signal.SIGKILL)
    assert await said(service, "two") == [sound("two")]


async def test_a_worker_that_hangs_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.edge.voice.slot.VOICE_UTTERANCE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("offhook.base.workers.WORKER_EXIT_TIMEOUT_S", 0.1)
    service = make()
    with pytest.raises(VoiceFailed, match="silent"):
        await said(service, "hang")
    assert await said(service, "after") == [sound("after")]


async def test_a_voice_that_raises_fails_without_telling_the_text(make: Make) -> None:
    service = make()
    with pytest.raises(VoiceFailed) as failed:
        await said(service, "fail")
    assert "ArithmeticError" in str(failed.value)
    assert "secret" not in str(failed.value)
    assert await said(service, "after") == [sound("after")]
    assert service.counters()["worker_restarts_total"] == 0


async def test_a_listener_who_leaves_disturbs_nobody(make: Make) -> None:
    service = make()
    await said(service, "warm")
    leaving = asyncio.get_running_loop().create_task(said(service, "Slow slow slow. Never said."))
    await asyncio.sleep(0.05)
    staying = asyncio.get_running_loop().create_task(said(service, "stays"))
    leaving.cancel()
    assert await staying == [sound("stays")]
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert service.counters()["speaks_open"] == 0
    assert service.counters()["worker_restarts_total"] == 0


async def test_texts_spoken_at_once_take_turns(make: Make) -> None:
    service = make()
    order: list[str] = []

    async def speak(name: str) -> None:
        async with aclosing(service.speak(script_of_text("Slow. " * 4), "female")) as pieces:
            async for _ in pieces:
                order.append(name)  # noqa: PERF401 - when it comes is what counts

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(speak(name))
    assert sorted(order[:3]) == sorted(order[3:6]) == ["a", "b", "c"]


async def test_only_so_many_texts_are_spoken_at_once(make: Make) -> None:
    service = make(workers=2, speaks_per_worker_max=1)
    script = script_of_text("one two three")
    async with aclosing(service.speak(script, "a")) as first, aclosing(service.speak(script, "b")) as second:
        await anext(first)
        await anext(second)
        assert service.counters()["speaks_open"] == 2
        assert len(service.pids()) == 2
        with pytest.raises(LimitReached, match="2 workers speak 1 texts each"):
            service.check("female")
        with pytest.raises(LimitReached):
            await said(service, "third")
    service.check("female")


async def test_a_voice_that_cannot_be_loaded_says_why(make: Make) -> None:
    service = make(options={"fake": {"broken_in_worker": True}})
    with pytest.raises(VoiceUnavailable, match="cannot be loaded"):
        await said(service, "hello")
    with pytest.raises(VoiceUnavailable):
        await service.warm_up()
    assert service.pids() == []


async def test_a_voice_found_broken_by_inspection_is_refused_at_once(make: Make) -> None:
    service = make(options={"fake": {"broken": True}})
    service.check("female")
    assert set(await service.inspect()) == {"fake"}
    with pytest.raises(VoiceUnavailable, match="broken"):
        service.check("female")
    await service.warm_up()
    assert service.pids() == []


async def test_what_is_not_offered_or_not_spoken_is_refused_at_once(make: Make) -> None:
    service = make(routes={"Azure": "reject", "Klingon": "nobody"})
    with pytest.raises(VoiceRejected):
        service.check("Azure.en-US-AvaNeural")
    with pytest.raises(LanguageUnsupported):
        service.check("female", "de-DE")
    assert service.check("female", "en-GB").sample_rate_hz == RATE_HZ
    with pytest.raises(VoiceUnavailable, match="no voice called nobody"):
        service.check("Klingon")
    assert service.pids() == []


async def test_closing_breaks_off_and_leaves_no_process(make: Make) -> None:
    service = make()
    speaking = asyncio.get_running_loop().create_task(said(service, "Slow. " * 100))
    await asyncio.sleep(0.3)
    await service.close()
    with pytest.raises((VoiceUnavailable, asyncio.CancelledError)):
        await speaking
    with pytest.raises(VoiceUnavailable):
        service.check("female")
