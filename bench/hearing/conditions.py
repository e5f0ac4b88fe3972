"""What a line does to speech. Pure; everything random comes from a seed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hearing.material import RATE_HZ, Samples, resample
from offhook.base.g711 import mulaw_decode, mulaw_encode

PHONE_RATE_HZ = 8000
_FRAME = PHONE_RATE_HZ // 50
_MULAW = np.frombuffer(mulaw_decode(mulaw_encode(np.arange(65536).astype("<u2").tobytes())), dtype="<i2")


@dataclass(frozen=True, slots=True)
class Condition:
    """A name, the rate at which the engine gets the audio, and what happens to it (16 kHz in, s16le out)."""

    name: str
    rate_hz: int
    apply: Callable[[Samples], bytes]


def pcm(samples: Samples) -> bytes:
    """Return s16le, clipped."""
    result: bytes = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
    return result


def active_level(samples: Samples) -> float:
    """Return the rms of speech without its pauses: of the frames less than 15.9 dB below it (as ITU-T P.56)."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(frames**2, axis=1)
    level = float(power.max())
    for _ in range(20):
        level = float(np.mean(power[power >= level / 10**1.59]))
    return level**0.5


def telephone(samples: Samples, *, noise_db: float | None = None, lost: float = 0.0) -> bytes:
    """Return `samples` after 8 kHz and PCMU, with noise so far below the speech, and frames lost."""
    narrow = resample(samples, RATE_HZ, PHONE_RATE_HZ)
    random = np.random.default_rng(len(narrow))
    if noise_db is not None:
        loud = active_level(narrow)
        narrow = narrow + random.standard_normal(len(narrow)) * loud * 10 ** (-noise_db / 20)
    heard = _MULAW[np.frombuffer(pcm(narrow), dtype="<u2")].copy()
    for at in range(0, len(heard), _FRAME):
        if random.random() < lost:
            heard[at : at + _FRAME] = 0
    result: bytes = heard.tobytes()
    return result


CONDITIONS = (
    Condition("16 kHz", RATE_HZ, pcm),
    Condition("telephone", PHONE_RATE_HZ, telephone),
    Condition("noise 20 dB", PHONE_RATE_HZ, lambda samples: telephone(samples, noise_db=20)),
    Condition("noise 10 dB", PHONE_RATE_HZ, lambda samples: telephone(samples, noise_db=10)),
    Condition("5 % lost", PHONE_RATE_HZ, lambda samples: telephone(samples, lost=0.05)),
)
