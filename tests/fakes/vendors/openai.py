"""OpenAI's realtime transcription, as its documentation and its SDK tell it."""

import base64
import binascii
import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.http11 import Request

from offhook.base.g711 import alaw_decode, mulaw_decode
from tests.fakes.vendors.host import Closing, Plan, VendorConnection, VendorHost
from tests.fakes.vendors.talk import Ear

_WITHOUT_VAD = {"gpt-live-transcribe", "gpt-realtime-whisper"}
_WITH_KEYWORDS = {"gpt-live-transcribe", "gpt-transcribe"}
_WITH_LOGPROBS = {"gpt-4o-transcribe", "gpt-4o-mini-transcribe"}
_MODELS = _WITHOUT_VAD | _WITH_KEYWORDS | _WITH_LOGPROBS | {"whisper-1"}
_LOGPROBS = "item.input_audio_transcription.logprobs"
_COMMIT_MS_MIN = 100


class _Invalid(Exception):
    """A client event that the service answers with an error, and otherwise forgets."""

    def __init__(self, message: str, *, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


@dataclass
class _Item:
    item_id: str
    words: list[str] = field(default_factory=list)


class OpenAiConnection(VendorConnection):
    """One session."""

    host: "FakeOpenAi"

    async def begin(self) -> None:
        self._event_count = self._item_count = 0
        self._decode: Callable[[bytes], bytes] = _pcm
        self._rate_hz = 24_000
        self._model = ""
        self._vad: dict[str, Any] | None = None
        self._logprobs = False
        self._ear = Ear()
        self._committed_ms = 0
        self._speaking = False
        self._last_item: str | None = None
        self._item = self._new_item()
        self._held: list[_Item] = []
        self.session: dict[str, Any] = {}
        if "model" in self.query or self.query.get("intent") != "transcription":
            # A conversation, which knows no transcription sessions.
            await self._error("Passing a transcription session update to a realtime session is not allowed.")
            raise Closing(1000)
        await self._say("session.created", session={"type": "transcription", "id": "sess_1"})

    async def take(self, message: str | bytes) -> None:
        body: dict[str, Any] = {}
        try:
            body = _event(message)
            await self._event(body)
        except _Invalid as invalid:
            await self._error(str(invalid), invalid.code, param=invalid.param, event_id=body.get("event_id"))
        if self.audio_ms > self.host.session_max_ms:
            await self._error("Your session hit the maximum duration of 60 minutes.", "session_expired")
            raise Closing(1001)

    async def _event(self, body: dict[str, Any]) -> None:
        kind = body["type"]
        if kind != "input_audio_buffer.append":
            self.messages.append(body)
        match kind:
            case "session.update":
                self._update(body.get("session"))
                await self._say(
                    "session.updated",
                    session={**self.session, "id": "sess_1", "object": "realtime.transcription_session"},
                )
            case "input_audio_buffer.append":
                await self._append(body.get("audio"))
            case "input_audio_buffer.commit":
                if self._ear.now_ms - self._committed_ms < _COMMIT_MS_MIN:
                    raise _Invalid(
                        "Error committing input audio buffer: buffer too small.",
                        code="input_audio_buffer_commit_empty",
                    )
                await self._commit()
            case "input_audio_buffer.clear":
                self._committed_ms = self._ear.now_ms
                self._item.words.clear()
                await self._say("input_audio_buffer.cleared")
            case _:
                raise _Invalid(f"Invalid value: '{kind}'.", param="type")

    def _update(self, session: Any) -> None:
        if not isinstance(session, dict) or session.get("type") != "transcription":
            raise _Invalid("Missing required parameter.", param="session.type")
        _only(session, {"type", "audio", "include"}, "session")
        audio = session.get("audio", {})
        _only(audio, {"input"}, "session.audio")
        given = audio.get("input", {})
        _only(given, {"format", "noise_reduction", "transcription", "turn_detection"}, "session.audio.input")
        self._set_format(given.get("format", {"type": "audio/pcm", "rate": 24_000}))
        transcription = given.get("transcription", {})
        place = "session.audio.input.transcription"
        _only(transcription, {"model", "language", "languages", "keywords", "prompt", "delay"}, place)
        model = transcription.get("model")
        if model not in _MODELS:
            raise _Invalid(f"Model {model} does not exist.", code="model_not_found", param=f"{place}.model")
        for name in ("keywords", "languages"):
            if name in transcription and model not in _WITH_KEYWORDS:
                raise _Invalid(f"{name} is not supported for this model.", param=f"{place}.{name}")
        vad = given.get("turn_detection")
        if vad is not None:
            if model in _WITHOUT_VAD:
                raise _Invalid(
                    "Turn detection is not supported for this transcription model.",
                    param="session.audio.input.turn_detection",
                )
            if vad.get("type") != "server_vad":
                raise _Invalid("Invalid value.", param="session.audio.input.turn_detection.type")
        include = session.get("include", [])
        if include not in ([], [_LOGPROBS]) or (include and model not in _WITH_LOGPROBS):
            raise _Invalid("Invalid value.", param="session.include")
        self._model, self._vad, self._logprobs = model, vad, bool(include)
        self.session = session

    def _set_format(self, wanted: Any) -> None:
        match wanted:
            case {"type": "audio/pcmu"}:
                self._decode, self._rate_hz = mulaw_decode, 8_000
            case {"type": "audio/pcma"}:
                self._decode, self._rate_hz = alaw_decode, 8_000
            case {"type": "audio/pcm", "rate": 24_000}:
                self._decode, self._rate_hz = _pcm, 24_000
            case _:
                raise _Invalid("Invalid value.", param="session.audio.input.format")

    async def _append(self, audio: Any) -> None:
        if not self._model:
            raise _Invalid("The session has no transcription model.")
        if not isinstance(audio, str) or not audio:
            raise _Invalid("Invalid 'audio'.", param="audio")
        try:
            data = base64.b64decode(audio, validate=True)
        except binascii.Error:
            raise _Invalid("Invalid 'audio'. Expected base64-encoded audio bytes.", param="audio") from None
        pcm = self._decode(data)
        if self._rate_hz == 24_000:
            pcm = array("h", pcm)[::3].tobytes()
        heard = self._ear.push(pcm)
        self.audio_ms = self._ear.now_ms
        await self._announce()
        for word in heard:
            self._item.words.append(word.text)
            if self._model in _WITHOUT_VAD:
                await self._delta(self._item, len(self._item.words) - 1)
        await self._look_for_pause()

    async def _announce(self) -> None:
        if self._vad is None or self._speaking or self._ear.loud_since_ms is None:
            return
        self._speaking = True
        start_ms = max(0, self._ear.loud_since_ms - self._vad.get("prefix_padding_ms", 300))
        await self._say(
            "input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self._item.item_id
        )

    async def _look_for_pause(self) -> None:
        if self._vad is None or not self._speaking:
            return
        silence_ms = self._vad.get("silence_duration_ms", 500)
        if self._ear.quiet_ms >= silence_ms:
            await self._say(
                "input_audio_buffer.speech_stopped",
                audio_end_ms=self._ear.loud_until_ms + silence_ms,
                item_id=self._item.item_id,
            )
            await self._commit()

    async def _commit(self) -> None:
        item, self._item = self._item, self._new_item()
        self._speaking = False
        self._committed_ms = self._ear.now_ms
        await self._say(
            "input_audio_buffer.committed", item_id=item.item_id, previous_item_id=self._last_item
        )
        self._last_item = item.item_id
        self._held.append(item)
        if len(self._held) > self.host.finals_held:
            for held in reversed(self._held):
                await self._complete(held)
            self._held.clear()

    async def _complete(self, item: _Item) -> None:
        place: dict[str, Any] = {"item_id": item.item_id, "content_index": 0}
        if self.host.failures > 0:
            self.host.failures -= 1
            error = {
                "type": "server_error",
                "code": "audio_unintelligible",
                "message": "could not",
                "param": None,
            }
            await self._say("conversation.item.input_audio_transcription.failed", **place, error=error)
            return
        if self._model not in _WITHOUT_VAD:
            for index in range(len(item.words)):
                await self._delta(item, index)
        text = " ".join(item.words)
        extra: dict[str, Any] = {}
        if self._logprobs:
            extra["logprobs"] = [
                {"token": word, "logprob": -0.1, "bytes": list(word.encode())} for word in item.words
            ]
        if self._model in _WITH_KEYWORDS:
            extra["languages"] = [{"code": "en"}]
        await self._say(
            "conversation.item.input_audio_transcription.completed",
            **place,
            transcript=text,
            usage={"type": "duration", "seconds": 1.0},
            **extra,
        )

    async def _delta(self, item: _Item, index: int) -> None:
        delta = f" {item.words[index]}" if index else item.words[0]
        await self._say(
            "conversation.item.input_audio_transcription.delta",
            item_id=item.item_id,
            content_index=0,
            delta=delta,
        )

    def _new_item(self) -> _Item:
        self._item_count += 1
        return _Item(f"item_{self._item_count:03}")

    async def _say(self, kind: str, **fields: Any) -> None:
        self._event_count += 1
        await self.send({"type": kind, "event_id": f"event_{self._event_count}", **fields})

    async def _error(
        self,
        message: str,
        code: str = "invalid_value",
        *,
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": param,
            "event_id": event_id,
        }
        await self._say("error", error=error)


class FakeOpenAi(VendorHost):
    """The service.

    Args:
        session_max_ms: how much audio a session takes before it ends for its age.
        finals_held: so many finals are kept back, and told in the wrong order with the next one.
        failures: so many items fail.
    """

    connection_type = OpenAiConnection
    paths = ("/v1/realtime",)

    def __init__(
        self, *plans: Plan, session_max_ms: int = 3_600_000, finals_held: int = 0, failures: int = 0
    ) -> None:
        super().__init__(*plans)
        self.session_max_ms = session_max_ms
        self.finals_held = finals_held
        self.failures = failures

    @property
    def url(self) -> str:
        """Return what a client calls the base URL."""
        return f"{self.address}/v1"

    def refusal(self, request: Request) -> tuple[int, str] | None:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return 401, "Incorrect API key provided"
        return super().refusal(request)


def _event(message: str | bytes) -> dict[str, Any]:
    try:
        body = json.loads(message)
    except ValueError:
        raise _Invalid("We could not parse the JSON body.", code="invalid_json") from None
    if not isinstance(body, dict) or not isinstance(body.get("type"), str):
        raise _Invalid("Missing required parameter: 'type'.", param="type")
    return body


def _only(value: Any, names: set[str], place: str) -> None:
    if not isinstance(value, dict) or value.keys() - names:
        raise _Invalid("Unknown parameter.", code="unknown_parameter", param=place)


def _pcm(data: bytes) -> bytes:
    return data[: len(data) & ~1]
