"""A model that hears bit by bit hears of every utterance what a model that hears it at once would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.frames import Audio
from offhook.edge.speech.protocol import PLAIN, Heard, SegmentConfig
from offhook.edge.speech.worker_core import WorkerCore
from tests.fakes.speech_engine import FakeIncremental, FakeRecognizer, silence, tone

pytestmark = pytest.mark.property

CONFIG = {
    "language": "en",
    "phrases": [],
    "interim": True,
    "sample_rate_hz": 8000,
    "endpoint_ms": 500,
    "max_segment_s": 3.0,
    "partial_ms": 500,
}
steps_st = st.lists(
    st.one_of(
        st.tuples(st.just("speak"), st.integers(1, 30), st.integers(20, 3000)),
        st.tuples(st.just("pause"), st.just(0), st.integers(20, 1200)),
        st.tuples(st.just("work"), st.just(0), st.integers(1, 3)),
        st.tuples(st.sampled_from(["flush", "hole"]), st.just(0), st.just(0)),
    ),
    min_size=1,
    max_size=30,
)


class Whole(FakeRecognizer):
    """Remembers each utterance that it is given to the end."""

    def __init__(self) -> None:
        super().__init__({})
        self.given: list[bytes] = []

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        self.given.append(pcm)
        return super().transcribe(pcm, sample_rate_hz, config)


def run(core: WorkerCore, steps: list[tuple[str, int, int]], interim: bool) -> list[int]:
    """Return the ends of all utterances."""
    core.receive({"op": "open", "s": 1, "utterance": 0, "config": CONFIG | {"interim": interim}})
    told, at_ms = [], 0
    for kind, word, amount in steps:
        if kind in ("speak", "pause"):
            pcm = tone(word, amount) if kind == "speak" else silence(amount)
            for at in range(0, len(pcm), 1600):
                told += core.receive(Audio(1, at_ms, pcm[at : at + 1600]))
                at_ms += len(pcm[at : at + 1600]) // 16
        elif kind == "work":
            for _ in range(amount):
                told += core.work()
        elif kind == "flush":
            told += core.receive({"op": "flush", "s": 1})
        else:
            at_ms += 2000
    told += core.receive({"op": "close", "s": 1})
    while core.has_work:
        told += core.work()
    return [message["end"] for message in told if message["ev"] == "final"]


@given(steps_st, st.booleans())
def test_what_was_heard_bit_by_bit_is_the_utterance(steps: list[tuple[str, int, int]], interim: bool) -> None:
    whole, bits = Whole(), FakeIncremental({})
    # Decoded after all was said, and finals go first: what this one is given are the utterances.
    said = [step for step in steps if step[0] != "work"]
    expected = run(WorkerCore(whole, lambda: 0.0), said, interim=False)
    assert run(WorkerCore(bits, lambda: 0.0), steps, interim) == expected
    assert bits.ended == whole.given
