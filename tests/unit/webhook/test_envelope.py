import json

import pytest

from offhook.proto.webhook import Event, body_of, encode_event

pytestmark = pytest.mark.unit

EVENT = Event("call.initiated", "0f0f", "2026-11-23T08:00:00.000001Z", {"to": "+15550100", "from": "Jörg"})


def test_the_body_is_the_documented_envelope_byte_for_byte() -> None:
    body = body_of(encode_event(EVENT), attempt=1, delivered_to="https://app.example/hook?a=1")
    assert (
        body
        == (
            '{"data":{"event_type":"call.initiated","id":"0f0f","occurred_at":"2026-11-23T08:00:00.000001Z",'
            '"payload":{"from":"Jörg","to":"+15550100"},"record_type":"event"},'
            '"meta":{"attempt":1,"delivered_to":"https://app.example/hook?a=1"}}'
        ).encode()
    )


def test_an_absent_client_state_stays_null() -> None:
    event = Event("call.hangup", "1", "t", {"client_state": None})
    assert b'"payload":{"client_state":null}' in encode_event(event)


def test_bytes_that_never_were_text_do_not_stop_a_webhook() -> None:
    event = Event(
        "call.initiated", "1", "t", {"caller_id_name": b"\xff\xfe".decode("utf-8", "surrogateescape")}
    )
    assert json.loads(encode_event(event))["payload"] == {"caller_id_name": "??"}


def test_numbers_json_has_no_word_for_become_null() -> None:
    event = Event(
        "call.transcription", "1", "t", {"d": {"confidence": float("nan"), "n": [float("inf"), 1.5]}}
    )
    assert json.loads(encode_event(event))["payload"] == {"d": {"confidence": None, "n": [None, 1.5]}}
