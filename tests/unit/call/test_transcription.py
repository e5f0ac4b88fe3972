"""A transcription of a leg: its words, its end, and what is told when an engine breaks off (contract 2.1, 3.4)."""

from dataclasses import replace

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.tap_commands import Compat
from offhook.call.values import Track
from tests.fakes.legs import (
    Desk,
    answered,
    kinds,
    media,
    outgoing,
    payload,
    start_fork,
    start_transcription,
    told,
    transcript,
)
from tests.unit.call.test_taps import refused, streaming

pytestmark = pytest.mark.unit


def test_a_transcription_tells_what_was_said() -> None:
    desk = answered()
    command = start_transcription()
    assert desk.command(command) == [do.OpenTranscription("id-1", command.transcription, 8000)]
    effects = desk.tell(transcript("hello there"))
    assert payload(effects, "call.transcription")["transcription_data"] == {
        "transcript": "hello there",
        "confidence": 0.9,
        "is_final": True,
        "transcription_track": "inbound",
        "utterance_id": "u-1",
        "start_ms": 100,
        "end_ms": 900,
        "language": "en",
        "engine": "Google",
        "served_by": "local",
        "utterance_end": False,
    }


def test_words_are_told_with_their_times_where_the_engine_has_them() -> None:
    desk = answered()
    desk.command(start_transcription())
    words = (facts.SpokenWord("hello", 100, 400, 0.9), facts.SpokenWord("there", 500, 900, None, "2"))
    heard = replace(transcript(), words=words, word_times="estimated", utterance_end=True)
    data = payload(desk.tell(heard), "call.transcription")["transcription_data"]
    assert data["utterance_end"] is True
    assert data["word_times"] == "estimated"
    assert data["words"] == [
        {"word": "hello", "start_ms": 100, "end_ms": 400, "confidence": 0.9},
        {"word": "there", "start_ms": 500, "end_ms": 900, "confidence": None, "speaker": "2"},
    ]


def test_a_wide_band_call_is_transcribed_at_its_rate() -> None:
    wide = replace(media(), codec_name="G722", payload_type=9)
    desk = Desk()
    desk.tell(outgoing())
    desk.tell(facts.CalleeAnswered("x", wide))
    [effect] = desk.command(start_transcription())
    assert isinstance(effect, do.OpenTranscription)
    assert effect.sample_rate_hz == 16_000


# Trouble: streams and forks never notice


def test_an_app_is_told_that_another_engine_goes_on_and_the_words_go_on() -> None:
    desk = answered()
    desk.command(start_transcription(tracks=(Track.RX, Track.TX)))
    effects = desk.tell(facts.TranscriptionMoved("id-1", Track.TX, "local", "the vendor hung up"))
    assert told(effects) == ["call.transcription.failed"]
    said = payload(effects, "call.transcription.failed")
    assert {name: said[name] for name in ("engine", "fallback_engine", "reason", "transcription_track")} == {
        "engine": "Google",
        "fallback_engine": "local",
        "reason": "the vendor hung up",
        "transcription_track": "outbound",
    }
    assert told(desk.tell(transcript())) == ["call.transcription"]


def test_an_app_is_told_that_a_transcription_ended_unasked() -> None:
    desk = answered()
    desk.command(start_transcription(tracks=(Track.RX, Track.TX)))
    effects = desk.tell(facts.TranscriptionClosed("id-1", "the worker ended"))
    said = payload(effects, "call.transcription.failed")
    assert (said["fallback_engine"], said["transcription_track"]) == (None, "both")
    assert desk.tell(facts.TranscriptionClosed("id-1", "the worker ended")) == []


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    desk = answered()
    desk.command(start_transcription())
    desk.command(ask.StopTranscription())
    assert desk.tell(facts.TranscriptionMoved("id-1", Track.RX, "local", "lost")) == []
    assert desk.tell(facts.TranscriptionClosed("id-1", "lost")) == []


def test_nothing_is_told_that_telnyx_has_no_event_for_where_that_is_asked() -> None:
    desk = answered(compat=Compat(only_telnyx_events=True))
    desk.command(start_transcription())
    assert desk.tell(facts.TranscriptionMoved("id-1", Track.RX, "local", "lost")) == []
    assert told(desk.tell(transcript())) == ["call.transcription"]
    assert desk.tell(facts.TranscriptionClosed("id-1", "lost")) == []
    assert kinds(desk.command(start_transcription())) == [do.OpenTranscription]


def test_streams_and_forks_never_notice_what_becomes_of_a_transcription() -> None:
    desk = streaming()
    desk.command(start_fork())
    desk.tell(facts.ForkOpened("id-2"))
    desk.command(start_transcription())
    done = len(desk.done)
    desk.tell(facts.TranscriptionMoved("id-3", Track.RX, "local", "lost"), transcript())
    desk.tell(facts.TranscriptionClosed("id-3", "lost"))
    assert {type(effect) for effect in desk.done[done:]} == {do.Notify}
    assert desk.events[-3:] == [
        "call.transcription.failed",
        "call.transcription",
        "call.transcription.failed",
    ]
    assert desk.command(ask.StopStream()) == [do.CloseStream("id-1", "command")]
    assert desk.command(ask.StopFork()) == [do.CloseFork("id-2")]


def test_interim_results_are_told_only_when_asked_for() -> None:
    desk = answered()
    desk.command(start_transcription())
    assert desk.tell(transcript(is_final=False)) == []
    desk.command(ask.StopTranscription())
    desk.tell(facts.TranscriptionClosed("id-1"))
    desk.command(start_transcription(interim=True))
    assert told(desk.tell(transcript(is_final=False))) == ["call.transcription"]


def test_only_the_tracks_asked_for_are_told() -> None:
    desk = answered()
    desk.command(start_transcription(tracks=(Track.TX,)))
    assert desk.tell(transcript(track=Track.RX)) == []
    effects = desk.tell(transcript(track=Track.TX))
    assert payload(effects, "call.transcription")["transcription_data"]["transcription_track"] == "outbound"


def test_the_last_words_are_told_after_a_stop() -> None:
    desk = answered()
    desk.command(start_transcription())
    assert desk.command(ask.StopTranscription()) == [do.CloseTranscription("id-1")]
    assert told(desk.tell(transcript())) == ["call.transcription"]
    assert desk.tell(facts.TranscriptionClosed("id-1")) == []
    assert desk.tell(transcript()) == []


def test_one_transcription_runs_at_a_time() -> None:
    desk = answered()
    desk.command(start_transcription())
    assert refused(desk, start_transcription()) == ("90054", None)
    desk.command(ask.StopTranscription())
    assert kinds(desk.command(start_transcription())) == [do.OpenTranscription]


def test_a_transcription_that_broke_down_may_be_started_again() -> None:
    desk = answered()
    desk.command(start_transcription())
    desk.tell(facts.TranscriptionClosed("id-1", "the worker ended"))
    assert kinds(desk.command(start_transcription())) == [do.OpenTranscription]


def test_transcriptions_that_do_not_end_are_bounded() -> None:
    desk = answered()
    for _ in range(limits.TRANSCRIPTIONS_PER_LEG_MAX):
        desk.command(start_transcription())
        desk.command(ask.StopTranscription())
    assert refused(desk, start_transcription()) == ("90054", None)
