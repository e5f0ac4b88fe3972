"""Words that a model gave without times are put where they can have been said."""

from itertools import pairwise
from typing import Any

import pytest

from offhook.edge.speech.word_times import FRAME_MS, loudness_db, spread_words

np = pytest.importorskip("numpy", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.unit, pytest.mark.speech]


def levels(*stretches: tuple[float, int]) -> Any:
    """Return levels from (dB, milliseconds)."""
    return np.concatenate([np.full(ms // FRAME_MS, db, np.float32) for db, ms in stretches])


def test_a_pause_lies_between_words() -> None:
    times = spread_words(
        ["yes", "please"], levels((-70, 200), (-20, 300), (-70, 400), (-20, 500), (-70, 200))
    )
    assert times == [(200, 500), (900, 1400)]


def test_punctuation_finds_its_pause_even_where_the_lengths_say_otherwise() -> None:
    sound = levels((-20, 700), (-70, 300), (-20, 1300), (-70, 100))
    times = spread_words(["one", "moment,", "I", "am", "going", "to", "look"], sound)
    assert times[1][1] == 700
    assert times[2][0] == 1000


def test_without_a_pause_words_get_time_by_their_length() -> None:
    times = spread_words(["a", "considerable", "sum"], levels((-20, 1600)))
    lengths_ms = [end - start for start, end in times]
    assert times[0][0] == 0
    assert times[-1][1] == 1600
    assert lengths_ms[1] > 2 * lengths_ms[2] > 2 * lengths_ms[0]


def test_words_meet_where_it_is_quieter() -> None:
    times = spread_words(["hello", "world"], levels((-20, 420), (-30, 40), (-20, 500), (-70, 100)))
    assert 400 <= times[0][1] <= 480


def test_digits_count_as_the_words_they_are_read_as() -> None:
    times = spread_words(["4711", "now"], levels((-20, 2000)))
    assert times[0][1] > 1500


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_sound_words_are_in_order_inside_it_and_never_empty(seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = random.normal(-40, 15, random.integers(1, 620)).astype(np.float32)
    words = ["".join(random.choice(list("abc1-.,"), random.integers(1, 12))) for _ in range(seed % 45)]
    times = spread_words(words, sound)
    assert len(times) == len(words)
    assert all(0 <= start <= end <= len(sound) * FRAME_MS for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


@pytest.mark.parametrize("sound", [levels((-90, 0)), levels((-90, 20)), levels((-90, 400))])
def test_silence_still_gives_times(sound: Any) -> None:
    assert len(spread_words(["a", "b", "c"], sound)) == 3
    assert spread_words([], sound) == []


def test_loudness_does_not_hear_a_steady_offset() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)
    plain = loudness_db(tone.astype(np.float32), 16000)
    offset = loudness_db((tone + 0.4).astype(np.float32), 16000)
    assert len(plain) == 5
    assert np.allclose(plain, offset, atol=0.5)
    assert np.allclose(plain, -9.0, atol=1.0)
