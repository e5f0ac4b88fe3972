"""A track that outlives its engine: nothing is told twice, nothing is lost, and the end comes once."""

import asyncio

import pytest

from offhook.base.errors import LimitReached
from offhook.base.limits import SPEECH_REPLAY_MS
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    Partial,
    Replaced,
    SpeechConfig,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.service import SpeechService
from tests.fakes.runners import HandClock
from tests.fakes.speech_engine import silence
from tests.fakes.speech_sessions import HandEngine, service_of

pytestmark = pytest.mark.unit


class Track:
    """One track of a service with two engines, and all that was told of it."""

    def __init__(self, **settings: object) -> None:
        self.first, self.second = HandEngine("first"), HandEngine("second")
        self.clock = HandClock()
        self.service: SpeechService = service_of(
            self.first, self.second, clock=self.clock, **{"fallback": "second", **settings}
        )
        self.told: list[SpeechEvent] = []

    async def open(self, config: SpeechConfig | None = None) -> None:
        self.handle = await self.service.open("k", config or SpeechConfig(), "Google", self.told.append)

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def totals(self, name: str) -> dict[str, int]:
        return dict(self.service.meters()[name].totals)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.told]


async def test_the_fallback_hears_what_no_final_covers_and_goes_on() -> None:
    track = Track()
    await track.open()
    first = track.first.sessions[0]
    track.handle.push(silence(100), 0)
    first.say("good morning")
    track.handle.push(silence(100), 100)
    first.say("I", final=False)
    first.break_off()
    track.handle.push(silence(100), 200)
    await track.settle()
    second = track.second.sessions[0]
    assert [at_ms for at_ms, _ in second.heard] == [100, 200]
    second.say("I lost", final=False)
    second.say("I lost my card")
    second.say("yesterday")
    assert track.handle.engine == "second"
    await track.handle.close()
    await track.handle.close()
    assert track.kinds() == ["Final", "Partial", "Replaced", "Partial", "Final", "Final", "Closed"]
    words = [event for event in track.told if isinstance(event, Partial | Final)]
    assert [event.utterance_id for event in words] == [0, 1, 1, 1, 2], "what goes on keeps its number"
    assert track.told[2] == Replaced("second", "the vendor hung up")
    assert isinstance(track.told[-1], Closed)
    assert track.told[-1].stats.audio_ms == 300, "what two engines heard counts once"
    assert track.totals("first")["fallbacks"] == track.totals("first")["failures"] == 1
    assert track.service.counters()["sessions_open"] == 0


async def test_a_late_word_of_the_engine_that_broke_off_is_not_told() -> None:
    track = Track()
    await track.open()
    track.first.sessions[0].break_off()
    track.first.sessions[0].say("ghost")
    await track.settle()
    track.first.sessions[0].say("ghost")
    assert track.kinds() == ["Replaced"]


async def test_a_piece_of_an_utterance_keeps_the_number_of_its_rest() -> None:
    track = Track()
    await track.open()
    track.first.sessions[0].say("good", ends=False)
    track.first.sessions[0].break_off()
    await track.settle()
    track.second.sessions[0].say("morning")
    track.second.sessions[0].say("you two")
    finals = [event for event in track.told if isinstance(event, Final)]
    assert [(event.utterance_id, event.utterance_end) for event in finals] == [
        (0, False),
        (0, True),
        (1, True),
    ]


async def test_without_a_fallback_the_track_ends_once() -> None:
    track = Track(fallback="")
    await track.open()
    track.handle.push(silence(200), 0)
    track.first.sessions[0].break_off("bad key")
    track.handle.push(silence(200), 200)
    await track.handle.close()
    assert track.told[0] == Error("bad key", recovering=False)
    assert track.kinds() == ["Error", "Closed"]
    assert isinstance(track.told[-1], Closed)
    assert track.told[-1].stats.dropped_ms == 200
    assert track.totals("first")["dropped_ms"] == 200


async def test_a_fallback_that_fails_too_ends_the_track() -> None:
    track = Track()
    await track.open()
    track.first.sessions[0].break_off()
    await track.settle()
    track.second.sessions[0].break_off("the disk burnt")
    await track.settle()
    assert track.kinds() == ["Replaced", "Error", "Closed"]
    assert track.service.counters()["sessions_open"] == 0


async def test_a_fallback_that_cannot_be_opened_ends_the_track() -> None:
    track = Track()
    await track.open()
    track.second.refusing = SpeechUnavailable("no model")
    track.handle.push(silence(100), 0)
    track.first.sessions[0].break_off()
    await track.settle()
    assert track.kinds() == ["Error", "Closed"]
    assert track.told[0] == Error(
        "the vendor hung up, and the fallback engine cannot take over", recovering=False
    )
    assert track.totals("first")["dropped_ms"] == 100


@pytest.mark.parametrize("trouble", [SpeechUnavailable("no route"), LimitReached("full")])
async def test_an_engine_that_cannot_be_had_at_the_start_is_replaced_at_once(trouble: Exception) -> None:
    track = Track()
    track.first.refusing = trouble
    await track.open()
    assert track.told == [Replaced("second", str(trouble))]
    assert track.handle.engine == "second"
    track.service.check("Google", SpeechConfig())
    track.second.sessions[0].break_off()
    assert track.kinds() == ["Replaced", "Error", "Closed"], "there is no third"


async def test_a_full_engine_is_no_reason_to_refuse_while_the_fallback_has_room() -> None:
    track = Track()
    track.first.tracks_max = 1
    track.service.check("Google", SpeechConfig(), 2)
    track.second.tracks_max = 1
    with pytest.raises(LimitReached):
        track.service.check("Google", SpeechConfig(), 2)
    assert track.totals("first")["refusals"] == 1


async def test_the_fallback_does_without_what_it_cannot_do() -> None:
    track = Track()
    track.first.info = HandEngine("first", parameters=frozenset({"numerals"})).info
    config = SpeechConfig(parameters={"numerals": True, "hints": ["x"]})
    track.service.check("Google", config)
    await track.open(config)
    track.first.sessions[0].break_off()
    await track.settle()
    assert track.first.sessions[0].config.parameters == {"numerals": True, "hints": ["x"]}
    assert track.second.sessions[0].config.parameters == {"hints": ["x"]}


async def test_a_wrong_request_is_not_the_fallback_s_business() -> None:
    track = Track()
    track.first.info = HandEngine("first", languages=("en",)).info
    with pytest.raises(SpeechUnavailable, match="the first engine knows en"):
        track.service.check("Google", SpeechConfig(language="de"))
    with pytest.raises(SpeechUnavailable, match="cannot do `numerals`"):
        track.service.check("Google", SpeechConfig(parameters={"numerals": True}))


async def test_who_closes_while_the_fallback_takes_over_hears_its_last_words() -> None:
    track = Track()
    await track.open()
    track.handle.push(silence(100), 0)
    track.first.sessions[0].break_off()
    closing = asyncio.ensure_future(track.handle.close())
    await track.settle()
    await closing
    assert track.second.sessions[0].heard, "it was given what waited"
    assert track.kinds() == ["Replaced", "Closed"]


async def test_audio_that_waits_for_the_fallback_is_bounded_and_what_is_lost_is_counted() -> None:
    track = Track()
    await track.open()
    track.first.sessions[0].break_off()
    for second in range(SPEECH_REPLAY_MS // 1000 + 3):
        track.handle.push(silence(1000), 1000 * second)
    await track.settle()
    assert track.second.sessions[0].heard[0][0] == 3000
    await track.handle.close()
    assert isinstance(track.told[-1], Closed)
    assert track.told[-1].stats.dropped_ms == 3000


async def test_a_listener_that_raises_does_not_end_the_session() -> None:
    def broken(event: SpeechEvent) -> None:
        raise RuntimeError("a bug")

    engine = HandEngine()
    service = service_of(engine)
    handle = await service.open("k", SpeechConfig(), "Google", broken)
    engine.sessions[0].say("x")
    await handle.close()
    assert service.counters()["sessions_open"] == 0


async def test_the_latency_of_a_final_is_the_time_since_its_last_sound() -> None:
    track = Track()
    await track.open()
    track.handle.push(silence(1000), 0)
    track.clock.at_s += 0.25
    track.first.sessions[0].say("x", at_ms=800)  # ends at 900, 100 ms before the last audio
    latency = track.service.meters()["first"].latency
    assert latency.sum_s == pytest.approx(0.35)
    assert [count for bound, count in latency.buckets() if bound in ("0.3", "0.4", "+Inf")] == [0, 1, 1]
