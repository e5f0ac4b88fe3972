"""Reads frames strictly. What is wrong is named by its place in the frame, never by its value.

Keys that this grammar does not know are ignored in both directions: platforms add fields, and
some apps send a `stream_id` of their own. To see that a frame holds nothing else, format what was
parsed and compare.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

from offhook.base.errors import OffhookError
from offhook.base.limits import STREAM_FRAME_CHARACTERS_MAX
from offhook.proto.stream.frames import (
    AUTH_TOKEN_KEY,
    AppClear,
    AppFrame,
    AppMark,
    AppMedia,
    ConnectedFrame,
    DtmfFrame,
    ErrorFrame,
    MarkFrame,
    MediaFormat,
    MediaFrame,
    ServerFrame,
    StartFrame,
    StopFrame,
    StreamTrack,
)

UNKNOWN_ERROR = 100002
MALFORMED_FRAME = 100003
INVALID_MEDIA = 100004
RATE_LIMIT_REACHED = 100005

_ENCODINGS = frozenset({"PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"})
_COUNTER_DIGITS_MAX = 20

_Body = dict[str, Any]


class FrameError(OffhookError):
    """A frame cannot be used. `code` is the one an error frame would carry (contract 4.3)."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def parse_server_frame(text: str) -> ServerFrame:
    """Return the frame that the server sent.

    Raises:
        FrameError: it is not one of the frames of the grammar.
    """
    body = _body(text)
    parse = _SERVER_FRAMES.get(_event(body))
    if parse is None:
        raise FrameError(MALFORMED_FRAME, "event is unknown")
    return parse(body)


def parse_app_frame(text: str) -> AppFrame:
    """Return the frame that an app sent.

    Raises:
        FrameError: with 100003 when it is not a frame, 100004 when its media is unusable.
    """
    body = _body(text)
    match _event(body):
        case "media":
            return AppMedia(_payload(_object(body, "media")))
        case "mark":
            return AppMark(_text(_object(body, "mark"), "name", "mark.name"))
        case "clear":
            return AppClear()
        case _:
            raise FrameError(MALFORMED_FRAME, "event is unknown")


def _connected(body: _Body) -> ConnectedFrame:
    token = None
    if "connected" in body:
        token = _optional_text(_object(body, "connected"), AUTH_TOKEN_KEY, f"connected.{AUTH_TOKEN_KEY}")
    return ConnectedFrame(auth_token=token, version=_text(body, "version"))


def _start(body: _Body) -> StartFrame:
    start = _object(body, "start")
    tracks = start.get("tracks")
    return StartFrame(
        sequence_number=_counter(body, "sequence_number"),
        stream_id=_text(body, "stream_id"),
        user_id=_text(start, "user_id", "start.user_id"),
        call_control_id=_text(start, "call_control_id", "start.call_control_id"),
        call_session_id=_text(start, "call_session_id", "start.call_session_id"),
        caller=_text(start, "from", "start.from"),
        callee=_text(start, "to", "start.to"),
        tags=_texts(start.get("tags", []), "start.tags"),
        client_state=_optional_text(start, "client_state", "start.client_state"),
        custom_parameters=_parameters(start),
        media_format=_media_format(_object(start, "media_format", "start.media_format")),
        call_leg_id=_optional_text(start, "call_leg_id", "start.call_leg_id"),
        connection_id=_optional_text(start, "connection_id", "start.connection_id"),
        direction=_optional_text(start, "direction", "start.direction"),
        tracks=None if tracks is None else tuple(map(_track, _texts(tracks, "start.tracks"))),
        reconnect=_number(start, "reconnect", "start.reconnect") if "reconnect" in start else None,
    )


def _media(body: _Body) -> MediaFrame:
    media = _object(body, "media")
    return MediaFrame(
        sequence_number=_counter(body, "sequence_number"),
        stream_id=_text(body, "stream_id"),
        track=_track(_text(media, "track", "media.track")),
        chunk=_counter(media, "chunk", "media.chunk"),
        timestamp_ms=_counter(media, "timestamp", "media.timestamp"),
        payload=_payload(media),
    )


def _dtmf(body: _Body) -> DtmfFrame:
    digit = _text(_object(body, "dtmf"), "digit", "dtmf.digit")
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise FrameError(MALFORMED_FRAME, "dtmf.digit is not a digit")
    return DtmfFrame(
        sequence_number=_counter(body, "sequence_number"),
        stream_id=_text(body, "stream_id"),
        occurred_at=_text(body, "occurred_at"),
        digit=digit,
    )


def _mark(body: _Body) -> MarkFrame:
    return MarkFrame(
        sequence_number=_counter(body, "sequence_number"),
        stream_id=_text(body, "stream_id"),
        name=_text(_object(body, "mark"), "name", "mark.name"),
    )


def _error(body: _Body) -> ErrorFrame:
    payload = _object(body, "payload")
    return ErrorFrame(
        stream_id=_text(body, "stream_id"),
        code=_number(payload, "code", "payload.code"),
        title=_text(payload, "title", "payload.title"),
        detail=_text(payload, "detail", "payload.detail"),
    )


def _stop(body: _Body) -> StopFrame:
    stop = _object(body, "stop")
    return StopFrame(
        sequence_number=_counter(body, "sequence_number"),
        stream_id=_text(body, "stream_id"),
        user_id=_text(stop, "user_id", "stop.user_id"),
        call_control_id=_text(stop, "call_control_id", "stop.call_control_id"),
        reason=_optional_text(stop, "reason", "stop.reason"),
        hangup_cause=_optional_text(stop, "hangup_cause", "stop.hangup_cause"),
    )


_SERVER_FRAMES: dict[str, Callable[[_Body], ServerFrame]] = {
    "connected": _connected,
    "start": _start,
    "media": _media,
    "dtmf": _dtmf,
    "mark": _mark,
    "error": _error,
    "stop": _stop,
}


def _body(text: str) -> _Body:
    if len(text) > STREAM_FRAME_CHARACTERS_MAX:
        raise FrameError(MALFORMED_FRAME, "the frame is too long")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise FrameError(MALFORMED_FRAME, "the frame is not JSON") from None
    if not isinstance(body, dict):
        raise FrameError(MALFORMED_FRAME, "the frame is not an object")
    return body


def _event(body: _Body) -> str:
    return _text(body, "event")


def _object(body: _Body, key: str, place: str | None = None) -> _Body:
    value = body.get(key)
    if not isinstance(value, dict):
        raise FrameError(MALFORMED_FRAME, f"{place or key} is not an object")
    return value


def _text(body: _Body, key: str, place: str | None = None) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise FrameError(MALFORMED_FRAME, f"{place or key} is not a string")
    return value


def _optional_text(body: _Body, key: str, place: str) -> str | None:
    return None if body.get(key) is None else _text(body, key, place)


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FrameError(MALFORMED_FRAME, f"{place} is not a list of strings")
    return tuple(value)


def _number(body: _Body, key: str, place: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FrameError(MALFORMED_FRAME, f"{place} is not a whole number")
    return value


def _counter(body: _Body, key: str, place: str | None = None) -> int:
    text = _text(body, key, place)
    # Only the canonical decimal form: "01", "+1", "1_0" and other scripts' digits are not counters.
    digits = text.isascii() and text.isdigit() and len(text) <= _COUNTER_DIGITS_MAX
    if not digits or (text[0] == "0" and text != "0"):
        raise FrameError(MALFORMED_FRAME, f"{place or key} is not a decimal counter")
    return int(text)


def _track(text: str) -> StreamTrack:
    try:
        return StreamTrack(text)
    except ValueError:
        raise FrameError(MALFORMED_FRAME, "a track is neither inbound nor outbound") from None


def _parameters(start: _Body) -> dict[str, str]:
    if start.get("custom_parameters") is None:
        return {}
    parameters = _object(start, "custom_parameters", "start.custom_parameters")
    if not all(isinstance(value, str) for value in parameters.values()):
        raise FrameError(MALFORMED_FRAME, "start.custom_parameters holds something else than strings")
    return parameters


def _media_format(body: _Body) -> MediaFormat:
    encoding = _text(body, "encoding", "start.media_format.encoding")
    if encoding not in _ENCODINGS:
        raise FrameError(MALFORMED_FRAME, "start.media_format.encoding is unknown")
    rate_hz = _number(body, "sample_rate", "start.media_format.sample_rate")
    channels = _number(body, "channels", "start.media_format.channels")
    if rate_hz <= 0 or channels <= 0:
        raise FrameError(MALFORMED_FRAME, "start.media_format has a rate or channels below one")
    byte_order = body.get("byte_order", "little")
    if byte_order not in ("little", "big"):
        raise FrameError(MALFORMED_FRAME, "start.media_format.byte_order is neither little nor big")
    return MediaFormat(encoding, rate_hz, channels, byte_order)


def _payload(media: _Body) -> bytes:
    text = _text(media, "payload", "media.payload")
    try:
        payload = base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one; so is what non-ASCII text raises
        raise FrameError(INVALID_MEDIA, "media.payload is not base64") from None
    if not payload:
        raise FrameError(INVALID_MEDIA, "media.payload is empty")
    return payload
