"""A voice without a model: a word is a tenth of a second of its length, and some words misbehave.

Imported by the tests and, through PYTHONPATH, by real worker processes.
"""

import array
import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any

from offhook.edge.voice.local import SAMPLE_RATE_HZ
from offhook.edge.voice.protocol import Speaker, VoiceEngine, VoiceFailed, VoiceInfo, VoiceUnavailable
from offhook.edge.voice.service import VoiceService
from offhook.proto.ssml import Pause, Script

RATE_HZ = 8000
REFERENCE = "tests.fakes.voice:ENGINE"


def sound(word: str) -> bytes:
    """Return what the fake says for one word."""
    return array.array("h", [100 * len(word)] * (RATE_HZ // 10)).tobytes()


def _marked(word: str) -> bool:
    """Return whether the file named in `word` was there; it is now."""
    file = Path(word.partition(":")[2])
    there = file.exists()
    file.touch()
    return there


class FakeSpeaker:
    """Says each word as its own piece.

    `crash` ends the process, `crashonce FILE` only if the file is not there yet, `hang` never
    answers, `fail` raises, `print` writes to the standard output.
    """

    def say(self, text: str, rate: float, gain_db: float) -> Iterator[bytes]:
        del rate, gain_db
        for word in text.rstrip(".").split():
            match word.lower().partition(":"):
                case ("crash", _, _):
                    os._exit(9)
                case ("crashonce", _, _) if not _marked(word):
                    os._exit(9)
                case ("hang", _, _):
                    time.sleep(3600)
                case ("fail", _, _):
                    raise ArithmeticError("secret text")
                case ("print", _, _):
                    print("noise", flush=True)
                case ("slow", _, _):
                    time.sleep(0.05)
                case _:
                    pass
            yield sound(word)


class FakeVoice(VoiceEngine):
    """Speaks English without a model."""

    info = VoiceInfo(name="fake", languages=("en",), sample_rate_hz=RATE_HZ)

    def check(self, options: Mapping[str, Any]) -> None:
        if options.get("broken"):
            raise VoiceUnavailable("the fake voice is broken")

    def load(self, options: Mapping[str, Any]) -> Speaker:
        self.check(options)
        if options.get("broken_in_worker"):
            raise VoiceUnavailable("the fake voice cannot be loaded")
        if options.get("never_ready"):
            time.sleep(3600)
        return FakeSpeaker()


ENGINE = FakeVoice()


class VoiceInMemory(VoiceService):
    """The service without processes: each word of a script is a piece, at once or when `ready` is set."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ready = asyncio.Event()
        self.ready.set()
        self.made = 0
        self.open = 0
        self.fails_at: int | None = None

    async def warm_up(self) -> None:
        """As `VoiceService.warm_up`; there is nothing to load."""

    async def speak(self, script: Script, voice: str) -> AsyncGenerator[bytes, None]:
        """As `VoiceService.speak`."""
        self.open += 1
        try:
            for item in script:
                if isinstance(item, Pause):
                    yield bytes(2 * SAMPLE_RATE_HZ * item.duration_ms // 1000)
                    continue
                for word in item.text.split():
                    await self.ready.wait()
                    if self.made == self.fails_at:
                        raise VoiceFailed("the voice worker ended or kept silent")
                    self.made += 1
                    yield spoken(word)
        finally:
            self.open -= 1


def spoken(word: str) -> bytes:
    """Return what the service in memory says for one word: half a second that sounds of its length."""
    return array.array("h", [100 * len(word)] * (SAMPLE_RATE_HZ // 2)).tobytes()
