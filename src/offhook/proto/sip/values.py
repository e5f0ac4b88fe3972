"""The values inside SIP headers: URIs, addresses, Via, CSeq, parameters (RFC 3261 §19, §20, §25).

Every reader takes one pass over its text and raises `SipSyntaxError` on what cannot be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from offhook.base.errors import OffhookError

CSEQ_MAX = 2**31 - 1
"""RFC 3261 §8.1.1.5: a sequence number is below 2**31."""

_HOST_FORBIDDEN = frozenset(" \t<>\"',;/?@\\\r\n\0")
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")


class SipSyntaxError(OffhookError):
    """Bytes that are not usable SIP. `kind` is a short fixed word for counters; no input is in the text."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"not usable SIP: {kind}")
        self.kind = kind


@dataclass(frozen=True, slots=True)
class SipUri:
    """A `sip:`, `sips:` or `tel:` URI (RFC 3261 §19.1, RFC 3966), with its user part still escaped.

    For `tel:` the number is `user` and `host` is empty. `port` is None when the URI has none.
    """

    scheme: str
    user: str
    host: str
    port: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "SipUri":
        """Read one URI without its angle brackets."""
        scheme, colon, rest = text.partition(":")
        scheme = scheme.lower()
        if scheme == "tel" and colon:
            number, _, parameters = rest.partition(";")
            if not number or any(c in _HOST_FORBIDDEN for c in number):
                raise SipSyntaxError("uri")
            return cls("tel", number, "", None, parse_parameters(parameters))
        if scheme not in ("sip", "sips") or not colon:
            raise SipSyntaxError("uri_scheme")
        user, _, where = rest.rpartition("@")
        if any(c in ' \t<>"' for c in user):
            raise SipSyntaxError("uri")
        where, _, _ = where.partition("?")
        host_port, _, parameters = where.partition(";")
        host, port = parse_host_port(host_port)
        return cls(scheme, user.partition(":")[0], host, port, parse_parameters(parameters))


@dataclass(frozen=True, slots=True)
class Address:
    """A name-addr or addr-spec: display name, URI text, header parameters (RFC 3261 §20.10)."""

    display: str
    uri: str
    parameters: Mapping[str, str]

    @property
    def tag(self) -> str:
        """The tag parameter, empty when there is none."""
        return self.parameters.get("tag", "")

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read one address, as in From, To, Contact, Route."""
        text = text.strip()
        display = ""
        rest = text
        if text.startswith('"'):
            end = _closing_quote(text)
            display = unquote(text[: end + 1])
            rest = text[end + 1 :].lstrip()
            if not rest.startswith("<"):
                raise SipSyntaxError("address")
        left = rest.find("<")
        if left < 0:
            uri, _, parameters = rest.partition(";")
            uri = uri.strip()
        else:
            right = rest.find(">", left)
            if right < 0:
                raise SipSyntaxError("address")
            display = display or rest[:left].strip()
            uri = rest[left + 1 : right].strip()
            parameters = rest[right + 1 :].strip()
            if parameters and not parameters.startswith(";"):
                raise SipSyntaxError("address")
        if not uri or ":" not in uri or " " in uri:
            raise SipSyntaxError("address")
        return cls(display, uri, parse_parameters(parameters))


@dataclass(frozen=True, slots=True)
class Via:
    """The topmost hop of a message (RFC 3261 §20.42) and, verbatim, what came after it on its line."""

    transport: str
    host: str
    port: int | None
    parameters: Mapping[str, str]
    others: tuple[str, ...] = ()

    @property
    def branch(self) -> str:
        """The branch parameter, empty when there is none."""
        return self.parameters.get("branch", "")

    @property
    def sent_by(self) -> str:
        """Host and port in lower case, for comparing."""
        return f"{self.host.lower()}:{self.port or 5060}"

    @classmethod
    def parse(cls, text: str) -> "Via":
        """Read the first value of one Via header line."""
        values = split_values(text)
        if not values:
            raise SipSyntaxError("via")
        hop, _, parameters = values[0].partition(";")
        protocol = hop.split("/", 2)
        if len(protocol) != 3 or protocol[0].strip().upper() != "SIP":
            raise SipSyntaxError("via")
        transport, _, sent_by = protocol[2].strip().replace("\t", " ").partition(" ")
        host, port = parse_host_port("".join(sent_by.split()))
        return cls(transport.upper(), host, port, parse_parameters(parameters), tuple(values[1:]))

    def format(self, extra: Mapping[str, str | None]) -> str:
        """Write the hop again with the parameters of `extra` set (RFC 3261 §18.2.1, RFC 3581)."""
        port = "" if self.port is None else f":{self.port}"
        parts = [f"SIP/2.0/{self.transport} {self.host}{port}"]
        for name, value in {**self.parameters, **extra}.items():
            parts.append(f"{name}={value}" if value else name)
        return ", ".join((";".join(parts), *self.others))


@dataclass(frozen=True, slots=True)
class CSeq:
    """A sequence number and its method (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> "CSeq":
        """Read a CSeq value."""
        parts = text.split()
        if len(parts) != 2 or not is_token(parts[1]):
            raise SipSyntaxError("cseq")
        return cls(parse_number(parts[0], CSEQ_MAX, "cseq"), parts[1])


def is_token(text: str) -> bool:
    """Say whether `text` is a token of RFC 3261 §25.1."""
    return bool(text) and _TOKEN.issuperset(text)


def parse_number(text: str, most: int, kind: str) -> int:
    """Read plain ASCII digits no greater than `most`; int() alone takes signs, underscores and worse."""
    if not text or len(text) > 10 or not (text.isascii() and text.isdigit()):
        raise SipSyntaxError(kind)
    number = int(text)
    if number > most:
        raise SipSyntaxError(kind)
    return number


def parse_host_port(text: str) -> tuple[str, int | None]:
    """Read `host[:port]`; an IPv6 host keeps its brackets."""
    text = text.strip()
    if text.startswith("["):
        end = text.find("]")
        if end < 0:
            raise SipSyntaxError("host")
        host, rest = text[: end + 1], text[end + 1 :]
        if rest and not rest.startswith(":"):
            raise SipSyntaxError("host")
        port_text = rest[1:]
    else:
        host, _, port_text = text.partition(":")
    if not host or not _HOST_FORBIDDEN.isdisjoint(host):
        raise SipSyntaxError("host")
    if not port_text:
        return host, None
    port = parse_number(port_text, 65535, "port")
    if port == 0:
        raise SipSyntaxError("port")
    return host, port


def parse_parameters(text: str) -> dict[str, str]:
    """Read `;name=value` pairs; names in lower case, the first of a doubled name wins."""
    found: dict[str, str] = {}
    if not text:
        return found
    for part in text.split(";") if '"' not in text else _split_outside_quotes(text, ";"):
        name, _, value = part.partition("=")
        name = name.strip().lower()
        if name:
            value = value.strip()
            found.setdefault(name, unquote(value) if value.startswith('"') else value)
    return found


def split_values(text: str) -> list[str]:
    """Split a header value at its commas, not at those inside quotes or angle brackets (§7.3.1)."""
    if "," not in text:
        text = text.strip()
        return [text] if text else []
    return [value for part in _split_outside_quotes(text, ",") if (value := part.strip())]


def quote(text: str) -> str:
    """Return `text` as a quoted-string; control characters are left out."""
    clean = "".join(c for c in text if c >= " " and c != "\x7f")
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """Return what a quoted-string means; a text without quotes is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    out: list[str] = []
    escaped = False
    for c in inner:
        if c == "\\" and not escaped:
            escaped = True
            continue
        out.append(c)
        escaped = False
    return "".join(out)


def readable(text: str) -> str:
    """Return header text that every encoder takes: bytes that were not UTF-8 are read as latin-1.

    Inside this room such bytes live as lone surrogates, so that an echoed header is byte-exact.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def _closing_quote(text: str) -> int:
    position = 1
    while True:
        position = text.find('"', position)
        if position < 0:
            raise SipSyntaxError("quote")
        backslashes = 0
        while text[position - 1 - backslashes] == "\\":
            backslashes += 1
        if backslashes % 2 == 0:
            return position
        position += 1


def _split_outside_quotes(text: str, separator: str) -> list[str]:
    parts: list[str] = []
    start = 0
    quoted = escaped = bracketed = False
    for position, c in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = c == "\\"
            quoted = c != '"'
        elif c == '"':
            quoted = True
        elif c == "<":
            bracketed = True
        elif c == ">":
            bracketed = False
        elif c == separator and not bracketed:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return parts
