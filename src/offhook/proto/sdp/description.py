"""Reading and writing session descriptions (RFC 8866), tolerant of what phones really send."""

from dataclasses import dataclass, field

from offhook.base.errors import OffhookError
from offhook.base.limits import SDP_LINES_MAX, SDP_MEDIA_MAX, SIP_MESSAGE_BYTES_MAX

STATIC_CODECS = {
    0: ("PCMU", 8000, 1),
    3: ("GSM", 8000, 1),
    4: ("G723", 8000, 1),
    8: ("PCMA", 8000, 1),
    9: ("G722", 8000, 1),
    13: ("CN", 8000, 1),
    15: ("G728", 8000, 1),
    18: ("G729", 8000, 1),
}
"""Payload types that need no rtpmap (RFC 3551 §6)."""

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class SdpError(OffhookError):
    """Not a usable session description. The text names what is wrong and never holds the input."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type of a media line. G.722's clock rate is 8000 by decree (RFC 3551 §4.5.2)."""

    name: str
    payload_type: int
    clock_rate_hz: int
    channels: int = 1
    fmtp: str = ""


@dataclass(slots=True)
class Media:
    """One m= line and what belongs to it. `attributes` are (name, value) in their order."""

    kind: str
    port: int
    protocol: str
    formats: list[str]
    address: str | None = None
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the value of the first attribute `name`; "" for a flag, None when it is missing."""
        return next((value for key, value in self.attributes if key == name), None)

    def direction(self) -> str | None:
        """Return the direction attribute, or None when there is none."""
        return next((key for key, _ in self.attributes if key in DIRECTIONS), None)

    def codecs(self) -> list[Codec]:
        """Return the codecs in the order of the m= line; formats without any meaning are left out."""
        maps = self._by_payload_type("rtpmap")
        parameters = self._by_payload_type("fmtp")
        found: list[Codec] = []
        seen: set[int] = set()
        for text in self.formats:
            payload_type = _number(text, 127)
            if payload_type is None or payload_type in seen:
                continue
            seen.add(payload_type)
            codec = _codec(payload_type, maps.get(payload_type), parameters.get(payload_type, ""))
            if codec is not None:
                found.append(codec)
        return found

    def _by_payload_type(self, name: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for key, value in self.attributes:
            if key == name:
                number, _, rest = value.strip().partition(" ")
                payload_type = _number(number, 127)
                if payload_type is not None:
                    found.setdefault(payload_type, rest.strip())
        return found


@dataclass(slots=True)
class SessionDescription:
    """A whole description: origin, connection address, session attributes, media."""

    username: str = "-"
    session_id: int = 0
    version: int = 0
    origin_address: str = "127.0.0.1"
    name: str = "-"
    address: str | None = None
    attributes: list[tuple[str, str]] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)

    @classmethod
    def parse(cls, body: bytes) -> "SessionDescription":
        """Read a description. Unknown lines are skipped; an unusable m= line raises `SdpError`."""
        if len(body) > SIP_MESSAGE_BYTES_MAX:
            raise SdpError("the description is too long")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            text = body.decode("latin-1")
        lines = text.replace("\r", "\n").split("\n")
        if len(lines) > 2 * SDP_LINES_MAX:
            raise SdpError("the description has too many lines")
        session = cls()
        heard = False
        for line in lines:
            kind, equals, value = line.strip().partition("=")
            if equals and len(kind) == 1:
                heard = True
                session._take(kind, value.strip())
        if not heard:
            raise SdpError("the description is empty")
        return session

    def direction_of(self, media: Media) -> str:
        """Return a media line's direction from its writer's view, by itself or the session's (§6.7)."""
        own = media.direction()
        if own is None:
            own = next((key for key, _ in self.attributes if key in DIRECTIONS), "sendrecv")
        return own

    def address_of(self, media: Media) -> str | None:
        """Return the address a media line is to be sent to."""
        return media.address if media.address is not None else self.address

    def format(self) -> bytes:
        """Write the description."""
        lines = [
            "v=0",
            f"o={self.username} {self.session_id} {self.version} {_network(self.origin_address)}",
            f"s={self.name}",
        ]
        if self.address is not None:
            lines.append(f"c={_network(self.address)}")
        lines.append("t=0 0")
        lines.extend(_attribute(name, value) for name, value in self.attributes)
        for media in self.media:
            lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}")
            if media.address is not None:
                lines.append(f"c={_network(media.address)}")
            lines.extend(_attribute(name, value) for name, value in media.attributes)
        return ("\r\n".join(lines) + "\r\n").encode()

    def _take(self, kind: str, value: str) -> None:
        match kind:
            case "o":
                self._take_origin(value)
            case "s" if not self.media:
                self.name = value or "-"
            case "c":
                address = _read_address(value)
                if self.media:
                    # The first of several c= lines of one media counts (layered multicast is not ours).
                    if self.media[-1].address is None:
                        self.media[-1].address = address
                else:
                    self.address = address
            case "a":
                name, _, rest = value.partition(":")
                target = self.media[-1].attributes if self.media else self.attributes
                target.append((name.strip().lower(), rest.strip()))
            case "m":
                if len(self.media) >= SDP_MEDIA_MAX:
                    raise SdpError("the description has too many media lines")
                self.media.append(_read_media(value))
            case _:
                pass  # v=, t=, b=, k= and what is still to be invented say nothing about the media

    def _take_origin(self, value: str) -> None:
        parts = value.split()
        if len(parts) == 6:
            self.username = parts[0]
            self.session_id = _number(parts[1], 2**64) or 0
            self.version = _number(parts[2], 2**64) or 0
            self.origin_address = parts[5]


def _read_media(value: str) -> Media:
    parts = value.split()
    if len(parts) < 3:
        raise SdpError("a media line is incomplete")
    port = _number(parts[1].partition("/")[0], 65535)
    if port is None:
        raise SdpError("a media line has no port")
    return Media(parts[0].lower(), port, parts[2].upper(), parts[3:])


def _read_address(value: str) -> str:
    parts = value.split()
    if len(parts) != 3 or parts[0].upper() != "IN" or parts[1].upper() not in ("IP4", "IP6"):
        raise SdpError("a connection line is not IN IP4 or IN IP6")
    return parts[2].partition("/")[0]


def _codec(payload_type: int, rtpmap: str | None, fmtp: str) -> Codec | None:
    if rtpmap:
        name, _, rest = rtpmap.partition("/")
        rate_text, _, channels_text = rest.partition("/")
        rate_hz = _number(rate_text.strip(), 1_000_000)
        channels = _number(channels_text.strip(), 255) if channels_text else 1
        if name and rate_hz and channels:
            return Codec(name.strip(), payload_type, rate_hz, channels, fmtp)
    static = STATIC_CODECS.get(payload_type)
    if static is None:
        return None
    return Codec(static[0], payload_type, static[1], static[2], fmtp)


def _number(text: str, most: int) -> int | None:
    if not text or len(text) > 20 or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if number <= most else None


def _network(address: str) -> str:
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def _attribute(name: str, value: str) -> str:
    return f"a={name}:{value}" if value else f"a={name}"
