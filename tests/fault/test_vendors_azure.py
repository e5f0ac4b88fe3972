"""Azure Speech in trouble: over a real socket, no word is lost, told twice or at a wrong time."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.edge.speech.protocol import Closed, Error, Final, SpeechConfig
from offhook.edge.speech.vendors.azure import AzureEngine
from tests.fakes.vendors.azure import KEY, AzureServer, azure_server
from tests.fakes.vendors.caller import calling

pytestmark = pytest.mark.fault

THREE_WORDS = [("one", 0, 160), ("two", 240, 400), ("three", 480, 640)]


@pytest.fixture
async def azure() -> AsyncIterator[AzureServer]:
    async with azure_server() as server:
        yield server
        assert server.violations == []


def config(azure: AzureServer, **more: Any) -> SpeechConfig:
    options = {"api_key": KEY, "url": azure.url, "auto_languages": ["en", "de"]}
    return replace(SpeechConfig(interim=True, options=options), **more)


async def test_words_come_with_their_times_and_the_last_ones_with_the_close(azure: AzureServer) -> None:
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say("one two three")
        await caller.say("four", pause_ms=0)
        (first,) = await caller.until(Final)
    assert first.confidence == 0.875
    assert caller.texts() == ["One two three.", "Four."]
    assert caller.spoken() == [*THREE_WORDS, ("four", 1620, 1780)]
    assert "one two" in caller.partials()
    assert isinstance(caller.events[-1], Closed)
    assert azure.clients[0].turns[0].context["phraseDetection"]["language"] == "en-US"


async def test_wideband_audio_is_announced_as_such(azure: AzureServer) -> None:
    async with calling(AzureEngine(), config(azure, sample_rate_hz=16_000)) as caller:
        await caller.say("one two three")
    assert caller.spoken() == THREE_WORDS


@pytest.mark.parametrize("code", [1006, 1011])
async def test_a_connection_that_breaks_in_mid_utterance_loses_no_word(azure: AzureServer, code: int) -> None:
    azure.close_at_ms.append((500, code))
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS
    assert [error.recovering for error in caller.errors()] == [True]
    assert len(azure.clients) == 2


async def test_turns_that_the_service_ends_follow_one_another_on_one_connection(azure: AzureServer) -> None:
    azure.phrases_per_turn = 1
    async with calling(AzureEngine(), config(azure)) as caller:
        for word in ("one", "two", "three"):
            await caller.say(word)
        await caller.until(Final, 3)
    assert caller.spoken() == [("one", 0, 160), ("two", 1140, 1300), ("three", 2280, 2440)]
    assert len(azure.clients) == 1
    assert caller.errors() == []


async def test_a_service_that_is_full_is_asked_again(
    azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.verdicts.BUSY_S", 0.1)
    azure.refuse.extend([429, 503])
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS


async def test_a_wrong_key_is_told_at_once_and_never_repeated(azure: AzureServer) -> None:
    wrong = {"api_key": "wrong-key", "url": azure.url}
    async with calling(AzureEngine(), config(azure, options=wrong)) as caller:
        await caller.say("one")
        (error,) = await caller.until(Error)
        assert not error.recovering
        assert caller.session.unfinished()
    assert "wrong-key" not in repr(caller.events)
    assert azure.clients == []


async def test_a_phrase_that_failed_is_heard_again(azure: AzureServer) -> None:
    azure.statuses.append("Error")
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS


async def test_nonsense_between_messages_is_counted_and_forgotten(azure: AzureServer) -> None:
    azure.hostile += [
        "nonsense",
        b"\xff\xff\x00",
        "X-RequestId:{rid}\r\nPath:speech.phrase\r\n\r\n[[",
        'X-RequestId:{rid}\r\nPath:speech.hypothesis\r\n\r\n{"Text": 7, "Offset": "x"}',
    ]
    engine = AzureEngine()
    async with calling(engine, config(azure)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS
    assert engine.counters()["messages_unreadable"] == 3


async def test_audio_that_stops_in_mid_utterance_ends_it(azure: AzureServer) -> None:
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say("one two three", pause_ms=0)
        await caller.until(Final)
        await caller.say("four")
        await caller.until(Final, 2)
    assert caller.spoken() == [*THREE_WORDS, ("four", 720, 880)], "the silence of ours takes no time"


async def test_a_service_that_never_answers_is_left(
    azure: AzureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.link.VENDOR_SILENT_S", 0.5)
    azure.mute = True
    numbers = "one two three four five six seven eight nine ten one two"
    async with calling(AzureEngine(), config(azure)) as caller:
        await caller.say(numbers)
        (error, *_) = await caller.until(Error)
        azure.mute = False
        await caller.until(Final)
    assert error.recovering
    assert caller.texts() == [numbers.capitalize() + "."]


async def test_a_language_is_found_out_and_told(azure: AzureServer) -> None:
    async with calling(AzureEngine(), config(azure, language="auto")) as caller:
        await caller.say("one")
        (final,) = await caller.until(Final)
    assert final.language == "de-DE"
    assert azure.clients[0].path == "/speech/universal/v2"


async def test_a_session_beyond_the_accounts_limit_is_refused_at_once(azure: AzureServer) -> None:
    engine = AzureEngine()
    limited = config(azure, options={"api_key": KEY, "url": azure.url, "sessions_max": 1})
    async with calling(engine, limited):
        with pytest.raises(LimitReached, match=r"azure\.sessions_max"):
            engine.check(limited)
