"""G.711 and RTP, as little of them as the fake engine needs. The real ones are in the native core."""

import struct
from functools import cache
from typing import NamedTuple

__all__ = ["RtpFields", "add", "build_rtp", "decode_g711", "encode_g711", "parse_rtp", "resample"]


class RtpFields(NamedTuple):
    """What the fake looks at in a packet."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse_rtp(packet: bytes) -> RtpFields | None:
    """Return the fields of a packet without extension, padding or CSRC; None for all others."""
    if len(packet) < 12 or packet[0] != 0x80:
        return None
    _, marked_type, sequence, timestamp, ssrc = struct.unpack("!BBHII", packet[:12])
    return RtpFields(marked_type & 0x7F, sequence, timestamp, ssrc, packet[12:])


def build_rtp(fields: RtpFields) -> bytes:
    """Return the packet."""
    head = struct.pack(
        "!BBHII",
        0x80,
        fields.payload_type,
        fields.sequence & 0xFFFF,
        fields.timestamp & 0xFFFFFFFF,
        fields.ssrc,
    )
    return head + fields.payload


def decode_g711(codec: str, payload: bytes) -> bytes:
    """Return s16le."""
    table = _table(codec)
    return struct.pack(f"<{len(payload)}h", *(table[byte] for byte in payload))


def encode_g711(codec: str, pcm: bytes) -> bytes:
    """Return the codes whose values are nearest to the samples."""
    nearest = _nearest(codec)
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    return bytes(nearest[sample + 32768] for sample in samples)


def add(pcm: bytes, other: bytes) -> bytes:
    """Return the sum of two pieces of s16le, the second not longer than the first, without wrapping."""
    if not other:
        return pcm
    other = other.ljust(len(pcm), b"\0")
    pairs = zip(_samples(pcm), _samples(other), strict=True)
    return struct.pack(f"<{len(pcm) // 2}h", *(max(-32768, min(32767, a + b)) for a, b in pairs))


def resample(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """Return s16le at another rate, by the sample at or before each."""
    count = len(pcm) // 2 * to_hz // from_hz
    places = (number * from_hz // to_hz * 2 for number in range(count))
    return b"".join(pcm[at : at + 2] for at in places)


def _samples(pcm: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


@cache
def _table(codec: str) -> tuple[int, ...]:
    return tuple((_mulaw if codec == "PCMU" else _alaw)(code) for code in range(256))


@cache
def _nearest(codec: str) -> bytes:
    ordered = sorted((value, code) for code, value in enumerate(_table(codec)))
    codes = bytearray()
    position = 0
    for sample in range(-32768, 32768):
        while position + 1 < 256 and abs(ordered[position + 1][0] - sample) <= abs(
            ordered[position][0] - sample
        ):
            position += 1
        codes.append(ordered[position][1])
    return bytes(codes)


def _mulaw(code: int) -> int:
    # ITU-T G.711 table 2a, as a formula.
    bits = ~code & 0xFF
    magnitude = (((bits & 0x0F) << 3) + 0x84 << ((bits >> 4) & 7)) - 0x84
    return -magnitude if bits & 0x80 else magnitude


def _alaw(code: int) -> int:
    # ITU-T G.711 table 1a, as a formula.
    bits = code ^ 0x55
    segment, step = (bits >> 4) & 7, (bits & 0x0F) << 4
    magnitude = step + 8 if segment == 0 else step + 0x108 << (segment - 1)
    return magnitude if bits & 0x80 else -magnitude
