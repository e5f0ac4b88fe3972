"""The door of this room: opens sessions by engine name, keeps the engines, ends everything."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Coroutine, Hashable, Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import structlog

from offhook.base.clock import Clock, SystemClock
from offhook.base.errors import LimitReached
from offhook.base.limits import SPEECH_TRACKS_PER_WORKER_MAX
from offhook.base.tasks import TaskSet
from offhook.base.worker import import_named
from offhook.edge.speech import parameters
from offhook.edge.speech.engine_map import EngineMap
from offhook.edge.speech.handle import Serving, SpeechHandle
from offhook.edge.speech.meters import EngineMeter
from offhook.edge.speech.pool import SpeechPool
from offhook.edge.speech.protocol import (
    EngineInfo,
    LanguageUnsupported,
    OnEvent,
    ParameterUnsupported,
    SegmentEngine,
    SpeechConfig,
    SpeechEngine,
    SpeechSession,
    SpeechUnavailable,
)

log = structlog.get_logger(__name__)

_NARROW_HZ, _WIDE_HZ = 8000, 16_000

ENTRY_POINTS = "offhook.speech_engines"

_SHIPPED = {
    "local": "offhook.edge.speech.moonshine:ENGINE",
    "scripted": "offhook.edge.speech.scripted:ENGINE",
    "sherpa-onnx": "offhook.edge.speech.sherpa:ENGINE",
    "faster-whisper": "offhook.edge.speech.whisper:ENGINE",
    "vosk": "offhook.edge.speech.vosk:ENGINE",
    "deepgram": "offhook.edge.speech.vendors.deepgram:ENGINE",
    "assemblyai": "offhook.edge.speech.vendors.assemblyai:ENGINE",
    "openai": "offhook.edge.speech.vendors.openai_realtime:ENGINE",
    "azure": "offhook.edge.speech.vendors.azure:ENGINE",
    "google": "offhook.edge.speech.vendors.google:ENGINE",
}


class SpeechService:
    """All transcription of a server.

    Args:
        workers: processes of each engine that needs them.
        routes: API engine names to engines (see `EngineMap`).
        default_engine: the engine of every API name that `routes` leaves out.
        options: settings of each engine, by its name; they win over what a call says.
        tracks_per_worker_max: what one worker process takes.
        ignore_unsupported: do without what an engine cannot do of a request, instead of refusing it.
        fallback: the engine that goes on when another one breaks off or cannot be had; "" for none.
        clock: tells how late finals are.
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
        fallback: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._workers = workers
        self._tracks_per_worker_max = tracks_per_worker_max
        self._ignore_unsupported = ignore_unsupported
        self._map = EngineMap(routes, default=default_engine)
        self._options = {name: dict(values) for name, values in (options or {}).items()}
        self._fallback = fallback
        self._engines: dict[str, SpeechEngine] = {}
        self._open: dict[Hashable, SpeechHandle] = {}
        self._meters: defaultdict[str, EngineMeter] = defaultdict(EngineMeter)
        self._out_of_order: dict[str, SpeechUnavailable] = {}
        self._tasks = TaskSet()
        self._around = _Around(self, clock or SystemClock())
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
        try:
            self._check(name, config, tracks)
        except (SpeechUnavailable, LimitReached) as error:
            if not self._falls_back(name, error) or not self._fallback_takes(config, tracks):
                self._meters[name].totals["refusals"] += 1
                raise

    def sample_rate_hz(self, engine_name: str, leg_rate_hz: int) -> int:
        """Return the rate to give an API name's engine of a leg that has `leg_rate_hz`: 8000 or 16000."""
        names = [self._map.engine_for(engine_name), *filter(None, [self._fallback])]
        try:
            wide = all(_WIDE_HZ in self._engine(name).info.sample_rates_hz for name in names)
        except SpeechUnavailable:
            return _NARROW_HZ  # whoever opens it is told why
        return _WIDE_HZ if wide and leg_rate_hz >= _WIDE_HZ else _NARROW_HZ

    def info(self, engine_name: str) -> EngineInfo:
        """Return what the engine that serves this API name can do.

        Raises:
            EngineRejected: the operator does not offer it.
            SpeechUnavailable: there is no such engine.
        """
        return self._engine(self._map.engine_for(engine_name)).info

    async def inspect(self) -> dict[str, SpeechUnavailable]:
        """Look at every engine that some API name leads to, and at the fallback; starts none.

        Returns:
            Why which engines cannot run, models and scripts included. `check` knows it from now on.
        """
        self._out_of_order = {}
        for name in sorted(self._map.engines() | set(filter(None, [self._fallback]))):
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
        handle = SpeechHandle(session_key, config, on_event, self._around, fallback=self._fallback or None)
        try:
            await handle.open(name)
        except (SpeechUnavailable, LimitReached) as error:
            self._meters[name].totals["refusals"] += 1
            if not self._falls_back(name, error):
                raise
            log.warning("speech falls back", engine=name, fallback=self._fallback, reason=str(error))
            self._meters[name].totals["fallbacks"] += 1
            await handle.open(self._fallback, reason=str(error))
        if not handle.over:
            self._open[session_key] = handle
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
        await self._tasks.close()

    def counters(self) -> dict[str, int]:
        """Return what is open and totals of all engines together, for leak checks."""
        result: Counter[str] = Counter()
        for meter in self._meters.values():
            result.update(meter.totals)
        result["sessions_open"] = len(self._open)
        return dict(result)

    def meters(self) -> dict[str, EngineMeter]:
        """Return what each engine has done so far, by its name, audio dropped by open sessions included."""
        dropping: Counter[str] = Counter()
        for handle in self._open.values():
            name, dropped_ms = handle.dropping()
            dropping[name] += dropped_ms
        return {
            name: EngineMeter(meter.totals + Counter(dropped_ms=dropping[name]), meter.latency)
            for name, meter in self._meters.items()
        }

    def open_tracks(self) -> dict[str, int]:
        """Return how many tracks each engine has open now."""
        return {
            **dict.fromkeys(self._meters, 0),
            **Counter(handle.engine for handle in self._open.values()),
        }

    def waiting_ms(self) -> dict[str, int]:
        """Return how much audio waits to be heard, by engine."""
        waiting = Counter(dict.fromkeys(self._meters, 0))
        for handle in self._open.values():
            waiting[handle.engine] += handle.waiting_ms()
        return dict(waiting)

    def engine_counters(self) -> dict[str, dict[str, int]]:
        """Return what each engine counts of its own: workers and decodes, connections."""
        return {name: engine.counters() for name, engine in self._engines.items()}

    def pids(self) -> list[int]:
        """Return the process ids of all speech workers."""
        return [
            pid
            for engine in self._engines.values()
            if isinstance(engine, SpeechPool)
            for pid in engine.pids()
        ]

    def _check(self, name: str, config: SpeechConfig, tracks: int, *, forced: bool = False) -> None:
        if name in self._out_of_order:
            raise self._out_of_order[name].with_traceback(None)
        engine = self._engine(name)
        self._fitted(name, engine, config, forced=forced)
        room = engine.room()
        if room is not None and room < tracks:
            raise LimitReached(
                f"Transcription is full: the engine {name} has no room for {_counted(tracks)}."
            )

    def _falls_back(self, name: str, error: Exception) -> bool:
        """Say whether the fallback may serve what the engine `name` could not, and not for the request's sake."""
        wrong = isinstance(error, LanguageUnsupported | ParameterUnsupported)
        return self._fallback not in ("", name) and not wrong and not self._closed

    def _fallback_takes(self, config: SpeechConfig, tracks: int) -> bool:
        try:
            self._check(self._fallback, config, tracks, forced=True)
        except (SpeechUnavailable, LimitReached):
            return False
        return True

    def _fitted(
        self, name: str, engine: SpeechEngine, config: SpeechConfig, *, forced: bool = False
    ) -> SpeechConfig:
        """Return the request with the engine's settings, and perhaps without what it cannot do."""
        config = replace(config, options={**config.options, **self._options.get(name, {})})
        while True:
            try:
                engine.check(config)
            except ParameterUnsupported as error:
                if not (forced or self._ignore_unsupported) or error.parameter not in config.parameters:
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


class _Around:
    """What the tracks need of a service, see `Surroundings`."""

    def __init__(self, service: SpeechService, clock: Clock) -> None:
        self._service = service
        self.now = clock.now

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._service._tasks.start(work, name="speech falls back")

    def serving(self, name: str) -> Serving:
        return Serving(name, self._service._engine(name).info, self._service._meters[name])

    async def open_session(
        self, serving: Serving, config: SpeechConfig, on_event: OnEvent, *, forced: bool
    ) -> SpeechSession:
        engine = self._service._engine(serving.name)
        config = self._service._fitted(serving.name, engine, config, forced=forced)
        unused = parameters.unused(config.parameters, engine.info.parameters)
        if unused:
            log.info("the speech engine has no use for these", engine=serving.name, parameters=unused)
        return await engine.open(config, on_event)

    def ended(self, key: Hashable) -> None:
        self._service._open.pop(key, None)


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
    try:
        engine = import_named(reference)
    except ImportError:
        raise SpeechUnavailable(f"the speech engine {name} cannot be imported") from None
    if not isinstance(engine, SpeechEngine | SegmentEngine):
        raise SpeechUnavailable(f"the speech engine {name} is not one: it is neither kind of engine")
    return engine
