"""The door of this room: opens sessions by engine name, keeps the engines, ends everything."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import structlog

from offhook.base.errors import LimitReached
from offhook.base.limits import SPEECH_TRACKS_PER_WORKER_MAX
from offhook.edge.speech import parameters
from offhook.edge.speech.engine_map import EngineMap
from offhook.edge.speech.pool import SpeechPool
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    Error,
    Final,
    OnEvent,
    ParameterUnsupported,
    Partial,
    SegmentEngine,
    SessionStats,
    SpeechConfig,
    SpeechEngine,
    SpeechEvent,
    SpeechSession,
    SpeechUnavailable,
)

log = structlog.get_logger(__name__)

ENTRY_POINTS = "offhook.speech_engines"

_SHIPPED = {
    "local": "offhook.edge.speech.moonshine:ENGINE",
    "scripted": "offhook.edge.speech.scripted:ENGINE",
    "assemblyai": "offhook.edge.speech.vendors.assemblyai:ENGINE",
    "openai": "offhook.edge.speech.vendors.openai_realtime:ENGINE",
}


class SpeechHandle:
    """One open session, by the key its owner gave it."""

    def __init__(self, key: Hashable, engine: str, session: SpeechSession) -> None:
        self.key = key
        self.engine = engine
        """The engine that really serves it."""
        self._session = session

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take s16le audio that begins at `at_ms` of the leg's clock. Never blocks or raises."""
        self._session.push(pcm, at_ms)

    def flush(self) -> None:
        """End the utterance now, as if silence had been heard."""
        self._session.flush()

    def waiting_ms(self) -> int:
        """Return how much audio has not been heard or waits for its words (see `SpeechSession`)."""
        return self._session.waiting_ms()

    async def close(self) -> None:
        """Deliver the last final (for at most 2 s), then `Closed`. Safe to call twice."""
        await self._session.close()

    def stats(self) -> SessionStats:
        """Return the counters so far."""
        return self._session.stats()


class SpeechService:
    """All transcription of a server.

    Args:
        workers: processes of each engine that needs them.
        routes: API engine names to engines (see `EngineMap`).
        default_engine: the engine of every API name that `routes` leaves out.
        options: settings of each engine, by its name; they win over what a call says.
        tracks_per_worker_max: what one worker process takes.
        ignore_unsupported: do without what an engine cannot do of a request, instead of refusing it.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        routes: Mapping[str, str] | None = None,
        default_engine: str = "local",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        tracks_per_worker_max: int = SPEECH_TRACKS_PER_WORKER_MAX,
        ignore_unsupported: bool = False,
    ) -> None:
        self._workers = workers
        self._tracks_per_worker_max = tracks_per_worker_max
        self._ignore_unsupported = ignore_unsupported
        self._map = EngineMap(routes, default=default_engine)
        self._options = {name: dict(values) for name, values in (options or {}).items()}
        self._engines: dict[str, SpeechEngine] = {}
        self._open: dict[Hashable, SpeechHandle] = {}
        self._totals: Counter[str] = Counter()
        self._out_of_order: dict[str, SpeechUnavailable] = {}
        self._closed = False

    def check(self, engine_name: str, config: SpeechConfig, tracks: int = 1) -> None:
        """Raise what `open` would raise for so many tracks of a request, as far as can be told at once.

        A missing model can be told once `inspect` has looked.

        Raises:
            EngineRejected: the operator does not offer it.
            SpeechUnavailable: it cannot run here, or not as asked.
            LimitReached: it is full.
        """
        name = self._map.engine_for(engine_name)
        if name in self._out_of_order:
            raise self._out_of_order[name].with_traceback(None)
        engine = self._engine(name)
        self._fitted(name, engine, config)
        room = engine.room()
        if room is not None and room < tracks:
            raise LimitReached(
                f"Transcription is full: the engine {name} has no room for {_counted(tracks)}."
            )

    def info(self, engine_name: str) -> EngineInfo:
        """Return what the engine that serves this API name can do.

        Raises:
            EngineRejected: the operator does not offer it.
            SpeechUnavailable: there is no such engine.
        """
        return self._engine(self._map.engine_for(engine_name)).info

    async def inspect(self) -> dict[str, SpeechUnavailable]:
        """Look at every engine that some API name leads to; starts none.

        Returns:
            Why which engines cannot run, models and scripts included. `check` knows it from now on.
        """
        self._out_of_order = {}
        for name in sorted(self._map.engines()):
            try:
                await self._engine(name).ensure_available(self._options.get(name, {}))
            except SpeechUnavailable as error:
                self._out_of_order[name] = error
        return dict(self._out_of_order)

    async def open(
        self, session_key: Hashable, config: SpeechConfig, engine_name: str, on_event: OnEvent
    ) -> SpeechHandle:
        """Begin to transcribe one track with the engine that serves `engine_name` (an API name).

        `on_event` is called on the event loop, in order; `Closed` is the last call.

        Raises:
            EngineRejected: the operator does not offer it.
            SpeechUnavailable: it cannot run here, or not in that language.
            LimitReached: it is full.
        """
        assert session_key not in self._open, "one session a key"
        name = self._map.engine_for(engine_name)
        engine = self._engine(name)
        config = self._fitted(name, engine, config)
        unused = parameters.unused(config.parameters, engine.info.parameters)
        if unused:
            log.info("the speech engine has no use for these", engine=name, parameters=unused)
        session = await engine.open(config, lambda event: self._pass_on(session_key, on_event, event))
        handle = SpeechHandle(session_key, name, session)
        self._open[session_key] = handle
        self._totals["sessions_opened"] += 1
        return handle

    async def warm_up(self) -> None:
        """Load the models of every engine that some API name leads to, before a transcription needs them.

        Raises:
            SpeechUnavailable: one cannot run here; the text says what to do.
        """
        for name in sorted(self._map.engines() - self._out_of_order.keys()):
            engine = self._engine(name)
            if isinstance(engine, SpeechPool):
                await engine.warm_up()

    async def close(self) -> None:
        """End every session with its last final, then every engine and process."""
        self._closed = True
        await asyncio.gather(*(handle.close() for handle in tuple(self._open.values())))
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    def counters(self) -> dict[str, int]:
        """Return gauges and totals, for metrics and leak checks."""
        result = Counter(self._totals)
        result["sessions_open"] = len(self._open)
        for engine in self._engines.values():
            if isinstance(engine, SpeechPool):
                result.update({f"pool_{name}": value for name, value in engine.counters().items()})
        return dict(result)

    def pids(self) -> list[int]:
        """Return the process ids of all speech workers."""
        return [
            pid
            for engine in self._engines.values()
            if isinstance(engine, SpeechPool)
            for pid in engine.pids()
        ]

    def _fitted(self, name: str, engine: SpeechEngine, config: SpeechConfig) -> SpeechConfig:
        """Return the request with the engine's settings, and perhaps without what it cannot do."""
        config = replace(config, options={**config.options, **self._options.get(name, {})})
        while True:
            try:
                engine.check(config)
            except ParameterUnsupported as error:
                if not self._ignore_unsupported or error.parameter not in config.parameters:
                    raise
                log.warning("the speech engine does without", engine=name, parameter=error.parameter)
                config = _without(config, error.parameter)
            else:
                return config

    def _engine(self, name: str) -> SpeechEngine:
        if self._closed:
            raise SpeechUnavailable("speech is shutting down")
        if name not in self._engines:
            reference = engine_reference(name)
            engine = _import_engine(name, reference)
            if isinstance(engine, SegmentEngine):
                engine = SpeechPool(
                    engine,
                    reference,
                    workers=self._workers,
                    options=self._options.get(name, {}),
                    tracks_per_worker_max=self._tracks_per_worker_max,
                )
            self._engines[name] = engine
        return self._engines[name]

    def _pass_on(self, key: Hashable, on_event: OnEvent, event: SpeechEvent) -> None:
        match event:
            case Partial():
                self._totals["partials"] += 1
            case Final():
                self._totals["finals"] += 1
            case Error():
                self._totals["errors"] += 1
            case Closed(stats):
                self._open.pop(key, None)
                self._totals["audio_ms"] += stats.audio_ms
                self._totals["dropped_ms"] += stats.dropped_ms
            case _:
                pass
        on_event(event)


def _without(config: SpeechConfig, parameter: str) -> SpeechConfig:
    kept = {name: value for name, value in config.parameters.items() if name != parameter}
    return replace(config, parameters=kept)


def _counted(tracks: int) -> str:
    return "another track" if tracks == 1 else f"{tracks} more tracks"


def engine_names() -> list[str]:
    """Return the names of all engines that are installed."""
    return sorted(_SHIPPED.keys() | {point.name for point in entry_points(group=ENTRY_POINTS)})


def engine_reference(name: str) -> str:
    """Return `module:NAME` of an installed engine.

    Raises:
        SpeechUnavailable: there is none of that name.
    """
    if name in _SHIPPED:
        return _SHIPPED[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.value
    raise SpeechUnavailable(
        f"no speech engine called {name} is installed: there are {', '.join(engine_names())}"
    )


def _import_engine(name: str, reference: str) -> SpeechEngine | SegmentEngine:
    module, _, attribute = reference.partition(":")
    try:
        engine = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as err:
        raise SpeechUnavailable(
            f"the speech engine {name} cannot be imported ({type(err).__name__})"
        ) from err
    if not isinstance(engine, SpeechEngine | SegmentEngine):
        raise SpeechUnavailable(f"the speech engine {name} is not one: it is neither kind of engine")
    return engine
