"""Promises of the worker's core, whatever comes in the middle of its decodes."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.frames import Audio, Message
from offhook.edge.speech.protocol import DecodeAbandoned
from offhook.edge.speech.worker_core import WorkerCore
from tests.fakes.speech_engine import FakeRecognizer, silence, tone

pytestmark = pytest.mark.property

CONFIG = {
    "language": "en",
    "phrases": [],
    "interim": True,
    "sample_rate_hz": 8000,
    "endpoint_ms": 500,
    "max_segment_s": 2.0,
    "partial_ms": 500,
}
SESSIONS = (1, 2, 3)
# A session says something, pauses, or gives an order.
steps = st.tuples(
    st.sampled_from(SESSIONS),
    st.one_of(
        st.tuples(st.just("tone"), st.integers(100, 900)),
        st.tuples(st.just("silence"), st.integers(100, 900)),
        st.tuples(st.sampled_from(["flush", "close", "drop"]), st.just(0)),
    ),
)


class Scene:
    """A core whose decodes are interrupted by the next inputs."""

    def __init__(self, inputs: list[Any], interruptions: list[int]) -> None:
        self.inputs: Iterator[Any] = iter(inputs)
        self.interruptions = iter(interruptions)
        self.at_ms: Counter[int] = Counter()
        self.told: list[Message] = []
        self.open = set(SESSIONS)
        self.dropped: dict[int, int] = {}
        """Sessions, and how many messages there were when they were dropped."""
        recognizer = FakeRecognizer({})
        self.hear = recognizer.transcribe
        recognizer.transcribe = self.interrupted  # type: ignore[method-assign, assignment]
        self.core = WorkerCore(recognizer, lambda: 0.0)
        for session in SESSIONS:
            self.core.receive({"op": "open", "s": session, "utterance": 0, "config": CONFIG})

    def interrupted(self, *segment: Any) -> Any:
        for _ in range(next(self.interruptions, 0)):
            self.take()
            self.told += self.core.finals_ready()
            if self.core.should_abandon:
                raise DecodeAbandoned
        return self.hear(*segment)

    def take(self) -> bool:
        given_now = next(self.inputs, None)
        if given_now is None or self.core.saturated:
            return False
        session, (kind, duration_ms) = given_now
        if kind in ("tone", "silence"):
            pcm = tone(session, duration_ms) if kind == "tone" else silence(duration_ms)
            self.told += self.core.receive(Audio(session, self.at_ms[session], pcm))
            self.at_ms[session] += duration_ms
        else:
            if kind == "drop":
                self.dropped.setdefault(session, len(self.told))
            self.told += self.core.receive({"op": kind, "s": session})
        return True

    def play(self) -> None:
        while self.take():
            if self.core.has_work:
                self.told += self.core.work()
        for session in SESSIONS:
            self.told += self.core.receive({"op": "close", "s": session})
        while self.core.has_work:
            self.told += self.core.work()


@given(st.lists(steps, max_size=40), st.lists(st.integers(0, 4), max_size=40))
def test_each_utterance_has_one_final_in_order_whatever_interrupts(
    inputs: list[Any], interruptions: list[int]
) -> None:
    scene = Scene(inputs, interruptions)
    scene.play()
    for session in SESSIONS:
        told = [message for message in scene.told if message["s"] == session]
        ended = [message["u"] for message in told if message["ev"] == "ended"]
        finals = [message["u"] for message in told if message["ev"] == "final"]
        kinds = [message["ev"] for message in told]
        if session in scene.dropped:
            assert finals == ended[: len(finals)], "in order, as far as they came"
            assert not [m for m in scene.told[scene.dropped[session] :] if m["s"] == session]
        else:
            assert finals == ended, "every utterance has its final, in order, once"
            assert kinds.count("closed") == 1
            assert kinds[-1] == "closed"
        for number, message in enumerate(told):
            if message["ev"] == "partial":
                assert message["u"] not in [
                    before["u"] for before in told[:number] if before["ev"] in ("ended", "final")
                ], "nothing is guessed of what has ended"
