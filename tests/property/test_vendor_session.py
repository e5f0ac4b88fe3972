"""Connections may be lost at any moment: every word is told once, in order, at its time. Simulated time."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.base.limits import VENDOR_RETRY_S
from offhook.base.tasks import TaskSet
from offhook.edge.speech.protocol import Closed, Final, SpeechConfig, SpeechEnded, SpeechEvent, SpeechStarted
from offhook.edge.speech.vendors.dialect import ConnectionRefused
from offhook.edge.speech.vendors.session import VendorSession
from tests.fakes.vendors.memory import MemoryDialect, MemoryVendor, word_second
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation

pytestmark = pytest.mark.property

FRAME_MS = 20
FRAME_BYTES = 320


class Rotating(MemoryDialect):
    session_max_s = 5.0


class Slow(MemoryDialect):
    realtime = True


async def converse(
    dialect: type[MemoryDialect],
    words: int,
    *,
    lag_ms: int,
    losses: set[int],
    refusals: int,
    pauses: set[int],
) -> list[SpeechEvent]:
    """Say `words` in real time; lose the connection after some frames, at first with refusals."""
    vendor = MemoryVendor(lag_ms=lag_ms)
    events: list[SpeechEvent] = []
    tasks = TaskSet()
    session = VendorSession(SpeechConfig(), dialect, vendor, events.append, tasks=tasks, counters=Counter())
    frame = 0
    for number in range(words):
        for pcm in (word_second(number), bytes(16_000) if number in pauses else b""):
            for at in range(0, len(pcm), FRAME_BYTES):
                await asyncio.sleep(FRAME_MS / 1000)
                session.push(pcm[at : at + FRAME_BYTES], frame * FRAME_MS)
                frame += 1
                if frame in losses and vendor.connections:
                    vendor.refusals.extend(ConnectionRefused(503) for _ in range(refusals))
                    refusals = 0
                    vendor.last.lose()
    # What the last loss left behind is heard by another connection first.
    await asyncio.sleep(12)
    await session.close()
    await tasks.wait(timeout_s=2)
    assert len(tasks) == 0
    return events


@given(
    dialect=st.sampled_from([MemoryDialect, Rotating, Slow]),
    words=st.integers(1, 7),
    lag_ms=st.sampled_from([0, 100, 450, 1_300]),
    # So many in a row are borne.
    losses=st.sets(st.integers(1, 350), max_size=len(VENDOR_RETRY_S) - 1),
    refusals=st.integers(0, 1),
    pauses=st.sets(st.integers(0, 6)),
)
def test_every_word_is_told_once_whatever_is_lost(
    *,
    dialect: type[MemoryDialect],
    words: int,
    lag_ms: int,
    losses: set[int],
    refusals: int,
    pauses: set[int],
) -> None:
    loop = VirtualTimeLoop()
    events = run_simulation(
        converse(dialect, words, lag_ms=lag_ms, losses=losses, refusals=refusals, pauses=pauses), loop
    )
    finals = [event for event in events if isinstance(event, Final)]
    assert [final.text for final in finals] == [f"w{number}" for number in range(words)]
    starts = [sum(1 + (earlier in pauses) for earlier in range(number)) * 1_000 for number in range(words)]
    assert [final.start_ms for final in finals] == starts
    assert [final.end_ms for final in finals] == [start + 1_000 for start in starts]
    assert [type(event) for event in events].count(Closed) == 1
    assert isinstance(events[-1], Closed)
    # Utterances are begun and ended in turns, and their numbers rise by one.
    turns = [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]
    assert [type(event) for event in turns] == [SpeechStarted, SpeechEnded] * (len(turns) // 2)
    assert [event.utterance_id for event in turns[::2]] == list(range(len(turns) // 2))
