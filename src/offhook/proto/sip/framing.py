"""Cutting a byte stream into SIP messages (RFC 3261 §18.3, keep-alives of RFC 5626 §4.4.1)."""

from dataclasses import dataclass

from offhook.base.limits import SIP_MESSAGE_BYTES_MAX
from offhook.proto.sip.values import SipSyntaxError, parse_number

PING = b"\r\n\r\n"
PONG = b"\r\n"


@dataclass(frozen=True, slots=True)
class Ping:
    """A keep-alive that wants `PONG` back."""


@dataclass(frozen=True, slots=True)
class Oversized:
    """A message that is longer than the bound; only its head was kept. The stream is at its end."""

    head: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that cannot be a message. The stream is at its end."""

    kind: str


StreamItem = bytes | Ping | Oversized | Broken


class StreamFramer:
    """One direction of one stream connection. Never holds more than one message and one read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._ended = False

    def feed(self, data: bytes) -> list[StreamItem]:
        """Take bytes as they came; return what they completed. After `Oversized` or `Broken`: nothing."""
        items: list[StreamItem] = []
        if not self._ended:
            self._buffer += data
            while (item := self._next()) is not None:
                items.append(item)
                if isinstance(item, Oversized | Broken):
                    self._ended = True
                    self._buffer.clear()
                    break
        return items

    def _next(self) -> StreamItem | None:
        buffer = self._buffer
        if buffer.startswith((b"\r", b"\n")):
            if buffer.startswith(PING):
                del buffer[:4]
                return Ping()
            if PING.startswith(buffer):
                return None  # the rest of a ping, or the first line, is still to come
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
            self._searched = 0
        end = self._find_head_end()
        if end is None:
            return Broken("head_too_large") if len(buffer) > SIP_MESSAGE_BYTES_MAX else None
        if end > SIP_MESSAGE_BYTES_MAX:
            return Broken("head_too_large")
        try:
            length = _content_length(bytes(buffer[:end]))
        except SipSyntaxError as error:
            return Broken(error.kind)
        total = end + length
        if total > SIP_MESSAGE_BYTES_MAX:
            return Oversized(bytes(buffer[:end]))
        if len(buffer) < total:
            return None
        message = bytes(buffer[:total])
        del buffer[:total]
        self._searched = 0
        return message

    def _find_head_end(self) -> int | None:
        buffer = self._buffer
        crlf = buffer.find(b"\n\r\n", self._searched)
        lf = buffer.find(b"\n\n", self._searched)
        # Bytes already searched are not searched again, so a peer that drips costs linear time.
        self._searched = max(0, len(buffer) - 2)
        ends = [at + size for at, size in ((crlf, 3), (lf, 2)) if at >= 0]
        if not ends:
            return None
        self._searched = max(0, min(ends) - 3)
        return min(ends)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() in (b"content-length", b"l"):
            return parse_number(value.strip().decode("latin-1"), 2**31, "content_length")
    return 0
