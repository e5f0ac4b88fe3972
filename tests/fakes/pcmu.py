"""G.711 mu-law by the formula of the Recommendation, slow and independent of the product's codec."""

import array

_BIAS = 132
_CLIP = 32635


def _encode(sample: int) -> int:
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    segment = magnitude.bit_length() - 8
    return ~(sign | segment << 4 | (magnitude >> (segment + 3)) & 0x0F) & 0xFF


def _decode(byte: int) -> int:
    code = ~byte & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 0x07)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


_ENCODED = bytes(_encode(sample if sample < 32768 else sample - 65536) for sample in range(65536))
_DECODED = [_decode(byte) for byte in range(256)]


def encode(pcm: bytes) -> bytes:
    """Return the mu-law bytes of s16le samples."""
    return bytes(_ENCODED[sample] for sample in array.array("H", pcm))


def decode(payload: bytes) -> bytes:
    """Return the s16le samples of mu-law bytes."""
    return array.array("h", [_DECODED[byte] for byte in payload]).tobytes()


def round_trip(pcm: bytes) -> bytes:
    """Return `pcm` as the far end of a telephone call hears it."""
    return decode(encode(pcm))
