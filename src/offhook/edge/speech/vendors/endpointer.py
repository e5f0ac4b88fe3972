"""Finds the ends of utterances by loudness, for services that do not look for them. Pure: no model, no clock.

Tones of the telephone are as loud all the time, which speech never is, and are left out. Wrong about
music, which counts as speech: the service then hears it and finds no words.
"""

from dataclasses import dataclass

from offhook.base.g711 import to_samples

FRAME_MS = 20
_LOUD_LEVEL_MIN = 120
"""Mean magnitude of a quiet talker on a telephone, about -45 dBFS."""
_LOUDER_THAN_NOISE = 3.0
_QUIET_SHARE = 0.6
"""Speech goes on until the level falls below this share of what counts as loud."""
_FLOOR_RISE = 1.005
"""The noise floor follows louder noise by 2 dB a second, and quieter noise at once."""
_FLOOR_MIN = 8.0
_ONSET_FRAMES = 3
_TONE_FRAMES_MIN = 12
_TONE_SPREAD_MAX = 0.2
"""Of the frames' levels, as a share of their mean: 440 and 480 Hz together make 0.1, speech above 0.4."""
_PAUSE_MS = 200


@dataclass(frozen=True, slots=True)
class Span:
    """Where somebody spoke, in ms of the audio that was pushed."""

    start_ms: int
    end_ms: int


@dataclass(slots=True)
class _Levels:
    """How much the loud frames of an utterance differ."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, level: float) -> None:
        """Take a loud frame's level."""
        self.count += 1
        self.total += level
        self.squares += level * level

    @property
    def steady(self) -> bool:
        """True when all are alike, as in a tone."""
        if self.count < _TONE_FRAMES_MIN:
            return False
        mean = self.total / self.count
        return self.squares / self.count - mean * mean <= (_TONE_SPREAD_MAX * mean) ** 2


class Endpointer:
    """Takes audio and says when an utterance is over.

    Args:
        sample_rate_hz: of the s16le audio.
        endpoint_ms: silence that ends an utterance.
        max_ms: how long one may be; in its last third a short pause ends it too.
    """

    def __init__(self, sample_rate_hz: int, *, endpoint_ms: int, max_ms: int) -> None:
        self._frame_bytes = sample_rate_hz * FRAME_MS // 1000 * 2
        self._endpoint_ms = endpoint_ms
        self._max_ms = max_ms
        self._rest = b""
        self._now_ms = 0
        self._floor = float(_LOUD_LEVEL_MIN) / _LOUDER_THAN_NOISE
        self._loud_run = 0
        self._start_ms: int | None = None
        self._loud_until_ms = 0
        self._levels = _Levels()

    @property
    def span(self) -> Span | None:
        """Where the utterance that goes on was loud so far."""
        if self._start_ms is None or self._levels.steady:
            return None
        return Span(self._start_ms, self._loud_until_ms)

    @property
    def idle(self) -> bool:
        """True while nothing is loud, nor begins to be."""
        return self._start_ms is None and self._loud_run == 0

    def push(self, pcm: bytes) -> bool:
        """Take audio; return whether an utterance or a tone ended in it. `end` must follow then."""
        self._rest += pcm
        over = False
        whole = len(self._rest) - len(self._rest) % self._frame_bytes
        for start in range(0, whole, self._frame_bytes):
            over = self._frame(self._rest[start : start + self._frame_bytes]) or over
        self._rest = self._rest[whole:]
        return over

    def end(self) -> Span | None:
        """End the utterance that goes on and return where it was; None when it was a tone."""
        span = self.span
        self._start_ms = None
        self._loud_run = 0
        self._levels = _Levels()
        return span

    def _frame(self, frame: bytes) -> bool:
        samples = to_samples(frame)
        level = sum(map(abs, samples)) / len(samples)
        self._now_ms += FRAME_MS
        loud_level = max(_LOUD_LEVEL_MIN, self._floor * _LOUDER_THAN_NOISE)
        self._floor = max(_FLOOR_MIN, min(level, self._floor * _FLOOR_RISE))
        if self._start_ms is None:
            self._loud_run = self._loud_run + 1 if level >= loud_level else 0
            if self._loud_run == _ONSET_FRAMES:
                self._start_ms = self._now_ms - _ONSET_FRAMES * FRAME_MS
                self._loud_until_ms = self._now_ms
            return False
        if level >= loud_level * _QUIET_SHARE:
            self._loud_until_ms = self._now_ms
            self._levels.add(level)
        return self._is_over()

    def _is_over(self) -> bool:
        assert self._start_ms is not None, "asked only within an utterance"
        quiet_ms = self._now_ms - self._loud_until_ms
        long_ms = self._now_ms - self._start_ms
        if long_ms >= self._max_ms:
            return True
        return quiet_ms >= (_PAUSE_MS if long_ms * 3 >= self._max_ms * 2 else self._endpoint_ms)
