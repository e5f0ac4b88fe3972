"""The frames as values, and how each is written. Counters travel as text, rates and codes as numbers."""

import base64
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VERSION = "1.0.0"
AUTH_TOKEN_KEY = "x-telnyx-streaming-auth-token"


class StreamTrack(StrEnum):
    """Whose audio: `inbound` comes from the far end of the leg, `outbound` goes to it."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True)
class ConnectedFrame:
    """The first frame on a socket. It has neither a stream id nor a sequence number."""

    auth_token: str | None = field(default=None, repr=False)
    version: str = VERSION


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """What the payloads of a stream hold.

    `byte_order` is an addition of Offhook, written only for L16 with the high byte first ("big").
    """

    encoding: str
    sample_rate_hz: int
    channels: int = 1
    byte_order: str = "little"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFrame:
    """Says which call this is and what its media frames hold.

    `caller` and `callee` are `from` and `to` on the wire. The fields that may be None and are not
    `client_state` are additions of Offhook; when None they are not written.
    """

    stream_id: str
    user_id: str
    call_control_id: str
    call_session_id: str
    caller: str
    callee: str
    media_format: MediaFormat
    tags: tuple[str, ...] = ()
    client_state: str | None = None
    custom_parameters: dict[str, str] = field(default_factory=dict)
    call_leg_id: str | None = None
    connection_id: str | None = None
    direction: str | None = None
    tracks: tuple[StreamTrack, ...] | None = None
    reconnect: int | None = None
    sequence_number: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFrame:
    """One piece of audio of one track: the payload of an RTP packet, without its header.

    `chunk` counts the frames of a track from 1; `timestamp_ms` is when its first sample was, on
    the media clock since the start frame.
    """

    sequence_number: int
    stream_id: str
    track: StreamTrack
    chunk: int
    timestamp_ms: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DtmfFrame:
    """The far end pressed a key. `occurred_at` is ISO 8601 text."""

    sequence_number: int
    stream_id: str
    occurred_at: str
    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFrame:
    """What the app queued before its mark of this name has been played, or was cleared."""

    sequence_number: int
    stream_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFrame:
    """The app sent something that cannot be used. The socket stays open."""

    stream_id: str
    code: int
    title: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFrame:
    """The last frame of a stream. `reason` and `hangup_cause` are additions of Offhook."""

    sequence_number: int
    stream_id: str
    user_id: str
    call_control_id: str
    reason: str | None = None
    hangup_cause: str | None = None


@dataclass(frozen=True, slots=True)
class AppMedia:
    """Audio to be played to the call: raw codec bytes, or a whole mp3 file."""

    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AppMark:
    """Asks for a `MarkFrame` when what was sent before it has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class AppClear:
    """Stops playback and empties the queue."""


ServerFrame = ConnectedFrame | StartFrame | MediaFrame | DtmfFrame | MarkFrame | ErrorFrame | StopFrame
AppFrame = AppMedia | AppMark | AppClear


def format_server_frame(frame: ServerFrame) -> str:
    """Return the text of a frame as the server sends it."""
    return _json(_server_body(frame))


def format_app_frame(frame: AppFrame) -> str:
    """Return the text of a frame as an app sends it."""
    match frame:
        case AppMedia():
            payload = base64.b64encode(frame.payload).decode()
            return _json({"event": "media", "media": {"payload": payload}})
        case AppMark():
            return _json({"event": "mark", "mark": {"name": frame.name}})
        case _:
            return _json({"event": "clear"})


def _server_body(frame: ServerFrame) -> dict[str, Any]:
    match frame:
        case ConnectedFrame():
            token = {} if frame.auth_token is None else {"connected": {AUTH_TOKEN_KEY: frame.auth_token}}
            return {"event": "connected", "version": frame.version, **token}
        case StartFrame():
            return {**_head("start", frame), "start": _start(frame)}
        case MediaFrame():
            media = {
                "track": frame.track.value,
                "chunk": str(frame.chunk),
                "timestamp": str(frame.timestamp_ms),
                "payload": base64.b64encode(frame.payload).decode(),
            }
            return {**_head("media", frame), "media": media}
        case DtmfFrame():
            key = {"occurred_at": frame.occurred_at, "dtmf": {"digit": frame.digit}}
            return {**_head("dtmf", frame), **key}
        case MarkFrame():
            return {**_head("mark", frame), "mark": {"name": frame.name}}
        case ErrorFrame():
            error = {"code": frame.code, "title": frame.title, "detail": frame.detail}
            return {"event": "error", "stream_id": frame.stream_id, "payload": error}
        case _:
            stop = {"user_id": frame.user_id, "call_control_id": frame.call_control_id}
            why = {"reason": frame.reason, "hangup_cause": frame.hangup_cause}
            stop |= {name: value for name, value in why.items() if value is not None}
            return {**_head("stop", frame), "stop": stop}


def _head(event: str, frame: StartFrame | MediaFrame | DtmfFrame | MarkFrame | StopFrame) -> dict[str, Any]:
    return {
        "event": event,
        "sequence_number": str(frame.sequence_number),
        "stream_id": frame.stream_id,
    }


def _start(frame: StartFrame) -> dict[str, Any]:
    start: dict[str, Any] = {
        "user_id": frame.user_id,
        "call_control_id": frame.call_control_id,
        "call_session_id": frame.call_session_id,
        "from": frame.caller,
        "to": frame.callee,
        "tags": list(frame.tags),
        "client_state": frame.client_state,
        "custom_parameters": frame.custom_parameters,
        "media_format": {
            "encoding": frame.media_format.encoding,
            "sample_rate": frame.media_format.sample_rate_hz,
            "channels": frame.media_format.channels,
        },
    }
    if frame.media_format.byte_order != "little":
        start["media_format"]["byte_order"] = frame.media_format.byte_order
    added = {
        "call_leg_id": frame.call_leg_id,
        "connection_id": frame.connection_id,
        "direction": frame.direction,
        "tracks": None if frame.tracks is None else [track.value for track in frame.tracks],
        "reconnect": frame.reconnect,
    }
    return start | {key: value for key, value in added.items() if value is not None}


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))
