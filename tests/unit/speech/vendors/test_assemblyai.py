"""AssemblyAI's messages, as its documentation writes them, in both directions."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from offhook.edge.speech.protocol import LanguageUnsupported, ParameterUnsupported, SpeechConfig, Word
from offhook.edge.speech.vendors.assemblyai import PARAMETERS, AssemblyAiDialect
from offhook.edge.speech.vendors.dialect import (
    Done,
    Ready,
    Said,
    Settled,
    Speaking,
    Trouble,
    Unreadable,
    VendorEvent,
)

pytestmark = pytest.mark.unit

MS = 16
"""Bytes of a millisecond at 8 kHz."""


def dialect(*, model: str = "", **asked: Any) -> AssemblyAiDialect:
    options = {"api_key": "the-key", "model": model} if model else {"api_key": "the-key"}
    return AssemblyAiDialect(SpeechConfig(options=options, **asked))


def query(**asked: Any) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(dialect(**asked).dial().url).query, strict_parsing=True))


def turn(order: int, text: str, *, end: bool = False, formatted: bool = False, **more: Any) -> str:
    words = [
        {"text": word, "start": 100 * n, "end": 100 * n + 80, "confidence": 0.9, "word_is_final": True}
        for n, word in enumerate(text.split())
    ]
    body = {
        "type": "Turn",
        "turn_order": order,
        "turn_is_formatted": formatted,
        "end_of_turn": end,
        "transcript": text,
        "end_of_turn_confidence": 0.5,
        "words": words,
    }
    return json.dumps(body | more)


def finals(events: list[VendorEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Said) and event.final]


def hear(speaks: AssemblyAiDialect, *messages: str) -> list[VendorEvent]:
    return [event for message in messages for event in speaks.receive(message)]


def test_the_key_is_the_whole_header_and_nowhere_in_the_address() -> None:
    dial = dialect().dial()
    assert dial.headers == (("Authorization", "the-key"),)
    assert "the-key" not in dial.url
    assert "the-key" not in repr(dial)
    assert dial.url.startswith("wss://streaming.assemblyai.com/v3/ws?")


def test_the_address_can_be_another() -> None:
    config = SpeechConfig(options={"api_key": "k", "url": "wss://streaming.eu.assemblyai.com/"})
    assert AssemblyAiDialect(config).dial().url.startswith("wss://streaming.eu.assemblyai.com/v3/ws?")


def test_a_session_says_its_model_format_and_when_a_turn_is_over() -> None:
    assert query() == {
        "speech_model": "universal-3-5-pro",
        "encoding": "pcm_s16le",
        "sample_rate": "8000",
        "max_turn_silence": "500",
        "inactivity_timeout": "60",
        "language_codes": '["en"]',
    }
    assert query(sample_rate_hz=16_000)["sample_rate"] == "16000"
    assert query(endpoint_ms=300)["min_turn_silence"] == "300"


@pytest.mark.parametrize(
    ("asked", "option", "used"),
    [
        (None, "", "universal-3-5-pro"),
        (None, "u3-rt-pro", "u3-rt-pro"),
        ("assemblyai/universal-streaming", "u3-rt-pro", "universal-3-5-pro"),
        ("assemblyai/universal-3-5-pro", "", "universal-3-5-pro"),
        ("deepgram/nova-3", "", "universal-3-5-pro"),
        ("deepgram/nova-3", "whisper-rt", "whisper-rt"),
    ],
)
def test_the_apps_model_counts_where_it_is_one_of_assemblyais(
    asked: str | None, option: str, used: str
) -> None:
    config = SpeechConfig(model=asked, language="auto", options={"api_key": "k", "model": option})
    url = AssemblyAiDialect(config).dial().url
    assert dict(parse_qsl(urlsplit(url).query))["speech_model"] == used


def test_every_field_that_is_honoured_is_in_the_address() -> None:
    asked = {
        "hints": ["Offhook", ""],
        "keyterms": ["Telnyx"],
        "speech_context": [{"phrases": ["dial plan"], "boost": 5.0}],
        "keywords_boosting": {"SIP": 2.0},
        "profanity_filter": True,
        "enable_speaker_diarization": True,
        "max_speaker_count": 3,
        "utterance_end_ms": 900,
        "enable_endpoint_detection": True,
        "max_endpoint_delay_ms": 700,
        "smart_format": True,
    }
    assert asked.keys() == PARAMETERS
    got = query(parameters=asked)
    assert json.loads(got["keyterms_prompt"]) == ["dial plan", "SIP", "Offhook", "Telnyx"]
    assert (got["filter_profanity"], got["speaker_labels"], got["max_speakers"]) == ("true", "true", "3")
    assert got["max_turn_silence"] == "700"


def test_more_words_than_the_service_takes_are_cut_to_the_most_wanted() -> None:
    boosted = {f"word{n}": float(n) for n in range(150)}
    terms = json.loads(
        query(parameters={"keywords_boosting": boosted, "hints": ["x" * 51]})["keyterms_prompt"]
    )
    assert len(terms) == 100
    assert terms[0] == "word149"


def test_text_without_format_is_for_the_models_that_can() -> None:
    asked = {"smart_format": False}
    assert "format_turns" not in query(model="universal-streaming-english", parameters=asked)
    assert query(model="universal-streaming-english")["format_turns"] == "true"
    with pytest.raises(ParameterUnsupported, match="always formats") as refused:
        dialect(parameters=asked)
    assert refused.value.parameter == "smart_format"


@pytest.mark.parametrize(
    ("model", "language", "codes"),
    [
        ("", "de-AT", '["de"]'),
        ("", "auto", None),
        ("", "auto_detect", None),
        ("u3-rt-pro", "es", '["es"]'),
        ("whisper-rt", "ko", None),
        ("universal-streaming-english", "en-US", None),
        ("universal-streaming-multilingual", "fr", None),
    ],
)
def test_a_language_is_told_to_the_models_that_can_be_told(
    model: str, language: str, codes: str | None
) -> None:
    assert query(model=model, language=language).get("language_codes") == codes


@pytest.mark.parametrize(("model", "language"), [("", "ko"), ("universal-streaming-english", "de")])
def test_a_language_that_the_model_does_not_know_is_refused(model: str, language: str) -> None:
    with pytest.raises(LanguageUnsupported, match="knows"):
        dialect(model=model, language=language)


def test_audio_messages_are_never_shorter_or_longer_than_the_service_takes() -> None:
    speaks = dialect()
    assert speaks.audio(bytes(40 * MS)) == []
    assert [len(message) for message in speaks.audio(bytes(40 * MS))] == [80 * MS]
    long = speaks.audio(bytes(2_030 * MS))
    assert [len(message) // MS for message in long] == [1000, 1000]
    last, end = speaks.finish()
    assert len(last) == 50 * MS
    assert json.loads(end) == {"type": "Terminate"}
    assert [json.loads(message) for message in speaks.finish()] == [{"type": "Terminate"}]


def test_the_wishes_of_the_session_are_messages() -> None:
    speaks = dialect()
    assert speaks.opening() == ()
    assert [json.loads(message) for message in speaks.keep_alive()] == [{"type": "KeepAlive"}]
    assert [json.loads(message) for message in speaks.flush()] == [{"type": "ForceEndpoint"}]


def test_a_turn_of_the_pro_models_ends_with_its_formatted_text() -> None:
    told = hear(
        dialect(),
        '{"type": "Begin", "id": "x", "expires_at": 1759796682}',
        '{"type": "SpeechStarted", "timestamp": 40, "confidence": 0.9}',
        turn(0, "my name is\u2014"),
        turn(0, "My name is Sonny.", end=True, formatted=True),
    )
    word = Word("My", 0, 80, 0.9)
    assert told[:2] == [Ready(), Speaking(40)]
    partial, final, settled = told[2:]
    assert isinstance(partial, Said)
    assert isinstance(final, Said)
    assert (partial.text, partial.final, partial.utterance_end) == ("my name is\u2014", False, False)
    assert (final.text, final.final, final.start_ms, final.end_ms) == ("My name is Sonny.", True, 0, 380)
    assert final.confidence == pytest.approx(0.9)
    assert final.words[0] == word
    assert settled == Settled(380)


def test_a_word_that_may_still_change_is_in_a_partial() -> None:
    words = [
        {"text": "hi", "start": 10, "end": 20, "confidence": 0.8, "word_is_final": True},
        {"text": "my", "start": 30, "end": 40, "confidence": 0.8, "word_is_final": False},
    ]
    (said,) = hear(dialect(model="universal-streaming-english"), turn(0, "hi", words=words))
    assert isinstance(said, Said)
    assert (said.text, said.start_ms, said.end_ms) == ("hi my", 10, 40)


def test_a_final_that_comes_twice_is_told_once_and_formatted() -> None:
    speaks = dialect(model="universal-streaming-english")
    first = hear(speaks, turn(0, "hi my name", end=True))
    assert finals(first) == []
    assert [event.text for event in first if isinstance(event, Said)] == ["hi my name"]
    assert hear(speaks, turn(0, "hi my name")) == []
    assert finals(hear(speaks, turn(0, "Hi, my name.", end=True, formatted=True))) == ["Hi, my name."]
    assert hear(speaks, turn(0, "Hi, my name.", end=True, formatted=True)) == []


@pytest.mark.parametrize(
    "next_message",
    [
        turn(1, "next"),
        '{"type": "Termination", "audio_duration_seconds": 1}',
        '{"type": "Error", "error_code": 3005, "error": "x"}',
    ],
)
def test_a_final_whose_formatted_text_never_comes_is_told_as_it_is(next_message: str) -> None:
    speaks = dialect(model="universal-streaming-multilingual")
    hear(speaks, turn(0, "hi my name", end=True))
    assert finals(hear(speaks, next_message)) == ["hi my name"]


def test_unformatted_text_is_final_at_once_where_the_app_wants_no_format() -> None:
    speaks = dialect(model="universal-streaming-english", parameters={"smart_format": False})
    assert finals(hear(speaks, turn(0, "hi", end=True))) == ["hi"]


def test_speakers_and_language_are_passed_on() -> None:
    words = [{"text": "Hola", "start": 0, "end": 90, "confidence": 1, "speaker": "B"}]
    said, _ = hear(dialect(), turn(3, "Hola", end=True, formatted=True, words=words, language_code="es"))
    assert isinstance(said, Said)
    assert said.words == (Word("Hola", 0, 90, 1.0, "B"),)
    assert said.language == "es"


def test_a_turn_without_words_only_ends() -> None:
    assert hear(dialect(), turn(0, "", end=True, formatted=True)) == [Said("", True, 0, 0)]


def test_the_end_is_told_after_the_last_words() -> None:
    assert hear(dialect(), '{"type": "Termination"}') == [Done()]


def test_messages_about_other_things_say_nothing() -> None:
    for kind in ("Warning", "Heartbeat", "Silence", "SpeakerRevision", "LLMGatewayResponse", "New"):
        assert hear(dialect(), json.dumps({"type": kind})) == []


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "nonsense",
        "[" * 5_000,
        b"\xff\xfe",
        b"\x00",
        "{}",
        '{"type": 3}',
        '{"type": "Turn"}',
        '{"type": "Turn", "turn_order": -1}',
        '{"type": "Turn", "turn_order": "0"}',
        '{"type": "SpeechStarted", "timestamp": 1e400}',
        '{"type": "SpeechStarted", "timestamp": -4}',
        7,
        None,
    ],
)
def test_what_cannot_be_read_is_counted_and_forgotten(message: Any) -> None:
    assert list(dialect().receive(message)) == [Unreadable()]


def test_words_that_make_no_sense_are_left_out() -> None:
    words = [
        "word",
        {"text": "a", "start": "1", "end": 2},
        {"text": 5, "start": 1, "end": 2},
        {"text": "b", "start": float(10), "end": 2, "confidence": 7, "speaker": 3},
    ]
    said, _ = hear(dialect(), turn(0, "a b", end=True, formatted=True, words=words))
    assert isinstance(said, Said)
    assert said.words == (Word("b", 10, 10),)
    assert said.confidence is None


@pytest.mark.parametrize(
    ("code", "retry", "waits"),
    [
        (3005, True, False),
        (3006, False, False),
        (3007, True, False),
        (3008, True, False),
        (3009, True, True),
        (1008, False, False),
        (1013, True, True),
        (4001, False, False),
        (4002, False, False),
        (4003, False, False),
        (4029, True, True),
        (4031, True, False),
        (4101, False, False),
        (4102, True, True),
        (4103, True, False),
        (1006, True, False),
        (1000, True, False),
    ],
)
def test_errors_and_close_codes_say_whether_another_connection_helps(
    code: int, retry: bool, waits: bool
) -> None:
    speaks = dialect()
    (error,) = hear(speaks, json.dumps({"type": "Error", "error_code": code, "error": "the-key said hello"}))
    assert isinstance(error, Trouble)
    assert error == speaks.closed(code, "the-key said hello")
    assert (error.retry, error.retry_after_s > 0) == (retry, waits)
    assert "hello" not in error.reason
    assert "the-key" not in error.reason


def test_a_policy_violation_may_mean_too_many_sessions() -> None:
    assert dialect().closed(1008, "Unauthorized Connection: Too many concurrent sessions").retry


@pytest.mark.parametrize("code", ["3006", None, [], 1e9, True])
def test_an_error_with_a_strange_code_is_still_trouble(code: Any) -> None:
    (error,) = hear(dialect(), json.dumps({"error": "x", "error_code": code}))
    assert isinstance(error, Trouble)


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (0, True),
        (400, False),
        (401, False),
        (402, False),
        (403, False),
        (404, False),
        (429, True),
        (503, True),
    ],
)
def test_a_refused_handshake_says_whether_another_helps(status: int, retry: bool) -> None:
    assert dialect().refused(status, b"the-key").retry is retry
