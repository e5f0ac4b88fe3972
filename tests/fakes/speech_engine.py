"""A segment engine without a model: loud is speech, and the peak says which word it was.

Imported by the tests and, through PYTHONPATH, by real worker processes.
"""

import array
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offhook.edge.speech.protocol import (
    PLAIN,
    EngineInfo,
    Heard,
    SegmentConfig,
    SegmentEngine,
    SpeechUnavailable,
    Word,
)

LOUD = 1000


def tone(word: int, duration_ms: int, rate_hz: int = 8000) -> bytes:
    """Return audio that the fake hears as `word<word>` (1 to 30)."""
    samples = rate_hz * duration_ms // 1000
    return array.array("h", [word * 1000, -word * 1000] * (samples // 2)).tobytes()


def silence(duration_ms: int, rate_hz: int = 8000) -> bytes:
    """Return digital silence."""
    return bytes(2 * rate_hz * duration_ms // 1000)


def peak(pcm: bytes) -> int:
    samples = array.array("h", pcm)
    return max(samples, default=0)


class FakeDetector:
    """Certain about every frame."""

    def __init__(self, rate_hz: int) -> None:
        self.frame_samples = rate_hz * 32 // 1000
        self.resets = 0

    def probability(self, frame: bytes) -> float:
        return 1.0 if peak(frame) >= LOUD else 0.0

    def reset(self) -> None:
        self.resets += 1


class FakeRecognizer:
    """Hears `word<n>` for the peak n thousand.

    Options: `crash_once`, a path: the first decode makes the file and ends the process; `poison`,
    a word that always ends the process; `raise_on`, a word that raises; `decode_s`, time to take.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.heard: list[int] = []

    def detector(self, sample_rate_hz: int) -> FakeDetector:
        return FakeDetector(sample_rate_hz)

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        del config
        word = peak(pcm) // 1000
        once = self.options.get("crash_once")
        if word == self.options.get("poison") or (once and not Path(once).exists()):
            if once:
                Path(once).touch()
            os._exit(9)
        if word == self.options.get("raise_on"):
            raise RuntimeError("the model failed")
        time.sleep(self.options.get("decode_s", 0.0))
        self.heard.append(word)
        words = (Word(f"word{word}", 0, len(pcm) * 500 // sample_rate_hz, 0.9),)
        return Heard(f"word{word}", 0.9, words)


class FakeIncremental(FakeRecognizer):
    """The same, bit by bit: a going utterance is `word<n>...` until its end."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.begun = 0
        self.ended: list[bytes] = []
        """All audio of each utterance that was heard to its end."""
        self.heard_bytes = 0

    def begin(self, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> "FakeDecoder":
        self.begun += 1
        return FakeDecoder(self, sample_rate_hz, config)


class FakeDecoder:
    def __init__(self, owner: FakeIncremental, sample_rate_hz: int, config: SegmentConfig) -> None:
        self.owner, self.sample_rate_hz, self.config = owner, sample_rate_hz, config
        self.pcm = b""

    def hear(self, pcm: bytes) -> Heard:
        self.pcm += pcm
        self.owner.heard_bytes += len(pcm)
        heard = self.owner.transcribe(self.pcm, self.sample_rate_hz, self.config)
        return Heard(heard.text + "...", heard.confidence)

    def end(self) -> Heard:
        self.owner.ended.append(self.pcm)
        return self.owner.transcribe(self.pcm, self.sample_rate_hz, self.config)


class FakeEngine(SegmentEngine):
    """Options: `missing`, why `check` refuses; `unloadable`, why `load` does; `exit_at_load`."""

    info = EngineInfo(name="fake", languages=("en",), sample_rates_hz=(8000, 16000))

    def check(self, options: Mapping[str, Any]) -> None:
        if "missing" in options:
            raise SpeechUnavailable(options["missing"])

    def load(self, options: Mapping[str, Any]) -> FakeRecognizer:
        if "unloadable" in options:
            raise SpeechUnavailable(options["unloadable"])
        if "exit_at_load" in options:
            os._exit(1)
        return FakeRecognizer(options)


ENGINE = FakeEngine()
REFERENCE = "tests.fakes.speech_engine:ENGINE"
