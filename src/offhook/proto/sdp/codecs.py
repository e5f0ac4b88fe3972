"""The codecs that a description can agree on: their rates, their payload types and their parameters.

A codec is asked for by its name, L16 also with its rate: "OPUS", "L16/24000".
"""

from collections.abc import Sequence
from dataclasses import dataclass

from offhook.proto.sdp.description import Codec

TELEPHONE_EVENT = "telephone-event"
DTMF_PAYLOAD_TYPE = 101
CODECS = ("PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16")
"""Names of what can be agreed on."""
OPUS_SAMPLE_RATES_HZ = (8000, 16_000, 24_000, 48_000)
L16_SAMPLE_RATES_HZ = (8000, 16_000, 22_050, 24_000, 48_000)
L16_OFFERED_HZ = 16_000
"""Of an L16 that is asked for without its rate."""

EVENT_CLOCK_RATES_HZ = (8000, 16_000, 22_050, 24_000, 48_000)
"""Clocks at which telephone-events are understood."""

_STATIC = {"PCMU": 0, "PCMA": 8, "G722": 9}
_CLOCK_RATES_HZ = {
    "PCMU": (8000,),
    "PCMA": (8000,),
    "G722": (8000,),  # sampled at 16000; 8000 by decree (RFC 3551 4.5.2)
    "OPUS": (48_000,),
    "AMR-WB": (16_000,),
    "L16": L16_SAMPLE_RATES_HZ,
}
_DYNAMIC_FIRST, _DYNAMIC_LAST = 96, 127
_PTIME_STEPS_MS = {"OPUS": 20, "AMR-WB": 20}
_PTIME_STEP_MS = 10
_L16_PAYLOAD_BYTES_MAX = 1400
"""What fits into a datagram that no network splits."""
_AMR_WB_MODES = range(9)
_AMR_UNSUPPORTED = ("crc", "robust-sorting", "interleaving")


@dataclass(frozen=True, slots=True)
class CodecParameters:
    """What an fmtp line asks of whoever sends to its writer; the defaults are those of the RFCs.

    Attributes:
        octet_align: AMR-WB payloads in whole octets; holds for both directions (RFC 4867 8.1).
        mode_set: AMR-WB modes that may be used; empty: all of them.
        in_band_fec: Opus packets may carry the one before them again (RFC 7587 6.1).
        max_bitrate: of Opus, in bits a second; 0: no limit.
        max_playback_rate_hz: of Opus: what lies above half of it is not heard.
        dtx: Opus may pause in silence.
        cbr: Opus packets should be all of one size.
        stereo: two channels are welcome; we send one.
    """

    octet_align: bool = False
    mode_set: tuple[int, ...] = ()
    in_band_fec: bool = False
    max_bitrate: int = 0
    max_playback_rate_hz: int = 48_000
    dtx: bool = False
    cbr: bool = False
    stereo: bool = False


PLAIN = CodecParameters()
"""Of a codec without any."""


def read_parameters(codec: Codec) -> CodecParameters | None:
    """Return what a payload type's fmtp asks for; None when that is something we cannot do.

    Unknown parameters and values out of range say nothing, as both RFCs demand, unless ignoring them
    would make payloads that the peer cannot read.
    """
    values = _values(codec.fmtp)
    match codec.name.upper():
        case "AMR-WB":
            return _amr_wb(values)
        case "OPUS":
            return _opus(values)
        case _:
            return PLAIN


def our_fmtp(name: str, parameters: CodecParameters) -> str:
    """Return the fmtp that we write beside what was agreed on; "" for none."""
    match name:
        case "AMR-WB":
            parts = ["octet-align=1"] if parameters.octet_align else []
            if parameters.mode_set:
                parts.append("mode-set=" + ",".join(str(mode) for mode in parameters.mode_set))
            # We never change modes, so we keep to every second frame too (RFC 4867 8.1).
            return "; ".join([*parts, "mode-change-capability=2"])
        case "OPUS":
            return "useinbandfec=1"
        case _:
            return ""


def choose_codecs(codecs: Sequence[Codec], wanted: Sequence[str]) -> list[Codec]:
    """Return those of `codecs` that `wanted` names and that we can do, in their order."""
    return [codec for codec in codecs if rank(codec, wanted) is not None]


def rank(codec: Codec, wanted: Sequence[str]) -> int | None:
    """Return the place of a payload type in a list of wishes; None when it has none, or we cannot do it."""
    name = codec.name.upper()
    if codec.clock_rate_hz not in _CLOCK_RATES_HZ.get(name, ()):
        # PCMU may be had at any rate (RFC 3551 4.5.14); what the names stand for here has only one.
        return None
    # Opus is always opus/48000/2, however many channels are meant (RFC 7587 7); some leave out the 2.
    if codec.channels != 1 and not (name == "OPUS" and codec.channels == 2):
        return None
    if read_parameters(codec) is None:
        return None
    return next((place for place, wish in enumerate(wanted) if _meets(codec, wish)), None)


def offer_list(names: Sequence[str]) -> list[Codec]:
    """Return the payload types of an offer: the codecs, best first, then DTMF at each of their rates.

    AMR-WB is offered twice, for there are two ways to pack it and either may be all a peer knows.

    Raises:
        ValueError: a name that is none of ours.
    """
    numbers = (n for n in range(_DYNAMIC_FIRST, _DYNAMIC_LAST + 1) if n != DTMF_PAYLOAD_TYPE)
    listed: list[Codec] = []
    for text in names:
        name, rate_hz = _wish(text)
        if name not in _CLOCK_RATES_HZ:
            raise ValueError(f"{name} is not a codec that can be offered")
        clock_rate_hz = rate_hz or (L16_OFFERED_HZ if name == "L16" else _CLOCK_RATES_HZ[name][0])
        if clock_rate_hz not in _CLOCK_RATES_HZ[name]:
            raise ValueError(f"{name} does not have that rate")
        ways = (True, False) if name == "AMR-WB" else (False,)
        for octet_align in ways:
            number = _STATIC[name] if name in _STATIC else next(numbers)
            fmtp = our_fmtp(name, CodecParameters(octet_align=octet_align))
            listed.append(Codec(name, number, clock_rate_hz, channels_of(name), fmtp))
    rates_hz = [8000, *(codec.clock_rate_hz for codec in listed)]
    events = [
        Codec(TELEPHONE_EVENT, DTMF_PAYLOAD_TYPE if rate_hz == 8000 else next(numbers), rate_hz, 1, "0-16")
        for rate_hz in dict.fromkeys(rates_hz)
    ]
    return listed + events


def is_codec(text: str) -> bool:
    """Tell whether a codec may be asked for by this name."""
    name, rate_hz = _wish(text)
    return name in CODECS and (rate_hz is None or rate_hz in _CLOCK_RATES_HZ[name])


def channels_of(name: str) -> int:
    """Return the channels that an rtpmap tells."""
    return 2 if name == "OPUS" else 1


def sample_rate_hz(name: str, clock_rate_hz: int, parameters: CodecParameters) -> int:
    """Return the rate at which a codec is coded: G.722's is not its clock, Opus has several."""
    if name == "G722":
        return 16_000
    if name != "OPUS":
        return clock_rate_hz
    most = parameters.max_playback_rate_hz
    return max((rate for rate in OPUS_SAMPLE_RATES_HZ if rate <= most), default=OPUS_SAMPLE_RATES_HZ[0])


def fit_ptime_ms(name: str, clock_rate_hz: int, wish_ms: int) -> int:
    """Return the packet length nearest below a wish that a codec has."""
    step = _PTIME_STEPS_MS.get(name, _PTIME_STEP_MS)
    if name == "L16":
        step = 20 if clock_rate_hz % 100 else step  # 10 ms at 22050 Hz are no whole number of samples
        wish_ms = min(wish_ms, _L16_PAYLOAD_BYTES_MAX * 1000 // (clock_rate_hz * 2))
    return max(wish_ms // step, 1) * step


def _wish(text: str) -> tuple[str, int | None]:
    name, slash, rate = text.strip().upper().partition("/")
    if not slash:
        return name, None
    return name, int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= 6 else 0


def _meets(codec: Codec, wish: str) -> bool:
    name, rate_hz = _wish(wish)
    return codec.name.upper() == name and rate_hz in (None, codec.clock_rate_hz)


def _values(fmtp: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for item in fmtp.split(";"):
        name, _, value = item.partition("=")
        if name.strip():
            values.setdefault(name.strip().lower(), value.strip())
    return values


def _amr_wb(values: dict[str, str]) -> CodecParameters | None:
    if any(values.get(name, "0") not in ("0", "") for name in _AMR_UNSUPPORTED):
        return None
    if values.get("octet-align", "0") not in ("0", "1"):
        return None
    modes: list[int] = []
    for text in filter(None, (part.strip() for part in values.get("mode-set", "").split(","))):
        mode = _number(text)
        if mode is None or mode not in _AMR_WB_MODES:
            return None
        modes.append(mode)
    return CodecParameters(
        octet_align=values.get("octet-align") == "1", mode_set=tuple(sorted(dict.fromkeys(modes)))
    )


def _opus(values: dict[str, str]) -> CodecParameters:
    bitrate = _number(values.get("maxaveragebitrate", ""))
    rate_hz = _number(values.get("maxplaybackrate", ""))
    return CodecParameters(
        in_band_fec=values.get("useinbandfec") == "1",
        max_bitrate=bitrate if bitrate is not None and 6000 <= bitrate <= 510_000 else 0,
        max_playback_rate_hz=rate_hz if rate_hz is not None and 8000 <= rate_hz <= 48_000 else 48_000,
        dtx=values.get("usedtx") == "1",
        cbr=values.get("cbr") == "1",
        stereo=values.get("stereo") == "1",
    )


def _number(text: str) -> int | None:
    return int(text) if text and len(text) <= 9 and text.isascii() and text.isdigit() else None
