"""Cuts a track into utterances from voice probabilities. Pure: no model, no clock, no I/O.

Speech begins after a few loud frames (with some audio from before them, since voice detectors are
late on soft consonants), ends after a silence, and is cut at its quietest moment when it goes on
for longer than the recogniser can take.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SegmenterSettings:
    """The measured defaults; times in milliseconds, rounded up to whole frames."""

    frame_ms: int = 32
    on: float = 0.5
    off: float = 0.35
    onset_frames: int = 3
    endpoint_ms: int = 500
    preroll_ms: int = 300
    tail_ms: int = 150
    max_ms: int = 12_000
    cut_window_ms: int = 3_000
    """How far back from a forced cut the quietest moment is looked for."""

    def frames(self, ms: int) -> int:
        """Return how many frames hold `ms`."""
        return -(-ms // self.frame_ms)


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished piece of speech, to be decoded once: frames `start` up to, not including, `end`."""

    start: int
    end: int
    pcm: bytes
    forced: bool
    """Cut because it was too long; the speaker goes on in the next segment."""
    voice: float = 1.0
    """The highest probability of voice in it."""


class Segmenter:
    """Takes one frame after another, each with its voice probability; gives starts and segments.

    Frames are counted from the first one ever. A start is the number of the frame it happened at.
    Segments never overlap and come in order; none is longer than `max_ms`; every frame of a run of
    at least `onset_frames` loud frames is in exactly one segment.
    """

    def __init__(self, settings: SegmenterSettings | None = None) -> None:
        self._settings = settings or SegmenterSettings()
        use = self._settings
        assert use.off <= use.on, "hysteresis needs off <= on"
        self._endpoint_frames = max(1, use.frames(use.endpoint_ms))
        self._tail_frames = min(use.frames(use.tail_ms), self._endpoint_frames)
        self._kept_frames = use.frames(use.preroll_ms) + use.onset_frames - 1
        # Rounded down, because a recogniser's limit is a limit.
        self._max_frames = max(use.max_ms // use.frame_ms, self._kept_frames + 2)
        self._frames: list[bytes] = []
        self._probabilities: list[float] = []
        self._start = 0
        self._loud_run = 0
        self._quiet_run = 0
        self.speaking = False
        self.heard_frames = 0
        """Frames taken since the first."""

    @property
    def settled(self) -> int:
        """The first frame that may still become part of a segment."""
        return self._start

    def push(self, frame: bytes, probability: float) -> list[int | Segment]:
        """Take the next frame. Returns what that decided, in order."""
        self._frames.append(frame)
        self._probabilities.append(probability)
        self.heard_frames += 1
        if not self.speaking:
            return self._wait_for_speech(probability)
        self._quiet_run = self._quiet_run + 1 if probability < self._settings.off else 0
        if self._quiet_run >= self._endpoint_frames:
            return [self._end()]
        if len(self._frames) >= self._max_frames:
            return [self._cut()]
        return []

    def flush(self) -> list[int | Segment]:
        """End the utterance now. Whatever is not speech yet is forgotten."""
        result: list[int | Segment] = [self._end()] if self.speaking else []
        self._forget(len(self._frames))
        self._loud_run = 0
        return result

    def spoken(self) -> tuple[int, int, bytes]:
        """Return (start, end, audio) of the utterance so far, without most of its trailing silence."""
        assert self.speaking, "there is an utterance only while somebody speaks"
        count = self.spoken_end() - self._start
        return self._start, self._start + count, b"".join(self._frames[:count])

    @property
    def quiet_frames(self) -> int:
        """How long it has been quiet within the utterance, if that is longer than its tail; else 0.

        Then `spoken` stays the same until somebody speaks, and is what `push` will end with.
        """
        return self._quiet_run if self.speaking and self._quiet_run >= self._tail_frames else 0

    def spoken_voice(self) -> float:
        """Return the highest probability of voice in `spoken`."""
        return max(self._probabilities[: self.spoken_end() - self._start], default=0.0)

    def spoken_end(self) -> int:
        """Return the frame after the last one of `spoken`."""
        return self._start + len(self._frames) - max(0, self._quiet_run - self._tail_frames)

    def _wait_for_speech(self, probability: float) -> list[int | Segment]:
        self._loud_run = self._loud_run + 1 if probability >= self._settings.on else 0
        if self._loud_run < self._settings.onset_frames:
            self._forget(len(self._frames) - self._kept_frames)
            return []
        self.speaking = True
        self._loud_run = 0
        self._quiet_run = 0
        return [self._start]

    def _end(self) -> Segment:
        segment = self._take(self.spoken_end() - self._start, forced=False)
        self.speaking = False
        self._quiet_run = 0
        self._forget(len(self._frames) - self._kept_frames)
        return segment

    def _cut(self) -> Segment:
        window = min(self._settings.frames(self._settings.cut_window_ms), len(self._frames) - 1)
        first = len(self._frames) - window
        quietest = min(range(first, len(self._frames)), key=lambda i: (self._probabilities[i], -i))
        if quietest >= len(self._frames) - self._quiet_run:
            # Nothing was said after that moment: the utterance is over rather than cut.
            return self._end()
        return self._take(quietest, forced=True)

    def _take(self, count: int, *, forced: bool) -> Segment:
        voice = max(self._probabilities[:count], default=0.0)
        segment = Segment(self._start, self._start + count, b"".join(self._frames[:count]), forced, voice)
        self._forget(count)
        return segment

    def _forget(self, count: int) -> None:
        if count > 0:
            del self._frames[:count]
            del self._probabilities[:count]
            self._start += count
