"""The framing between the server and a speech worker: length, kind, body. Pure bytes.

Four bytes of length (big-endian, of what follows), one byte of kind: `J` a JSON object, `A` audio
(session id, start in milliseconds, s16le samples).
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from offhook.base.limits import SPEECH_FRAME_BYTES_MAX

_LENGTH = struct.Struct("!I")
_AUDIO = struct.Struct("!cIq")
_JSON_KIND = b"J"
_AUDIO_KIND = b"A"


class FrameError(ValueError):
    """The other side does not speak this framing; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Samples of one session, beginning at `at_ms`."""

    session: int
    at_ms: int
    pcm: bytes = field(repr=False)


Message = dict[str, Any]


def pack_message(message: Message) -> bytes:
    """Return the frame of a JSON object."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body) + 1) + _JSON_KIND + body


def pack_audio(audio: Audio) -> bytes:
    """Return the frame of some samples."""
    head = _AUDIO.pack(_AUDIO_KIND, audio.session, audio.at_ms)
    return _LENGTH.pack(len(head) + len(audio.pcm)) + head + audio.pcm


class FrameReader:
    """Cuts a byte stream, in whatever pieces it arrives, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message | Audio]:
        """Take bytes and yield each frame that is complete now.

        Raises:
            FrameError: too long, of unknown kind, or not what its kind says.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if not 1 <= size <= SPEECH_FRAME_BYTES_MAX:
                raise FrameError("a frame has an impossible length")
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            frame = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _parse(frame)


def _parse(frame: bytes) -> Message | Audio:
    kind = frame[:1]
    if kind == _AUDIO_KIND:
        if len(frame) < _AUDIO.size:
            raise FrameError("an audio frame is cut short")
        _, session, at_ms = _AUDIO.unpack_from(frame)
        return Audio(session, at_ms, frame[_AUDIO.size :])
    if kind != _JSON_KIND:
        raise FrameError("a frame is of unknown kind")
    try:
        message = json.loads(frame[1:])
    except (ValueError, RecursionError):
        raise FrameError("a message is not JSON") from None
    if not isinstance(message, dict):
        raise FrameError("a message is not an object")
    return message
