"""Deepgram's live API, both versions, as its documentation and its SDK tell it."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from websockets.http11 import Request

from tests.fakes.vendors.host import Closing, Plan, VendorConnection, VendorHost
from tests.fakes.vendors.talk import Ear, Heard

REQUEST_ID = "5b0c5f54-request"
_TRUTH = {"true", "false"}
_LANGUAGE = re.compile(r"[a-z]{2}(-[A-Z]{2}|-419|-Hans|-Hant)?|multi")
_KEYWORD = re.compile(r"[^\s:]+(:-?\d+(\.\d+)?)?")

Rule = Callable[[str], bool]
_V1: dict[str, Rule] = {
    "model": lambda value: value.startswith(("nova-2", "nova-3")),
    "language": lambda value: _LANGUAGE.fullmatch(value) is not None,
    "encoding": lambda value: value == "linear16",
    "sample_rate": lambda value: int(value) in (8_000, 16_000),
    "channels": lambda value: value == "1",
    "interim_results": _TRUTH.__contains__,
    "vad_events": _TRUTH.__contains__,
    "smart_format": _TRUTH.__contains__,
    "punctuate": _TRUTH.__contains__,
    "numerals": _TRUTH.__contains__,
    "profanity_filter": _TRUTH.__contains__,
    "diarize_model": lambda value: value in ("latest", "v1"),
    "endpointing": lambda value: value == "false" or int(value) >= 0,
    "utterance_end_ms": lambda value: 0 < int(value) <= 5_000,
    "keyterm": lambda value: bool(value.strip()),
    "keywords": lambda value: _KEYWORD.fullmatch(value) is not None,
}
_V2: dict[str, Rule] = {
    "model": lambda value: value in ("flux-general-en", "flux-general-multi"),
    "encoding": lambda value: value == "linear16",
    "sample_rate": lambda value: int(value) in (8_000, 16_000),
    "eot_threshold": lambda value: 0.5 <= float(value) <= 1.0,
    "eager_eot_threshold": lambda value: 0.3 <= float(value) <= 0.9,
    "eot_timeout_ms": lambda value: 500 <= int(value) <= 60_000,
    "keyterm": lambda value: bool(value.strip()),
    "language_hint": lambda value: re.fullmatch("[a-z]{2}", value) is not None,
    "numerals": _TRUTH.__contains__,
    "profanity_filter": _TRUTH.__contains__,
}
_IDLE_S = 10
_PIECE_MS = 3_000
"""Speech without a pause gets a final piece so often; silence a final without words."""
_UPDATE_MS = 250


def fault(request: Request) -> str | None:
    """Return what is wrong with the address of a request."""
    split = urlsplit(request.path)
    rules = _V2 if split.path == "/v2/listen" else _V1
    query = parse_qsl(split.query, keep_blank_values=True)
    given = {name for name, _ in query}
    for name, value in query:
        try:
            good = name in rules and rules[name](value)
        except ValueError:
            good = False
        if not good:
            return f"invalid query: {name}"
    if missing := {"model", "encoding", "sample_rate"} - given:
        return f"missing: {sorted(missing)[0]}"
    model = dict(query)["model"]
    if ("keyterm" in given and model.startswith("nova-2")) or ("keywords" in given and "nova-3" in model):
        return "that model does not know these words"
    if "utterance_end_ms" in given and dict(query).get("interim_results") != "true":
        return "utterance_end_ms needs interim_results"
    if "language_hint" in given and model != "flux-general-multi":
        return "language_hint is for flux-general-multi"
    if math.fsum(len(value) for name, value in query if name == "keyterm") > 2_000:
        return "Keyterm limit exceeded"
    return None


class DeepgramConnection(VendorConnection):
    """One session of either version."""

    host: "FakeDeepgram"

    async def begin(self) -> None:
        rate_hz = int(self.query["sample_rate"])
        self._bytes_per_ms = rate_hz * 2 // 1000
        self._ear = Ear(rate_hz)
        self._words: list[Heard] = []
        self._sequence = 0
        self._turn = 0
        self._from_ms = 0
        self._told_ms = 0
        self._last_word_ms: int | None = None
        self._flux = self.path == "/v2/listen"
        self.idle_s = _IDLE_S * self.host.second_s
        if self._flux:
            await self._send2({"type": "Connected", "request_id": REQUEST_ID})

    async def idle(self) -> None:
        raise Closing(
            1011, "Deepgram did not receive audio data or a text message within the timeout window: NET-0001"
        )

    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            if not message:
                await self._end()
            self.audio_ms += len(message) // self._bytes_per_ms
            await (self._audio2 if self._flux else self._audio1)(message)
            return
        try:
            body = json.loads(message)
        except ValueError:
            body = {}
        self.messages.append(body)
        match body.get("type"):
            case "CloseStream":
                await self._end()
            case "KeepAlive" if not self._flux:
                pass
            case "Finalize" if not self._flux:
                await self._result(final=True, speech_final=False, from_finalize=True)
            case "ForceEndTurn" if self._flux:
                if self._words:
                    await self._turn_info("EndOfTurn", trigger="manual")
            case _:
                await self._refuse_message()

    async def _end(self) -> NoReturn:
        if self._flux:
            raise Closing(1000)
        await self._result(final=True, speech_final=bool(self._words))
        await self.send(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": REQUEST_ID,
                "sha256": "0" * 64,
                "created": "2026-11-01T00:00:00.000Z",
                "duration": self.audio_ms / 1000,
                "channels": 1,
            }
        )
        raise Closing(1000)

    async def _refuse_message(self) -> NoReturn:
        if self._flux:
            await self._send2(
                {"type": "Error", "code": "UNPARSABLE_CLIENT_MESSAGE", "description": "no such message"}
            )
            raise Closing(1008, "UNPARSABLE_CLIENT_MESSAGE")
        await self.send({"type": "Error", "variant": "SchemaError", "description": "no such message"})
        raise Closing(1008, "DATA-0000")

    async def _audio1(self, pcm: bytes) -> None:
        quiet = self._ear.loud_since_ms is None and not self._words
        heard = self._ear.push(pcm)
        if quiet and self._ear.loud_since_ms is not None and self.query.get("vad_events") == "true":
            await self.send(
                {"type": "SpeechStarted", "channel": [0, 1], "timestamp": self._ear.loud_since_ms / 1000}
            )
        for word in heard:
            self._words.append(word)
            self._last_word_ms = word.end_ms
            if self.query.get("interim_results") == "true":
                await self._result(final=False, speech_final=False)
        endpointing = self.query.get("endpointing", "10")
        if self._words and endpointing != "false" and self._ear.quiet_ms >= max(100, int(endpointing)):
            await self._result(final=True, speech_final=True)
        elif self._ear.loud_since_ms is None and self._ear.now_ms - self._from_ms >= _PIECE_MS:
            await self._result(final=True, speech_final=False)
        end_ms = int(self.query.get("utterance_end_ms", "0"))
        if end_ms and self._last_word_ms is not None and self._ear.quiet_ms >= max(1_000, end_ms):
            await self.send(
                {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": self._last_word_ms / 1000}
            )
            self._last_word_ms = None

    async def _result(self, *, final: bool, speech_final: bool, from_finalize: bool = False) -> None:
        start_ms, now_ms = self._from_ms, self._ear.now_ms
        transcript = " ".join(word.text for word in self._words)
        smart = self.query.get("smart_format") == "true"
        shown = transcript[:1].upper() + transcript[1:] + "." if smart and transcript else transcript
        words = [
            {
                "word": word.text,
                "start": word.start_ms / 1000,
                "end": word.end_ms / 1000,
                "confidence": 0.9,
                **({"punctuated_word": text} if smart else {}),
                **({"speaker": 0} if "diarize_model" in self.query else {}),
            }
            for word, text in zip(self._words, shown.split(), strict=True)
        ]
        multi = {"languages": ["en"]} if self.query.get("language") == "multi" else {}
        if final:
            self._from_ms = now_ms
            self._words = []
        await self.send(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": start_ms / 1000,
                "duration": (now_ms - start_ms) / 1000,
                "is_final": final,
                "speech_final": speech_final,
                "from_finalize": from_finalize,
                "channel": {
                    "alternatives": [
                        {
                            "transcript": shown,
                            "confidence": 0.95 if shown else 0.0,
                            "words": words,
                            **multi,
                        }
                    ]
                },
                "metadata": {
                    "request_id": REQUEST_ID,
                    "model_info": {"name": "general", "version": "2026-01-01.0", "arch": "nova-3"},
                    "model_uuid": "1dbdfb4d-model",
                },
            }
        )

    async def _audio2(self, pcm: bytes) -> None:
        for word in self._ear.push(pcm):
            self._words.append(word)
            await self._turn_info("StartOfTurn" if len(self._words) == 1 else "Update")
        timeout_ms = min(700, int(self.query.get("eot_timeout_ms", "5000")))
        if self._words and self._ear.quiet_ms >= timeout_ms:
            await self._turn_info("EndOfTurn", trigger="model")
        elif self._ear.now_ms - self._told_ms >= _UPDATE_MS:
            await self._turn_info("Update")

    async def _turn_info(self, event: str, **more: str) -> None:
        self._told_ms = self._ear.now_ms
        multi = {"languages": ["en"]} if self.query["model"] == "flux-general-multi" else {}
        await self._send2(
            {
                "type": "TurnInfo",
                "request_id": REQUEST_ID,
                "event": event,
                "turn_index": self._turn,
                "audio_window_start": self._from_ms / 1000,
                "audio_window_end": self._ear.now_ms / 1000,
                "transcript": " ".join(word.text for word in self._words),
                "words": [
                    {
                        "word": word.text,
                        "confidence": 0.9,
                        "start": word.start_ms / 1000,
                        "end": word.end_ms / 1000,
                    }
                    for word in self._words
                ],
                "end_of_turn_confidence": 0.9 if event == "EndOfTurn" else 0.1,
                **multi,
                **more,
            }
        )
        if event == "EndOfTurn":
            self._turn += 1
            self._from_ms = self._ear.now_ms
            self._words = []

    async def _send2(self, message: dict[str, Any]) -> None:
        await self.send({**message, "sequence_id": self._sequence})
        self._sequence += 1


class FakeDeepgram(VendorHost):
    """The service.

    Args:
        second_s: how long a second of its patience lasts.
    """

    connection_type = DeepgramConnection
    paths = ("/v1/listen", "/v2/listen")

    def __init__(self, *plans: Plan, second_s: float = 1.0) -> None:
        super().__init__(*plans)
        self.second_s = second_s

    def refusal(self, request: Request) -> tuple[int, str] | None:
        if request.headers.get("Authorization") not in (f"Token {self.key}", f"Bearer {self.key}"):
            return 401, '{"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials."}'
        if (refused := super().refusal(request)) is not None:
            return refused
        wrong = fault(request)
        return None if wrong is None else (400, json.dumps({"err_code": "Bad Request", "err_msg": wrong}))
