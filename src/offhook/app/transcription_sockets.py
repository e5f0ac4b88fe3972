"""Transcription sockets on the server's speech engines: the `TranscriptionService` of the API."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from offhook.app.listening import EngineStuck, Listener, best_rate_hz, words_as_json
from offhook.app.speech import speech_config
from offhook.base.errors import LimitReached
from offhook.edge.http.transcription_client import Result
from offhook.edge.http.transcription_query import AskedTranscription, SocketRefusal
from offhook.edge.media.decoding import SoundDecoder
from offhook.edge.media.engine import MediaError
from offhook.edge.speech.engine_map import EngineRejected
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    LanguageUnsupported,
    ParameterUnsupported,
    Partial,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.service import SpeechService

_PIECE_BYTES = 16 * 1024
"""Decoded at once; between two pieces others have their turn."""


class SpeechSockets:
    """Opens a session of the speech service for each socket."""

    def __init__(self, speech: SpeechService) -> None:
        self._speech = speech
        self._keys = count(1)

    async def open(
        self,
        asked: AskedTranscription,
        on_result: Callable[[Result], None],
        on_failure: Callable[[SocketRefusal], None],
    ) -> "SocketHearing":
        """Begin to hear.

        Raises:
            SocketRefusal: it cannot be done, or not now.
        """
        hearing = SocketHearing(on_result, on_failure)
        try:
            info = self._speech.info(asked.options.engine)
            rate_hz = best_rate_hz(info, asked.sample_rate_hz or None)
            decoder = SoundDecoder(asked.input_format, to_hz=rate_hz, sample_rate_hz=asked.sample_rate_hz)
            config = speech_config(asked.options, sample_rate_hz=rate_hz)
            if asked.endpoint_ms is not None:
                config = replace(config, endpoint_ms=asked.endpoint_ms)
            self._speech.check(asked.options.engine, config)
            key = ("socket", next(self._keys))
            handle = await self._speech.open(key, config, asked.options.engine, hearing.on_event)
        except MediaError:
            detail = "The parameter `sample_rate` must be a usual rate, such as 8000, 16000, 24000 or 44100."
            raise SocketRefusal("40004", detail, "sample_rate") from None
        except EngineRejected as error:
            raise SocketRefusal("40007", _sentence(error), "transcription_engine") from None
        except ParameterUnsupported as error:
            raise SocketRefusal("10038", _sentence(error), _parameter(error.parameter)) from None
        except LanguageUnsupported as error:
            raise SocketRefusal("10038", _sentence(error), "language") from None
        except SpeechUnavailable as error:
            raise SocketRefusal("10007", _sentence(error), "transcription_engine") from None
        except LimitReached as error:
            raise SocketRefusal("10007", _sentence(error), close_code=1013) from None
        hearing.begin(decoder, Listener(handle, sample_rate_hz=rate_hz))
        return hearing


class SocketHearing:
    """The audio of one socket, decoded and on its way into a session."""

    def __init__(
        self, on_result: Callable[[Result], None], on_failure: Callable[[SocketRefusal], None]
    ) -> None:
        self._on_result = on_result
        self._on_failure = on_failure
        self._decoder: SoundDecoder | None = None
        self._listener: Listener | None = None
        self._ended = False

    def begin(self, decoder: SoundDecoder, listener: Listener) -> None:
        """Take the session that was opened."""
        self._decoder = decoder
        self._listener = listener
        listener.ended = self._ended

    async def push(self, data: bytes) -> None:
        """Take audio; returns when there is room for more.

        Raises:
            SocketRefusal: it is not what the query says.
        """
        assert self._decoder is not None, "begun first"
        assert self._listener is not None, "begun first"
        for at in range(0, len(data), _PIECE_BYTES):
            try:
                channels = self._decoder.push(data[at : at + _PIECE_BYTES])
            except MediaError as error:
                raise SocketRefusal("40001", f"The audio cannot be read: {error}.", "input_format") from None
            if channels:
                try:
                    await self._listener.push(channels[0])
                except EngineStuck:
                    raise SocketRefusal("10007", "The engine takes no more audio.", close_code=1011) from None
            await asyncio.sleep(0)

    async def flush(self, *, timeout_s: float) -> None:
        """End the utterance; returns when all its words were told, or that takes too long."""
        assert self._listener is not None, "begun first"
        try:
            await self._listener.flush(timeout_s=timeout_s)
        except EngineStuck:
            return

    async def close(self) -> None:
        """End the session; nothing is told after this returns."""
        assert self._listener is not None, "begun first"
        await self._listener.close()

    def on_event(self, event: SpeechEvent) -> None:
        """Take what the session tells."""
        match event:
            case Final() | Partial():
                self._on_result(_result(event))
            case Error(_, recovering) if not recovering:
                # Not its reason: that names accounts and addresses of this installation.
                self._on_failure(SocketRefusal("10007", "The speech engine failed.", close_code=1011))
            case Closed():
                self._ended = True
                if self._listener is not None:
                    self._listener.ended = True
            case _:
                pass


def _result(event: Final | Partial) -> Result:
    is_final = isinstance(event, Final)
    extra: dict[str, Any] = {
        "language": event.language,
        "start_ms": event.start_ms,
        "end_ms": event.end_ms,
        "utterance_id": str(event.utterance_id),
        "words": words_as_json(event.words),
    }
    return Result(
        transcript=event.text,
        is_final=is_final,
        speech_final=isinstance(event, Final) and event.utterance_end,
        confidence=event.confidence,
        extra=extra,
    )


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _parameter(name: str) -> str:
    return "keyterm" if name == "keyterms" else "keywords" if name == "hints" else name
