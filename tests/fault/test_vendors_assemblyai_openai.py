"""AssemblyAI and OpenAI in trouble: over a real socket, no word is lost or told twice."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from offhook.edge.speech.protocol import (
    Closed,
    Final,
    ParameterUnsupported,
    Partial,
    SpeechConfig,
    SpeechEnded,
    SpeechStarted,
)
from offhook.edge.speech.service import SpeechService
from offhook.edge.speech.vendors import link
from offhook.edge.speech.vendors.assemblyai import AssemblyAiDialect, AssemblyAiEngine
from offhook.edge.speech.vendors.engine import VendorEngine
from offhook.edge.speech.vendors.openai_realtime import OpenAiEngine
from tests.fakes.vendors.assemblyai import FakeAssemblyAi
from tests.fakes.vendors.caller import Caller, calling
from tests.fakes.vendors.host import KEY, Plan, VendorHost
from tests.fakes.vendors.openai import FakeOpenAi
from tests.fakes.vendors.talk import VOCABULARY, chunks, say, silence

pytestmark = pytest.mark.fault

SPEECH = silence(200) + say("one two three") + silence(700)
MORE = say("yes no") + silence(700)


@dataclass(frozen=True)
class Vendor:
    """An engine, its fake and a model."""

    engine: Callable[[], VendorEngine]
    fake: Callable[..., Any]
    model: str = ""
    path: str = ""

    def config(self, host: VendorHost, **more: Any) -> SpeechConfig:
        options = {"api_key": KEY, "url": host.address + self.path, "model": self.model}
        return replace(SpeechConfig(interim=True, options=options), **more)


VENDORS = {
    "assemblyai": Vendor(AssemblyAiEngine, FakeAssemblyAi),
    "assemblyai-english": Vendor(AssemblyAiEngine, FakeAssemblyAi, "universal-streaming-english"),
    "openai": Vendor(OpenAiEngine, FakeOpenAi, path="/v1"),
    "openai-vad": Vendor(OpenAiEngine, FakeOpenAi, "gpt-4o-transcribe", "/v1"),
}
every_vendor = pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes take audio as fast as it comes."""
    monkeypatch.setattr(link, "VENDOR_REPLAY_SPEED", 100.0)


class Talk:
    """A caller at a fake service."""

    def __init__(self, caller: Caller, host: Any) -> None:
        self.caller = caller
        self.host = host
        self._at_ms = 0

    async def play(self, pcm: bytes) -> None:
        for frame in chunks(pcm):
            self.caller.session.push(frame, self._at_ms)
            self._at_ms += 20
            await asyncio.sleep(0)

    async def finals(self, count: int) -> list[str]:
        """Return the finals' words without what the services make of them, when there are so many."""
        await self.caller.until(Final, count)
        return words(self.caller)


def words(caller: Caller) -> list[str]:
    return " ".join(caller.texts()).lower().replace(".", "").split()


async def open_talk(
    stack: AsyncExitStack, vendor: Vendor, *plans: Plan, config: dict[str, Any] | None = None, **fake: Any
) -> Talk:
    host = await stack.enter_async_context(vendor.fake(*plans, **fake).serving())
    wanted = vendor.config(host, **(config or {}))
    return Talk(await stack.enter_async_context(calling(vendor.engine(), wanted)), host)


@every_vendor
async def test_utterances_come_as_partials_and_finals_and_the_last_one_with_the_close(vendor: Vendor) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor)
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
        await talk.play(say("yes"))
    caller = talk.caller
    assert words(caller) == ["one", "two", "three", "yes"]
    kinds = [type(event) for event in caller.events]
    assert kinds.count(Closed) == 1
    assert kinds[-1] is Closed
    assert kinds.index(SpeechStarted) < kinds.index(Partial) < kinds.index(SpeechEnded)
    first, second = (event for event in caller.events if isinstance(event, Final))
    assert 0 <= first.start_ms <= 260
    assert 840 <= first.end_ms <= 900
    assert second.utterance_id > first.utterance_id
    assert caller.errors() == []
    assert talk.host.open_count == 0


async def test_words_have_the_times_of_the_call() -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS["assemblyai"])
        await talk.play(SPEECH)
        await talk.finals(1)
    assert talk.caller.spoken() == [("One", 200, 360), ("two", 440, 600), ("three.", 680, 840)]


@every_vendor
@pytest.mark.parametrize("code", [0, 1011])
async def test_a_connection_that_ends_in_mid_utterance_loses_no_word(vendor: Vendor, code: int) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, Plan(close_after_ms=500, close_code=code), Plan())
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
        await talk.play(MORE)
        assert await talk.finals(2) == ["one", "two", "three", "yes", "no"]
    assert [error.recovering for error in talk.caller.errors()] == [True]
    assert len(talk.host.connections) == 2


@every_vendor
@pytest.mark.parametrize("seed", range(2))
async def test_every_word_is_told_once_whenever_connections_break(
    vendor: Vendor, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.session.VENDOR_RETRY_S", (0.0,) * 20)
    chance = random.Random(seed)
    spoken = [chance.choice(VOCABULARY) for _ in range(20)]
    pcm = b"".join(say(word) + silence(chance.choice((0, 0, 100, 300, 600, 1200))) for word in spoken)
    plans = [Plan(close_after_ms=chance.randrange(200, 3_000)) for _ in range(12)]
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, *plans, Plan())
        await talk.play(pcm + silence(700))
        async with asyncio.timeout(30):
            while len(words(talk.caller)) < len(spoken):
                await asyncio.sleep(0.02)
    assert words(talk.caller) == spoken
    assert len(talk.host.connections) > 1


@every_vendor
async def test_a_bad_key_ends_the_session_at_once_and_keeps_the_audio(vendor: Vendor) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, Plan(refuse=401))
        talk.caller.session.push(SPEECH, 0)
        await talk.caller.until(Closed)
        (error,) = talk.caller.errors()
        assert not error.recovering
        assert "refuses the key" in error.reason
        assert sum(len(pcm) for _, pcm in talk.caller.session.unfinished()) == len(SPEECH)
    assert talk.host.attempts == 1


@every_vendor
@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_that_is_busy_is_asked_again(
    vendor: Vendor, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.session.VENDOR_RETRY_AFTER_S_MAX", 0.0)
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, Plan(refuse=status), Plan())
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
    assert talk.host.attempts == 2


@every_vendor
async def test_a_service_that_never_says_it_is_ready_is_left(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "VENDOR_OPEN_TIMEOUT_S", 0.2)
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, Plan(mute=True), Plan())
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
    assert talk.host.attempts == 2


@every_vendor
async def test_nonsense_does_no_harm(vendor: Vendor) -> None:
    nonsense = ("", "[]", b"\xff\x00", '{"type": 5}', "[" * 10_000, '{"type": "never heard of"}')
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, Plan(nonsense=nonsense))
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
    assert talk.caller.errors() == []


@every_vendor
async def test_a_session_that_is_too_old_is_followed_by_another(vendor: Vendor) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor, session_max_ms=1_900)
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
        await talk.play(MORE)
        assert await talk.finals(2) == ["one", "two", "three", "yes", "no"]
    assert len(talk.host.connections) == 2


async def test_an_account_with_too_many_sessions_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.session.VENDOR_RETRY_AFTER_S_MAX", 0.0)
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS["assemblyai"], sessions_max=0)
        async with asyncio.timeout(30):
            while talk.host.attempts < 2:
                await asyncio.sleep(0.01)
        talk.host.sessions_max = 1
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]


async def test_a_formatted_text_that_never_comes_costs_no_words() -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS["assemblyai-english"], forgets_formatting=True)
        await talk.play(SPEECH + MORE)
        await talk.finals(1)
    assert words(talk.caller) == ["one", "two", "three", "yes", "no"]


async def test_a_pause_of_the_call_does_not_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AssemblyAiDialect, "keep_alive_s", 0.05)
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS["assemblyai"], second_s=0.01)
        await talk.play(SPEECH)
        await talk.finals(1)
        (connection,) = talk.host.connections
        async with asyncio.timeout(30):
            while [message["type"] for message in connection.messages].count("KeepAlive") < 5:
                await asyncio.sleep(0.05)
        await talk.play(MORE)
        assert await talk.finals(2) == ["one", "two", "three", "yes", "no"]
    assert len(talk.host.connections) == 1


async def test_finals_in_the_wrong_order_are_told_in_the_right_one() -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS["openai-vad"], finals_held=1)
        await talk.play(SPEECH + MORE)
        assert await talk.finals(2) == ["one", "two", "three", "yes", "no"]
    ids = [event.utterance_id for event in talk.caller.events if isinstance(event, Final)]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("name", ["openai", "openai-vad"])
async def test_an_utterance_that_the_service_failed_on_is_heard_again(name: str) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, VENDORS[name], failures=1)
        await talk.play(SPEECH)
        assert await talk.finals(1) == ["one", "two", "three"]
    assert len(talk.host.connections) == 2


@every_vendor
async def test_an_utterance_can_be_ended_early(vendor: Vendor) -> None:
    async with AsyncExitStack() as stack:
        talk = await open_talk(stack, vendor)
        await talk.play(silence(200) + say("one two"))
        talk.caller.session.flush()
        assert await talk.finals(1) == ["one", "two"]
        await talk.play(say("three") + silence(700))
        assert await talk.finals(2) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("vendor", "name", "asked"),
    [("assemblyai", "AssemblyAI", {"profanity_filter": True}), ("openai", "Telnyx", {"smart_format": True})],
)
async def test_a_name_of_the_api_leads_to_the_service_also_for_the_next_server(
    vendor: str, name: str, asked: dict[str, Any]
) -> None:
    for _ in range(2):
        async with VENDORS[vendor].fake().serving() as host:
            options = VENDORS[vendor].config(host).options
            service = SpeechService(routes={name: vendor}, options={vendor: options})
            config = SpeechConfig(interim=True, api_name=name, parameters=asked)
            caller = Caller(config)
            service.check(name, config, tracks=2)
            caller.session = await service.open("track", config, name, caller.on_event)  # type: ignore[assignment]
            talk = Talk(caller, host)
            await talk.play(SPEECH)
            assert await talk.finals(1) == ["one", "two", "three"]
            await service.close()


def test_what_the_service_cannot_do_is_refused_by_name() -> None:
    service = SpeechService(routes={"Deepgram": "openai"}, options={"openai": {"api_key": KEY}})
    for asked in ({"smart_format": False}, {"numerals": True}, {"profanity_filter": True}):
        with pytest.raises(ParameterUnsupported) as refused:
            service.check("Deepgram", SpeechConfig(parameters=asked))
        assert refused.value.parameter in asked
