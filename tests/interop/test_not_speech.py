"""Thirty minutes of everything but speech, through the real model: not a word comes out.

The audio goes through the worker's core as in a call, but as fast as the machine can.
"""

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.speech.frames import Audio, Message
from offhook.edge.speech.moonshine import ENGINE
from offhook.edge.speech.protocol import SegmentRecognizer
from offhook.edge.speech.worker_core import WorkerCore
from offhook.kit.wer import word_error_rate

for extra in ("onnxruntime", "numpy", "moonshine_voice"):
    pytest.importorskip(extra, reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(300)]

SENTENCE = Path(__file__).parents[2] / "src/offhook/data/sentence.wav"
SAID = SENTENCE.with_suffix(".txt").read_text("utf-8")
OPEN: Message = {
    "op": "open",
    "s": 1,
    "utterance": 0,
    "config": {
        "language": "en",
        "phrases": [],
        "interim": True,
        "sample_rate_hz": 8000,
        "endpoint_ms": 500,
        "max_segment_s": 12.0,
        "partial_ms": 500,
    },
}


@pytest.fixture(scope="module")
def recognizer() -> SegmentRecognizer:
    return ENGINE.load({})


def words(
    recognizer: SegmentRecognizer, pcm: bytes, kinds: tuple[str, ...] = ("partial", "final")
) -> list[str]:
    """Return every text that a call with this audio would have told."""
    return [
        message["text"]
        for message in told(WorkerCore(recognizer, lambda: 0.0), pcm)
        if message["ev"] in kinds and message["text"] is not None
    ]


def told(core: WorkerCore, pcm: bytes) -> Iterator[Message]:
    core.receive(OPEN)
    for at in range(0, len(pcm), 1600):
        yield from core.receive(Audio(1, at // 16, pcm[at : at + 1600]))
        while core.has_work:
            yield from core.work()
    yield from core.receive({"op": "close", "s": 1})
    while core.has_work:
        yield from core.work()


def speech() -> Any:
    import numpy as np

    with wave.open(str(SENTENCE)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2") / 32768


def test_thirty_minutes_without_speech_give_not_a_word(recognizer: SegmentRecognizer) -> None:
    from tests.fakes import line_sounds

    seconds = 0.0
    heard = {}
    for name, wave_of in line_sounds.SOUNDS.items():
        pcm = line_sounds.over_the_line(wave_of())
        seconds += len(pcm) / 16000
        if found := words(recognizer, pcm):
            heard[name] = found
    assert seconds >= 30 * 60
    assert heard == {}


@pytest.mark.parametrize("under", ["ringback US", "hold music, band"])
def test_speech_is_heard_over_what_is_not_speech(recognizer: SegmentRecognizer, under: str) -> None:
    import numpy as np

    from tests.fakes import line_sounds

    said = speech()
    other = np.resize(line_sounds.SOUNDS[under](), len(said))
    # Ten decibels below the speech, whose pauses do not count.
    level = np.sqrt(np.mean(said[np.abs(said) > 0.01] ** 2) / np.mean(other**2) / 10)
    pcm = line_sounds.over_the_line(said + level * other)
    assert word_error_rate(SAID, " ".join(words(recognizer, pcm, ("final",)))) <= 0.35
