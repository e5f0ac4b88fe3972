"""Offer and answer for one audio stream (RFC 3264): what both sides agree to send and hear.

The first audio line with a codec of ours is used; every other line is answered with port 0.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace

from offhook.proto.sdp.codecs import (
    EVENT_CLOCK_RATES_HZ,
    PLAIN,
    TELEPHONE_EVENT,
    CodecParameters,
    choose_codecs,
    fit_ptime_ms,
    offer_list,
    our_fmtp,
    rank,
    read_parameters,
    sample_rate_hz,
)
from offhook.proto.sdp.description import Codec, Media, SdpError, SessionDescription

PTIME_MS = 20
PTIME_MS_MIN = 10
PTIME_MS_MAX = 60
_PROFILES = ("RTP/AVP",)
_NOWHERE = ("0.0.0.0", "::")
_SPELLED = {"OPUS": "opus"}
"""Case does not count (RFC 8866 6.6); the registered spelling helps those who think it does."""

HostPort = tuple[str, int]


@dataclass(frozen=True, slots=True)
class NegotiatedMedia:
    """What was agreed for one audio stream, seen from our side.

    `sending`: we send audio to the peer; `receiving`: the peer sends audio to us. Both are False on
    hold by `inactive`. `fmtp` is what the peer wrote for the codec, `parameters` what it means for what
    we send. DTMF may have a clock of its own, where the peer offers none at the codec's.
    """

    codec_name: str
    payload_type: int
    clock_rate_hz: int
    fmtp: str
    dtmf_payload_type: int | None
    ptime_ms: int
    remote_rtp: HostPort
    remote_rtcp: HostPort
    rtcp_mux: bool
    sending: bool
    receiving: bool
    media_index: int
    parameters: CodecParameters = PLAIN
    channels: int = 1
    """As the rtpmap tells them: 2 for Opus, whatever is sent."""
    dtmf_clock_rate_hz: int | None = None

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second of the audio: 16000 for G.722, whose clock says 8000."""
        return sample_rate_hz(self.codec_name, self.clock_rate_hz, self.parameters)

    @property
    def held(self) -> bool:
        """Whether the peer does not want to hear us."""
        return not self.sending


def negotiate(
    offer: SessionDescription, supported: Sequence[str], *, ours_first: bool = False
) -> NegotiatedMedia | None:
    """Choose codec and addresses for an offer; None when it has nothing that we can do (488).

    Raises:
        SdpError: the line chosen has no usable address.

    Args:
        offer: what the peer wrote.
        supported: codecs we take, best first, e.g. ("PCMU", "OPUS", "L16/16000").
        ours_first: choose by our order; else by the offer's, as RFC 3264 §6.1 wishes.
    """
    for index, media in enumerate(offer.media):
        if media.kind != "audio" or media.port == 0 or media.protocol not in _PROFILES:
            continue
        codecs = media.codecs()
        usable = choose_codecs(codecs, supported)
        if not usable:
            continue
        if ours_first:
            usable.sort(key=lambda codec: rank(codec, supported) or 0)
        return _agree(offer, index, usable[0], codecs, mux_allowed=True)
    return None


def make_answer(
    offer: SessionDescription,
    media: NegotiatedMedia,
    *,
    address: str,
    rtp_port: int,
    rtcp_port: int,
    session_id: int,
    version: int = 1,
) -> bytes:
    """Write the answer: as many media lines as offered, ours filled in, the others refused.

    With `media.rtcp_mux` the two ports may differ; then only `rtp_port` is told (RFC 5761 §5.1.1).
    """
    answer = _session(address, session_id, version)
    for index, offered in enumerate(offer.media):
        if index != media.media_index:
            answer.media.append(_refused(offered))
            continue
        line = _audio_line(
            offered.protocol, _in_use(media), rtp_port, rtcp_port, media.ptime_ms, mux=media.rtcp_mux
        )
        line.attributes.append((_direction(media.sending, media.receiving), ""))
        if media.rtcp_mux:
            line.attributes.append(("rtcp-mux", ""))
        mid = offered.get("mid")
        if mid:
            line.attributes.append(("mid", mid))
        answer.media.append(line)
    return answer.format()


def make_offer(
    codecs: Sequence[str] | NegotiatedMedia,
    *,
    address: str,
    rtp_port: int,
    rtcp_port: int,
    session_id: int,
    version: int = 1,
    ptime_ms: int = PTIME_MS,
    rtcp_mux: bool = True,
    sending: bool = True,
    receiving: bool = True,
    beside: SessionDescription | None = None,
) -> bytes:
    """Write an offer of one audio stream.

    Args:
        codecs: names, best first, to which DTMF at each of their clocks is added; or what is in use, to
            offer it again: a payload type keeps its meaning for as long as the session lasts (RFC 3264
            8.3.2).
        beside: the peer's description that `codecs` in use came from: its media lines stay in their
            places (RFC 3264 8), refused but for ours.

    Raises:
        ValueError: a codec that is none of ours.
    """
    if isinstance(codecs, NegotiatedMedia):
        listed, ptime_ms = _in_use(codecs), codecs.ptime_ms
    else:
        listed = offer_list(codecs)
    ptime_ms = fit_ptime_ms(listed[0].name, listed[0].clock_rate_hz, ptime_ms)
    # §5.1.3 of RFC 5761: an offer of rtcp-mux still names the RTCP port for a peer that cannot.
    line = _audio_line("RTP/AVP", listed, rtp_port, rtcp_port, ptime_ms, mux=False)
    line.attributes.append((_direction(sending, receiving), ""))
    if rtcp_mux:
        line.attributes.append(("rtcp-mux", ""))
    offer = _session(address, session_id, version)
    offer.media.append(line)
    if beside is not None and isinstance(codecs, NegotiatedMedia):
        refused = [_refused(theirs) for theirs in beside.media]
        offer.media = [*refused[: codecs.media_index], line, *refused[codecs.media_index + 1 :]]
    return offer.format()


def read_answer(offer: SessionDescription, answer: SessionDescription) -> NegotiatedMedia | None:
    """Return what an answer to our offer agreed on; None when our stream was refused.

    Raises:
        SdpError: the answer does not belong to the offer.
    """
    for index, offered in enumerate(offer.media):
        if offered.kind != "audio":
            continue
        if index >= len(answer.media):
            raise SdpError("the answer has fewer media lines than the offer")
        answered = answer.media[index]
        if answered.kind != "audio":
            raise SdpError("the answer's media line is of another kind")
        if answered.port == 0:
            continue
        codecs = _as_offered(answered.codecs(), offered.codecs())
        usable = choose_codecs(codecs, [f"{codec.name}/{codec.clock_rate_hz}" for codec in offered.codecs()])
        if not usable:
            raise SdpError("the answer has no codec of the offer")
        agreed = _agree(answer, index, usable[0], codecs, mux_allowed=offered.get("rtcp-mux") is not None)
        direction = offer.direction_of(offered)
        return replace(
            agreed,
            sending=agreed.sending and direction in ("sendrecv", "sendonly"),
            receiving=agreed.receiving and direction in ("sendrecv", "recvonly"),
        )
    return None


def offered_codecs(description: SessionDescription) -> list[str]:
    """Return the audio codecs of a description as Telnyx writes them in `offered_codecs` (contract 3.4).

    Name, fmtp after a tilde, and the clock rate unless it is 8000; helpers such as telephone-event
    are left out.
    """
    found: list[str] = []
    for media in description.media:
        if media.kind != "audio" or media.port == 0:
            continue
        for codec in media.codecs():
            name = codec.name.upper()
            if name in ("TELEPHONE-EVENT", "CN", "RED"):
                continue
            text = f"{name}~{codec.fmtp.upper()}" if codec.fmtp else name
            rate = "" if codec.clock_rate_hz == 8000 else f",{codec.clock_rate_hz}H"
            if text + rate not in found:
                found.append(text + rate)
    return found


def _as_offered(answered: Sequence[Codec], offered: Sequence[Codec]) -> list[Codec]:
    """Return the answer's payload types, with the packing of AMR-WB that the offer gave their numbers.

    It holds for both directions (RFC 4867 8.3.1), yet many answers leave it out.
    """
    packed = {codec.payload_type: codec.fmtp for codec in offered if codec.name.upper() == "AMR-WB"}
    return [
        replace(codec, fmtp=f"{codec.fmtp}; {packed[codec.payload_type]}")
        if codec.name.upper() == "AMR-WB"
        and codec.payload_type in packed
        and "octet-align" not in codec.fmtp.lower()
        else codec
        for codec in answered
    ]


def _refused(media: Media) -> Media:
    return Media(media.kind, 0, media.protocol, media.formats or ["0"])


def _in_use(media: NegotiatedMedia) -> list[Codec]:
    """Return the payload types of what was agreed on."""
    fmtp = our_fmtp(media.codec_name, media.parameters)
    codecs = [Codec(media.codec_name, media.payload_type, media.clock_rate_hz, media.channels, fmtp)]
    if media.dtmf_payload_type is not None and media.dtmf_clock_rate_hz is not None:
        codecs.append(Codec(TELEPHONE_EVENT, media.dtmf_payload_type, media.dtmf_clock_rate_hz, 1, "0-16"))
    return codecs


def _agree(
    theirs: SessionDescription, index: int, codec: Codec, codecs: Sequence[Codec], *, mux_allowed: bool
) -> NegotiatedMedia:
    media = theirs.media[index]
    address = theirs.address_of(media)
    if address is None:
        raise SdpError("the description has no connection address")
    if not _usable(address):
        raise SdpError("the connection address is not a numeric unicast address")
    direction = theirs.direction_of(media)
    name = codec.name.upper()
    parameters = read_parameters(codec)
    assert parameters is not None, "a codec whose parameters cannot be met is not chosen"
    dtmf = _dtmf(codecs, codec.clock_rate_hz)
    mux = mux_allowed and media.get("rtcp-mux") is not None
    # 0.0.0.0 is the hold of RFC 2543: they may talk, nobody can talk to them.
    nowhere = address in _NOWHERE
    return NegotiatedMedia(
        codec_name=name,
        payload_type=codec.payload_type,
        clock_rate_hz=codec.clock_rate_hz,
        fmtp=codec.fmtp,
        dtmf_payload_type=None if dtmf is None else dtmf.payload_type,
        ptime_ms=fit_ptime_ms(name, codec.clock_rate_hz, _ptime_ms(media)),
        remote_rtp=(address, media.port),
        remote_rtcp=(address, media.port) if mux else _rtcp(media, address),
        rtcp_mux=mux,
        sending=direction in ("sendrecv", "recvonly") and not nowhere,
        receiving=direction in ("sendrecv", "sendonly"),
        media_index=index,
        parameters=parameters,
        channels=codec.channels,
        dtmf_clock_rate_hz=None if dtmf is None else dtmf.clock_rate_hz,
    )


def _dtmf(codecs: Sequence[Codec], clock_rate_hz: int) -> Codec | None:
    """Return the telephone-event to use: at the codec's clock (RFC 4733 2.1), else at any."""
    events = [
        codec
        for codec in codecs
        if codec.name.lower() == TELEPHONE_EVENT
        and codec.channels == 1
        and codec.clock_rate_hz in EVENT_CLOCK_RATES_HZ
    ]
    events.sort(key=lambda event: event.clock_rate_hz != clock_rate_hz)
    return events[0] if events else None


def _usable(address: str) -> bool:
    # Names never cross into the media plane, and a group address would turn one call into many.
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not parsed.is_multicast and address != "255.255.255.255"


def _rtcp(media: Media, address: str) -> HostPort:
    """Return where RTCP goes: a=rtcp (RFC 3605), else the next port."""
    parts = (media.get("rtcp") or "").split()
    if (
        parts
        and parts[0].isascii()
        and parts[0].isdigit()
        and len(parts[0]) <= 5
        and 0 < int(parts[0]) < 65536
    ):
        return (parts[3] if len(parts) == 4 and _usable(parts[3]) else address), int(parts[0])
    return address, min(media.port + 1, 65535)


def _ptime_ms(media: Media) -> int:
    text = (media.get("ptime") or "").strip().partition(".")[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        return PTIME_MS
    wish = min(max(int(text), PTIME_MS_MIN), PTIME_MS_MAX)
    most = (media.get("maxptime") or "").strip()
    if most.isascii() and most.isdigit() and len(most) <= 4:
        wish = max(PTIME_MS_MIN, min(wish, int(most)))
    return wish // 10 * 10


def _direction(sending: bool, receiving: bool) -> str:
    if sending:
        return "sendrecv" if receiving else "sendonly"
    return "recvonly" if receiving else "inactive"


def _session(address: str, session_id: int, version: int) -> SessionDescription:
    return SessionDescription("-", session_id, version, address, "offhook", address)


def _audio_line(
    protocol: str, codecs: Sequence[Codec], rtp_port: int, rtcp_port: int, ptime_ms: int, *, mux: bool
) -> Media:
    attributes: list[tuple[str, str]] = []
    for codec in codecs:
        channels = f"/{codec.channels}" if codec.channels != 1 else ""
        name = _SPELLED.get(codec.name, codec.name)
        attributes.append(("rtpmap", f"{codec.payload_type} {name}/{codec.clock_rate_hz}{channels}"))
        if codec.fmtp:
            attributes.append(("fmtp", f"{codec.payload_type} {codec.fmtp}"))
    attributes.append(("ptime", str(ptime_ms)))
    if not mux:
        attributes.append(("rtcp", str(rtcp_port)))
    return Media("audio", rtp_port, protocol, [str(c.payload_type) for c in codecs], None, attributes)
