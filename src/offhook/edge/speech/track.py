"""One track inside a worker: audio by its own clock in, utterances out. No model runs here but the detector.

Follows the leg's clock: short holes become silence, long ones end the utterance. Time is where the
audio is; no clock is read.
"""

from dataclasses import dataclass, field

from offhook.edge.speech.protocol import VoiceDetector
from offhook.edge.speech.segmenter import Segment, Segmenter, SegmenterSettings

_SLACK_MS = 40
"""Rounding of chunk times, not a hole."""
_FILLED_HOLE_MS = 1_000


@dataclass(frozen=True, slots=True)
class UtteranceStarted:
    """Speech began."""

    utterance_id: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """A piece of speech with its audio: finished, or `so_far`."""

    utterance_id: int
    start_ms: int
    end_ms: int
    pcm: bytes = field(repr=False)
    voice: float = 1.0
    """The highest probability of voice in it."""


class Track:
    """Keeps the clock, the detector and the segmenter of one track together."""

    def __init__(
        self,
        detector: VoiceDetector,
        settings: SegmenterSettings,
        *,
        sample_rate_hz: int,
        first_utterance_id: int = 0,
    ) -> None:
        self._detector = detector
        self._segmenter = Segmenter(settings)
        self._settings = settings
        self._bytes_per_ms = sample_rate_hz * 2 // 1000
        self._frame_bytes = detector.frame_samples * 2
        assert self._frame_bytes == settings.frame_ms * self._bytes_per_ms, "one frame is one probability"
        self._rest = bytearray()
        self._origin_ms: int | None = None
        self._next_id = first_utterance_id
        self._utterance_id = first_utterance_id
        self.holes = 0

    @property
    def speaking(self) -> bool:
        """True from the start of an utterance to its end."""
        return self._segmenter.speaking

    @property
    def settled_ms(self) -> int:
        """Audio before this moment has been judged: it is in a given utterance, or was not speech."""
        return self._ms(self._segmenter.settled)

    def push(self, pcm: bytes, at_ms: int) -> list[UtteranceStarted | Utterance]:
        """Take samples that begin at `at_ms`. Half a sample at the end is dropped."""
        pcm = pcm[: len(pcm) & ~1]
        result: list[UtteranceStarted | Utterance] = []
        if self._origin_ms is None:
            self._origin_ms = at_ms
        hole_ms = at_ms - self._next_ms()
        if _SLACK_MS < hole_ms <= _FILLED_HOLE_MS:
            self.holes += 1
            self._rest += bytes(hole_ms * self._bytes_per_ms)
        elif abs(hole_ms) > _SLACK_MS:
            self.holes += 1
            result += self.flush()
            self._detector.reset()
            self._origin_ms = at_ms - self._segmenter.heard_frames * self._settings.frame_ms
        self._rest += pcm
        return result + self._take_frames()

    def flush(self) -> list[UtteranceStarted | Utterance]:
        """End the utterance now. The last samples that fill no frame count as silence."""
        result: list[UtteranceStarted | Utterance] = []
        if self.speaking and self._rest:
            self._rest += bytes(self._frame_bytes - len(self._rest))
            result = self._take_frames()
        # The clock stays right by less than a frame: what is dropped here was not speech.
        self._rest.clear()
        return result + self._told(self._segmenter.flush())

    def so_far(self) -> Utterance:
        """Return the utterance that is going on, without its trailing silence."""
        start, end, pcm = self._segmenter.spoken()
        voice = self._segmenter.spoken_voice()
        return Utterance(self._utterance_id, self._ms(start), self._ms(end), pcm, voice)

    @property
    def quiet_ms(self) -> int:
        """How long the going utterance has been quiet; 0 while its audio still changes."""
        return self._segmenter.quiet_frames * self._settings.frame_ms

    @property
    def utterance_id(self) -> int:
        """The utterance that goes on, or the last one."""
        return self._utterance_id

    def spoken_until_ms(self) -> int:
        """Return where the last speech of the going utterance was heard."""
        return self._ms(self._segmenter.spoken_end())

    def _take_frames(self) -> list[UtteranceStarted | Utterance]:
        result: list[UtteranceStarted | Utterance] = []
        at = 0
        while at + self._frame_bytes <= len(self._rest):
            frame = bytes(self._rest[at : at + self._frame_bytes])
            at += self._frame_bytes
            result += self._told(self._segmenter.push(frame, self._detector.probability(frame)))
        del self._rest[:at]
        return result

    def _told(self, decided: list[int | Segment]) -> list[UtteranceStarted | Utterance]:
        result: list[UtteranceStarted | Utterance] = []
        for item in decided:
            if isinstance(item, Segment):
                start_ms, end_ms = self._ms(item.start), self._ms(item.end)
                result.append(Utterance(self._utterance_id, start_ms, end_ms, item.pcm, item.voice))
                if item.forced:
                    result.append(self._begin(item.end))
            else:
                result.append(self._begin(item))
        return result

    def _begin(self, frame: int) -> UtteranceStarted:
        self._utterance_id = self._next_id
        self._next_id += 1
        return UtteranceStarted(self._utterance_id, self._ms(frame))

    def _ms(self, frame: int) -> int:
        return (self._origin_ms or 0) + frame * self._settings.frame_ms

    def _next_ms(self) -> int:
        return self._ms(self._segmenter.heard_frames) + len(self._rest) // self._bytes_per_ms
