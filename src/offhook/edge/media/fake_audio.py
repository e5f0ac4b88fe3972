"""Codecs and RTP, as little of them as the fake engine needs. The real ones are in the native core."""

import struct
from functools import cache
from typing import NamedTuple

__all__ = [
    "FakeFormat",
    "RtpFields",
    "add",
    "build_rtp",
    "decode_g711",
    "encode_g711",
    "parse_rtp",
    "resample",
]

_SILENCE = {"G722": b"\0" * 160, "OPUS": b"\x08", "AMR-WB": b"\xf0\x7c"}
"""20 ms of codecs that the fake passes on without understanding them."""


class FakeFormat(NamedTuple):
    """A codec with its rates. The fake knows G.711 and L16; the others it takes for silence."""

    codec: str
    clock_rate_hz: int = 8000
    sample_rate_hz: int = 8000
    byte_order: str = "little"

    def passes(self, other: "FakeFormat") -> bool:
        """Tell whether payloads of the other serve as they are."""
        return self.codec == other.codec and self.codec != "L16"

    def clock_ticks(self, payload: bytes) -> int:
        """Return how long a payload lasts on the RTP clock."""
        if self.codec == "L16":
            return len(payload) // 2
        return len(payload) if self.codec in ("PCMU", "PCMA", "G722") else self.clock_rate_hz // 50

    def decode(self, payload: bytes) -> bytes:
        """Return s16le of 8 kHz."""
        if self.codec in ("PCMU", "PCMA"):
            return decode_g711(self.codec, payload)
        if self.codec == "L16":
            return resample(self._ordered(payload), self.sample_rate_hz, 8000)
        return bytes(self.clock_ticks(payload) * 16000 // self.clock_rate_hz)

    def encode(self, pcm: bytes) -> bytes:
        """Return a payload of s16le of 8 kHz."""
        if self.codec in ("PCMU", "PCMA"):
            return encode_g711(self.codec, pcm)
        if self.codec == "L16":
            return self._ordered(resample(pcm, 8000, self.sample_rate_hz))
        silence = _SILENCE[self.codec]
        return silence if self.codec != "G722" else silence[:1] * (len(pcm) // 2)

    def _ordered(self, pcm: bytes) -> bytes:
        if self.byte_order == "little":
            return pcm
        return struct.pack(f">{len(pcm) // 2}h", *_samples(pcm[: len(pcm) // 2 * 2]))


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
