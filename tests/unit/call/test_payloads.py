"""What webhooks say, read back by the official SDK's own types (contract 3.4)."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from offhook.base.clock import iso_time
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import TITLES, CommandError
from offhook.call.payloads import calling_party_type
from offhook.call.values import Header
from offhook.proto.ssml import Words
from tests.fakes.legs import (
    QUALITY,
    Desk,
    answered,
    incoming,
    payload,
    ringing,
    sdp,
    start_fork,
    start_stream,
    start_transcription,
    transcript,
)

pytestmark = pytest.mark.unit

FIELDS = json.loads((Path(__file__).parents[2] / "data" / "call" / "webhook_fields.json").read_text())
MODELS = {
    "call.initiated": "call_initiated.CallInitiated",
    "call.answered": "call_answered.CallAnswered",
    "call.hangup": "call_hangup.CallHangup",
    "call.dtmf.received": "call_dtmf_received.CallDtmfReceived",
    "call.fork.started": "call_fork_started.CallForkStarted",
    "call.fork.stopped": "call_fork_stopped.CallForkStopped",
    "call.playback.started": "call_playback_started.CallPlaybackStarted",
    "call.playback.ended": "call_playback_ended.CallPlaybackEnded",
    "call.speak.started": "call_speak_started.CallSpeakStarted",
    "call.speak.ended": "call_speak_ended.CallSpeakEnded",
    "call.transcription": "transcription.Transcription",
    "streaming.started": "call_streaming_started.CallStreamingStarted",
    "streaming.stopped": "call_streaming_stopped.CallStreamingStopped",
    "streaming.failed": "call_streaming_failed.CallStreamingFailed",
}


def whole_life() -> Desk:
    """Return a desk whose call has told every event there is."""
    desk = ringing()
    desk.command(ask.Answer(client_state="eA==", headers=(Header("X-Agent", "9"),)))
    desk.tell(facts.AckReceived())
    desk.command(start_stream())
    desk.command(start_stream())
    desk.command(start_fork())
    desk.command(start_transcription())
    desk.command(ask.StartPlayback(playback=ask.PlaybackOptions(url="https://app.example/hello.wav")))
    desk.command(ask.Speak(speak=ask.SpeakOptions(script=(Words("Hello."),), voice="female")))
    desk.tell(
        facts.PlaybackStarted("id-5"),
        facts.PlaybackEnded("id-5", "completed"),
        facts.PlaybackStarted("id-6"),
        facts.PlaybackEnded("id-6", "completed"),
        facts.StreamConnected("id-1"),
        facts.StreamFailed("id-2", "connection_failed", "HTTP 403"),
        facts.ForkOpened("id-3"),
        transcript(),
        facts.DigitReceived("5"),
        facts.PeerHungUp(),
        facts.StreamClosed("id-1", "call_ended"),
        facts.ForkClosed("id-3"),
        facts.TranscriptionClosed("id-4"),
        facts.MediaClosed(QUALITY),
    )
    assert set(desk.events) == set(MODELS)
    return desk


def notices(desk: Desk) -> list[do.Notify]:
    return [effect for effect in desk.done if isinstance(effect, do.Notify)]


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    """Say whether a value has the published type; null is what an absent optional value becomes."""
    if value is None:
        return True
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        return "object" in kinds and all(
            conforms(item, known[key]) for key, item in value.items() if key in known
        )
    if isinstance(value, list):
        return "array" in kinds and all(conforms(item, schema["items"]) for item in value)
    if isinstance(value, bool):
        return "boolean" in kinds
    return (isinstance(value, str) and "string" in kinds) or (
        isinstance(value, int | float) and bool({"number", "integer"} & set(kinds))
    )


def test_every_published_field_of_every_event_is_there_with_its_type() -> None:
    absent = {"call_screening_result", "shaken_stir_attestation", "shaken_stir_validated"}
    for notice in notices(whole_life()):
        fields = FIELDS[notice.event_type]
        missing = set(fields) - set(notice.payload) - absent
        assert not missing, f"{notice.event_type} lacks {missing}"
        for name, schema in fields.items():
            assert conforms(notice.payload.get(name), schema), f"{notice.event_type}: {name}"


def test_the_sdk_reads_every_event_strictly() -> None:
    pytest.importorskip("telnyx")
    for notice in notices(whole_life()):
        module, name = MODELS[notice.event_type].split(".")
        model = getattr(import_module(f"telnyx.types.{module}"), name)
        adapter: TypeAdapter[Any] = TypeAdapter(model)
        event = adapter.validate_json(
            json.dumps(
                {
                    "event_type": notice.event_type,
                    "id": "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",
                    "occurred_at": iso_time(notice.occurred_at),
                    "payload": notice.payload,
                    "record_type": "event",
                }
            )
        )
        assert event.event_type == notice.event_type
        assert event.payload.call_control_id == "v3:leg"


def test_the_sdk_reads_the_call_resource_strictly() -> None:
    response = pytest.importorskip("telnyx.types.call_retrieve_status_response")
    for desk in (ringing(), answered(), whole_life()):
        data = TypeAdapter(response.Data).validate_json(json.dumps(desk.leg.status(desk.now)), strict=True)
        assert data.is_alive is (desk.leg.state.value in ("parked", "answered"))


def test_every_payload_is_json_and_names_the_leg() -> None:
    for notice in notices(whole_life()):
        text = json.dumps(notice.payload, allow_nan=False)
        assert json.loads(text) == notice.payload
        named = {key: notice.payload[key] for key in ("call_leg_id", "call_session_id", "connection_id")}
        assert named == {
            "call_leg_id": "leg-uuid",
            "call_session_id": "session-uuid",
            "connection_id": "1000000000000000001",
        }
        assert notice.payload["calling_party_type"] == "pstn"


def test_call_initiated_says_who_calls_whom_and_what_they_speak() -> None:
    initiated = payload(ringing().done, "call.initiated")
    assert (initiated["from"], initiated["to"]) == ("+15550001111", "+15550002222")
    assert (initiated["direction"], initiated["state"]) == ("incoming", "parked")
    assert initiated["caller_id_name"] == "Alice"
    assert initiated["connection_codecs"] == "PCMU,PCMA"
    assert initiated["offered_codecs"].split(",")[:2] == ["PCMU", "PCMA"]
    assert initiated["from_sip_uri"] == "+15550001111@192.0.2.1"
    assert initiated["to_sip_uri"] == "+15550002222@192.0.2.2"
    assert initiated["start_time"] == "2026-09-21T14:13:20.000000Z"
    assert initiated["tags"] == []


def test_an_app_sees_the_callers_own_headers_and_never_credentials() -> None:
    initiated = payload(ringing().done, "call.initiated")
    assert initiated["custom_headers"] == [{"name": "X-Ticket", "value": "7"}]
    assert initiated["sip_headers"] == [{"name": "User-to-User", "value": "abc"}]
    assert "secret" not in json.dumps(initiated)


@pytest.mark.parametrize("name", ["AUTHORIZATION", "i", "Record-Route", "P-Asserted-Identity", "y"])
def test_registered_headers_are_not_custom_in_any_spelling(name: str) -> None:
    desk = Desk()
    desk.tell(incoming(headers=(Header(name, "v"),), offer=sdp("0")))
    assert payload(desk.done, "call.initiated")["custom_headers"] == []


def test_a_caller_without_a_name_is_shown_by_number() -> None:
    desk = Desk()
    desk.tell(incoming(caller_name=""))
    assert payload(desk.done, "call.initiated")["caller_id_name"] == "+15550001111"


@pytest.mark.parametrize(
    ("caller", "kind"),
    [
        ("+15550001111", "pstn"),
        ("15550001111", "sip"),
        ("sip:alice@example.com", "sip"),
        ("+", "sip"),
        ("", "sip"),
        ("+\u0661\u0662", "sip"),
        ("+1234567890123456", "sip"),
    ],
)
def test_a_number_in_e164_comes_from_the_telephone_network(caller: str, kind: str) -> None:
    assert calling_party_type(caller) == kind


def test_quality_is_told_in_text() -> None:
    assert payload(whole_life().done, "call.hangup")["call_quality_stats"] == {
        "inbound": {
            "jitter_max_variance": "2.50",
            "jitter_packet_count": "100",
            "mos": "4.41",
            "packet_count": "500",
            "skip_packet_count": "1",
        },
        "outbound": {"packet_count": "498", "skip_packet_count": "0"},
    }


def test_a_refusal_carries_the_published_title() -> None:
    error = CommandError("90018", "the call has ended")
    assert error.problem.title == TITLES["90018"]
    assert "90018" in str(error)
