"""The tones of keys (ITU-T Q.23), for calls without telephone-event."""

import math
import sys
from array import array

TONE_RATE_HZ = 8_000
_LOW_HZ = (697, 770, 852, 941)
_HIGH_HZ = (1209, 1336, 1477, 1633)
_ROWS = ("123A", "456B", "789C", "*0#D")
_PEAK = 32_768 * 10 ** (-9 / 20)
"""Of each of the two tones: together they stay below full scale."""
_RAMP_MS = 5


def key_tone(key: str, duration_ms: int) -> bytes:
    """Return the tone of a key as s16le mono at `TONE_RATE_HZ`, without clicks at its ends.

    Raises:
        ValueError: there is no such key.
    """
    row = next((index for index, keys in enumerate(_ROWS) if len(key) == 1 and key in keys), None)
    if row is None:
        raise ValueError("a key is one of 0-9, A-D, * and #")
    low, high = _LOW_HZ[row], _HIGH_HZ[_ROWS[row].index(key)]
    count, ramp = TONE_RATE_HZ * duration_ms // 1000, TONE_RATE_HZ * _RAMP_MS // 1000
    samples = array("h", bytes(2 * count))
    for n in range(count):
        gain = min(1.0, (n + 1) / ramp, (count - n) / ramp)
        turn = 2 * math.pi * n / TONE_RATE_HZ
        samples[n] = round(_PEAK * gain * (math.sin(low * turn) + math.sin(high * turn)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
