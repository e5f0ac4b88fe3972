"""AssemblyAI's streaming API, version 3, as its documentation and its SDK tell it."""

import asyncio
import json
from typing import Any, NoReturn

from websockets.http11 import Request

from tests.fakes.vendors.host import Closing, Plan, VendorConnection, VendorHost
from tests.fakes.vendors.talk import Ear, Heard

_MODELS = {
    "universal-streaming-english",
    "universal-streaming-multilingual",
    "u3-rt-pro",
    "universal-3-5-pro",
    "whisper-rt",
}
_TRUTH = ("true", "false", "True", "False")
"""The SDK sends the latter two."""
_QUERY: dict[str, Any] = {
    "speech_model": lambda value: value in _MODELS,
    "sample_rate": lambda value: int(value) in (8_000, 16_000),
    "encoding": lambda value: value == "pcm_s16le",
    "format_turns": lambda value: value in _TRUTH,
    "filter_profanity": lambda value: value in _TRUTH,
    "speaker_labels": lambda value: value in _TRUTH,
    "language_detection": lambda value: value in _TRUTH,
    "max_speakers": lambda value: 1 <= int(value) <= 10,
    "max_turn_silence": lambda value: int(value) >= 0,
    "min_turn_silence": lambda value: int(value) >= 0,
    "inactivity_timeout": lambda value: 5 <= int(value) <= 3600,
    "keyterms_prompt": lambda value: _strings(value, count_max=100),
    "language_codes": lambda value: _strings(value, count_max=10),
}


def _strings(value: str, *, count_max: int) -> bool:
    items = json.loads(value)
    return isinstance(items, list) and len(items) <= count_max and all(isinstance(i, str) for i in items)


class AssemblyAiConnection(VendorConnection):
    """One session."""

    host: "FakeAssemblyAi"

    async def begin(self) -> None:
        self._pro = not self.query.get("speech_model", "").startswith("universal-streaming-")
        self._turn = 0
        self._words: list[Heard] = []
        await self._check_query()
        if self.host.open_count > self.host.sessions_max:
            await self._fail(3009, "Unauthorized Connection: Too many concurrent sessions")
        self._ear = Ear(int(self.query["sample_rate"]))
        self._silence_ms = int(self.query.get("max_turn_silence", "1280"))
        await self.send({"type": "Begin", "id": "0f7a7b1e-session", "expires_at": 1_800_000_000})
        if "inactivity_timeout" in self.query:
            self.idle_s = int(self.query["inactivity_timeout"]) * self.host.second_s

    async def idle(self) -> None:
        await self._fail(3008, "Session Expired: no activity")

    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self._audio(message)
            return
        try:
            body = json.loads(message)
        except ValueError:
            await self._fail(3006, f"Invalid JSON: {message[:20]}")
        if not isinstance(body, dict):
            await self._fail(3006, "Invalid Message")
        self.messages.append(body)
        match body.get("type"):
            case "Terminate":
                await self._end_turn()
                await self.send(
                    {
                        "type": "Termination",
                        "audio_duration_seconds": self.audio_ms // 1000,
                        "session_duration_seconds": self.audio_ms // 1000,
                    }
                )
                raise Closing(1000)
            case "ForceEndpoint":
                await self._end_turn()
            case "KeepAlive" | "UpdateConfiguration":
                pass
            case kind:
                await self._fail(3006, f"Invalid Message Type: {kind}")

    async def _audio(self, pcm: bytes) -> None:
        duration_ms = len(pcm) * 1000 // (int(self.query["sample_rate"]) * 2)
        if not 50 <= duration_ms <= 1000:
            await self._fail(
                3007, f"Input duration violation: {duration_ms} ms. Expected between 50 and 1000 ms"
            )
        self.audio_ms += duration_ms
        if self.audio_ms > self.host.session_max_ms:
            await self._fail(3008, "Session Expired: Maximum session duration exceeded")
        quiet = self._ear.loud_since_ms is None and not self._words
        heard = self._ear.push(pcm)
        if self._pro and quiet and self._ear.loud_since_ms is not None:
            await self.send(
                {"type": "SpeechStarted", "timestamp": self._ear.loud_since_ms, "confidence": 0.9}
            )
        for word in heard:
            self._words.append(word)
            await self.send(self._message(end=False, formatted=False))
        if self._words and self._ear.quiet_ms >= self._silence_ms:
            await self._end_turn()

    async def _end_turn(self) -> None:
        if not self._words:
            return
        if self._pro:
            await self.send(self._message(end=True, formatted=True))
        else:
            await self.send(self._message(end=True, formatted=False))
            if self.query.get("format_turns", "").lower() == "true" and not self.host.forgets_formatting:
                await asyncio.sleep(0)
                await self.send(self._message(end=True, formatted=True))
        self._turn += 1
        self._words = []

    def _message(self, *, end: bool, formatted: bool) -> dict[str, Any]:
        texts = [word.text for word in self._words]
        final = len(texts) if end else 0 if self._pro else len(texts) - 1
        shown = texts if self._pro or end else texts[:final]
        if formatted:
            texts = [texts[0].capitalize(), *texts[1:]]
            texts[-1] += "."
            shown = texts
        return {
            "type": "Turn",
            "turn_order": self._turn,
            "turn_is_formatted": formatted,
            "end_of_turn": end,
            "transcript": " ".join(shown),
            "utterance": " ".join(shown) if end else "",
            "end_of_turn_confidence": 0.9 if end else 0.1,
            "words": [
                {
                    "text": text,
                    "start": word.start_ms,
                    "end": word.end_ms,
                    "confidence": 0.95,
                    "word_is_final": index < final,
                }
                for index, (text, word) in enumerate(zip(texts, self._words, strict=True))
            ],
        }

    async def _check_query(self) -> None:
        missing = {"speech_model", "sample_rate"} - self.query.keys()
        if missing:
            await self._fail(3006, f"Missing {sorted(missing)[0]}")
        for name, value in self.query.items():
            try:
                good = name in _QUERY and _QUERY[name](value)
            except ValueError:
                good = False
            if not good:
                await self._fail(3006, f"Invalid value of {name}")

    async def _fail(self, code: int, text: str) -> NoReturn:
        await self.send({"type": "Error", "error_code": code, "error": text})
        raise Closing(code, text)


class FakeAssemblyAi(VendorHost):
    """The service.

    Args:
        sessions_max: more at a time end with 3009.
        session_max_ms: how much audio a session takes before it ends with 3008.
        forgets_formatting: the formatted text of a turn never comes.
        second_s: how long a second of `inactivity_timeout` lasts.
    """

    connection_type = AssemblyAiConnection
    paths = ("/v3/ws",)

    def __init__(
        self,
        *plans: Plan,
        sessions_max: int = 100,
        session_max_ms: int = 3 * 3_600_000,
        forgets_formatting: bool = False,
        second_s: float = 1.0,
    ) -> None:
        super().__init__(*plans)
        self.sessions_max = sessions_max
        self.session_max_ms = session_max_ms
        self.forgets_formatting = forgets_formatting
        self.second_s = second_s

    def refusal(self, request: Request) -> tuple[int, str] | None:
        if request.headers.get("Authorization") != self.key:
            return 401, "Unauthorized"
        return super().refusal(request)
