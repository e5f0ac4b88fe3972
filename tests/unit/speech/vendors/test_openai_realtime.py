"""OpenAI's messages, as its documentation and SDK write them, in both directions."""

import base64
import json
from typing import Any

import pytest

from offhook.base.g711 import mulaw_decode, mulaw_encode
from offhook.base.limits import VENDOR_ITEMS_MAX, VENDOR_ITEMS_WAITING_MAX
from offhook.edge.speech.protocol import SpeechConfig
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
from offhook.edge.speech.vendors.openai_realtime import PARAMETERS, OpenAiDialect, openai_dialect
from tests.fakes.vendors.talk import chunks, say, silence

pytestmark = pytest.mark.unit

VAD_MODEL = "gpt-4o-transcribe"


def dialect(model: str = "", **asked: Any) -> OpenAiDialect:
    return openai_dialect(SpeechConfig(options={"api_key": "the-key", "model": model}, **asked))


def session(model: str = "", **asked: Any) -> dict[str, Any]:
    (update,) = dialect(model, **asked).opening()
    body = json.loads(update)
    assert body["type"] == "session.update"
    result: dict[str, Any] = body["session"]
    return result


def transcription(model: str, **asked: Any) -> dict[str, Any]:
    result: dict[str, Any] = session(model, **asked)["audio"]["input"]["transcription"]
    return result


def kinds(messages: Any) -> list[str]:
    return [json.loads(message)["type"].rpartition(".")[2] for message in messages]


def push(speaks: OpenAiDialect, pcm: bytes) -> list[str]:
    """Push audio as a session does; return what is sent beside audio."""
    sent = [kind for chunk in chunks(pcm, 60) for kind in kinds(speaks.audio(chunk))]
    return [kind for kind in sent if kind != "append"]


def buffer(kind: str, item_id: str = "i1", **fields: Any) -> str:
    return json.dumps({"type": f"input_audio_buffer.{kind}", "item_id": item_id, "event_id": "e", **fields})


def words(kind: str, item_id: str = "i1", **fields: Any) -> str:
    name = f"conversation.item.input_audio_transcription.{kind}"
    return json.dumps({"type": name, "item_id": item_id, "content_index": 0, "event_id": "e", **fields})


def error(code: str | None = None, kind: str = "invalid_request_error", event_id: str | None = None) -> str:
    told = {"type": kind, "code": code, "message": "the-key said hello", "param": None, "event_id": event_id}
    return json.dumps({"type": "error", "event_id": "e", "error": told})


def hear(speaks: OpenAiDialect, *messages: str) -> list[VendorEvent]:
    return [event for message in messages for event in speaks.receive(message)]


def finals(events: list[VendorEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Said) and event.final]


def test_the_key_is_a_bearer_token_and_the_address_names_no_model() -> None:
    dial = dialect().dial()
    assert dial.url == "wss://api.openai.com/v1/realtime?intent=transcription"
    assert dial.headers == (("Authorization", "Bearer the-key"),)
    assert "the-key" not in repr(dial)
    private = SpeechConfig(options={"url": "wss://eu.api.openai.com/v1/"})
    assert openai_dialect(private).dial().url == "wss://eu.api.openai.com/v1/realtime?intent=transcription"


def test_a_session_of_a_live_model_leaves_the_pauses_to_us() -> None:
    assert session() == {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-live-transcribe", "languages": ["en"]},
                "turn_detection": None,
            }
        },
    }
    assert dialect().answers


def test_a_session_of_an_older_model_finds_the_pauses_that_were_asked_for() -> None:
    got = session(VAD_MODEL, endpoint_ms=800)
    assert got["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 800,
    }
    assert got["include"] == ["item.input_audio_transcription.logprobs"]
    assert not dialect(VAD_MODEL).answers
    asked = {"enable_endpoint_detection": True, "max_endpoint_delay_ms": 700, "utterance_end_ms": 900}
    vad = session("gpt-transcribe", parameters=asked)["audio"]["input"]["turn_detection"]
    assert vad["silence_duration_ms"] == 700


def test_expected_words_go_where_the_model_takes_them() -> None:
    asked = {"hints": ["Offhook"], "keyterms": ["SIP"], "keywords_boosting": {"PBX": 2.0}}
    asked |= {"speech_context": [{"phrases": ["dial plan"]}]}
    assert asked.keys() < PARAMETERS
    listed = ["PBX", "Offhook", "SIP", "dial plan"]
    assert transcription("gpt-live-transcribe", parameters=asked)["keywords"] == listed
    assert transcription("gpt-transcribe", parameters=asked)["keywords"] == listed
    assert transcription("whisper-1", parameters=asked)["prompt"] == ", ".join(listed)
    assert transcription("gpt-realtime-whisper", parameters=asked).keys() == {"model", "language"}


@pytest.mark.parametrize(
    ("model", "language", "told"),
    [
        ("gpt-live-transcribe", "de-AT", {"languages": ["de"]}),
        ("gpt-live-transcribe", "auto", {}),
        ("gpt-4o-mini-transcribe-2025-12-15", "pt_BR", {"language": "pt"}),
        ("gpt-realtime-whisper", "auto_detect", {}),
    ],
)
def test_a_language_is_told_as_the_model_takes_it(model: str, language: str, told: dict[str, Any]) -> None:
    assert transcription(model, language=language) == {"model": model, **told}


def test_audio_is_mu_law_in_base64() -> None:
    pcm = say("one")[:960]
    (message,) = dialect().audio(pcm)
    body = json.loads(message)
    assert body["type"] == "input_audio_buffer.append"
    assert mulaw_decode(base64.b64decode(body["audio"])) == mulaw_decode(mulaw_encode(pcm))


def test_an_utterance_is_committed_when_it_is_over_and_told_with_its_times() -> None:
    speaks = dialect()
    assert push(speaks, silence(300) + say("one two") + silence(300)) == []
    told = hear(speaks, words("delta", delta="one"), words("delta", delta=" two"))
    assert told[0] == Speaking(300)
    partials = [event for event in told if isinstance(event, Said)]
    assert [event.text for event in partials] == ["one", "one two"]
    assert not any(event.final or event.utterance_end for event in partials)
    assert push(speaks, silence(400)) == ["commit"]
    assert hear(speaks, buffer("committed", previous_item_id=None)) == []
    done = words("completed", transcript="One, two.", languages=[{"code": "en"}])
    said, settled = hear(speaks, done)
    assert said == Said("One, two.", True, 300, 700, language="en")
    assert isinstance(settled, Settled)
    assert 1_140 <= settled.until_ms <= 1_260
    assert hear(speaks, done) == []
    assert hear(speaks, words("delta", delta="late")) == []


def test_a_tone_is_cleared_and_the_service_answers_to_that() -> None:
    speaks = dialect()
    ringing = (b"\x00\x20" * 9 + b"\x00\xe0" * 9) * 889 + silence(4_000)
    assert push(speaks, ringing * 2) == ["clear", "clear"]
    cleared = '{"type": "input_audio_buffer.cleared", "event_id": "e"}'
    assert kinds(speaks.finish()) == ["clear"]
    assert hear(speaks, cleared, cleared) == []
    assert hear(speaks, cleared) == [Done()]


def test_long_silence_and_noise_are_cleared_again_and_again() -> None:
    speaks = dialect()
    assert push(speaks, silence(25_000)) == ["clear", "clear"]
    humming = (b"\x00\x20" * 9 + b"\x00\xe0" * 9) * 444 * 60
    cleared = push(speaks, humming)
    assert set(cleared) == {"clear"}
    assert len(cleared) >= 4
    assert push(speaks, silence(3_000) + say("one two") + silence(700))[-1] == "commit"


def test_the_end_of_what_is_cleared_comes_again() -> None:
    speaks = dialect()
    sent = [message for chunk in chunks(silence(10_020), 60) for message in speaks.audio(chunk)]
    assert kinds(sent)[-2:] == ["clear", "append"]
    assert len(base64.b64decode(json.loads(sent[-1])["audio"])) == 2_400


def test_words_in_what_seems_to_be_a_tone_are_committed() -> None:
    speaks = dialect()
    tone = (b"\x00\x20" * 9 + b"\x00\xe0" * 9) * 889
    assert push(speaks, tone) == []
    hear(speaks, words("delta", delta="aah"))
    assert push(speaks, silence(600)) == ["commit"]


def test_words_that_no_loudness_announced_are_committed_a_while_after_the_last() -> None:
    speaks = dialect()
    push(speaks, silence(600))
    hear(speaks, words("delta", delta="psst"))
    assert push(speaks, silence(1_200)) == []
    assert push(speaks, silence(600)) == ["commit"]
    assert push(speaks, silence(3_000)) == []
    said, _ = hear(speaks, buffer("committed"), words("completed", transcript="psst"))
    assert isinstance(said, Said)
    assert said.start_ms <= 600 <= said.end_ms


def test_words_that_come_after_the_commit_belong_to_it() -> None:
    speaks = dialect()
    assert push(speaks, say("one") + silence(600)) == ["commit"]
    told = hear(speaks, words("delta", delta="one"))
    assert told[0] == Speaking(0)
    assert push(speaks, silence(3_000)) == []
    said, _ = hear(speaks, buffer("committed"), words("completed", transcript="one"))
    assert said == Said("one", True, 0, 160)


def test_the_services_own_pauses_give_the_times_where_it_finds_them() -> None:
    speaks = dialect(VAD_MODEL)
    assert push(speaks, silence(300) + say("one two") + silence(600)) == []
    told = hear(
        speaks,
        buffer("speech_started", audio_start_ms=0),
        buffer("speech_stopped", audio_end_ms=1_200),
        buffer("committed", previous_item_id=None),
        words("delta", delta="one two"),
        words("completed", transcript="one two", logprobs=[{"token": "one", "logprob": -0.1}]),
    )
    assert told[0] == Speaking(0)
    final = next(event for event in told if isinstance(event, Said) and event.final)
    assert (final.start_ms, final.end_ms, final.confidence) == (0, 700, pytest.approx(0.905, abs=1e-3))
    assert told[-1] == Settled(700)


def test_finals_are_told_in_the_order_of_speech_whatever_order_they_come_in() -> None:
    speaks = dialect(VAD_MODEL)
    push(speaks, silence(3_000))
    for n in (1, 2, 3):
        hear(speaks, buffer("speech_started", f"i{n}", audio_start_ms=n * 500))
        hear(speaks, buffer("speech_stopped", f"i{n}", audio_end_ms=n * 500 + 900))
        hear(speaks, buffer("committed", f"i{n}"))
    assert hear(speaks, words("completed", "i3", transcript="three")) == []
    assert hear(speaks, words("delta", "i2", delta="tw")) == []
    assert finals(hear(speaks, words("completed", "i1", transcript="one"))) == ["one"]
    assert [e.text for e in hear(speaks, words("delta", "i2", delta="o")) if isinstance(e, Said)] == ["two"]
    assert finals(hear(speaks, words("completed", "i2", transcript="two"))) == ["two", "three"]


def test_an_utterance_that_is_never_told_is_trouble_before_too_many_wait_for_it() -> None:
    speaks = dialect(VAD_MODEL)
    told = []
    for n in range(VENDOR_ITEMS_WAITING_MAX + 1):
        told += hear(speaks, buffer("committed", f"i{n}"))
        if n:
            told += hear(speaks, words("completed", f"i{n}", transcript="x"))
    assert [event for event in told if not isinstance(event, Trouble)] == []
    assert told
    assert all(isinstance(event, Trouble) and event.retry for event in told)


def test_items_without_end_are_bounded() -> None:
    speaks = dialect()
    for n in range(VENDOR_ITEMS_MAX * 3):
        hear(speaks, words("delta", f"i{n}", delta="x" * 50_000))
    assert len(speaks._items._items) <= VENDOR_ITEMS_MAX


def test_flush_commits_speech_and_nothing_else() -> None:
    speaks = dialect()
    push(speaks, silence(900))
    assert list(speaks.flush()) == []
    push(speaks, say("one")[: 16 * 120])
    assert kinds(speaks.flush()) == ["commit"]
    assert list(speaks.flush()) == []


def test_a_commit_is_filled_up_to_what_the_service_takes_and_later_times_are_still_right() -> None:
    speaks = dialect(VAD_MODEL)
    push(speaks, say("one")[: 16 * 60])
    hear(speaks, buffer("speech_started", audio_start_ms=0))
    assert kinds(speaks.flush()) == ["append", "commit"]
    hear(speaks, buffer("committed"), words("completed", transcript="o"))
    push(speaks, silence(1_000))
    assert hear(speaks, buffer("speech_started", "i2", audio_start_ms=540)) == [Speaking(500)]


def test_the_end_waits_for_the_last_words() -> None:
    speaks = dialect()
    push(speaks, say("one"))
    assert kinds(speaks.finish()) == ["commit"]
    assert hear(speaks, buffer("committed")) == []
    told = hear(speaks, words("completed", transcript="one"))
    assert finals(told) == ["one"]
    assert told[-1] == Done()


def test_the_end_of_silence_is_an_empty_buffer() -> None:
    speaks = dialect()
    push(speaks, silence(500))
    assert kinds(speaks.finish()) == ["clear"]
    assert hear(speaks, '{"type": "input_audio_buffer.cleared", "event_id": "e"}') == [Done()]


def test_the_end_waits_for_an_utterance_that_the_service_still_works_on() -> None:
    speaks = dialect(VAD_MODEL)
    push(speaks, silence(900))
    hear(speaks, buffer("committed"))
    assert kinds(speaks.finish()) == ["clear"]
    assert hear(speaks, '{"type": "input_audio_buffer.cleared"}') == []
    assert hear(speaks, words("completed", transcript="one"))[-1] == Done()


@pytest.mark.parametrize("event_id", ["commit-1", None])
def test_a_commit_that_the_service_was_quicker_with_is_forgotten(event_id: str | None) -> None:
    speaks = dialect()
    push(speaks, say("one"))
    speaks.finish()
    assert hear(speaks, error("input_audio_buffer_commit_empty", event_id=event_id)) == [Done()]


def test_ready_is_told_once_when_the_session_is_as_we_want_it() -> None:
    speaks = dialect()
    assert hear(speaks, '{"type": "session.created", "session": {}}') == []
    assert hear(speaks, '{"type": "session.updated", "session": {}}') == [Ready()]
    assert hear(speaks, '{"type": "session.updated", "session": {}}') == []


@pytest.mark.parametrize(
    ("code", "kind", "retry", "waits"),
    [
        ("session_expired", "invalid_request_error", True, False),
        ("invalid_api_key", "invalid_request_error", False, False),
        (None, "authentication_error", False, False),
        ("insufficient_quota", "insufficient_quota", False, False),
        ("rate_limit_exceeded", "requests", True, True),
        (None, "rate_limit_error", True, True),
        ("model_not_found", "invalid_request_error", False, False),
        (None, "server_error", True, False),
        ("something_new", "invalid_request_error", True, False),
    ],
)
def test_errors_say_whether_another_connection_helps(
    code: str | None, kind: str, retry: bool, waits: bool
) -> None:
    speaks = dialect()
    hear(speaks, '{"type": "session.updated"}')
    (trouble,) = hear(speaks, error(code, kind))
    assert isinstance(trouble, Trouble)
    assert (trouble.retry, trouble.retry_after_s > 0) == (retry, waits)
    assert "the-key" not in trouble.reason


def test_a_session_that_was_never_accepted_is_not_asked_for_again() -> None:
    (trouble,) = hear(dialect(), error("invalid_value"))
    assert isinstance(trouble, Trouble)
    assert not trouble.retry


def test_a_failed_utterance_is_tried_again_on_another_connection() -> None:
    speaks = dialect(VAD_MODEL)
    hear(speaks, buffer("committed"))
    failed = {"type": "server_error", "code": "audio_unintelligible", "message": "x", "param": None}
    (trouble,) = hear(speaks, words("failed", error=failed))
    assert isinstance(trouble, Trouble)
    assert trouble.retry


@pytest.mark.parametrize(
    ("code", "reason", "retry"),
    [
        (1000, "", True),
        (1001, "session_expired", True),
        (1006, "", True),
        (1008, "", False),
        (1011, "", True),
        (3000, "invalid_request_error.invalid_api_key", False),
        (4000, "invalid_request_error.insufficient_quota", False),
    ],
)
def test_close_codes_say_whether_another_connection_helps(code: int, reason: str, retry: bool) -> None:
    assert dialect().closed(code, reason).retry is retry


@pytest.mark.parametrize("status", [0, 429, 500])
def test_a_service_that_is_away_or_busy_is_asked_again(status: int) -> None:
    assert dialect().refused(status, b"").retry
    assert not dialect().refused(401, b"").retry


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "{}",
        '{"type": 1}',
        b"\xff",
        None,
        "[" * 5_000,
        '{"type": "error"}',
        '{"type": "error", "error": "text"}',
        '{"type": "input_audio_buffer.committed"}',
        '{"type": "input_audio_buffer.committed", "item_id": 5}',
        '{"type": "input_audio_buffer.committed", "item_id": "' + "x" * 129 + '"}',
        '{"type": "conversation.item.input_audio_transcription.delta", "item_id": ""}',
    ],
)
def test_what_cannot_be_read_is_counted_and_forgotten(message: Any) -> None:
    assert list(dialect().receive(message)) == [Unreadable()]


def test_messages_about_other_things_say_nothing() -> None:
    for kind in (
        "conversation.item.added",
        "rate_limits.updated",
        "input_audio_buffer.timeout_triggered",
        "new",
    ):
        assert hear(dialect(), json.dumps({"type": kind, "item_id": "i1"})) == []


def test_a_final_without_a_commit_is_told_all_the_same() -> None:
    speaks = dialect(VAD_MODEL)
    push(speaks, silence(500))
    assert finals(hear(speaks, words("completed", transcript="one"))) == ["one"]
