"""The door of the room: which voice speaks, how many at once, and the audio of a script, piece by piece."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from offhook.base.errors import LimitReached
from offhook.base.limits import VOICE_SPEAKS_PER_WORKER_MAX
from offhook.edge.voice.protocol import VoiceEngine, VoiceError, VoiceInfo, VoiceUnavailable
from offhook.edge.voice.slot import WorkerSlot
from offhook.edge.voice.utterances import utterances
from offhook.edge.voice.voice_map import VoiceMap
from offhook.proto.ssml import Pause, Script

ENTRY_POINTS = "offhook.voices"
_SHIPPED = {"local": "offhook.edge.voice.local:ENGINE"}


class VoiceService:
    """All voices of a server.

    Args:
        workers: processes of each voice.
        routes: voices as apps name them to engines (see `VoiceMap`).
        default_voice: the engine of every voice that `routes` leaves out; `reject` for none.
        options: settings of each engine, by its name.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        routes: Mapping[str, str] | None = None,
        default_voice: str = "local",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        speaks_per_worker_max: int = VOICE_SPEAKS_PER_WORKER_MAX,
    ) -> None:
        self._workers = workers
        self._map = VoiceMap(routes, default=default_voice)
        self._options = {name: dict(values) for name, values in (options or {}).items()}
        self._speaks_per_worker_max = speaks_per_worker_max
        self._engines: dict[str, VoiceEngine] = {}
        self._slots: dict[str, list[WorkerSlot]] = {}
        self._out_of_order: dict[str, VoiceUnavailable] = {}
        self._totals: Counter[str] = Counter()
        self._closed = False

    def check(self, voice: str, language: str = "en") -> VoiceInfo:
        """Return what speaks for `voice`, or raise what `speak` would raise, as far as is known now.

        That the extra is missing can be told once `inspect` has looked.

        Raises:
            VoiceRejected: the operator does not offer it.
            VoiceUnavailable: it cannot speak here, or not that language.
            LimitReached: too many texts are being spoken.
        """
        name = self._map.engine_for(voice)
        if name in self._out_of_order:
            raise self._out_of_order[name].with_traceback(None)
        info = self._engine(name).info
        info.check_language(language)
        self._free_slot(name)
        return info

    async def inspect(self) -> dict[str, VoiceUnavailable]:
        """Look at every voice that some name leads to; starts none.

        Returns:
            Why which cannot speak. `check` knows it from now on.
        """
        self._out_of_order = {}
        for name in sorted(self._map.engines()):
            try:
                # Reading and hashing the model takes longer than the event loop may be held.
                await asyncio.to_thread(self._engine(name).check, self._options.get(name, {}))
            except VoiceUnavailable as error:
                self._out_of_order[name] = error
        return dict(self._out_of_order)

    async def warm_up(self) -> None:
        """Load every voice that some name leads to, before somebody waits for it.

        Raises:
            VoiceError: one cannot speak here; the text says what to do.
        """
        for name in sorted(self._map.engines() - self._out_of_order.keys()):
            await asyncio.gather(*(slot.start() for slot in self._workers_of(name)))

    async def speak(self, script: Script, voice: str) -> AsyncGenerator[bytes, None]:
        """Yield the audio of `script` (s16le, mono, at the voice's rate), an utterance or a pause at a time.

        The next utterance is made when the next piece is asked for. The text counts as being spoken
        until the iterator is closed: leave it by `contextlib.aclosing`.

        Raises:
            VoiceError: the voice cannot speak here, or could not go on.
            LimitReached: too many texts are being spoken.
        """
        info = self.check(voice)
        slot = self._free_slot(info.name)
        slot.speaks += 1
        self._totals["speaks_total"] += 1
        try:
            async with aclosing(_pieces(script, info, slot)) as pieces:
                async for pcm in pieces:
                    self._totals["audio_ms_total"] += len(pcm) * 500 // info.sample_rate_hz
                    yield pcm
        except VoiceError:
            self._totals["speaks_failed_total"] += 1
            raise
        finally:
            slot.speaks -= 1

    async def close(self) -> None:
        """End every process; texts that are being spoken break off."""
        self._closed = True
        await asyncio.gather(*(slot.close() for slots in self._slots.values() for slot in slots))

    def counters(self) -> dict[str, int]:
        """Return gauges and totals, for metrics and leak checks."""
        slots = [slot for each in self._slots.values() for slot in each]
        return {
            "speaks_open": sum(slot.speaks for slot in slots),
            "workers": len(self.pids()),
            "worker_restarts_total": sum(slot.restarts for slot in slots),
            "speaks_total": self._totals["speaks_total"],
            "speaks_failed_total": self._totals["speaks_failed_total"],
            "audio_ms_total": self._totals["audio_ms_total"],
        }

    def pids(self) -> list[int]:
        """Return the process ids of all voice workers."""
        return [slot.pid for slots in self._slots.values() for slot in slots if slot.pid is not None]

    def _free_slot(self, name: str) -> WorkerSlot:
        if self._closed:
            raise VoiceUnavailable("the voice is shutting down")
        slot = min(self._workers_of(name), key=lambda slot: slot.speaks)
        if slot.speaks >= self._speaks_per_worker_max:
            raise LimitReached(
                f"all voices are busy: {self._workers} workers speak {self._speaks_per_worker_max} texts each"
            )
        return slot

    def _workers_of(self, name: str) -> list[WorkerSlot]:
        if name not in self._slots:
            reference, options = engine_reference(name), self._options.get(name, {})
            self._slots[name] = [WorkerSlot(number, reference, options) for number in range(self._workers)]
        return self._slots[name]

    def _engine(self, name: str) -> VoiceEngine:
        if name not in self._engines:
            self._engines[name] = _import_engine(name, engine_reference(name))
        return self._engines[name]


async def _pieces(script: Script, info: VoiceInfo, slot: WorkerSlot) -> AsyncGenerator[bytes, None]:
    for item in script:
        if isinstance(item, Pause):
            yield bytes(2 * (info.sample_rate_hz * item.duration_ms // 1000))
            continue
        for text in utterances(item.text):
            for pcm in await slot.say(text, item.rate, item.gain_db):
                yield pcm


def engine_reference(name: str) -> str:
    """Return `module:NAME` of an installed voice.

    Raises:
        VoiceUnavailable: there is none of that name.
    """
    if name in _SHIPPED:
        return _SHIPPED[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.value
    names = sorted(_SHIPPED.keys() | {point.name for point in entry_points(group=ENTRY_POINTS)})
    raise VoiceUnavailable(f"no voice called {name} is installed: there are {', '.join(names)}")


def _import_engine(name: str, reference: str) -> VoiceEngine:
    module, _, attribute = reference.partition(":")
    try:
        engine = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as err:
        raise VoiceUnavailable(f"the voice {name} cannot be imported ({type(err).__name__})") from err
    if not isinstance(engine, VoiceEngine):
        raise VoiceUnavailable(f"{reference} is not a voice")
    return engine
