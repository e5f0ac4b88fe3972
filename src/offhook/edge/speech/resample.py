"""To the 16 kHz of models, by a half-band interpolator of our own. Needs numpy; knows nothing else."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL_RATE_HZ = 16_000
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


class RateDoubler:
    """Doubles the rate of a signal that comes in pieces; gives each sample 24 inputs later."""

    def __init__(self) -> None:
        import numpy as np

        # Before the signal is silence.
        self._waiting: Any = np.zeros(_REACH - 1, np.float32)

    def push(self, samples: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return all that can be told after these samples: twice as many, with the same spectrum."""
        import numpy as np

        heard = np.concatenate([self._waiting, samples])
        count = max(0, len(heard) - (2 * _REACH - 1))
        result = np.empty(2 * count, dtype=np.float32)
        if count:
            # The even outputs are the inputs themselves.
            result[0::2] = heard[_REACH - 1 : _REACH - 1 + count]
            result[1::2] = np.convolve(heard, _taps(), mode="valid")
        self._waiting = heard[count:]
        return result

    def end(self) -> "NDArray[np.float32]":
        """Return the rest: after the signal is silence."""
        import numpy as np

        return self.push(np.zeros(_REACH, np.float32))


def double_rate(samples: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return twice as many samples with the same spectrum below the old half rate, without delay."""
    import numpy as np

    doubler = RateDoubler()
    return np.concatenate([doubler.push(samples), doubler.end()])


def from_pcm(pcm: bytes) -> "NDArray[np.float32]":
    """Return s16le samples as numbers in [-1, 1]."""
    import numpy as np

    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0


def to_model_rate(pcm: bytes, sample_rate_hz: int) -> "NDArray[np.float32]":
    """Return s16le samples of 8 or 16 kHz as numbers in [-1, 1] at 16 kHz."""
    samples = from_pcm(pcm)
    if sample_rate_hz == MODEL_RATE_HZ:
        return samples
    assert sample_rate_hz * 2 == MODEL_RATE_HZ, "the config allows 8 and 16 kHz only"
    return double_rate(samples)
