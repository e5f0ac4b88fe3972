"""A transcription from its command to the words of its webhooks, with an engine in the hands of the test."""

from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import Track, UdpTarget
from offhook.edge.speech import protocol as speech
from offhook.proto import sip
from offhook.proto.sdp import make_offer
from tests.fakes.runners import House
from tests.fakes.speech_engine import tone
from tests.fakes.speech_sessions import HandEngine, service_of

pytestmark = pytest.mark.unit


async def up(house: House) -> None:
    """Bring a call up."""
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()


def transcribe(house: House, **options: Any) -> ask.Reply:
    options = {"command_id": None, "tracks": (Track.RX,), **options}
    asked = ask.StartTranscription(
        command_id=options.pop("command_id"), transcription=ask.TranscriptionOptions(**options)
    )
    return house.calls.command(house.call_control_id, "transcription_start", asked)


async def test_a_field_that_the_serving_engine_cannot_do_is_refused_by_its_pointer() -> None:
    house = House(speech=service_of(HandEngine()))
    options = ask.TranscriptionOptions(engine="Google", options={"hints": ["x"], "profanity_filter": True})
    house.invite()
    with pytest.raises(CommandError) as caught:
        house.calls.command(house.call_control_id, "answer", ask.Answer(transcription=options))
    pointer = "/transcription_engine_config/profanity_filter"
    assert (caught.value.problem.code, caught.value.problem.pointer) == (
        "10038",
        f"/transcription_config{pointer}",
    )
    house = House(speech=service_of(HandEngine()))
    await up(house)
    with pytest.raises(CommandError) as caught:
        transcribe(house, options=options.options)
    assert (caught.value.problem.code, caught.value.problem.pointer) == ("10038", pointer)
    assert "`profanity_filter`" in caught.value.problem.detail


async def test_an_engine_that_does_without_a_field_never_sees_it() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine, ignore_unsupported=True))
    await up(house)
    transcribe(house, options={"hints": ["x"], "profanity_filter": True})
    await house.settle()
    assert engine.sessions[0].config.parameters == {"hints": ["x"]}


async def test_a_transcription_that_does_not_fit_is_refused_at_its_start() -> None:
    engine = HandEngine(tracks_max=1)
    house = House(speech=service_of(engine))
    await up(house)
    with pytest.raises(LimitReached, match="2 more tracks"):
        transcribe(house, tracks=(Track.RX, Track.TX))
    assert not transcribe(house, command_id="c").duplicate
    await house.settle()
    assert transcribe(house, command_id="c").duplicate, "a repeated command needs no room"
    with pytest.raises(CommandError, match="90054"):
        transcribe(house)
    house.calls.hang_up_all()
    await house.settle()
    assert engine.open_now == 0
    house.assert_nothing_left()


def transcripts(house: House) -> list[dict[str, Any]]:
    [told] = house.outbox.by_leg.values()
    return [payload["transcription_data"] for kind, payload in told if kind == "call.transcription"]


def failures(house: House) -> list[dict[str, Any]]:
    [told] = house.outbox.by_leg.values()
    names = ("engine", "fallback_engine", "reason", "transcription_track")
    return [
        {name: payload[name] for name in names}
        for kind, payload in told
        if kind == "call.transcription.failed"
    ]


async def test_words_and_who_served_them_reach_the_webhook() -> None:
    engine = HandEngine(word_times="measured")
    house = House(speech=service_of(engine))
    await up(house)
    transcribe(house, engine="B")
    await house.settle()
    word = speech.Word("hello", 120, 380, 0.8, "2")
    engine.sessions[0].say("Hello.", at_ms=100, words=(word,))
    engine.sessions[0].say("there", ends=False)
    await house.settle()
    first, second = transcripts(house)
    assert (first["engine"], first["served_by"], first["utterance_end"]) == ("B", "hand", True)
    assert first["words"] == [
        {"word": "hello", "start_ms": 120, "end_ms": 380, "confidence": 0.8, "speaker": "2"}
    ]
    assert first["word_times"] == "measured"
    assert second["utterance_end"] is False
    assert "words" not in second
    assert [item["utterance_id"] for item in (first, second)] == ["inbound-0", "inbound-1"]


async def test_both_has_one_recogniser_a_track_and_words_on_their_own() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine))
    await up(house)
    transcribe(house, tracks=(Track.RX, Track.TX))
    await house.settle()
    assert [session.config.track for session in engine.sessions] == ["rx", "tx"]
    house.media.feed_pcm(1, tone(3, 200))
    await house.settle()
    assert [bool(session.heard) for session in engine.sessions] == [True, False], "never a mix"
    engine.sessions[1].say("hello, how can I help")
    engine.sessions[0].say("my card")
    await house.settle()
    assert [(item["transcription_track"], item["transcript"]) for item in transcripts(house)] == [
        ("outbound", "hello, how can I help"),
        ("inbound", "my card"),
    ]


async def test_utterances_of_a_second_transcription_go_on_counting() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine))
    await up(house)
    transcribe(house, interim_results=True)
    await house.settle()
    engine.sessions[0].say("one")
    engine.sessions[0].say("tw", final=False)
    engine.sessions[0].words_at_close = "two"
    house.calls.command(house.call_control_id, "transcription_stop", ask.StopTranscription())
    transcribe(house)
    await house.settle()
    engine.sessions[1].say("three")
    await house.settle()
    assert [(item["utterance_id"], item["transcript"]) for item in transcripts(house)] == [
        ("inbound-0", "one"),
        ("inbound-1", "tw"),
        ("inbound-1", "two"),
        ("inbound-2", "three"),
    ]


async def test_a_stop_tells_the_last_words_and_may_be_repeated() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine))
    await up(house)
    transcribe(house)
    await house.settle()
    engine.sessions[0].words_at_close = "goodbye"
    for _ in range(2):
        house.calls.command(house.call_control_id, "transcription_stop", ask.StopTranscription())
        await house.settle()
    assert [item["transcript"] for item in transcripts(house)] == ["goodbye"]
    assert failures(house) == []
    assert engine.open_now == 0


async def test_a_call_goes_on_with_the_fallback_and_its_streams_and_forks_never_notice() -> None:
    first, second = HandEngine("first"), HandEngine("second", word_times="estimated")
    house = House(speech=service_of(first, second, fallback="second"))
    await up(house)
    fork = ask.StartFork(target=UdpTarget("192.0.2.9", 5000))
    house.calls.command(house.call_control_id, "fork_start", fork)
    transcribe(house, engine="Deepgram")
    await house.settle()
    house.media.feed_pcm(1, tone(3, 200))
    await house.settle()
    journal = len(house.journal.done)
    first.sessions[0].break_off("Deepgram closed the connection")
    house.media.feed_pcm(1, tone(4, 200))
    await house.settle()
    assert [at_ms for at_ms, _ in second.sessions[0].heard] == [0, 100, 200, 300]
    second.sessions[0].say("my card")
    await house.settle()
    assert failures(house) == [
        {
            "engine": "Deepgram",
            "fallback_engine": "second",
            "reason": "Deepgram closed the connection",
            "transcription_track": "inbound",
        }
    ]
    assert [(item["transcript"], item["served_by"]) for item in transcripts(house)] == [("my card", "second")]
    assert house.journal.done[journal:] == ["call.transcription.failed", "call.transcription"]
    house.calls.hang_up_all()
    await house.settle()
    house.assert_nothing_left()


async def test_a_transcription_that_ends_by_itself_is_told_and_may_be_started_again() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine))
    await up(house)
    transcribe(house, tracks=(Track.RX, Track.TX))
    await house.settle()
    engine.sessions[0].break_off("bad key")
    await house.settle()
    assert [(item["transcription_track"], item["fallback_engine"]) for item in failures(house)] == [
        ("both", None)
    ]
    assert engine.open_now == 0
    transcribe(house)
    await house.settle()
    assert engine.open_now == 1
    engine.refusing = speech.SpeechUnavailable("no route")
    house.calls.command(house.call_control_id, "transcription_stop", ask.StopTranscription())
    transcribe(house)
    await house.settle()
    assert [item["reason"] for item in failures(house)] == ["bad key", "no route"]


@pytest.mark.parametrize(
    ("rates_hz", "leg_hz", "expected_hz"),
    [
        ((8000, 16_000), 16_000, 16_000),
        ((8000, 16_000), 48_000, 16_000),
        ((8000, 16_000), 8000, 8000),
        ((8000,), 16_000, 8000),
    ],
)
def test_an_engine_gets_wide_band_where_the_call_has_it_and_it_takes_it(
    rates_hz: tuple[int, ...], leg_hz: int, expected_hz: int
) -> None:
    wide = HandEngine("wide", sample_rates_hz=(8000, 16_000))
    service = service_of(HandEngine(sample_rates_hz=rates_hz), wide, fallback="wide")
    assert service.sample_rate_hz("Google", leg_hz) == expected_hz
    service = service_of(wide, HandEngine(sample_rates_hz=rates_hz), fallback="hand")
    assert service.sample_rate_hz("Google", leg_hz) == expected_hz, "the fallback must be able to go on"


async def test_a_g722_call_is_heard_at_16_khz() -> None:
    engine = HandEngine(sample_rates_hz=(8000, 16_000))
    house = House(speech=service_of(engine))
    offer = make_offer(("G722",), address="192.0.2.2", rtp_port=4000, rtcp_port=4001, session_id=1)
    call = house.invite(sdp=offer)
    house.calls.command(house.call_control_id, "answer", ask.Answer(transcription=ask.TranscriptionOptions()))
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    assert engine.sessions[0].config.sample_rate_hz == 16_000
