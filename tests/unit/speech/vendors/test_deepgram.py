"""What Deepgram is asked for, and what is made of what it says."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from offhook.edge.speech.protocol import LanguageUnsupported, ParameterUnsupported, SpeechConfig, Word
from offhook.edge.speech.vendors.deepgram import ENGINE, make_dialect
from offhook.edge.speech.vendors.dialect import Done, Ready, Said, Settled, Speaking, Trouble, Unreadable
from tests.fakes.vendors.deepgram import fault

pytestmark = pytest.mark.unit

OPTIONS = {"api_key": "secret"}


def asked(model: str | None = "deepgram/nova-3", language: str = "en", **parameters: Any) -> SpeechConfig:
    return SpeechConfig(
        language=language, api_name="Deepgram", model=model, parameters=parameters, options=OPTIONS
    )


def query(config: SpeechConfig) -> dict[str, list[str]]:
    """Return the query of the address; the service must accept it."""
    ENGINE.check(config)
    url = urlsplit(make_dialect(config).dial().url)
    assert fault(Request(f"{url.path}?{url.query}", Headers())) is None
    result: dict[str, list[str]] = {}
    for name, value in parse_qsl(url.query, strict_parsing=True):
        result.setdefault(name, []).append(value)
    return result


def receive(dialect_of: SpeechConfig, *messages: Any) -> list[Any]:
    dialect = make_dialect(dialect_of)
    return [event for message in messages for event in dialect.receive(message)]


def test_the_key_is_in_a_header_and_in_no_address_or_repr() -> None:
    dial = make_dialect(asked()).dial()
    assert dial.headers == (("Authorization", "Token secret"),)
    assert "secret" not in dial.url
    assert "secret" not in repr(dial)


def test_audio_is_asked_for_as_it_will_come() -> None:
    assert query(asked()) == {
        "model": ["nova-3"],
        "language": ["en"],
        "encoding": ["linear16"],
        "sample_rate": ["8000"],
        "channels": ["1"],
        "interim_results": ["true"],
        "vad_events": ["true"],
        "endpointing": ["500"],
        "smart_format": ["true"],
        "utterance_end_ms": ["1000"],
    }


@pytest.mark.parametrize(
    ("model", "options", "path", "used"),
    [
        ("deepgram/nova-2", {}, "/v1/listen", "nova-2"),
        ("deepgram/nova-2-phonecall", {}, "/v1/listen", "nova-2-phonecall"),
        ("deepgram/nova-3-medical", {}, "/v1/listen", "nova-3-medical"),
        ("deepgram/flux", {}, "/v2/listen", "flux-general-en"),
        ("deepgram/flux-multi", {}, "/v2/listen", "flux-general-multi"),
        ("phone_call", {}, "/v1/listen", "nova-3"),
        ("openai/whisper-tiny", {"model": "nova-2"}, "/v1/listen", "nova-2"),
        (None, {"model": "flux"}, "/v2/listen", "flux-general-en"),
    ],
)
def test_the_model_is_the_apps_or_the_operators(
    model: str | None, options: dict[str, str], path: str, used: str
) -> None:
    url = urlsplit(make_dialect(SpeechConfig(model=model, options=OPTIONS | options)).dial().url)
    assert url.path == path
    assert dict(parse_qsl(url.query))["model"] == used


def test_a_private_deployment_is_asked_at_its_own_address() -> None:
    config = SpeechConfig(options=OPTIONS | {"url": "ws://10.0.0.1:8080/"})
    assert make_dialect(config).dial().url.startswith("ws://10.0.0.1:8080/v1/listen?")


@pytest.mark.parametrize(
    ("model", "language", "sent"),
    [
        ("nova-3", "auto_detect", "multi"),
        ("nova-2", "auto", "multi"),
        ("nova-3", "en-US", "en-US"),
        ("nova-3", "en_gb", "en-GB"),
        ("nova-3", "de-AT", "de"),
        ("nova-2", "zh-hant", "zh-Hant"),
        ("nova-3", "es-419", "es-419"),
        ("nova-3", "he", "he"),
    ],
)
def test_languages_are_sent_as_the_model_knows_them(model: str, language: str, sent: str) -> None:
    assert query(asked(f"deepgram/{model}", language))["language"] == [sent]


@pytest.mark.parametrize(
    ("model", "language"), [("nova-2", "he"), ("nova-3", "xx"), ("flux", "de"), ("flux-multi", "pl")]
)
def test_a_language_that_the_model_does_not_know_is_refused(model: str, language: str) -> None:
    with pytest.raises(LanguageUnsupported):
        ENGINE.check(asked(f"deepgram/{model}", language))


def test_flux_of_many_languages_is_given_a_hint_or_none() -> None:
    assert query(asked("deepgram/flux-multi", "de-DE"))["language_hint"] == ["de"]
    assert "language_hint" not in query(asked("deepgram/flux-multi", "auto_detect"))
    assert "language_hint" not in query(asked("deepgram/flux-multi", "multi"))


def test_expected_words_go_as_each_model_takes_them() -> None:
    words = {"hints": ["Offhook"], "keywords_boosting": {"Zaphod": 2.5, "two words": 3.0}}
    assert query(asked("deepgram/nova-2", **words))["keywords"] == ["Zaphod:2.5", "Offhook:1"]
    assert query(asked("deepgram/nova-3", **words))["keyterm"] == ["two words", "Zaphod", "Offhook"]
    assert query(asked("deepgram/flux", keyterms=["Magrathea"]))["keyterm"] == ["Magrathea"]


def test_more_words_than_the_service_takes_are_left_out() -> None:
    terms = query(asked(keyterms=[f"{number:03}" + "x" * 97 for number in range(100)]))["keyterm"]
    assert terms == [f"{number:03}" + "x" * 97 for number in range(15)]


def test_formatting_and_diarization_are_honoured() -> None:
    wanted = query(
        asked(smart_format=False, numerals=True, enable_speaker_diarization=True, profanity_filter=True)
    )
    assert wanted["smart_format"] == ["false"]
    assert wanted["numerals"] == ["true"]
    assert wanted["profanity_filter"] == ["true"]
    assert wanted["diarize_model"] == ["latest"]


def test_the_end_of_utterances_is_as_asked() -> None:
    assert query(asked(utterance_end_ms=2500))["utterance_end_ms"] == ["2500"]
    assert "utterance_end_ms" not in query(asked(utterance_end_ms=0))
    soniox = query(asked(enable_endpoint_detection=True, max_endpoint_delay_ms=1500))
    assert soniox["endpointing"] == ["1500"]


def test_turns_of_flux_end_as_asked() -> None:
    wanted = query(
        asked("deepgram/flux", eot_threshold=0.8, eager_eot_threshold=0.4, eot_timeout_ms=3000, numerals=True)
    )
    assert wanted == {
        "model": ["flux-general-en"],
        "encoding": ["linear16"],
        "sample_rate": ["8000"],
        "eot_threshold": ["0.8"],
        "eager_eot_threshold": ["0.4"],
        "eot_timeout_ms": ["3000"],
        "numerals": ["true"],
    }


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        ("nova-3", "eot_threshold", 0.8),
        ("nova-3", "eager_eot_threshold", 0.4),
        ("nova-2", "eot_timeout_ms", 3000),
        ("flux", "utterance_end_ms", 2000),
        ("flux", "enable_speaker_diarization", True),
        ("flux", "smart_format", False),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(model: str, name: str, value: Any) -> None:
    with pytest.raises(ParameterUnsupported) as refusal:
        ENGINE.check(asked(f"deepgram/{model}", **{name: value}))
    assert refusal.value.parameter == name


def test_a_number_of_speakers_is_refused_by_name() -> None:
    with pytest.raises(ParameterUnsupported) as refusal:
        ENGINE.check(asked(enable_speaker_diarization=True, max_speaker_count=3))
    assert refusal.value.parameter == "max_speaker_count"


def results(text: str, *, start: float = 0.0, duration: float = 1.0, **more: Any) -> str:
    words = [
        {"word": word.lower(), "punctuated_word": word, "start": start, "end": start + 0.4, "confidence": 0.8}
        for word in text.split()
    ]
    alternative = {"transcript": text, "confidence": 0.9, "words": words}
    return json.dumps(
        {
            "type": "Results",
            "start": start,
            "duration": duration,
            "channel": {"alternatives": [alternative]},
            **more,
        }
    )


def test_an_utterance_of_two_pieces_ends_with_the_second() -> None:
    events = receive(
        asked(),
        results("Hello", is_final=False),
        results("Hello.", is_final=True, speech_final=False),
        results("World.", start=1.0, is_final=True, speech_final=True),
    )
    word = Word("Hello.", 0, 400, 0.8)
    assert events[0] == Said("Hello", False, 0, 400, 0.9, (Word("Hello", 0, 400, 0.8),), utterance_end=False)
    assert events[1] == Said("Hello.", True, 0, 400, 0.9, (word,), utterance_end=False)
    assert events[2] == Settled(1000)
    assert (events[3].text, events[3].start_ms, events[3].utterance_end) == ("World.", 1000, True)
    assert events[4] == Settled(2000)


def test_silence_is_settled_and_says_nothing() -> None:
    assert receive(asked(), results("", start=3.0, is_final=True), results("", is_final=False)) == [
        Settled(4000)
    ]


def test_the_end_of_an_utterance_may_come_by_itself() -> None:
    end = json.dumps({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 2.5})
    events = receive(asked(), end, results("Hello.", is_final=True), end, end)
    assert events[2:] == [Said("", True, 2500, 2500)]
    assert len(events) == 3


def test_a_forced_final_ends_the_utterance() -> None:
    said, _ = receive(asked(), results("Hello.", is_final=True, from_finalize=True))
    assert said.utterance_end
    pieces = receive(
        asked(), results("Hello.", is_final=True), results("", start=1.0, is_final=True, from_finalize=True)
    )
    assert pieces[2].text == ""
    assert pieces[2].utterance_end


def test_speakers_and_languages_are_told() -> None:
    body = json.loads(results("Hello", is_final=True))
    best = body["channel"]["alternatives"][0]
    best["words"][0]["speaker"] = 1
    best["languages"] = ["de", "en"]
    said, _ = receive(asked(), json.dumps(body))
    assert said.language == "de"
    assert said.words[0].speaker == "1"


def test_speech_and_the_end_of_the_session_are_told() -> None:
    assert receive(asked(), json.dumps({"type": "SpeechStarted", "timestamp": 1.25})) == [Speaking(1250)]
    assert receive(asked(), json.dumps({"type": "Metadata", "duration": 1.0})) == [Done()]


def turn(event: str, text: str, **more: Any) -> str:
    words = [{"word": word, "start": 0.5, "end": 0.9, "confidence": 0.8} for word in text.split()]
    return json.dumps(
        {
            "type": "TurnInfo",
            "event": event,
            "turn_index": 0,
            "audio_window_start": 0.2,
            "audio_window_end": 1.4,
            "transcript": text,
            "words": words,
            **more,
        }
    )


def test_a_turn_of_flux_is_an_utterance() -> None:
    events = receive(
        asked("deepgram/flux"),
        json.dumps({"type": "Connected", "request_id": "r", "sequence_id": 0}),
        turn("Update", ""),
        turn("StartOfTurn", "Hello"),
        turn("EagerEndOfTurn", "Hello there"),
        turn("TurnResumed", "Hello there"),
        turn("EndOfTurn", "Hello there."),
    )
    assert events[:2] == [Ready(), Speaking(500)]
    assert [(e.text, e.final) for e in events if isinstance(e, Said)] == [
        ("Hello", False),
        ("Hello there", False),
        ("Hello there", False),
        ("Hello there.", True),
    ]
    assert (events[-2].start_ms, events[-2].end_ms, events[-2].confidence) == (500, 900, 0.8)
    assert events[-1] == Settled(1400)


def test_a_turn_without_times_of_words_has_those_of_its_audio() -> None:
    body = json.loads(turn("EndOfTurn", "Hello"))
    body["words"] = [{"word": "Hello", "confidence": 0.7}]
    said, _ = receive(asked("deepgram/flux"), json.dumps(body))
    assert (said.start_ms, said.end_ms, said.confidence, said.words) == (200, 1400, 0.7, ())


def test_what_is_sent_is_what_each_version_knows() -> None:
    nova, flux = make_dialect(asked()), make_dialect(asked("deepgram/flux"))
    assert nova.keep_alive() == ('{"type": "KeepAlive"}',)
    assert nova.flush() == ('{"type": "Finalize"}',)
    assert nova.finish() == ('{"type": "CloseStream"}',)
    # The second version knows no KeepAlive: the session sends silence.
    assert flux.keep_alive() == ()
    assert flux.flush() == ('{"type": "ForceEndTurn"}',)
    assert flux.finish() == ('{"type": "ForceEndTurn"}', '{"type": "CloseStream"}')
    # An empty message would end the session.
    assert nova.audio(b"") == flux.audio(b"") == ()
    assert nova.opening() == flux.opening() == ()


@pytest.mark.parametrize("model", ["nova-3", "flux"])
@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (0, True),
        (400, False),
        (401, False),
        (402, False),
        (404, False),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_a_refusal_says_whether_another_try_helps(model: str, status: int, retry: bool) -> None:
    trouble = make_dialect(asked(f"deepgram/{model}")).refused(status, b'{"err_msg": "secret"}')
    assert trouble.retry is retry
    assert "secret" not in trouble.reason


@pytest.mark.parametrize(("code", "retry"), [(1000, True), (1006, True), (1008, False), (1011, True)])
def test_a_close_says_whether_another_try_helps(code: int, retry: bool) -> None:
    for model in ("nova-3", "flux"):
        assert make_dialect(asked(f"deepgram/{model}")).closed(code, "DATA-0000").retry is retry


@pytest.mark.parametrize(
    ("code", "retry"), [("INTERNAL_SERVER_ERROR", True), ("UNPARSABLE_CLIENT_MESSAGE", False)]
)
def test_errors_of_flux_say_whether_another_try_helps(code: str, retry: bool) -> None:
    (trouble,) = receive(asked("deepgram/flux"), json.dumps({"type": "Error", "code": code}))
    assert isinstance(trouble, Trouble)
    assert trouble.retry is retry


@pytest.mark.parametrize("model", ["nova-3", "flux"])
@pytest.mark.parametrize(
    "message",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        b"\xff\xfe",
        '{"type": 5}',
        '{"type": "Results"}',
        '{"type": "TurnInfo"}',
        "[" * 9999,
    ],
)
def test_nonsense_is_unreadable(model: str, message: str | bytes) -> None:
    # A well-formed message of the other version is a kind that is not known yet.
    known = message == ('{"type": "Results"}' if model == "flux" else '{"type": "TurnInfo"}')
    assert receive(asked(f"deepgram/{model}"), message) == ([] if known else [Unreadable()])


def test_without_a_key_nothing_is_offered() -> None:
    with pytest.raises(Exception, match=r"deepgram\.api_key"):
        ENGINE.check(SpeechConfig())
