"""Keys as tones: two frequencies, nothing else, no clipping."""

import cmath
import math
from array import array

import pytest

from offhook.edge.media.tones import TONE_RATE_HZ, key_tone

pytestmark = pytest.mark.unit

FREQUENCIES_HZ = (697, 770, 852, 941, 1209, 1336, 1477, 1633)
PAIRS = {
    "1": (697, 1209),
    "5": (770, 1336),
    "9": (852, 1477),
    "0": (941, 1336),
    "*": (941, 1209),
    "D": (941, 1633),
}


def power(samples: "array[int]", hz: float) -> float:
    turn = -2j * math.pi * hz / TONE_RATE_HZ
    return abs(sum(sample * cmath.exp(turn * n) for n, sample in enumerate(samples))) ** 2


@pytest.mark.parametrize("key", PAIRS)
def test_a_key_is_its_two_tones_and_no_other(key: str) -> None:
    samples = array("h", key_tone(key, 100))
    strengths = {hz: power(samples, hz) for hz in FREQUENCIES_HZ}
    loudest = sorted(sorted(strengths, key=strengths.__getitem__)[-2:])
    assert tuple(loudest) == PAIRS[key]
    others = max(value for hz, value in strengths.items() if hz not in loudest)
    assert others < min(strengths[hz] for hz in loudest) / 100


def test_every_key_has_a_tone_of_the_length_asked_for_below_full_scale() -> None:
    tones = {key: key_tone(key, 250) for key in "0123456789ABCD*#"}
    assert len(set(tones.values())) == 16
    assert {len(tone) for tone in tones.values()} == {2 * TONE_RATE_HZ // 4}
    assert max(abs(sample) for tone in tones.values() for sample in array("h", tone)) < 32_000


@pytest.mark.parametrize("key", ["", "w", "E", "12"])
def test_what_is_no_key_has_no_tone(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        key_tone(key, 100)
