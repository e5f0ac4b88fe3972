"""What Azure is asked, what is sent to it, and what its messages mean."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from offhook.base import limits
from offhook.edge.http import languages
from offhook.edge.speech.protocol import (
    LanguageUnsupported,
    ParameterUnsupported,
    SpeechConfig,
    SpeechUnavailable,
    Word,
)
from offhook.edge.speech.vendors import locales
from offhook.edge.speech.vendors.azure import ENGINE, AzureDialect, AzureEngine
from offhook.edge.speech.vendors.azure_request import AzureRequest
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

OPTIONS = {"api_key": "k1", "region": "westeurope", "keys": {"second": "k2"}}
SECOND = b"\1\0" * 8000


def config(language: str = "en", options: dict[str, Any] | None = None, **parameters: Any) -> SpeechConfig:
    chosen = OPTIONS if options is None else options
    return SpeechConfig(language=language, parameters=parameters, options=chosen)


def dialect(language: str = "en", **parameters: Any) -> AzureDialect:
    counter = iter(range(1, 1000))
    return AzureDialect(
        config(language, **parameters),
        random=lambda size: next(counter).to_bytes(size),
        unix_time=lambda: 1_700_000_000.5,
    )


def opened(**parameters: Any) -> AzureDialect:
    made = dialect(**parameters)
    made.opening()
    return made


def parts(message: str | bytes) -> tuple[dict[str, str], Any]:
    """Return headers and body of one of our messages."""
    if isinstance(message, str):
        head, _, body = message.partition("\r\n\r\n")
    else:
        size = int.from_bytes(message[:2])
        head, body = message[2 : 2 + size].decode(), message[2 + size :]
    return dict(line.split(":", 1) for line in head.split("\r\n") if line), body


def says(made: AzureDialect, path: str, body: Any, *, rid: str | None = None) -> list[VendorEvent]:
    request = made._request_id if rid is None else rid
    text = body if isinstance(body, str) else json.dumps(body)
    return list(made.receive(f"X-RequestId:{request}\r\nPath:{path}\r\n\r\n{text}"))


def phrase(start_ms: int, end_ms: int, **fields: Any) -> dict[str, Any]:
    span = {"Offset": start_ms * 10_000, "Duration": (end_ms - start_ms) * 10_000}
    return {"RecognitionStatus": "Success", **span, **fields}


def test_the_address_names_region_language_and_detail_and_the_key_is_a_header() -> None:
    dial = dialect("de", region="eastus").dial()
    url = urlsplit(dial.url)
    assert url.scheme == "wss"
    assert url.netloc == "eastus.stt.speech.microsoft.com"
    assert url.path == "/speech/recognition/conversation/cognitiveservices/v1"
    assert parse_qs(url.query) == {
        "language": ["de-DE"],
        "format": ["detailed"],
        "wordLevelTimestamps": ["true"],
        "wordLevelConfidence": ["true"],
    }
    assert dial.headers == (("Ocp-Apim-Subscription-Key", "k1"), ("X-ConnectionId", f"{1:032x}"))
    assert dial.subprotocols == ("USP",)
    assert "k1" not in repr(dial)


def test_a_request_may_name_one_of_the_operators_keys() -> None:
    assert AzureRequest.of(config(api_key_ref="second")).key == "k2"


def test_a_key_that_is_not_there_is_refused_by_the_fields_name_and_never_repeated() -> None:
    with pytest.raises(ParameterUnsupported) as refused:
        AzureRequest.of(config(api_key_ref="sk-secret"))
    assert refused.value.parameter == "api_key_ref"
    assert "sk-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:5000/", "ws://127.0.0.1:5000/speech/recognition/"),
        (
            "wss://x.cognitiveservices.azure.com/stt",
            "wss://x.cognitiveservices.azure.com/stt/speech/recognition/",
        ),
        ("wss://{region}.stt.speech.azure.cn", "wss://westeurope.stt.speech.azure.cn/speech/recognition/"),
    ],
)
def test_another_address_takes_the_place_of_the_public_one(url: str, expected: str) -> None:
    assert AzureRequest.of(config(options={**OPTIONS, "url": url})).url.startswith(expected)


@pytest.mark.parametrize("options", [{"region": "eastus"}, {"api_key": "k"}])
def test_without_a_key_or_a_region_the_text_says_what_to_set(options: dict[str, Any]) -> None:
    with pytest.raises(SpeechUnavailable, match=r"set azure\.(api_key|region)"):
        AzureRequest.of(config(options=options))


def test_a_region_can_never_lead_to_another_host() -> None:
    with pytest.raises(ParameterUnsupported) as refused:
        AzureRequest.of(config(region="evil.example/"))
    assert refused.value.parameter == "region"


async def test_the_engine_needs_any_key() -> None:
    with pytest.raises(SpeechUnavailable):
        await AzureEngine().ensure_available({})
    await AzureEngine().ensure_available({"keys": {"a": "b"}})


def test_a_field_of_another_engine_is_refused_by_name() -> None:
    with pytest.raises(ParameterUnsupported) as refused:
        ENGINE.check(config(enable_speaker_diarization=True))
    assert refused.value.parameter == "enable_speaker_diarization"


def test_a_language_to_be_found_out_takes_the_address_that_can() -> None:
    request = AzureRequest.of(config("auto", {**OPTIONS, "auto_languages": ["en", "de-AT"]}))
    assert request.url == "wss://westeurope.stt.speech.microsoft.com/speech/universal/v2"
    assert request.context["languageId"]["languages"] == ["en-US", "de-AT"]
    assert "language" not in request.context["phraseDetection"]


def test_the_context_holds_silence_hints_and_profanity() -> None:
    context = AzureRequest.of(
        config(
            hints=["Offhook"],
            keyterms=["PCMU"],
            speech_context=[{"phrases": ["leg"], "boost": 1.0}],
            profanity_filter=True,
        )
    ).context
    assert context["phraseDetection"] == {
        "mode": "CONVERSATION",
        "CONVERSATION": {"segmentation": {"mode": "Custom", "segmentationSilenceTimeoutMs": 500}},
        "enrichment": {"profanity": "masked"},
        "language": "en-US",
    }
    items = [{"Text": text} for text in ("Offhook", "PCMU", "leg")]
    assert context["dgi"] == {"Groups": [{"Type": "Generic", "Items": items}], "bias": 1.0}
    assert context["phraseOutput"]["detailed"]["options"] == ["WordTimings", "WordConfidence"]


def test_hints_beyond_what_azure_takes_are_left_out() -> None:
    context = AzureRequest.of(config(hints=[f"w{n}" for n in range(limits.AZURE_PHRASES_MAX + 1)])).context
    assert len(context["dgi"]["Groups"][0]["Items"]) == limits.AZURE_PHRASES_MAX


def test_the_silence_that_ends_an_utterance_may_be_asked_for() -> None:
    context = AzureRequest.of(config(utterance_end_ms=900)).context
    segmentation = context["phraseDetection"]["CONVERSATION"]["segmentation"]
    assert segmentation["segmentationSilenceTimeoutMs"] == 900


def test_every_language_of_the_api_has_a_locale() -> None:
    for code in languages.AZURE.values():
        assert code in locales.AUTO or locales.locale(code, locales.AZURE, "azure")
    for code in languages.GOOGLE.values():
        assert locales.locale(code, locales.GOOGLE, "google").lower().startswith(("cmn", code.lower()))


@pytest.mark.parametrize(
    ("asked", "azure", "google"),
    [
        ("en_gb", "en-gb", "en-gb"),
        ("no-NO", "nb-NO", "no-NO"),
        ("zh", "zh-CN", "cmn-Hans-CN"),
        ("tl", "fil-PH", "fil-PH"),
    ],
)
def test_a_place_that_was_asked_for_stays(asked: str, azure: str, google: str) -> None:
    assert locales.locale(asked, locales.AZURE, "azure") == azure
    assert locales.locale(asked, locales.GOOGLE, "google") == google


@pytest.mark.parametrize("asked", ["tlh", "en-../..", "en&x=1", "klingonese" * 9])
def test_a_language_that_is_none_is_refused(asked: str) -> None:
    with pytest.raises(LanguageUnsupported) as refused:
        locales.locale(asked, locales.AZURE, "azure")
    assert len(str(refused.value)) < 100


def test_a_connection_opens_with_who_we_are_the_context_and_a_header_of_endless_audio() -> None:
    first, second, third = dialect().opening()
    headers, body = parts(first)
    assert headers == {
        "X-Timestamp": "2023-11-14T22:13:20.500Z",
        "Path": "speech.config",
        "Content-Type": "application/json",
    }
    assert json.loads(body)["context"]["system"]["name"] == "Offhook"
    headers, body = parts(second)
    assert headers["Path"] == "speech.context"
    assert json.loads(body)["phraseDetection"]["language"] == "en-US"
    audio, header = parts(third)
    assert audio["Path"] == "audio"
    assert audio["X-RequestId"] == headers["X-RequestId"]
    assert header[:4] == b"RIFF"
    assert len(header) == 44
    assert int.from_bytes(header[24:28], "little") == 8000


def test_audio_goes_in_short_messages_of_the_turn() -> None:
    made = opened()
    messages = made.audio(SECOND)
    assert b"".join(parts(message)[1] for message in messages) == SECOND
    assert all(parts(message)[0]["X-RequestId"] == made._request_id for message in messages)
    assert max(len(message) for message in messages) < 8_200


def test_the_end_is_an_empty_audio_message_and_the_end_of_the_turn_answers_it() -> None:
    made = opened()
    made.audio(SECOND)
    (end,) = made.finish()
    assert parts(end)[1] == b""
    assert says(made, "turn.end", {}) == [Done()]


def test_a_phrase_is_a_final_with_its_words() -> None:
    made = opened()
    made.audio(SECOND)
    words = [
        {"Word": "hello", "Offset": 1_000_000, "Duration": 2_000_000, "Confidence": 0.5},
        {"Word": "there", "Offset": 3_000_000, "Duration": 2_000_000, "Confidence": 2},
    ]
    best = {"Confidence": 0.9, "Lexical": "hello there", "Display": "Hello there.", "Words": words}
    assert says(made, "speech.phrase", phrase(100, 500, DisplayText="Hello there.", NBest=[best])) == [
        Said(
            "Hello there.",
            final=True,
            start_ms=100,
            end_ms=500,
            confidence=0.9,
            words=(Word("hello", 100, 300, 0.5), Word("there", 300, 500, None)),
        )
    ]


def test_words_are_told_as_they_are_shown_unless_they_are_wanted_as_spoken() -> None:
    best = {
        "Lexical": "hello there",
        "Display": "Hello, there.",
        "Words": [{"Word": "hello", "Confidence": 0.5}, {"Word": "there", "Confidence": 0.6}],
        "DisplayWords": [{"DisplayText": "Hello,"}, {"DisplayText": "there."}],
    }
    (said,) = says(opened(), "speech.phrase", phrase(0, 0, NBest=[best]))
    assert isinstance(said, Said)
    assert [(word.text, word.confidence) for word in said.words] == [("Hello,", 0.5), ("there.", 0.6)]
    (said,) = says(opened(smart_format=False), "speech.phrase", phrase(0, 0, NBest=[best]))
    assert isinstance(said, Said)
    assert said.text == "hello there"
    assert [word.text for word in said.words] == ["hello", "there"]


def test_times_are_right_after_an_hour() -> None:
    (said,) = says(
        opened(), "speech.hypothesis", {"Text": "late", "Offset": 36_000_000_000, "Duration": 10_000}
    )
    assert said == Said("late", False, 3_600_000, 3_600_001, utterance_end=False)


def test_a_hypothesis_is_a_partial_in_the_language_that_was_found() -> None:
    body = {
        "Text": "hallo",
        "Offset": 1_000_000,
        "Duration": 1_000_000,
        "PrimaryLanguage": {"Language": "de-DE"},
    }
    made = opened()
    made.audio(SECOND)
    assert says(made, "speech.hypothesis", body) == [
        Said("hallo", False, 100, 200, language="de-DE", utterance_end=False)
    ]
    assert says(made, "speech.startDetected", {"Offset": 1_230_000}) == [Speaking(123)]
    assert says(made, "turn.start", {"context": {"serviceTag": "t"}}) == [Ready()]
    assert says(made, "speech.endDetected", {"Offset": 9}) == []


@pytest.mark.parametrize("status", ["NoMatch", "InitialSilenceTimeout", "BabbleTimeout", "EndOfDictation"])
def test_audio_without_words_is_settled(status: str) -> None:
    made = opened()
    made.audio(SECOND)
    ended, settled = says(made, "speech.phrase", {**phrase(100, 900), "RecognitionStatus": status})
    assert ended == Said("", final=True, start_ms=100, end_ms=900)
    assert settled == Settled(900)


@pytest.mark.parametrize(
    ("status", "retry"),
    [("TooManyRequests", True), ("Error", True), ("Forbidden", False), ("BadRequest", False), (None, True)],
)
def test_other_statuses_are_trouble(status: str | None, retry: bool) -> None:
    (trouble,) = says(opened(), "speech.phrase", {"RecognitionStatus": status})
    assert isinstance(trouble, Trouble)
    assert trouble.retry is retry


def test_a_new_turn_begins_with_what_the_last_one_left_unfinished() -> None:
    made = opened()
    says(made, "turn.start", {"context": {"serviceTag": "tag"}})
    made.audio(SECOND)
    says(made, "speech.phrase", phrase(0, 400, NBest=[{"Display": "One."}]))
    before = made._request_id
    assert says(made, "turn.end", {}) == []
    context, header, *audio = made.audio(SECOND)
    headers, body = parts(context)
    assert headers["X-RequestId"] == made._request_id != before
    assert json.loads(body)["continuation"] == {
        "previousServiceTag": "tag",
        "audio": {"streams": {"1": {"offset": "4000000"}}},
    }
    assert parts(header)[1][:4] == b"RIFF"
    assert sum(len(parts(message)[1]) for message in audio) == len(SECOND) * 16 // 10
    (said,) = says(made, "speech.phrase", phrase(100, 300, NBest=[{"Display": "Two."}]))
    assert isinstance(said, Said)
    assert (said.start_ms, said.end_ms) == (500, 700)
    assert says(made, "speech.phrase", phrase(0, 400), rid=before) == [], "the last turn is over"


def test_what_a_turn_left_over_is_sent_before_the_end() -> None:
    made = opened()
    made.audio(SECOND)
    says(made, "turn.end", {})
    messages = made.finish()
    assert sum(len(parts(message)[1]) for message in messages[2:-1]) == len(SECOND)
    assert parts(messages[-1])[1] == b""


def test_audio_is_kept_for_another_turn_only_so_long() -> None:
    made = opened()
    for _ in range(limits.SPEECH_REPLAY_MS // 1000 + 5):
        made.audio(SECOND)
    assert len(made._kept) == limits.SPEECH_REPLAY_MS * 16
    assert made._kept_from_ms == 5000


def test_silence_ends_an_utterance_or_keeps_the_connection_and_moves_no_time() -> None:
    made = opened()
    made.audio(SECOND)
    silence = sum(len(parts(message)[1]) for message in made.flush()) // 16
    assert silence > 500, "more than ends an utterance"
    silence += sum(len(parts(message)[1]) for message in made.keep_alive()) // 16
    made.audio(SECOND)
    (said,) = says(made, "speech.phrase", phrase(900, 1000 + silence + 100, NBest=[{"Display": "A."}]))
    assert isinstance(said, Said)
    assert (said.start_ms, said.end_ms) == (900, 1100)


@pytest.mark.parametrize(
    ("status", "retry"),
    [
        (0, True),
        (500, True),
        (503, True),
        (429, True),
        (408, True),
        (401, False),
        (403, False),
        (400, False),
        (404, False),
        (302, False),
    ],
)
def test_a_refusal_is_tried_again_only_where_that_may_help(status: int, retry: bool) -> None:
    assert dialect().refused(status, b"key k1 is wrong").retry is retry
    assert "k1" not in dialect().refused(status, b"key k1 is wrong").reason


@pytest.mark.parametrize(
    ("code", "retry"), [(1000, True), (1006, True), (1011, True), (1002, False), (1007, False)]
)
def test_a_close_is_answered_by_another_connection_unless_we_are_to_blame(code: int, retry: bool) -> None:
    assert dialect().closed(code, "secret k1").retry is retry


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x01audio",
        "",
        "no headers at all",
        "Path:speech.phrase\r\n\r\n{",
        "Path:speech.phrase\r\n\r\n[1]",
        "Path:speech.phrase\r\n\r\n" + "[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_counted_and_forgotten(message: str | bytes) -> None:
    assert opened().receive(message) == [Unreadable()]


@pytest.mark.parametrize("value", [None, "x", -1, 1e400, float("nan"), True, [], {}, 10**30])
def test_wrong_values_in_a_phrase_harm_nobody(value: Any) -> None:
    made = opened()
    body = {"RecognitionStatus": "Success", "Offset": value, "Duration": value, "DisplayText": value}
    for best in (value, [value], [{"Display": value, "Confidence": value, "Words": value}]):
        for words in (value, [value], [{"Word": value, "Offset": value, "Duration": value}]):
            extended = [{"Words": words, "DisplayWords": words}] if best is value else best
            for said in says(made, "speech.phrase", {**body, "NBest": extended, "PrimaryLanguage": value}):
                assert isinstance(said, Said)
                assert said.start_ms >= 0
    assert says(made, "speech.hypothesis", {"Text": value, "Offset": value}) in (
        [],
        [Said("x", False, 0, 0, utterance_end=False)],
    )
