"""G.711 by the tables of the Recommendation, for audio that Python touches in small amounts. Pure.

The audio of calls runs in the native core; this is also an independent second opinion on its codec.
"""

import sys
from array import array
from collections.abc import Callable
from functools import cache
from typing import Final


def mulaw_decode(payload: bytes) -> bytes:
    """Expand PCMU to s16le."""
    return to_pcm(array("h", map(_MULAW.__getitem__, payload)))


def alaw_decode(payload: bytes) -> bytes:
    """Expand PCMA to s16le."""
    return to_pcm(array("h", map(_ALAW.__getitem__, payload)))


def mulaw_encode(pcm: bytes) -> bytes:
    """Compress s16le to PCMU; half a sample at the end is left out."""
    return bytes(map(_table(_mulaw_byte, 4).__getitem__, to_samples(pcm)))


def alaw_encode(pcm: bytes) -> bytes:
    """Compress s16le to PCMA; half a sample at the end is left out."""
    return bytes(map(_table(_alaw_byte, 16).__getitem__, to_samples(pcm)))


def _mulaw_sample(byte: int) -> int:
    # G.711 table 2: the byte is sent inverted; 3 bits of segment, 4 of step, bias 132.
    byte ^= 0xFF
    magnitude = (((byte & 0x0F) * 8 + 132) << (byte >> 4 & 7)) - 132
    return -magnitude if byte & 0x80 else magnitude


def _alaw_sample(byte: int) -> int:
    # G.711 table 1: even bits are sent inverted.
    byte ^= 0x55
    segment, step = byte >> 4 & 7, (byte & 0x0F) * 16 + 8
    magnitude = step if segment == 0 else (step + 256) << (segment - 1)
    return magnitude if byte & 0x80 else -magnitude


_MULAW: Final = tuple(map(_mulaw_sample, range(256)))
_ALAW: Final = tuple(map(_alaw_sample, range(256)))


def _mulaw_byte(sample: int) -> int:
    # One's complement for negative samples, 14 bits, as the ITU's own tools do it (G.191).
    magnitude = min((sample if sample >= 0 else ~sample) // 4 + 33, 0x1FFF)
    segment = magnitude.bit_length() - 6
    byte = segment << 4 | (magnitude >> (segment + 1) & 0x0F)
    return (byte if sample < 0 else byte | 0x80) ^ 0x7F


def _alaw_byte(sample: int) -> int:
    magnitude = (sample if sample >= 0 else ~sample) // 16
    segment = max(magnitude.bit_length() - 4, 0)
    step = magnitude >> max(segment - 1, 0) & 0x0F
    return (segment << 4 | step | (0x80 if sample >= 0 else 0)) ^ 0x55


@cache
def _table(byte_of: Callable[[int], int], step: int) -> bytes:
    """Return the byte of every sample, first 0 to 32767, then -32768 to -1, so that -1 finds its own.

    `step` neighbours always share a byte: the law looks at no lower bits.
    """
    positive = b"".join(bytes([byte_of(sample)]) * step for sample in range(0, 32_768, step))
    negative = b"".join(bytes([byte_of(sample)]) * step for sample in range(-32_768, 0, step))
    return positive + negative


def to_samples(pcm: bytes) -> "array[int]":
    """Return s16le as an array of numbers; half a sample at the end is left out."""
    samples = array("h", pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def to_pcm(samples: "array[int]") -> bytes:
    """Return an array of 16-bit numbers as s16le; the array is of no more use."""
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
