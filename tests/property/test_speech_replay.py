"""A worker may end at any moment: every word is told once, in order. No process, no clock."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.base.limits import SPEECH_SESSION_CRASHES_MAX
from offhook.edge.speech.frames import FrameReader
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    Partial,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from offhook.edge.speech.session import PoolSession
from offhook.edge.speech.worker_core import WorkerCore
from tests.fakes.speech_engine import FakeIncremental, FakeRecognizer, silence, tone

pytestmark = pytest.mark.property

words_st = st.lists(
    st.tuples(st.integers(1, 30), st.integers(200, 3000), st.integers(600, 1500)), min_size=1, max_size=5
)


async def converse(
    words: list[tuple[int, int, int]],
    chunk_ms: int,
    crashes: set[int],
    *,
    patient: bool,
    model: type[FakeRecognizer],
) -> list[SpeechEvent]:
    """Say `words` through a session and a worker that ends before the turns in `crashes`."""
    events: list[SpeechEvent] = []
    session = PoolSession(1, SpeechConfig(interim=True), "en", events.append)
    pcm = b"".join(tone(word, loud_ms) + silence(quiet_ms) for word, loud_ms, quiet_ms in words)
    chunks = [(at // 16, pcm[at : at + chunk_ms * 16]) for at in range(0, len(pcm), chunk_ms * 16)]
    core = WorkerCore(model({}), lambda: 0.0)
    turn = 0
    while not session.ended:
        if chunks:
            at_ms, chunk = chunks.pop(0)
            session.push(chunk, at_ms)
        elif turn >= 0:
            session._closing = True
        if turn in crashes:
            session.worker_ended()
            core = WorkerCore(model({}), lambda: 0.0)
        for frame in FrameReader().feed(session.take() + session.take()):
            for message in core.receive(frame):
                session.receive(message)
        if core.has_work and (patient or turn % 3 == 0):
            for message in core.work():
                session.receive(message)
        turn += 1
        assert turn < 10_000, "a conversation ends"
    return events


@given(
    words_st,
    st.sampled_from([20, 100, 200, 1000]),
    st.sets(st.integers(0, 120), max_size=SPEECH_SESSION_CRASHES_MAX),
    st.booleans(),
    st.sampled_from([FakeRecognizer, FakeIncremental]),
)
def test_every_word_is_told_once_and_in_order_whenever_the_worker_ends(
    words: list[tuple[int, int, int]],
    chunk_ms: int,
    crashes: set[int],
    patient: bool,
    model: type[FakeRecognizer],
) -> None:
    events = asyncio.run(converse(words, chunk_ms, crashes, patient=patient, model=model))
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.text for final in finals] == [f"word{word}" for word, _, _ in words]
    assert [final.utterance_id for final in finals] == list(range(len(words)))
    assert isinstance(events[-1], Closed)
    assert sum(isinstance(event, Closed) for event in events) == 1
    assert all(event.recovering for event in events if isinstance(event, Error))
    for number in range(len(words)):
        told = [
            type(event)
            for event in events
            if isinstance(event, SpeechStarted | Partial | SpeechEnded | Final)
            and event.utterance_id == number
        ]
        assert told[0] is SpeechStarted
        assert told[-1] is Final
        assert (told.count(SpeechStarted), told.count(SpeechEnded), told.count(Final)) == (1, 1, 1)
