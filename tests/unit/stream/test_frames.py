"""The frame grammar of media streams, frame by frame (contract 4.3, 4.5)."""

import base64
import json
from typing import Any

import pytest

from offhook.base.limits import STREAM_FRAME_CHARACTERS_MAX
from offhook.proto.stream import (
    INVALID_MEDIA,
    MALFORMED_FRAME,
    AppClear,
    AppMark,
    AppMedia,
    ConnectedFrame,
    DtmfFrame,
    ErrorFrame,
    FrameError,
    MarkFrame,
    MediaFormat,
    MediaFrame,
    StartFrame,
    StopFrame,
    StreamTrack,
    format_app_frame,
    format_server_frame,
    parse_app_frame,
    parse_server_frame,
)

pytestmark = pytest.mark.unit

STREAM = "5a1c6f6e-8d0b-4f7e-9d3a-0b8f4f3f2c11"

SERVER_FRAMES = [
    (ConnectedFrame(), {"event": "connected", "version": "1.0.0"}),
    (
        ConnectedFrame("s3cret"),
        {
            "event": "connected",
            "version": "1.0.0",
            "connected": {"x-telnyx-streaming-auth-token": "s3cret"},
        },
    ),
    (
        StartFrame(
            stream_id=STREAM,
            user_id="user",
            call_control_id="v3:abc",
            call_session_id="session",
            caller="+15550001111",
            callee="+15550002222",
            media_format=MediaFormat("PCMU", 8000),
            client_state="aGk=",
            custom_parameters={"a": "b"},
            call_leg_id="leg",
            connection_id="1",
            direction="incoming",
            tracks=(StreamTrack.INBOUND, StreamTrack.OUTBOUND),
            reconnect=2,
        ),
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": STREAM,
            "start": {
                "user_id": "user",
                "call_control_id": "v3:abc",
                "call_session_id": "session",
                "from": "+15550001111",
                "to": "+15550002222",
                "tags": [],
                "client_state": "aGk=",
                "custom_parameters": {"a": "b"},
                "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
                "call_leg_id": "leg",
                "connection_id": "1",
                "direction": "incoming",
                "tracks": ["inbound", "outbound"],
                "reconnect": 2,
            },
        },
    ),
    (
        StartFrame(
            stream_id=STREAM,
            user_id="user",
            call_control_id="v3:abc",
            call_session_id="session",
            caller="alice",
            callee="bob",
            media_format=MediaFormat("L16", 16000),
            tags=("t",),
        ),
        {
            "event": "start",
            "sequence_number": "1",
            "stream_id": STREAM,
            "start": {
                "user_id": "user",
                "call_control_id": "v3:abc",
                "call_session_id": "session",
                "from": "alice",
                "to": "bob",
                "tags": ["t"],
                "client_state": None,
                "custom_parameters": {},
                "media_format": {"encoding": "L16", "sample_rate": 16000, "channels": 1},
            },
        },
    ),
    (
        MediaFrame(
            sequence_number=4,
            stream_id=STREAM,
            track=StreamTrack.OUTBOUND,
            chunk=2,
            timestamp_ms=20,
            payload=b"\xff" * 160,
        ),
        {
            "event": "media",
            "sequence_number": "4",
            "stream_id": STREAM,
            "media": {
                "track": "outbound",
                "chunk": "2",
                "timestamp": "20",
                "payload": base64.b64encode(b"\xff" * 160).decode(),
            },
        },
    ),
    (
        DtmfFrame(sequence_number=5, stream_id=STREAM, occurred_at="2026-01-01T00:00:00.000000Z", digit="#"),
        {
            "event": "dtmf",
            "sequence_number": "5",
            "stream_id": STREAM,
            "occurred_at": "2026-01-01T00:00:00.000000Z",
            "dtmf": {"digit": "#"},
        },
    ),
    (
        MarkFrame(sequence_number=6, stream_id=STREAM, name="end of greeting"),
        {"event": "mark", "sequence_number": "6", "stream_id": STREAM, "mark": {"name": "end of greeting"}},
    ),
    (
        ErrorFrame(stream_id=STREAM, code=100003, title="malformed_frame", detail="the frame is not JSON"),
        {
            "event": "error",
            "stream_id": STREAM,
            "payload": {"code": 100003, "title": "malformed_frame", "detail": "the frame is not JSON"},
        },
    ),
    (
        StopFrame(sequence_number=7, stream_id=STREAM, user_id="user", call_control_id="v3:abc"),
        {
            "event": "stop",
            "sequence_number": "7",
            "stream_id": STREAM,
            "stop": {"user_id": "user", "call_control_id": "v3:abc"},
        },
    ),
    (
        StopFrame(
            sequence_number=7,
            stream_id=STREAM,
            user_id="user",
            call_control_id="v3:abc",
            reason="call_ended",
            hangup_cause="user_busy",
        ),
        {
            "event": "stop",
            "sequence_number": "7",
            "stream_id": STREAM,
            "stop": {
                "user_id": "user",
                "call_control_id": "v3:abc",
                "reason": "call_ended",
                "hangup_cause": "user_busy",
            },
        },
    ),
]

APP_FRAMES = [
    (AppMedia(b"\x00\x01\xff"), {"event": "media", "media": {"payload": "AAH/"}}),
    (AppMark("x"), {"event": "mark", "mark": {"name": "x"}}),
    (AppClear(), {"event": "clear"}),
]


@pytest.mark.parametrize(("frame", "body"), SERVER_FRAMES)
def test_a_server_frame_is_written_exactly_as_the_contract_says(frame: Any, body: dict[str, Any]) -> None:
    assert json.loads(format_server_frame(frame)) == body


@pytest.mark.parametrize(("frame", "body"), SERVER_FRAMES)
def test_a_server_frame_is_read_back_whatever_its_layout(frame: Any, body: dict[str, Any]) -> None:
    assert parse_server_frame(json.dumps(body, indent=2)) == frame
    assert parse_server_frame(json.dumps({**body, "new_field": {"of": "a later version"}})) == frame


@pytest.mark.parametrize(("frame", "body"), APP_FRAMES)
def test_an_app_frame_is_written_and_read(frame: Any, body: dict[str, Any]) -> None:
    assert json.loads(format_app_frame(frame)) == body
    assert parse_app_frame(json.dumps({**body, "stream_id": "as some apps send"})) == frame


def _changed(body: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    body = json.loads(json.dumps(body))
    *path, last = place.split(".")
    inner = body
    for key in path:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return body


START, MEDIA, DTMF, MARK, ERROR, STOP = (SERVER_FRAMES[index][1] for index in (2, 4, 5, 6, 7, 8))


@pytest.mark.parametrize(
    ("body", "place", "value"),
    [
        (START, "event", "begin"),
        (START, "event", None),
        (START, "event", 1),
        (START, "sequence_number", 1),
        (START, "sequence_number", "01"),
        (START, "sequence_number", "-1"),
        (START, "sequence_number", "1.0"),
        (START, "sequence_number", ""),
        (START, "sequence_number", "\u0661"),
        (START, "sequence_number", "9" * 21),
        (START, "stream_id", KeyError),
        (START, "start", []),
        (START, "start.user_id", KeyError),
        (START, "start.from", 15550001111),
        (START, "start.tags", "t"),
        (START, "start.tags", [1]),
        (START, "start.client_state", 1),
        (START, "start.custom_parameters", [{"name": "a", "value": "b"}]),
        (START, "start.custom_parameters", {"a": 1}),
        (START, "start.media_format", KeyError),
        (START, "start.media_format.encoding", "pcmu"),
        (START, "start.media_format.sample_rate", "8000"),
        (START, "start.media_format.sample_rate", 8000.0),
        (START, "start.media_format.sample_rate", 0),
        (START, "start.media_format.channels", True),
        (START, "start.media_format.channels", 0),
        (START, "start.tracks", ["inbound_track"]),
        (START, "start.reconnect", "1"),
        (MEDIA, "media", KeyError),
        (MEDIA, "media.track", "inbound_track"),
        (MEDIA, "media.chunk", 2),
        (MEDIA, "media.timestamp", KeyError),
        (MEDIA, "media.payload", KeyError),
        (DTMF, "dtmf.digit", "12"),
        (DTMF, "dtmf.digit", ""),
        (DTMF, "dtmf.digit", "a"),
        (DTMF, "occurred_at", KeyError),
        (MARK, "mark.name", 1),
        (ERROR, "payload.code", "100003"),
        (ERROR, "payload.detail", KeyError),
        (STOP, "stop.call_control_id", KeyError),
        (STOP, "stop.reason", 5),
        (STOP, "stop.hangup_cause", 5),
        (SERVER_FRAMES[1][1], "version", KeyError),
        (SERVER_FRAMES[1][1], "connected", "s3cret"),
    ],
)
def test_a_server_frame_with_a_wrong_field_is_malformed(body: dict[str, Any], place: str, value: Any) -> None:
    with pytest.raises(FrameError) as refused:
        parse_server_frame(json.dumps(_changed(body, place, value)))
    assert refused.value.code == MALFORMED_FRAME


def test_custom_parameters_may_be_absent() -> None:
    frame = parse_server_frame(json.dumps(_changed(START, "start.custom_parameters", KeyError)))
    assert isinstance(frame, StartFrame)
    assert frame.custom_parameters == {}


@pytest.mark.parametrize("payload", ["%%%", "AAH", "AA H/", "\u00e4\u00f6", "", "AAH_"])
@pytest.mark.parametrize("parse", [parse_app_frame, parse_server_frame])
def test_a_payload_that_is_not_base64_is_invalid_media_and_is_not_repeated(parse: Any, payload: str) -> None:
    body = _changed(MEDIA, "media.payload", payload)
    with pytest.raises(FrameError) as refused:
        parse(json.dumps(body))
    assert refused.value.code == INVALID_MEDIA
    assert not payload or payload not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "1",
        "null",
        "{}",
        '{"event":',
        '{"event":null}',
        '{"event":"hello"}',
        '{"event":"start"}',
        '{"event":"media"}',
        '{"event":"media","media":{}}',
        '{"event":"media","media":{"payload":7}}',
        '{"event":"mark"}',
        '{"event":"mark","mark":{"name":null}}',
        "[" * 100_000,
        '{"event":' + "1" * 5_000 + "}",
    ],
)
def test_what_is_no_app_frame_is_malformed(text: str) -> None:
    with pytest.raises(FrameError) as refused:
        parse_app_frame(text)
    assert refused.value.code == MALFORMED_FRAME


def test_a_frame_is_bounded() -> None:
    text = format_app_frame(AppMark("x" * STREAM_FRAME_CHARACTERS_MAX))
    with pytest.raises(FrameError, match="too long"):
        parse_app_frame(text)


def test_thirty_seconds_of_the_widest_audio_fit_into_a_frame() -> None:
    frame = AppMedia(bytes(30 * 48_000 * 2))
    assert parse_app_frame(format_app_frame(frame)) == frame


def test_neither_token_nor_audio_shows_in_a_representation() -> None:
    assert "s3cret" not in repr(ConnectedFrame("s3cret"))
    assert "secret" not in repr(AppMedia(b"secret"))
