"""When each word of a segment was said, for a model that gives text only. An estimate; needs numpy.

The words are spread over the frames that hold sound: each gets time by its length, and moves so that
words meet where it is quiet, a pause lies between words rather than inside one, and punctuation lies at
a pause.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAME_MS = 20
_SPEECH_RANGE = 0.34
"""A frame is quiet below this part of the range, in decibels, between the segment's floor and its peaks."""
_RANGE_MIN_DB = 12.0
"""Less range than this has no pauses that could be told from speech."""
_DIGIT_LETTERS = 4
_STRETCH_MAX, _STRETCH_FRAMES = 4.0, 8
"""No word takes longer than so many times its share, and some frames."""
_SPREAD_SHARE, _SPREAD_FRAMES = 0.2, 1.0
"""How far a word's length may be off: part of its share, plus some frames."""
_LOUD_COST = 2.4
"""For words that meet where it is loud."""
_PAUSE_GAIN, _PAUSE_GAIN_FRAMES_MAX = 0.2, 15
_INNER_PAUSE_COST = 0.4
"""For each frame of pause inside a word."""
_MARK_GAIN = 4.0
"""Punctuation is worth so many times more at a pause than a space is."""
_MARKS = ".,;:?!"


def loudness_db(samples: "NDArray[np.float32]", sample_rate_hz: int) -> "NDArray[np.float32]":
    """Return the level of each whole frame of samples in [-1, 1]."""
    import numpy as np

    size = sample_rate_hz * FRAME_MS // 1000
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    # Without the steady part, which says nothing about speech.
    power = np.mean(np.square(frames - frames.mean(axis=1, keepdims=True)), axis=1)
    return np.asarray(10 * np.log10(power + 1e-10), dtype=np.float32)


def spread_words(words: Sequence[str], levels_db: "NDArray[np.float32]") -> list[tuple[int, int]]:
    """Return start and end of each word in milliseconds; they are in order and do not overlap.

    Args:
        words: what was said, punctuation included.
        levels_db: how loud each frame of the segment is.
    """
    if not words:
        return []
    sounding = _sounding(levels_db)
    if len(sounding) < len(words):
        return _evenly(len(words), len(levels_db) * FRAME_MS)
    bounds = _bounds(words, levels_db, sounding)
    return [
        (int(sounding[start]) * FRAME_MS, (int(sounding[end - 1]) + 1) * FRAME_MS)
        for start, end in pairwise(bounds)
    ]


def _sounding(levels_db: "NDArray[np.float32]") -> Any:
    """Return the numbers of the frames that are not pause."""
    import numpy as np

    if not len(levels_db):
        return np.zeros(0, np.int64)
    floor_db, peak_db = np.percentile(levels_db, [5, 95])
    if peak_db - floor_db < _RANGE_MIN_DB:
        return np.arange(len(levels_db))
    return np.flatnonzero(levels_db >= floor_db + _SPEECH_RANGE * (peak_db - floor_db))


def _evenly(count: int, duration_ms: int) -> list[tuple[int, int]]:
    return [(duration_ms * at // count, duration_ms * (at + 1) // count) for at in range(count)]


def _bounds(words: Sequence[str], levels_db: Any, sounding: Any) -> list[int]:
    """Return where the words meet, as indices of sounding frames: one more than there are words.

    The best of all ways by dynamic programming: `best[p]` is what it costs that the words so far end
    before the sounding frame `p`.
    """
    import numpy as np

    frames = len(sounding)
    shares = _shares(words, frames)
    pauses = np.concatenate([[0], np.diff(sounding) - 1])
    before = np.cumsum(pauses)
    """Pause frames before each sounding frame, its own included."""
    meets = _meeting_costs(levels_db[sounding], pauses)
    best = np.full(frames + 1, np.inf)
    best[0] = 0.0
    came: list[Any] = []
    for number, share in enumerate(shares):
        last = number == len(shares) - 1
        best, lengths = _extend(best, share, before, frames)
        came.append(lengths)
        if not last:
            marked = words[number][-1:] in _MARKS
            best[:frames] += meets[1 if marked else 0]
    bounds = [frames]
    for lengths in reversed(came):
        bounds.append(bounds[-1] - int(lengths[bounds[-1]]))
    return bounds[::-1]


def _shares(words: Sequence[str], frames: int) -> list[float]:
    weights = [
        max(1, sum(_DIGIT_LETTERS if character.isdigit() else character.isalpha() for character in word))
        for word in words
    ]
    return [weight * frames / sum(weights) for weight in weights]


def _meeting_costs(levels_db: Any, pauses: Any) -> tuple[Any, Any]:
    """Return what it costs that two words meet before each sounding frame, without and with punctuation."""
    import numpy as np

    low, high = float(levels_db.min()), float(levels_db.max())
    loud = (levels_db - low) / max(high - low, 1.0)
    quietest = np.minimum(loud, np.concatenate([loud[:1], loud[:-1]]))
    gain = _PAUSE_GAIN * np.minimum(pauses, _PAUSE_GAIN_FRAMES_MAX)
    loud_cost = np.where(pauses > 0, 0.0, _LOUD_COST * quietest)
    return loud_cost - gain, loud_cost - _MARK_GAIN * gain


def _extend(best: Any, share: float, before: Any, frames: int) -> tuple[Any, Any]:
    """Return the costs with one word more, and how many frames it takes at each end."""
    import numpy as np

    result = np.full(frames + 1, np.inf)
    lengths = np.zeros(frames + 1, np.int64)
    # The pause that lies before a word is not inside it: counted from its first frame to its last.
    first = np.concatenate([before, before[-1:]])
    last = np.concatenate([before[:1], before])
    spread = _SPREAD_SHARE * share + _SPREAD_FRAMES
    for length in range(1, min(int(share * _STRETCH_MAX) + _STRETCH_FRAMES, frames) + 1):
        inside = last[length:] - first[: frames + 1 - length]
        cost = (
            best[: frames + 1 - length]
            + ((length - share) / spread) ** 2
            + _INNER_PAUSE_COST * np.maximum(inside, 0)
        )
        better = cost < result[length:]
        result[length:][better] = cost[better]
        lengths[length:][better] = length
    return result, lengths
