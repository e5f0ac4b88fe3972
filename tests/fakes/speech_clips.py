"""Recorded speech with known text, and a service that hears it. For tests with real models."""

import asyncio
import json
import random
import wave
from array import array
from pathlib import Path
from typing import Any

from offhook.edge.speech.protocol import Final, SpeechConfig, SpeechEvent
from offhook.edge.speech.service import SpeechService

ROOT = Path(__file__).parents[2]
SENTENCE = ROOT / "src/offhook/data/sentence.wav"
CLIPS = ROOT / "tests/data/speech"
SAID = {SENTENCE: SENTENCE.with_suffix(".txt").read_text("utf-8").strip()} | {
    CLIPS / name: text for name, text in json.loads((CLIPS / "transcripts.json").read_text("utf-8")).items()
}
PAUSE = bytes(16 * 1000)


def read_wav(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        pcm: bytes = file.readframes(file.getnframes())
    return pcm


def noise(duration_ms: int, level: int) -> bytes:
    source = random.Random(1)
    return array("h", [int(source.gauss(0, level)) for _ in range(8 * duration_ms)]).tobytes()


async def transcribe(
    service: SpeechService, pcm: bytes, *, interim: bool = True, begin_ms: int = 0, **config: Any
) -> list[SpeechEvent]:
    """Feed `pcm` as a call would, but 50 times as fast: nothing may be dropped."""
    events: list[SpeechEvent] = []
    asked = SpeechConfig(interim=interim, **config)
    handle = await service.open(object(), asked, "Google", events.append)
    per_ms = asked.sample_rate_hz * 2 // 1000
    for at in range(0, len(pcm), 100 * per_ms):
        handle.push(pcm[at : at + 100 * per_ms], begin_ms + at // per_ms)
        await asyncio.sleep(0.002)
    await handle.close()
    assert handle.stats().dropped_ms == 0
    return events


def finals(events: list[SpeechEvent]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Final))
