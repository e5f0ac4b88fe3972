"""The worker processes of one engine, as an engine: sessions are spread over them by load."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from offhook.base.errors import LimitReached
from offhook.base.limits import SPEECH_TRACKS_PER_WORKER_MAX
from offhook.base.tasks import TaskSet
from offhook.edge.speech import parameters
from offhook.edge.speech.protocol import (
    OnEvent,
    SegmentEngine,
    SpeechConfig,
    SpeechEngine,
    SpeechUnavailable,
)
from offhook.edge.speech.session import PoolSession
from offhook.edge.speech.slot import WorkerSlot
from offhook.edge.speech.worker_core import WORKER_COUNTERS


class SpeechPool(SpeechEngine):
    """Runs a segment engine in `workers` processes of its own.

    A worker is started by the first session that needs it. When one ends, its sessions hear
    `Error(recovering=True)`, go on with the next one, and lose nothing that was not yet final.

    Args:
        engine: asked what it can do and whether it can run; its model is never loaded here.
        reference: `module:NAME` of the same engine, for the workers to import.
        options: the engine's settings.
    """

    def __init__(
        self,
        engine: SegmentEngine,
        reference: str,
        *,
        workers: int = 1,
        options: Mapping[str, Any] | None = None,
        tracks_per_worker_max: int = SPEECH_TRACKS_PER_WORKER_MAX,
    ) -> None:
        if workers < 1:
            raise ValueError("a pool has at least one worker")
        self._engine = engine
        self._options = dict(options or {})
        info = engine.info_for(self._options)
        self.info = replace(info, parameters=info.parameters | parameters.ENDPOINT)
        self._tracks_per_worker_max = tracks_per_worker_max
        self._tasks = TaskSet()
        self._slots = [WorkerSlot(number, reference, self._options, self._tasks) for number in range(workers)]
        self._ids = itertools.count(1)
        self._checked = False
        self._closed = False

    async def open(self, config: SpeechConfig, on_event: OnEvent) -> PoolSession:
        """Begin a session. Audio may be pushed at once; it waits while a worker starts.

        Raises:
            SpeechUnavailable: the engine cannot run here, or not in that language. No process is started.
            LimitReached: every worker has its fill of sessions.
        """
        language = self.info.language_for(config.language)
        config = replace(
            config,
            interim=config.interim and self.info.partials,
            endpoint_ms=parameters.endpoint_ms(config.parameters, config.endpoint_ms),
        )
        if config.sample_rate_hz not in self.info.sample_rates_hz:
            raise SpeechUnavailable(f"the {self.info.name} engine does not take that sample rate")
        await self.ensure_available(self._options)
        if not self.room():
            raise LimitReached(
                f"transcription is full: the {self.info.name} engine takes no more tracks "
                f"(speech.workers times speech.tracks_per_worker_max)"
            )
        slot = min(self._slots, key=lambda slot: (len(slot.sessions), not slot.started))
        session = PoolSession(next(self._ids), config, language, on_event)
        slot.add(session)
        return session

    def room(self) -> int:
        """Return how many more tracks the workers take."""
        most = self._tracks_per_worker_max
        return sum(max(0, most - len(slot.sessions)) for slot in self._slots)

    async def ensure_available(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable if runtime or model are missing. No process is started.

        The pool's own options count, for they are what its workers load.
        """
        del options
        if self._closed:
            raise SpeechUnavailable("speech is shutting down")
        if not self._checked:
            # Reading and hashing 44 MB takes longer than the event loop may be held.
            await asyncio.to_thread(self._engine.check, self._options)
            self._checked = True
        if self._closed:
            raise SpeechUnavailable("speech is shutting down")

    async def warm_up(self) -> None:
        """Start every worker and wait until its model is loaded.

        Raises:
            SpeechUnavailable: the engine cannot run here.
        """
        await self.ensure_available(self._options)
        for slot in self._slots:
            slot.start()
        for slot in self._slots:
            why = await slot.wait_ready()
            if why is not None:
                raise SpeechUnavailable(why)

    async def close(self) -> None:
        """End all sessions and processes; returns when the processes are gone."""
        self._closed = True
        await asyncio.gather(*(slot.close() for slot in self._slots))
        await self._tasks.close()

    def pids(self) -> list[int]:
        """Return the process ids of the workers that run now."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    def counters(self) -> dict[str, int]:
        """Return gauges and totals of the pool and its workers."""
        result = {
            **dict.fromkeys(WORKER_COUNTERS, 0),
            "workers": len(self.pids()),
            "sessions": sum(len(slot.sessions) for slot in self._slots),
            "worker_restarts": sum(slot.restarts for slot in self._slots),
        }
        for slot in self._slots:
            for name, value in slot.worker_counters.items():
                result[name] = result.get(name, 0) + value
        return result
