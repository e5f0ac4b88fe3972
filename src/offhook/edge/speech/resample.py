"""8 kHz to 16 kHz: a half-band interpolator of our own. Needs numpy; knows nothing else."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_REACH = 24
"""Input samples on each side that a new sample is made from (96-tap half-band, even taps only)."""
_KAISER_BETA = 8.0
"""About 80 dB of stop band: images stay below the noise of G.711."""


@cache
def _taps() -> "NDArray[np.float32]":
    import numpy as np

    # The sample half way between two others, by the sinc of a half-band filter under a window.
    positions = np.arange(-_REACH, _REACH) + 0.5
    window = np.i0(_KAISER_BETA * np.sqrt(1.0 - (positions / _REACH) ** 2)) / np.i0(_KAISER_BETA)
    taps = np.sinc(positions) * window
    return np.asarray(taps / taps.sum(), dtype=np.float32)


def double_rate(samples: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return twice as many samples with the same spectrum below the old half rate, without delay.

    The even outputs are the inputs themselves; outside the segment is silence.
    """
    import numpy as np

    result = np.empty(2 * len(samples), dtype=np.float32)
    result[0::2] = samples
    if len(samples):
        padded = np.concatenate([np.zeros(_REACH - 1, np.float32), samples, np.zeros(_REACH, np.float32)])
        result[1::2] = np.convolve(padded, _taps(), mode="valid")
    return result
