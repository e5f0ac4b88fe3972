"""Whatever engines do, a track tells nothing twice, numbers utterances upwards, and ends once."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    Partial,
    Replaced,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from tests.fakes.speech_engine import silence
from tests.fakes.speech_sessions import HandEngine, HandSession, service_of

pytestmark = pytest.mark.property

steps = st.lists(
    st.sampled_from(
        ["push", "push", "started", "partial", "piece", "final", "break", "settle", "flush", "ghost"]
    ),
    max_size=40,
)


async def live(history: list[str], *, fallback: bool, closing_at_once: bool) -> tuple[list[SpeechEvent], Any]:
    first, second = HandEngine("first"), HandEngine("second")
    service = service_of(first, second, fallback="second" if fallback else "")
    told: list[SpeechEvent] = []
    handle = await service.open("k", SpeechConfig(), "Google", told.append)
    retired: list[HandSession] = []
    at_ms = said = 0
    for step in history:
        session = (first.sessions + second.sessions)[-1]
        match step:
            case "push":
                handle.push(silence(100), at_ms)
                at_ms += 100
            case "started":
                session.tell(SpeechStarted(at_ms, session.utterance))
            case "partial" if not session.closed:
                session.say("so far", final=False)
            case "piece" | "final" if not session.closed:
                said += 1
                session.say(f"text {said}", ends=step == "final")
            case "break" if not session.closed:
                retired.append(session)
                session.break_off()
            case "ghost" if retired:
                retired[0].say("ghost")
            case "flush":
                handle.flush()
            case "settle":
                for _ in range(6):
                    await asyncio.sleep(0)
            case _:
                pass
    if not closing_at_once:
        for _ in range(6):
            await asyncio.sleep(0)
    await handle.close()
    handle.push(silence(100), at_ms)
    await handle.close()
    assert service.counters()["sessions_open"] == 0
    assert first.open_now == second.open_now == 0
    return told, said


@given(steps, st.booleans(), st.booleans())
def test_no_history_of_engines_breaks_what_a_track_promises(
    history: list[str], fallback: bool, closing_at_once: bool
) -> None:
    told, said = asyncio.run(live(history, fallback=fallback, closing_at_once=closing_at_once))
    assert [type(event) for event in told].count(Closed) == 1
    assert isinstance(told[-1], Closed)
    numbers = [
        event.utterance_id
        for event in told
        if isinstance(event, SpeechStarted | SpeechEnded | Partial | Final)
    ]
    assert numbers == sorted(numbers), "utterances rise"
    over: set[int] = set()
    for event in told:
        if isinstance(event, Partial | Final):
            assert event.utterance_id not in over, "nothing follows the end of an utterance"
            if isinstance(event, Final) and event.utterance_end:
                over.add(event.utterance_id)
    finals = [event.text for event in told if isinstance(event, Final)]
    assert "ghost" not in finals
    assert finals == [f"text {number}" for number in range(1, len(finals) + 1)], "each final once, in order"
    assert len(finals) == said
    replaced = [event for event in told if isinstance(event, Replaced)]
    broken = [event for event in told if isinstance(event, Error) and not event.recovering]
    assert len(replaced) <= int(fallback)
    assert len(broken) <= 1
