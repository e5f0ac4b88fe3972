"""What the fake engine refuses, as the native one does and in the same words."""

import json
from ipaddress import ip_address

from offhook.edge.media.engine import MediaError

__all__ = [
    "PLAYED_RATES_HZ",
    "check_address",
    "check_app_codec",
    "check_byte_order",
    "check_codec",
    "check_ranges",
    "clock_rate_hz_of",
    "is_framed",
    "is_object",
    "is_rate",
]


L16_RATES_HZ = (8000, 16000, 22050, 24000, 48000)
PLAYED_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES_HZ = {
    "PCMU": (8000,),
    "PCMA": (8000,),
    "G722": (8000, 16000),
    "OPUS": (8000, 16000, 24000, 48000),
    "AMR-WB": (8000, 16000),
    "L16": L16_RATES_HZ,
}


def check_codec(codec: str) -> None:
    """Refuse a codec that the native core does not speak."""
    if codec not in _RATES_HZ:
        raise MediaError(f'the media core does not speak codec "{codec}"')


def check_app_codec(codec: str) -> None:
    """Refuse a codec in which no application may speak."""
    if codec != "MP3":
        check_codec(codec)


def check_byte_order(order: str) -> None:
    """Refuse what is no order of bytes."""
    if order not in ("little", "big"):
        raise MediaError(f'"{order}" is not a byte order: little or big')


def clock_rate_hz_of(codec: str, asked_hz: int) -> int:
    """Return the RTP clock of a codec; L16 has the one asked for, if it is one."""
    if codec == "L16":
        return asked_hz if asked_hz in L16_RATES_HZ else 0
    return {"OPUS": 48000, "AMR-WB": 16000}.get(codec, 8000)


def is_framed(codec: str, clock_rate_hz: int, ptime_ms: int) -> bool:
    """Tell whether a packet of this length holds whole frames."""
    if codec in ("OPUS", "AMR-WB"):
        return ptime_ms % 20 == 0 and (codec == "AMR-WB" or ptime_ms <= 120)
    return clock_rate_hz * ptime_ms % 1000 == 0


def is_rate(codec: str, sample_rate_hz: int) -> bool:
    """Tell whether a stream may have this codec at this rate; mp3 files tell theirs themselves."""
    return codec == "MP3" or sample_rate_hz in _RATES_HZ[codec]


def check_ranges(**good: bool) -> None:
    """Refuse the first parameter that is not good, by its name."""
    for name, fits in good.items():
        if not fits:
            raise MediaError(f"{name} is out of range")


def is_object(text: str) -> bool:
    """Tell whether the text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def check_address(address: str) -> None:
    """Refuse what is not `ip:port`: names never cross the seam."""
    host, _, port = address.rpartition(":")
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
        good = 0 < int(port) < 65536
    except ValueError:
        good = False
    if not good:
        raise MediaError(f'"{address}" is not an address of the form ip:port')
