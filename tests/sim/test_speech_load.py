"""A worker with as many tracks as it takes, all speaking at once: what becomes late, and what is left out.

Real: the worker's core with its segmenters. Simulated: time, the voices, and a model that costs what
the local one costs on one core (20 ms and 3 % of the speech).
"""

import random
from itertools import pairwise
from statistics import median

import pytest

from offhook.base.limits import SPEECH_TRACKS_PER_WORKER_MAX
from offhook.edge.speech.frames import Audio, Message
from offhook.edge.speech.protocol import PLAIN, Heard, SegmentConfig
from offhook.edge.speech.worker_core import WorkerCore
from tests.fakes.speech_engine import FakeRecognizer, peak, silence, tone

pytestmark = pytest.mark.sim

CHUNK_MS = 100
CONFIG = {
    "language": "en",
    "phrases": [],
    "interim": True,
    "sample_rate_hz": 8000,
    "endpoint_ms": 500,
    "max_segment_s": 12.0,
    "partial_ms": 500,
}


class CostlyRecognizer(FakeRecognizer):
    """Takes time of the simulation; says something new whenever it hears more."""

    def __init__(self) -> None:
        super().__init__({})
        self.now = 0.0
        self.longest_s = 0.0

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        del config
        cost_s = 0.02 + 0.03 * len(pcm) / (2 * sample_rate_hz)
        self.now += cost_s
        self.longest_s = max(self.longest_s, cost_s)
        return Heard(f"word{peak(pcm) // 1000} of {len(pcm)}", 0.9)


class Hall:
    """One worker and the people who speak to it; every message is kept with its moment."""

    def __init__(self, seed: int, tracks: int, seconds: int = 30) -> None:
        self.random = random.Random(seed)
        self.model = CostlyRecognizer()
        self.core = WorkerCore(self.model, lambda: self.model.now)
        self.told: list[tuple[float, Message]] = []
        self.said: dict[int, list[int]] = {}
        chunks: list[tuple[float, Audio]] = []
        for track in range(1, tracks + 1):
            self.core.receive({"op": "open", "s": track, "utterance": 0, "config": CONFIG})
            pcm = self._speech(track, seconds)
            phase_s = self.random.random() * CHUNK_MS / 1000
            for at_ms in range(0, len(pcm) // 16, CHUNK_MS):
                audio = Audio(track, at_ms, pcm[at_ms * 16 : (at_ms + CHUNK_MS) * 16])
                chunks.append((phase_s + (at_ms + CHUNK_MS) / 1000, audio))
        self.coming = sorted(chunks, key=lambda item: item[0])

    def _speech(self, track: int, seconds: int) -> bytes:
        """Return sentences of 1 to 4 s with pauses of a second, all beginning at once."""
        self.said[track] = []
        pcm = silence(300)
        while len(pcm) < seconds * 16_000:
            word = self.random.randint(1, 30)
            self.said[track].append(word)
            pcm += tone(word, self.random.randint(1000, 4000)) + silence(1000)
        return pcm + silence(1000)

    def run(self) -> None:
        """Let everybody speak to the end, in the order in which the worker would look at things."""
        waiting = iter(self.coming)
        chunk = next(waiting, None)
        while chunk is not None or self.core.has_work:
            if chunk is not None and chunk[0] <= self.model.now and not self.core.saturated:
                self._note(self.core.receive(chunk[1]))
                chunk = next(waiting, None)
            elif self.core.has_work:
                self._note(self.core.work())
            else:
                assert chunk is not None, "there is work, or audio that comes"
                self.model.now = max(self.model.now, chunk[0])

    def _note(self, messages: list[Message]) -> None:
        self.told += [(self.model.now, message) for message in messages]

    def of(self, kind: str, track: int) -> list[tuple[float, Message]]:
        return [(at, item) for at, item in self.told if item["ev"] == kind and item["s"] == track]

    def late_s(self) -> list[float]:
        return [at - item["end"] / 1000 for at, item in self.told if item["ev"] == "final"]

    def partials_per_utterance(self) -> float:
        partials = sum(len(self.of("partial", track)) for track in self.said)
        return partials / sum(len(words) for words in self.said.values())

    def partial_gaps_s(self) -> list[float]:
        """Return how far apart the partials of one utterance are."""
        gaps = []
        for track in self.said:
            partials = self.of("partial", track)
            pairs = pairwise(partials)
            gaps += [late - early for (early, one), (late, other) in pairs if one["u"] == other["u"]]
        return gaps


@pytest.mark.parametrize("seed", range(3))
def test_a_full_worker_loses_no_final_and_tells_each_in_bounded_time(seed: int) -> None:
    hall = Hall(seed, SPEECH_TRACKS_PER_WORKER_MAX)
    hall.run()
    for track, words in hall.said.items():
        texts = [item["text"] for _, item in hall.of("final", track)]
        assert [text.split(" ")[0] for text in texts] == [f"word{word}" for word in words]
    late_s = hall.late_s()
    pause_s, chunk_s = CONFIG["endpoint_ms"] / 1000, CHUNK_MS / 1000
    everybody_s = SPEECH_TRACKS_PER_WORKER_MAX * hall.model.longest_s
    assert max(late_s) <= pause_s + chunk_s + everybody_s + hall.model.longest_s
    assert median(late_s) <= 1.5


def test_under_load_partials_come_seldom_and_then_not_at_all() -> None:
    alone, full = Hall(1, 1), Hall(1, SPEECH_TRACKS_PER_WORKER_MAX)
    alone.run()
    full.run()
    assert alone.core.counters["partials_skipped"] == 0
    assert full.core.counters["partials_skipped"] > 0
    assert median(alone.partial_gaps_s()) <= 0.7
    assert full.partials_per_utterance() <= alone.partials_per_utterance() / 3
    assert max(alone.late_s()) <= 0.8


def test_with_half_the_tracks_everybody_still_gets_partials() -> None:
    hall = Hall(2, 8)
    hall.run()
    assert all(hall.of("partial", track) for track in hall.said)
    assert 0.7 < median(hall.partial_gaps_s()) < 4.0, "stretched, not dropped"
    assert median(hall.late_s()) <= 1.0
