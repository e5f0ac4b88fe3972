"""Deepgram on a real socket, refusing, hanging, breaking off, flooding and talking nonsense."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from offhook.edge.speech.vendors import link as vendor_link
from offhook.edge.speech.vendors import session as vendor_session
from offhook.edge.speech.vendors import verdicts
from offhook.edge.speech.vendors.deepgram import ENGINE, make_dialect
from offhook.edge.speech.vendors.deepgram_flux import FluxDialect
from offhook.edge.speech.vendors.deepgram_nova import NovaDialect
from offhook.edge.speech.vendors.engine import VendorEngine
from tests.fakes.vendors.deepgram import FakeDeepgram
from tests.fakes.vendors.host import KEY, Plan
from tests.fakes.vendors.talk import chunks, say, silence

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]

MODELS = pytest.mark.parametrize("model", ["deepgram/nova-3", "deepgram/flux"])
GOOD = Plan()
PAUSE = silence(1_200)


class Caller:
    """Speaks to a session, and keeps what it tells."""

    def __init__(self, session: Any, events: list[SpeechEvent]) -> None:
        self.session = session
        self.events = events
        self._at_ms = 0

    def say(self, pcm: bytes) -> None:
        """Push audio, faster than anybody speaks."""
        for chunk in chunks(pcm):
            self.session.push(chunk, self._at_ms)
            self._at_ms += 20

    def words(self) -> list[str]:
        """Return all words of finals, without their punctuation."""
        texts = " ".join(event.text for event in self.events if isinstance(event, Final))
        return texts.lower().replace(".", "").split()

    def errors(self) -> list[tuple[str, bool]]:
        return [(e.reason, e.recovering) for e in self.events if isinstance(e, Error)]

    async def until(self, *words: str) -> None:
        """Wait until exactly these words have been told."""
        async with asyncio.timeout(20):
            while self.words() != list(words):
                await asyncio.sleep(0.02)

    async def until_ended(self) -> None:
        async with asyncio.timeout(40):
            while not self.session.ended:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def call(fake: FakeDeepgram, model: str, *, key: str = KEY) -> AsyncIterator[Caller]:
    engine = VendorEngine(ENGINE.info, make_dialect)
    events: list[SpeechEvent] = []
    async with fake.serving():
        config = SpeechConfig(model=model, options={"api_key": key, "url": fake.address})
        session = await engine.open(config, events.append)
        try:
            yield Caller(session, events)
            await session.close()
            assert [type(event) for event in events].count(Closed) == 1
            assert isinstance(events[-1], Closed)
            turns = [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]
            assert [type(event) for event in turns] == [SpeechStarted, SpeechEnded] * (len(turns) // 2)
            assert [turn.utterance_id for turn in turns[::2]] == list(range(len(turns) // 2))
        finally:
            await engine.close()
    assert fake.open_count == 0, "a connection was left open"


@MODELS
async def test_a_service_that_works_is_heard_to_its_last_word(model: str) -> None:
    async with call(FakeDeepgram(), model) as caller:
        caller.say(silence(400) + say("hello world") + PAUSE + say("yes please"))
        await caller.session.close()
        assert caller.words() == ["hello", "world", "yes", "please"]
        assert caller.errors() == []


@MODELS
async def test_a_wrong_key_ends_the_session_at_the_first_try(model: str) -> None:
    fake = FakeDeepgram()
    async with call(fake, model, key="wrong") as caller:
        await caller.until_ended()
        assert caller.errors() == [("deepgram refuses the key", False)]
    assert fake.attempts == 1


@MODELS
@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_service_is_asked_again(
    model: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "BUSY_S", 0.5)
    fake = FakeDeepgram(Plan(refuse=status), GOOD)
    async with call(fake, model) as caller:
        caller.say(say("hello world") + PAUSE)
        await caller.until("hello", "world")
        ((_, recovering),) = caller.errors()
        assert recovering


@MODELS
@pytest.mark.parametrize("code", [0, 1000, 1011])
async def test_a_connection_lost_in_mid_utterance_costs_no_word(model: str, code: int) -> None:
    fake = FakeDeepgram(Plan(close_after_ms=1_000, close_code=code), GOOD)
    async with call(fake, model) as caller:
        caller.say(silence(400) + say("one two three four five six") + PAUSE)
        await caller.until("one", "two", "three", "four", "five", "six")
        finals = [event for event in caller.events if isinstance(event, Final)]
        # Its times are the call's, not those of the second connection.
        assert finals[0].words[0].start_ms == 400
        assert finals[-1].words[-1].start_ms == 400 + 5 * 240
        assert len(caller.errors()) == 1
    assert fake.attempts == 2


@MODELS
async def test_audio_that_it_calls_none_ends_the_session(model: str) -> None:
    fake = FakeDeepgram(Plan(close_after_ms=200, close_code=1008, close_reason="DATA-0000"))
    async with call(fake, model) as caller:
        caller.say(say("hello"))
        await caller.until_ended()
        assert caller.errors()[-1] == ("deepgram refuses what it was asked for", False)
        assert b"".join(pcm for _, pcm in caller.session.unfinished()) == say("hello")


@MODELS
async def test_nonsense_is_counted_and_the_call_goes_on(model: str) -> None:
    nonsense = ("{", b"\x00\xff" * 500, '{"type": "Results", "start": []}', "[" * 5_000, '"type"')
    fake = FakeDeepgram(replace(GOOD, nonsense=nonsense))
    async with call(fake, model) as caller:
        caller.say(say("hello world") + PAUSE)
        await caller.until("hello", "world")
        assert caller.errors() == []


@MODELS
async def test_a_flood_is_left(model: str) -> None:
    fake = FakeDeepgram(Plan(nonsense=("{}",) * 3_000), GOOD)
    async with call(fake, model) as caller:
        caller.say(say("hello world") + PAUSE)
        await caller.until("hello", "world")
        assert caller.errors()[0] == ("the service sends far too many messages", True)


@MODELS
async def test_a_message_without_end_is_left(model: str) -> None:
    fake = FakeDeepgram(Plan(nonsense=("x" * (2 << 20),)), GOOD)
    async with call(fake, model) as caller:
        caller.say(say("hello world") + PAUSE)
        await caller.until("hello", "world")
        assert len(caller.errors()) == 1


async def test_a_service_that_never_greets_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_link, "VENDOR_OPEN_TIMEOUT_S", 0.5)
    async with call(FakeDeepgram(Plan(mute=True), GOOD), "deepgram/flux") as caller:
        caller.say(say("hello world") + PAUSE)
        await caller.until("hello", "world")
        assert caller.errors() == [("the service does not answer", True)]


@MODELS
async def test_a_service_that_falls_silent_is_left(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_link, "VENDOR_SILENT_S", 0.3)
    async with call(FakeDeepgram(Plan(deaf_after_ms=500), GOOD), model) as caller:
        words = "one two three four five six seven eight nine ten"
        for chunk in chunks(silence(400) + say(words) + PAUSE):
            caller.say(chunk)
            await asyncio.sleep(0.004)
        await caller.until(*words.split())
        assert caller.errors() == [("the service hears speech and says nothing", True)]


async def test_a_port_where_nobody_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_session, "VENDOR_RETRY_S", (0.01,) * 3)
    fake = FakeDeepgram()
    async with fake.serving():
        pass
    engine = VendorEngine(ENGINE.info, make_dialect)
    events: list[SpeechEvent] = []
    options = {"api_key": KEY, "url": fake.address}
    session = await engine.open(SpeechConfig(options=options), events.append)
    await Caller(session, events).until_ended()
    assert [(e.reason, e.recovering) for e in events if isinstance(e, Error)] == [
        ("deepgram cannot be reached", True),
        ("deepgram cannot be reached", False),
    ]
    await engine.close()


@MODELS
async def test_a_caller_of_whom_no_audio_comes_keeps_the_connection(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dialect in (NovaDialect, FluxDialect):
        monkeypatch.setattr(dialect, "keep_alive_s", 0.2)
    fake = FakeDeepgram(second_s=0.1)
    async with call(fake, model) as caller:
        caller.say(say("hello") + PAUSE)
        await caller.until("hello")
        await asyncio.sleep(2)
        caller.say(say("world") + PAUSE)
        await caller.until("hello", "world")
        finals = [event for event in caller.events if isinstance(event, Final)]
        # What kept the connection is on nobody's clock.
        assert finals[-1].words[-1].start_ms == 240 + 1_200
    assert len(fake.connections) == 1


async def test_no_key_and_no_address_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(0):
        async with call(FakeDeepgram(Plan(refuse=500), GOOD), "deepgram/nova-3") as caller:
            caller.say(say("hello") + PAUSE)
            await caller.until("hello")
    # The fake service logs what it likes.
    ours = "".join(record.getMessage() for record in caplog.records if record.name != "websockets.server")
    assert KEY not in ours
    assert "/v1/listen" not in ours
