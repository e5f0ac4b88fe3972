"""The framing between the server and a voice worker. Pure bytes.

To the worker: a line of JSON a request. From the worker: four bytes of length (big-endian, of what
follows), one byte of kind, a body.
"""

import struct
from collections.abc import Iterator

from offhook.base.limits import VOICE_FRAME_BYTES_MAX

READY = b"R"
PCM = b"P"
DONE = b"D"
FAILED = b"E"
UNAVAILABLE = b"U"
_KINDS = frozenset({READY, PCM, DONE, FAILED, UNAVAILABLE})
_LENGTH = struct.Struct("!I")


class FrameError(ValueError):
    """The other side does not speak this framing; the connection is of no more use."""


def pack(kind: bytes, body: bytes = b"") -> bytes:
    """Return a frame."""
    return _LENGTH.pack(len(body) + 1) + kind + body


class FrameReader:
    """Cuts a byte stream, in whatever pieces it arrives, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Take bytes and yield kind and body of each frame that is complete now.

        Raises:
            FrameError: too long, or of unknown kind.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if not 1 <= size <= VOICE_FRAME_BYTES_MAX:
                raise FrameError("a frame has an impossible length")
            end = _LENGTH.size + size
            if len(self._buffer) < end:
                return
            kind, body = bytes(self._buffer[4:5]), bytes(self._buffer[5:end])
            del self._buffer[:end]
            if kind not in _KINDS:
                raise FrameError("a frame is of unknown kind")
            yield kind, body
