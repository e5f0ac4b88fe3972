"""What the fake engine refuses, as the native one does and in the same words."""

import json
from ipaddress import ip_address

from offhook.edge.media.engine import MediaError

__all__ = ["check_address", "check_codec", "check_ranges", "check_stream_codec", "is_object", "is_rate"]


L16_RATES_HZ = (8000, 16000, 22050, 24000, 48000)


def check_codec(codec: str) -> None:
    """Refuse a codec that the native core does not speak."""
    if codec not in ("PCMU", "PCMA"):
        raise MediaError(f'the media core does not speak codec "{codec}"')


def check_stream_codec(codec: str) -> None:
    """Refuse a codec that no stream speaks."""
    if codec != "L16":
        check_codec(codec)


def is_rate(codec: str, sample_rate_hz: int) -> bool:
    """Tell whether a stream may have this codec at this rate."""
    return sample_rate_hz == 8000 or (codec == "L16" and sample_rate_hz in L16_RATES_HZ)


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
