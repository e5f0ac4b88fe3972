"""The scripted engine says its lines by the clock of the audio."""

import json
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.speech.protocol import (
    Closed,
    Final,
    Partial,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
    SpeechUnavailable,
)
from offhook.edge.speech.scripted import ENGINE, ScriptedSession
from tests.fakes.speech_engine import silence

pytestmark = pytest.mark.unit

SCRIPT = [
    {"at_ms": 500, "text": "good", "is_final": False, "confidence": 0.5},
    {"at_ms": 1000, "text": "good morning", "is_final": True, "confidence": 0.95},
    {"at_ms": 3000, "text": "how", "is_final": False},
    {"at_ms": 4000, "text": "how are you", "confidence": None},
]


async def begin(*, interim: bool = True, **options: Any) -> tuple[ScriptedSession, list[SpeechEvent]]:
    events: list[SpeechEvent] = []
    config = SpeechConfig(interim=interim, options={"script": SCRIPT} | options)
    return await ENGINE.open(config, events.append), events


def texts(events: list[SpeechEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Partial | Final)]


@pytest.mark.parametrize("chunk_ms", [20, 100, 333, 5000])
async def test_the_same_audio_gives_the_same_events_however_it_is_cut(chunk_ms: int) -> None:
    session, events = await begin()
    for at_ms in range(0, 5000, chunk_ms):
        session.push(silence(min(chunk_ms, 5000 - at_ms)), 9000 + at_ms)
    await session.close()
    assert events == [
        SpeechStarted(9500, 0),
        Partial("good", 0.5, "en", 9500, 9500, 0),
        SpeechEnded(10_000, 0),
        Final("good morning", 0.95, "en", 9500, 10_000, 0),
        SpeechStarted(12_000, 1),
        Partial("how", 0.9, "en", 12_000, 12_000, 1),
        SpeechEnded(13_000, 1),
        Final("how are you", None, "en", 12_000, 13_000, 1),
        Closed(session.stats()),
    ]
    assert session.stats().audio_ms == 5000


async def test_nothing_is_said_before_its_time() -> None:
    session, events = await begin()
    session.push(silence(499), 0)
    assert events == []
    session.push(silence(1), 499)
    assert texts(events) == ["good"]


async def test_without_interim_there_are_finals_only() -> None:
    session, events = await begin(interim=False)
    session.push(silence(5000), 0)
    assert texts(events) == ["good morning", "how are you"]


async def test_the_end_says_the_final_of_what_was_begun_and_no_more() -> None:
    session, events = await begin()
    session.push(silence(600), 0)
    await session.close()
    await session.close()
    assert texts(events) == ["good", "good morning"]
    assert [type(event) for event in events].count(Closed) == 1
    session.push(silence(5000), 600)
    assert isinstance(events[-1], Closed)


async def test_a_script_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(SCRIPT[:2]))
    session, events = await begin(script=None, script_file=str(path))
    session.push(silence(1000), 0)
    assert texts(events) == ["good", "good morning"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"script": None}, "needs a script"),
        ({"script": None, "script_file": "/nowhere"}, "script_file"),
        ({"script": ["x"]}, "line 1"),
        ({"script": [SCRIPT[0], {"at_ms": -1, "text": "x"}]}, "line 2"),
        ({"script": [{"at_ms": 1, "text": ""}]}, "text"),
        ({"script": [{"at_ms": 1, "text": "x", "is_final": 1}]}, "is_final"),
        ({"script": [{"at_ms": 1, "text": "x", "confidence": 2}]}, "confidence"),
    ],
)
async def test_a_bad_script_is_refused_by_line(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SpeechUnavailable, match=named):
        await begin(**options)
