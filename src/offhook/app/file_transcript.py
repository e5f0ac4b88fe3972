"""What is said in a file, by any engine: the work behind `offhook transcribe`."""

import asyncio
import sys
from asyncio import sleep as pause
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from offhook.app.listening import EngineStuck, Listener, best_rate_hz, words_as_json
from offhook.app.settings import Settings
from offhook.app.speech import make_speech
from offhook.base import limits
from offhook.base.clock import SystemClock
from offhook.base.errors import ConfigError, LimitReached
from offhook.edge.media.decoding import SoundDecoder
from offhook.edge.media.engine import MediaError
from offhook.edge.speech.engine_map import API_NAMES, REJECT, EngineRejected, canonical_name
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    Error,
    Final,
    Partial,
    SpeechConfig,
    SpeechError,
    SpeechEvent,
    Word,
)
from offhook.edge.speech.service import SpeechService, engine_names

_READ_BYTES = 32 * 1024
_ANY_NAME = "Telnyx"


@dataclass(frozen=True, slots=True)
class Told:
    """Words of a file."""

    channel: int | None
    """From 1; None in a file that has one."""
    text: str = field(repr=False)
    is_final: bool
    confidence: float | None
    language: str
    start_ms: int
    end_ms: int
    utterance_id: int
    words: tuple[Word, ...] = ()

    def place(self) -> str:
        """Return where it was said, for people: `[00:01.2-00:03.4]`."""
        times = f"[{_minutes(self.start_ms)}-{_minutes(self.end_ms)}]"
        return times if self.channel is None else f"{times} channel {self.channel}:"

    def as_json(self) -> dict[str, Any]:
        """Return it as one object for a script."""
        return {
            "event": "final" if self.is_final else "partial",
            **({} if self.channel is None else {"channel": self.channel}),
            "transcript": self.text,
            "confidence": self.confidence,
            "language": self.language,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "utterance_id": self.utterance_id,
            "words": words_as_json(self.words),
        }


@dataclass(frozen=True, slots=True)
class FileResult:
    """How it went."""

    engine: str
    channels: int
    audio_s: float
    took_s: float
    finals: int
    dropped_ms: int
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for a script."""
        return {
            "engine": self.engine,
            "channels": self.channels,
            "audio_s": round(self.audio_s, 3),
            "took_s": round(self.took_s, 3),
            "finals": self.finals,
            "dropped_ms": self.dropped_ms,
            "failure": self.failure,
        }

    def as_text(self) -> str:
        """Return one line for a person."""
        if self.failure:
            return f"offhook: The {self.engine} engine failed: {self.failure.rstrip('.')}."
        heard = "" if self.finals else "; no speech was heard"
        return f"{self.audio_s:.1f} s by the {self.engine} engine in {self.took_s:.1f} s{heard}"


def transcribe_file(
    settings: Settings,
    path: Path | None,
    *,
    engine: str | None,
    language: str,
    only_channel: int | None,
    partials: bool,
    tell: Callable[[Told], None],
) -> FileResult:
    """Let an engine hear a file, or standard input for None, and tell what it understands.

    Raises:
        ConfigError: file, engine or language will not do; one sentence says why.
    """
    settings, api_name = choose_engine(settings, engine)
    config = SpeechConfig(language=language, interim=partials, api_name=api_name)
    return asyncio.run(_transcribe(settings, path, config, only_channel, tell))


def choose_engine(settings: Settings, wanted: str | None) -> tuple[Settings, str]:
    """Return the settings that lead to an engine, and the API name that leads there.

    An installed engine serves whatever the settings say; an API name is served as they say.

    Raises:
        ConfigError: there is neither an engine nor an API name that is called so.
    """
    wanted = wanted or settings.speech.default_engine
    installed = engine_names()
    name = canonical_name(wanted)
    if wanted in installed:
        speech = settings.speech.model_copy(update={"default_engine": wanted, "engines": {}, "fallback": ""})
        return settings.model_copy(update={"speech": speech}), name or _ANY_NAME
    if name is not None:
        return settings, name
    if wanted == REJECT:
        raise ConfigError(f"The settings name no speech engine: choose one of {', '.join(installed)}.")
    raise ConfigError(
        f"There is no speech engine called {wanted}: installed are {', '.join(installed)}; "
        f"names of the API are {', '.join(API_NAMES)}."
    )


async def _transcribe(
    settings: Settings,
    path: Path | None,
    config: SpeechConfig,
    only_channel: int | None,
    tell: Callable[[Told], None],
) -> FileResult:
    service = make_speech(settings)
    try:
        info = service.info(config.api_name)
        with closing(_open(path)) as file:
            run = _Run(service, info, config, only_channel, tell)
            return await run.hear(file, path)
    except (SpeechError, EngineRejected, LimitReached) as error:
        raise ConfigError(f"The file cannot be transcribed: {str(error).rstrip('.')}.") from None
    finally:
        await service.close()


class _Run:
    """One file on its way through one engine."""

    def __init__(
        self,
        service: SpeechService,
        info: EngineInfo,
        config: SpeechConfig,
        only_channel: int | None,
        tell: Callable[[Told], None],
    ) -> None:
        self._service = service
        self._info = info
        self._config = config
        self._only = only_channel
        self._tell = tell
        self._clock = SystemClock()
        self._began = self._clock.now()
        self._listeners: dict[int, Listener] = {}
        self._engine = info.name
        self._finals = 0
        self._dropped_ms = 0
        self._failure: str | None = None

    async def hear(self, file: BinaryIO, path: Path | None) -> FileResult:
        name = "Standard input" if path is None else str(path)
        try:
            async for channels in self._decoded(file):
                if not self._listeners and channels:
                    self._began = self._clock.now()
                    await self._open_listeners(len(channels), name)
                await asyncio.gather(
                    *(self._push(number, channels[number - 1]) for number in self._listeners)
                )
                if self._failure:
                    break
        except MediaError as error:
            raise ConfigError(f"{name} cannot be transcribed: {str(error).rstrip('.')}.") from None
        except OSError as error:
            raise ConfigError(f"{name} cannot be read: {error.strerror}.") from None
        except EngineStuck as error:
            self._failure = self._failure or str(error)
        await self._finish()
        return self._result()

    async def _decoded(self, file: BinaryIO) -> AsyncIterator[list[bytes]]:
        """Yield the samples of each channel, at the rate that `self._config` has got."""
        head = b""
        decoder = SoundDecoder("file", to_hz=16_000, mix=False)
        while decoder.sample_rate_hz is None and (data := await asyncio.to_thread(file.read, _READ_BYTES)):
            head += data
            decoder.push(data)
        rate_hz = best_rate_hz(self._info, decoder.sample_rate_hz)
        self._config = replace(self._config, sample_rate_hz=rate_hz)
        decoder = SoundDecoder("file", to_hz=rate_hz, mix=False)
        data = head
        while data:
            yield decoder.push(data)
            data = await asyncio.to_thread(file.read, _READ_BYTES)
        yield decoder.finish()

    async def _open_listeners(self, channels: int, name: str) -> None:
        if self._only is not None and self._only > channels:
            raise ConfigError(f"{name} has {channels} channel(s), not {self._only}.")
        for number in range(1, channels + 1):
            if self._only in (None, number):
                shown = number if channels > 1 else None
                handle = await self._service.open(
                    ("file", number), self._config, self._config.api_name, self._on_event(number, shown)
                )
                self._engine = handle.engine
                self._listeners[number] = Listener(handle, sample_rate_hz=self._config.sample_rate_hz)

    async def _push(self, number: int, pcm: bytes) -> None:
        listener = self._listeners[number]
        if not self._info.needs_network:
            await listener.push(pcm)
            return
        second = self._config.sample_rate_hz * 2
        for at in range(0, len(pcm), second // 10):
            late_s = self._clock.now() - self._began - listener.heard_ms / 1000
            # A service of the network bills, and drops, what comes faster than it is spoken.
            await pause(max(0.0, -late_s))
            await listener.push(pcm[at : at + second // 10])

    async def _finish(self) -> None:
        flushing = [listener.flush(timeout_s=limits.SPEECH_STUCK_S) for listener in self._listeners.values()]
        for outcome in await asyncio.gather(*flushing, return_exceptions=True):
            if isinstance(outcome, EngineStuck):
                self._failure = self._failure or str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()))

    def _on_event(self, number: int, channel: int | None) -> Callable[[SpeechEvent], None]:
        def take(event: SpeechEvent) -> None:
            match event:
                case Final() | Partial():
                    self._finals += isinstance(event, Final)
                    self._tell(_told(event, channel))
                case Error(reason, recovering) if not recovering:
                    self._failure = reason
                case Closed(stats):
                    if number in self._listeners:
                        self._listeners[number].ended = True
                    self._dropped_ms += stats.dropped_ms
                case _:
                    pass

        return take

    def _result(self) -> FileResult:
        return FileResult(
            engine=self._engine,
            channels=len(self._listeners),
            audio_s=max((listener.heard_ms for listener in self._listeners.values()), default=0) / 1000,
            took_s=self._clock.now() - self._began,
            finals=self._finals,
            dropped_ms=self._dropped_ms,
            failure=self._failure,
        )


def _told(event: Final | Partial, channel: int | None) -> Told:
    return Told(
        channel=channel,
        text=event.text,
        is_final=isinstance(event, Final),
        confidence=event.confidence,
        language=event.language,
        start_ms=event.start_ms,
        end_ms=event.end_ms,
        utterance_id=event.utterance_id,
        words=event.words,
    )


def _open(path: Path | None) -> BinaryIO:
    if path is None:
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _minutes(at_ms: int) -> str:
    minutes, ms = divmod(at_ms, 60_000)
    return f"{minutes:02}:{ms // 100 / 10:04.1f}"
