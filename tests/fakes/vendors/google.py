"""Google Speech-to-Text v2 on a real gRPC port, with Google's own messages and moods a test can choose.

Refuses what the documentation forbids, as Google does: with a status.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.cloud.speech_v2.types import cloud_speech as speech

from tests.fakes.vendors.listener import Began, Listener, SoFar, Told, Utterance
from tests.fakes.vendors.talk import Heard

PROJECT = "test-project"
MODELS = (
    "long",
    "short",
    "telephony",
    "telephony_short",
    "medical_conversation",
    "medical_dictation",
    "chirp_3",
)
AUDIO_BYTES_MAX = 25_600
ENDPOINT_MS = 800
WORD_CONFIDENCE = 0.75
_EVENT = speech.StreamingRecognizeResponse.SpeechEventType


@dataclass
class Stream:
    """One RPC, from the server's side."""

    context: Any
    metadata: dict[str, str]
    recognizer: str = ""
    config: Any = None
    ear: Listener = field(default_factory=Listener)
    audio_bytes: int = 0
    half_closed: bool = False
    code: grpc.StatusCode = grpc.StatusCode.OK

    @property
    def features(self) -> Any:
        return self.config.config.features


@dataclass
class GoogleSpeechServer:
    """What runs, what it was sent, and its moods."""

    url: str = ""
    streams: list[Stream] = field(default_factory=list)
    wants_account: bool = True
    fail: deque[grpc.StatusCode] = field(default_factory=deque)
    """Statuses that the next streams end with at once."""
    fail_at_ms: deque[tuple[int, grpc.StatusCode]] = field(default_factory=deque)
    """(ms of a stream's audio, status): how the next streams end."""
    hostile: list[speech.StreamingRecognizeResponse] = field(default_factory=list)
    """Responses that precede every final."""
    end_after_finals: int | None = None
    """After so many finals the service ends the stream well, as the model `short` does."""
    mute: bool = False
    """It listens and never says anything."""

    async def recognize(self, _: Any, context: Any) -> None:
        """Serve one stream."""
        stream = Stream(context, {key: str(value) for key, value in context.invocation_metadata()})
        self.streams.append(stream)
        if self.fail:
            await self._fail(stream, self.fail.popleft())
        if self.wants_account and not stream.metadata.get("authorization", "").startswith("Bearer ey"):
            await self._fail(stream, grpc.StatusCode.UNAUTHENTICATED)
        await self._configure(stream, await context.read())
        end_at = self.fail_at_ms.popleft() if self.fail_at_ms else None
        finals = 0
        while (request := await context.read()) is not grpc.aio.EOF:
            await self._check_audio(stream, request)
            finals += await self._tell(stream, stream.ear.hear(request.audio))
            if end_at and stream.ear.at_ms >= end_at[0]:
                await self._fail(stream, end_at[1])
            if self.end_after_finals and finals >= self.end_after_finals:
                return
        await asyncio.sleep(0.02)  # a cancelled RPC reads as EOF, too, and ends this coroutine here
        stream.half_closed = True
        await self._tell(stream, stream.ear.finish())

    async def _configure(self, stream: Stream, first: Any) -> None:
        stream.recognizer, stream.config = first.recognizer, first.streaming_config
        config = stream.config.config
        decoding = config.explicit_decoding_config
        parts = first.recognizer.split("/")
        well_formed = (
            len(parts) == 6
            and parts[::2] == ["projects", "locations", "recognizers"]
            and not first.audio
            and config.model in MODELS
            and len(config.language_codes) >= 1
            and decoding.encoding == speech.ExplicitDecodingConfig.AudioEncoding.LINEAR16
            and decoding.sample_rate_hertz in (8000, 16000)
            and decoding.audio_channel_count == 1
        )
        if not well_formed:
            await self._fail(stream, grpc.StatusCode.INVALID_ARGUMENT)
        if parts[1] != PROJECT:
            await self._fail(stream, grpc.StatusCode.PERMISSION_DENIED)
        stream.ear = Listener(decoding.sample_rate_hertz, ENDPOINT_MS)

    async def _check_audio(self, stream: Stream, request: Any) -> None:
        stream.audio_bytes += len(request.audio)
        repeated = bool(request.recognizer) or "streaming_config" in request
        if repeated or not 0 < len(request.audio) <= AUDIO_BYTES_MAX:
            await self._fail(stream, grpc.StatusCode.INVALID_ARGUMENT)

    async def _tell(self, stream: Stream, heard: list[Told]) -> int:
        """Say what was heard; return how many finals that were."""
        if self.mute:
            return 0
        finals = 0
        wanted = stream.config.streaming_features
        for item in heard:
            match item:
                case Began(at_ms):
                    if wanted.enable_voice_activity_events:
                        begin = _EVENT.SPEECH_ACTIVITY_BEGIN
                        await _say(stream, speech_event_type=begin, speech_event_offset=_offset(at_ms))
                case SoFar(words):
                    if wanted.interim_results:
                        await _say(stream, results=_tentative(words))
                case Utterance():
                    finals += 1
                    for response in self.hostile:
                        await stream.context.write(response)
                    await _say(stream, results=[_final(stream, item)])
        return finals

    async def _fail(self, stream: Stream, code: grpc.StatusCode) -> None:
        stream.code = code
        await stream.context.abort(code, "the service's words may repeat a secret")


@asynccontextmanager
async def google_speech_server(credentials: Any = None) -> AsyncIterator[GoogleSpeechServer]:
    """Serve on a port of this machine."""
    told = GoogleSpeechServer()
    method = grpc.stream_stream_rpc_method_handler(
        told.recognize,
        request_deserializer=speech.StreamingRecognizeRequest.deserialize,
        response_serializer=speech.StreamingRecognizeResponse.serialize,
    )
    server = grpc.aio.server()
    handlers = {"StreamingRecognize": method}
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.cloud.speech.v2.Speech", handlers)]
    )
    if credentials is None:
        told.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        told.url = f"https://localhost:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield told
    finally:
        await server.stop(0.1)


async def _say(stream: Stream, **fields: Any) -> None:
    await stream.context.write(speech.StreamingRecognizeResponse(**fields))


def _offset(at_ms: int) -> dict[str, int]:
    return {"seconds": at_ms // 1000, "nanos": at_ms % 1000 * 1_000_000}


def _tentative(words: list[Heard]) -> list[Any]:
    """Return a stable beginning and an end that may change, as Google does."""
    texts = [" ".join(word.text for word in words[:-1]), (" " if words[1:] else "") + words[-1].text]
    return [
        speech.StreamingRecognitionResult(
            alternatives=[{"transcript": text}],
            stability=stability,
            result_end_offset=_offset(words[-1].end_ms),
            language_code="en-us",
        )
        for text, stability in zip(texts, (0.9, 0.1), strict=True)
        if text
    ]


def _final(stream: Stream, heard: Utterance) -> Any:
    words = [
        {
            "word": word.text,
            "start_offset": _offset(word.start_ms),
            "end_offset": _offset(word.end_ms),
            "confidence": WORD_CONFIDENCE if stream.features.enable_word_confidence else 0.0,
            "speaker_label": "1" if "diarization_config" in stream.features else "",
        }
        for word in heard.words
    ]
    timed = stream.features.enable_word_time_offsets
    return speech.StreamingRecognitionResult(
        alternatives=[{"transcript": heard.text, "confidence": 0.875, "words": words if timed else []}],
        is_final=True,
        result_end_offset=_offset(heard.words[-1].end_ms),
        language_code="en-us",
    )
