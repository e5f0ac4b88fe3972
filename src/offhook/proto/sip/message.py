"""SIP messages: a tolerant, bounded reader and a strict writer (RFC 3261 §7).

The reader takes compact names, folded lines, LF-only lines, any byte in a value and a missing
Content-Length; it takes one pass and never more than the bounds of `offhook.base.limits`.
What is wrong but still answerable is kept as `defect`, the (status, reason) to answer with.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

from offhook.base.limits import SIP_HEADERS_MAX, SIP_LINE_CHARACTERS_MAX, SIP_MESSAGE_BYTES_MAX
from offhook.proto.sip.values import (
    Address,
    CSeq,
    SipSyntaxError,
    Via,
    is_token,
    parse_number,
    split_values,
)

Header = tuple[str, str]
Defect = tuple[int, str]

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
}
_ONCE = ("from", "to", "call-id", "cseq", "content-length", "content-type", "max-forwards")

REASONS = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
}


def reason_phrase(status: int) -> str:
    """Return the usual words for a status."""
    return REASONS.get(status) or REASONS.get(status // 100 * 100) or "Unknown"


class Message(ABC):
    """What requests and responses share: ordered headers and a body.

    `fields` holds (name, value) in wire order, compact names written out. The properties read a
    header when first asked and raise `SipSyntaxError` if it is missing or unusable.
    """

    def __init__(self, fields: list[Header], body: bytes = b"", defect: Defect | None = None) -> None:
        self.fields = fields
        self.body = body
        self.defect = defect

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name, value in self.fields:
            index.setdefault(name.lower(), []).append(value)
        return index

    def get(self, name: str) -> str | None:
        """Return the first value of the header `name` (lower case), or None."""
        values = self._index.get(name)
        return values[0] if values else None

    def get_lines(self, name: str) -> list[str]:
        """Return the value of every line of the header `name` (lower case)."""
        return self._index.get(name, [])

    def get_values(self, name: str) -> list[str]:
        """Return every value of a list header (lower case name), split at commas."""
        return [value for line in self.get_lines(name) for value in split_values(line)]

    def get_tokens(self, name: str) -> set[str]:
        """Return the values of a list of tokens, such as Require, in lower case."""
        return {value.lower() for value in self.get_values(name)}

    def _required(self, name: str) -> str:
        value = self.get(name)
        if not value:
            raise SipSyntaxError(f"{name}_missing")
        return value

    @cached_property
    def via(self) -> Via:
        """The topmost Via."""
        return Via.parse(self._required("via"))

    @cached_property
    def sender(self) -> Address:
        """From."""
        return Address.parse(self._required("from"))

    @cached_property
    def to(self) -> Address:
        """To."""
        return Address.parse(self._required("to"))

    @cached_property
    def cseq(self) -> CSeq:
        """CSeq."""
        return CSeq.parse(self._required("cseq"))

    @cached_property
    def call_id(self) -> str:
        """Call-ID."""
        return self._required("call-id")

    @cached_property
    def contact(self) -> str | None:
        """The URI of the first Contact, or None when there is no usable one."""
        values = self.get_values("contact")
        if not values or values[0] == "*":
            return None
        try:
            return Address.parse(values[0]).uri
        except SipSyntaxError:
            return None

    @property
    def content_type(self) -> str:
        """The media type of the body in lower case, without parameters."""
        return (self.get("content-type") or "").partition(";")[0].strip().lower()

    def sdp(self) -> bytes | None:
        """Return the body when it is a session description, else None."""
        if self.body and self.content_type in ("application/sdp", ""):
            return self.body
        return None

    def duplicated(self) -> bool:
        """Say whether a header that may stand once stands twice (RFC 4475 §3.3.9)."""
        return any(len(self._index.get(name, ())) > 1 for name in _ONCE)

    @abstractmethod
    def _start_line(self) -> str: ...

    def to_bytes(self) -> bytes:
        """Write the message, with the right Content-Length as its last header."""
        return format_message(self._start_line(), self.fields, self.body)


class Request(Message):
    """A request: method, Request-URI, headers, body."""

    def __init__(
        self,
        method: str,
        uri: str,
        fields: list[Header],
        body: bytes = b"",
        *,
        version: str = "SIP/2.0",
        defect: Defect | None = None,
    ) -> None:
        super().__init__(fields, body, defect)
        self.method = method
        self.uri = uri
        self.version = version

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"


class Response(Message):
    """A response: status, reason phrase, headers, body."""

    def __init__(
        self, status: int, reason: str, fields: list[Header], body: bytes = b"", defect: Defect | None = None
    ) -> None:
        super().__init__(fields, body, defect)
        self.status = status
        self.reason = reason

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"


def format_message(start_line: str, fields: Iterable[Header], body: bytes) -> bytes:
    """Write start line, headers and body. Any Content-Length in `fields` is replaced by the true one."""
    lines = [start_line]
    lines.extend(f"{name}: {value}" for name, value in fields if name != "Content-Length")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    head = "\r\n".join(lines)
    # Two line ends belong to the head itself; a third kind of break would be header injection.
    assert head.count("\n") == len(lines) + 1 == head.count("\r"), "a header holds a line break"
    return head.encode("utf-8", "surrogateescape") + body


def parse_message(data: bytes, *, stream: bool = False) -> Request | Response:
    """Read one whole message.

    Args:
        data: a datagram, or what `StreamFramer` cut out of a stream.
        stream: without a Content-Length the body is empty, not the rest of the datagram (§18.3).

    Raises:
        SipSyntaxError: this is no SIP message at all; there is nobody to answer.
    """
    if len(data) > SIP_MESSAGE_BYTES_MAX:
        raise SipSyntaxError("too_large")
    head, body = _split_head(data.lstrip(b"\r\n"))
    text = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", " ")
    lines = text.split("\n")
    start = lines[0]
    if len(start) > SIP_LINE_CHARACTERS_MAX:
        raise SipSyntaxError("start_line_too_long")
    fields, defect = _read_fields(lines)
    message: Request | Response
    if start.startswith("SIP/"):
        message = _read_status_line(start, fields)
    else:
        message = _read_request_line(start, fields)
    if message.defect is None:
        message.defect = defect
    _take_body(message, body, stream=stream)
    return message


def _split_head(data: bytes) -> tuple[bytes, bytes]:
    crlf = data.find(b"\n\r\n")
    lf = data.find(b"\n\n", 0, crlf + 1 if crlf >= 0 else len(data))
    if lf >= 0:
        return data[:lf], data[lf + 2 :]
    if crlf >= 0:
        return data[:crlf].removesuffix(b"\r"), data[crlf + 3 :]
    return data.rstrip(b"\r\n"), b""


def _read_fields(lines: Sequence[str]) -> tuple[list[Header], Defect | None]:
    fields: list[Header] = []
    folded: list[str] = []
    for line in lines[1:]:
        if not line:
            continue
        if len(line) > SIP_LINE_CHARACTERS_MAX:
            return fields, (513, "Header Line Too Long")
        if line[0] in " \t":
            folded.append(line.strip())
            continue
        if folded and not _unfold(fields, folded):
            return fields, (513, "Header Line Too Long")
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not name:
            # §8.2: a malformed header that is not needed is ignored; a needed one is missed later.
            continue
        if len(fields) >= SIP_HEADERS_MAX:
            return fields, (513, "Too Many Headers")
        if len(name) == 1:
            name = _COMPACT.get(name.lower(), name)
        fields.append((name, value.strip()))
    if folded and not _unfold(fields, folded):
        return fields, (513, "Header Line Too Long")
    return fields, None


def _unfold(fields: list[Header], folded: list[str]) -> bool:
    if fields:
        name, value = fields[-1]
        value = " ".join((value, *folded)).strip()
        if len(value) > SIP_LINE_CHARACTERS_MAX:
            return False
        fields[-1] = (name, value)
    folded.clear()
    return True


def parse_status_line(body: bytes) -> int | None:
    """Return the status of a SIP fragment that begins with a status line, else None (RFC 3420)."""
    line = body[:SIP_LINE_CHARACTERS_MAX].split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    try:
        return _read_status_line(line, []).status
    except SipSyntaxError:
        return None


def _read_status_line(line: str, fields: list[Header]) -> Response:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if version.upper() != "SIP/2.0":
        raise SipSyntaxError("version")
    status = parse_number(code, 699, "status")
    if status < 100:
        raise SipSyntaxError("status")
    return Response(status, reason.strip(), fields)


def _read_request_line(line: str, fields: list[Header]) -> Request:
    parts = line.split()
    if len(parts) < 3 or not parts[-1].upper().startswith("SIP/") or not is_token(parts[0]):
        raise SipSyntaxError("start_line")
    uri = " ".join(parts[1:-1])
    defect: Defect | None = None
    if parts[-1].upper() != "SIP/2.0":
        defect = (505, REASONS[505])
    elif len(parts) != 3 or line != " ".join(parts) or uri.startswith("<"):
        defect = (400, "Bad Request Line")
    return Request(parts[0], uri, fields, version=parts[-1], defect=defect)


def _take_body(message: Message, body: bytes, *, stream: bool) -> None:
    length_text = message.get("content-length")
    if length_text is None:
        message.body = b"" if stream else body
        return
    try:
        length = parse_number(length_text, 2**31, "content_length")
    except SipSyntaxError:
        message.defect = message.defect or (400, "Bad Content-Length")
        return
    if length > len(body):
        message.defect = message.defect or (400, "Body Shorter Than Content-Length")
    message.body = body[:length]
