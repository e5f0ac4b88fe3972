"""The scripted engine: says what a script says, when the audio has come so far. For tests without a model.

Options: `script`, a list of {"at_ms", "text", "is_final", "confidence"}, or `script_file`, the path of
a JSON file that holds one. Times count from the first audio of the session, by the audio's own
clock, so a test gives the same events on every machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offhook.base.limits import SPEECH_SCRIPT_LINES_MAX
from offhook.edge.speech import parameters
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    Final,
    OnEvent,
    Partial,
    SessionStats,
    SpeechConfig,
    SpeechEnded,
    SpeechEngine,
    SpeechStarted,
    SpeechUnavailable,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to say once `at_ms` of audio has been heard."""

    at_ms: int
    text: str = field(repr=False)
    is_final: bool
    confidence: float | None


class ScriptedEngine(SpeechEngine):
    """Emits preset partials and finals by audio time; runs in the server's process, needs nothing."""

    info = EngineInfo(
        name="scripted",
        languages=(),
        sample_rates_hz=(8000, 16000),
        # The script is what came of all of them.
        parameters=parameters.FIELDS,
    )

    async def ensure_available(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable unless `options` hold a script that can be read."""
        read_script(options)

    async def open(self, config: SpeechConfig, on_event: OnEvent) -> "ScriptedSession":
        """Begin a session that follows the script in `config.options`."""
        return ScriptedSession(read_script(config.options), config, on_event)


ENGINE = ScriptedEngine()


class ScriptedSession:
    """Walks through one script as the audio goes on."""

    def __init__(self, lines: list[Line], config: SpeechConfig, on_event: OnEvent) -> None:
        self._lines = lines
        self._config = config
        self._on_event = on_event
        self._bytes_per_ms = config.sample_rate_hz * 2 // 1000
        self._next = 0
        self._begin_ms: int | None = None
        self._utterance_id = 0
        self._utterance_start_ms: int | None = None
        self._audio_ms = 0
        self._partials = 0
        self._finals = 0
        self._closed = False

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Let the clock go to the end of this audio and say what is due."""
        if self._closed:
            return
        if self._begin_ms is None:
            self._begin_ms = at_ms
        duration_ms = len(pcm) // self._bytes_per_ms
        self._audio_ms += duration_ms
        heard_ms = at_ms + duration_ms - self._begin_ms
        while self._next < len(self._lines) and self._lines[self._next].at_ms <= heard_ms:
            self._say(self._lines[self._next])
            self._next += 1

    def flush(self) -> None:
        """End the utterance that has begun: its final is said at once."""
        if self._closed or self._utterance_start_ms is None:
            return
        for index in range(self._next, len(self._lines)):
            if self._lines[index].is_final:
                self._next = index + 1
                self._say(self._lines[index])
                return

    async def close(self) -> None:
        """Say the final of the utterance that has begun, then `Closed`."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self._on_event(Closed(self.stats()))

    def stats(self) -> SessionStats:
        """Return the counters so far."""
        return SessionStats(audio_ms=self._audio_ms, partials=self._partials, finals=self._finals)

    def waiting_ms(self) -> int:
        """Return 0: a script is said at once."""
        return 0

    def unfinished(self) -> list[tuple[int, bytes]]:
        """Return nothing: a script never breaks off."""
        return []

    def _say(self, line: Line) -> None:
        at_ms = (self._begin_ms or 0) + line.at_ms
        if self._utterance_start_ms is None:
            self._utterance_start_ms = at_ms
            self._on_event(SpeechStarted(at_ms, self._utterance_id))
        kind = Final if line.is_final else Partial
        words = kind(
            text=line.text,
            confidence=line.confidence,
            language=self._config.language,
            start_ms=self._utterance_start_ms,
            end_ms=at_ms,
            utterance_id=self._utterance_id,
        )
        if line.is_final:
            self._on_event(SpeechEnded(at_ms, self._utterance_id))
            self._utterance_id += 1
            self._utterance_start_ms = None
            self._finals += 1
            self._on_event(words)
        elif self._config.interim:
            self._partials += 1
            self._on_event(words)


def read_script(options: Mapping[str, Any]) -> list[Line]:
    """Return the script of `options`, in order of time.

    Raises:
        SpeechUnavailable: there is none, or it is not a script; the text names the line.
    """
    script = options.get("script")
    if script is None and (path := options.get("script_file")):
        try:
            script = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError):
            raise SpeechUnavailable("the scripted engine cannot read its script_file as JSON") from None
    if not isinstance(script, list):
        raise SpeechUnavailable("the scripted engine needs a script: set script or script_file")
    if len(script) > SPEECH_SCRIPT_LINES_MAX:
        raise SpeechUnavailable(f"a script has at most {SPEECH_SCRIPT_LINES_MAX} lines")
    lines = [_read_line(number, entry) for number, entry in enumerate(script, start=1)]
    return sorted(lines, key=lambda line: line.at_ms)


def _read_line(number: int, entry: object) -> Line:
    if not isinstance(entry, dict):
        raise SpeechUnavailable(f"line {number} of the script is not an object")
    at_ms, text = entry.get("at_ms"), entry.get("text")
    is_final, confidence = entry.get("is_final", True), entry.get("confidence", 0.9)
    if not isinstance(at_ms, int) or isinstance(at_ms, bool) or at_ms < 0:
        raise SpeechUnavailable(f"line {number} of the script needs at_ms, a number of milliseconds")
    if not isinstance(text, str) or not text:
        raise SpeechUnavailable(f"line {number} of the script needs text")
    if not isinstance(is_final, bool):
        raise SpeechUnavailable(f"line {number} of the script: is_final is true or false")
    if confidence is not None and (
        isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1
    ):
        raise SpeechUnavailable(f"line {number} of the script: confidence is 0 to 1, or null")
    return Line(at_ms, text, is_final, confidence)
