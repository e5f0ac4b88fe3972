"""Google Speech-to-Text over real gRPC: what is asked, what is heard, and what becomes of trouble.

The other side is a fake with Google's own messages; Google's own client is held to it as well.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.cloud.speech_v2.types import cloud_speech

from offhook.base import limits
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    LanguageUnsupported,
    ParameterUnsupported,
    SpeechConfig,
    SpeechUnavailable,
)
from offhook.edge.speech.vendors.dialect import ConnectionRefused, Unreadable
from offhook.edge.speech.vendors.google import GoogleEngine, GoogleTransport
from offhook.edge.speech.vendors.google_dialect import STATUS, GoogleDialect, streaming_config
from tests.fakes.google_dialogflow import certificate, service_account
from tests.fakes.vendors.caller import calling
from tests.fakes.vendors.google import PROJECT, GoogleSpeechServer, google_speech_server
from tests.fakes.vendors.talk import say, silence
from tests.interop.vendors.sdk import needs_sdks, run_client

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

THREE_WORDS = [("one", 0, 160), ("two", 240, 400), ("three", 480, 640)]
ACCOUNT = service_account()


@pytest.fixture
async def google() -> AsyncIterator[GoogleSpeechServer]:
    async with google_speech_server() as server:
        yield server


@pytest.fixture
def speech(tmp_path: Path) -> str:
    path = tmp_path / "speech.pcm"
    path.write_bytes(say("one two") + silence(1000) + say("three"))
    return str(path)


def config(google: GoogleSpeechServer | None = None, **more: Any) -> SpeechConfig:
    url = google.url if google else "http://127.0.0.1:9"
    options = {"service_account": ACCOUNT, "endpoint": url, "project": PROJECT, "location": "eu"}
    options |= more.pop("options", {})
    return replace(SpeechConfig(interim=True, options=options), **more)


def asked(**more: Any) -> Any:
    return streaming_config(config(**more)).config


@pytest.mark.parametrize(
    ("model", "served"),
    [
        (None, "chirp_3"),
        ("phone_call", "telephony"),
        ("latest_long", "long"),
        ("latest_short", "long"),
        ("command_and_search", "long"),
        ("video", "long"),
        ("default", "long"),
        ("medical_dictation", "medical_dictation"),
        ("medical_conversation", "medical_conversation"),
        ("deepgram/nova-3", "chirp_3"),
    ],
)
def test_every_model_of_the_api_has_one_of_the_second_version(model: str | None, served: str) -> None:
    assert asked(model=model, options={"model": "chirp_3"}).model == served


def test_every_field_of_the_api_reaches_google() -> None:
    wanted = asked(
        language="de-AT",
        parameters={
            "hints": ["Offhook"],
            "speech_context": [{"phrases": ["leg", "fork"], "boost": 15.0}, {"phrases": ["tap"]}],
            "use_enhanced": True,
            "profanity_filter": True,
            "enable_speaker_diarization": True,
            "min_speaker_count": 2,
            "max_speaker_count": 3,
        },
    )
    assert list(wanted.language_codes) == ["de-AT"]
    phrases = wanted.adaptation.phrase_sets[0].inline_phrase_set.phrases
    told = [(phrase.value, phrase.boost) for phrase in phrases]
    assert told == [("leg", 15.0), ("fork", 15.0), ("Offhook", 0.0), ("tap", 0.0)]
    features = wanted.features
    assert features.profanity_filter
    assert features.enable_automatic_punctuation
    assert (features.diarization_config.min_speaker_count, features.diarization_config.max_speaker_count) == (
        2,
        3,
    )
    assert features.enable_word_time_offsets
    assert features.enable_word_confidence


def test_nothing_is_asked_for_that_nobody_asked_for() -> None:
    wanted = asked(parameters={"smart_format": False, "min_speaker_count": 3})
    assert not wanted.features.profanity_filter
    assert not wanted.features.enable_automatic_punctuation
    assert "diarization_config" not in wanted.features
    assert not wanted.adaptation.phrase_sets


def test_no_more_hints_are_sent_than_google_takes() -> None:
    words = [f"{number:030}" for number in range(6000)]
    many = asked(parameters={"hints": words}).adaptation.phrase_sets[0].inline_phrase_set.phrases
    assert len(many) == limits.GOOGLE_PHRASES_CHARACTERS_MAX // 30
    many = asked(parameters={"hints": [word[-4:] for word in words]}).adaptation
    assert len(many.phrase_sets[0].inline_phrase_set.phrases) == limits.GOOGLE_PHRASES_MAX


def test_speaker_counts_that_contradict_are_refused_by_name() -> None:
    parameters = {"enable_speaker_diarization": True, "min_speaker_count": 4, "max_speaker_count": 3}
    with pytest.raises(ParameterUnsupported) as refused:
        asked(parameters=parameters)
    assert refused.value.parameter == "min_speaker_count"


def test_a_language_to_be_found_out_needs_candidates_or_a_model_that_can() -> None:
    with pytest.raises(LanguageUnsupported, match=r"google\.auto_languages"):
        asked(language="auto")
    assert list(asked(language="auto", options={"auto_languages": ["en", "fr"]}).language_codes) == [
        "en-US",
        "fr-FR",
    ]
    assert list(asked(language="auto", options={"model": "chirp_3"}).language_codes) == ["auto"]


def test_where_a_stream_goes_depends_on_the_location() -> None:
    dial = GoogleDialect(config(options={"endpoint": ""})).dial()
    assert dial.url == "https://eu-speech.googleapis.com:443"
    recognizer = f"projects%2F{PROJECT}%2Flocations%2Feu%2Frecognizers%2F_"
    assert dial.headers == (("x-goog-request-params", f"recognizer={recognizer}"),)
    assert "private_key" not in repr(dial)
    assert GoogleDialect(config(options={"endpoint": "", "location": ""})).dial().url == (
        "https://speech.googleapis.com:443"
    )


async def test_without_a_project_the_text_says_what_to_set() -> None:
    with pytest.raises(SpeechUnavailable, match=r"google\.project"):
        await GoogleEngine().ensure_available({})


def test_no_request_holds_more_audio_than_google_takes() -> None:
    requests = GoogleDialect(config()).audio(bytes(60_000))
    assert [len(request.audio) for request in requests] == [24_000, 24_000, 12_000]


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        *((status, False) for status in (3, 5, 7, 9, 12, 16)),
        *((status, True) for status in (2, 4, 8, 10, 11, 13, 14, 1006 - STATUS)),
    ],
)
def test_a_stream_that_ends_is_opened_again_only_where_that_may_help(status: int, retry: bool) -> None:
    assert GoogleDialect(config()).closed(STATUS + status, "secret").retry is retry


@pytest.mark.parametrize(
    "message", [None, "text", SimpleNamespace(speech_event_type=2), SimpleNamespace(results=3)]
)
def test_what_cannot_be_read_is_counted_and_forgotten(message: Any) -> None:
    assert GoogleDialect(config()).receive(message) == [Unreadable()]


async def test_words_come_with_times_and_speakers_and_the_last_ones_with_the_close(
    google: GoogleSpeechServer,
) -> None:
    diarized = config(google, parameters={"enable_speaker_diarization": True})
    async with calling(GoogleEngine(), diarized) as caller:
        await caller.say("one two three")
        await caller.say("four", pause_ms=0)
        (first,) = await caller.until(Final)
    assert (first.confidence, first.language) == (0.875, "en-us")
    assert [(word.speaker, word.confidence) for word in first.words] == [("1", 0.75)] * 3
    assert caller.texts() == ["one two three", "four"]
    assert caller.spoken() == [*THREE_WORDS, ("four", 1620, 1780)]
    assert "one two" in caller.partials()
    (stream,) = google.streams
    assert stream.half_closed
    assert stream.recognizer == f"projects/{PROJECT}/locations/eu/recognizers/_"


async def test_a_stream_that_breaks_in_mid_utterance_loses_no_word(google: GoogleSpeechServer) -> None:
    google.fail_at_ms.append((500, grpc.StatusCode.OUT_OF_RANGE))
    async with calling(GoogleEngine(), config(google, sample_rate_hz=16_000)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS
    assert [error.recovering for error in caller.errors()] == [True]
    assert len(google.streams) == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE])
async def test_a_service_that_goes_away_is_come_back_to(
    google: GoogleSpeechServer, code: grpc.StatusCode
) -> None:
    google.fail_at_ms.append((300, code))
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS


async def test_the_machines_own_credentials_serve_where_none_are_set(
    google: GoogleSpeechServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "account.json"
    file.write_text(json.dumps(ACCOUNT))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    async with calling(GoogleEngine(), config(google, options={"service_account": None})) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS


async def test_only_a_service_with_the_right_certificate_is_talked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with google_speech_server(certificate(tmp_path, "localhost")) as google:
        trusting = config(google, options={"ca_file": str(tmp_path / "cert.pem")})
        async with calling(GoogleEngine(), trusting) as caller:
            await caller.say("one two three")
            await caller.until(Final)
        assert caller.spoken() == THREE_WORDS
        monkeypatch.setattr(limits, "VENDOR_OPEN_TIMEOUT_S", 1.0)
        with pytest.raises(ConnectionRefused):
            await GoogleTransport()(GoogleDialect(config(google)).dial())


async def test_credentials_that_are_refused_are_told(google: GoogleSpeechServer) -> None:
    google.fail.extend([grpc.StatusCode.UNAUTHENTICATED] * 10)
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one")
        await caller.until(Closed)
    # A request that meets the end of a stream hides its status, and the next stream tells it.
    assert caller.errors()[-1] == Error("google refuses the key", recovering=False)
    assert len(google.streams) <= 3


async def test_an_account_without_a_key_is_told_at_once_and_not_repeated(google: GoogleSpeechServer) -> None:
    broken = {**ACCOUNT, "private_key": "secret-key", "private_key_id": "broken"}
    async with calling(GoogleEngine(), config(google, options={"service_account": broken})) as caller:
        (error,) = await caller.until(Error)
    assert not error.recovering
    assert "secret-key" not in repr(caller.events)
    assert google.streams == []


async def test_a_quota_that_is_used_up_is_waited_for(
    google: GoogleSpeechServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.verdicts.BUSY_S", 0.1)
    google.fail.append(grpc.StatusCode.RESOURCE_EXHAUSTED)
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert caller.spoken() == THREE_WORDS


async def test_senseless_responses_harm_nobody(google: GoogleSpeechServer) -> None:
    result = cloud_speech.StreamingRecognitionResult
    google.hostile += [
        cloud_speech.StreamingRecognizeResponse(),
        cloud_speech.StreamingRecognizeResponse(results=[result(is_final=False), result(is_final=True)]),
        cloud_speech.StreamingRecognizeResponse(results=[result(result_end_offset={"seconds": 10**11})]),
        cloud_speech.StreamingRecognizeResponse(speech_event_offset={"seconds": -5}, speech_event_type=2),
    ]
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one two three")
        await caller.until(Final)
    assert "one two three" in caller.texts()


async def test_audio_that_stops_in_mid_utterance_ends_it(google: GoogleSpeechServer) -> None:
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one two three", pause_ms=0)
        await caller.until(Final)
        await caller.say("four")
        await caller.until(Final, 2)
    assert caller.spoken() == [*THREE_WORDS, ("four", 720, 880)], "the silence of ours takes no time"


async def test_a_stream_that_the_service_ends_well_is_followed_by_another(google: GoogleSpeechServer) -> None:
    google.end_after_finals = 1
    async with calling(GoogleEngine(), config(google)) as caller:
        await caller.say("one")
        await caller.until(Final)
        await caller.say("two")
        await caller.until(Final, 2)
    assert caller.spoken() == [("one", 0, 160), ("two", 1140, 1300)]


@needs_sdks
async def test_googles_own_client_hears_the_same_words_from_the_fake(
    google: GoogleSpeechServer, speech: str
) -> None:
    google.wants_account = False
    told = await run_client("google_client.py", google.url, PROJECT, speech)
    finals = [item for item in told if item["kind"] == "final"]
    assert [item["text"] for item in finals] == ["one two", "three"]
    assert finals[0]["words"] == [["one", 0, 160], ["two", 240, 400]]
    assert any(item["kind"] == "begin" for item in told)
    assert any(item["kind"] == "partial" for item in told)
    assert told[-1] == {"kind": "end"}


@needs_sdks
@pytest.mark.parametrize(
    ("mistake", "status"),
    [("project", "PermissionDenied"), ("audio", "InvalidArgument"), ("model", "InvalidArgument")],
)
async def test_googles_own_client_is_refused_for_the_same_mistakes(
    google: GoogleSpeechServer, speech: str, mistake: str, status: str
) -> None:
    google.wants_account = False
    told = await run_client("google_client.py", google.url, PROJECT, speech, mistake)
    assert told[-1] == {"kind": "error", "status": status}
