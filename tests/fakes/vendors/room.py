"""A session at a vendor in memory, on simulated time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from offhook.base.tasks import TaskSet
from offhook.edge.speech.protocol import Closed, Error, Final, SpeechConfig, SpeechEvent
from offhook.edge.speech.vendors.session import VendorSession
from tests.fakes.vendors.memory import MemoryDialect, MemoryVendor, word_second
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation

FRAME_MS = 20
FRAME_BYTES = 320
SILENCE = bytes(16_000)


class Room:
    """A session at a vendor in memory, on simulated time."""

    def __init__(self, dialect: type[MemoryDialect] = MemoryDialect, *, interim: bool = False) -> None:
        self.vendor = MemoryVendor()
        self.events: list[SpeechEvent] = []
        self.told_at_s: list[float] = []
        self.counters: Counter[str] = Counter()
        self.tasks = TaskSet()
        self.loop = asyncio.get_running_loop()
        self.began_s = self.loop.time()
        self.at_ms = 0
        self.session = VendorSession(
            SpeechConfig(interim=interim),
            dialect,
            self.vendor,
            self._on_event,
            tasks=self.tasks,
            counters=self.counters,
        )

    def _on_event(self, event: SpeechEvent) -> None:
        self.events.append(event)
        self.told_at_s.append(self.loop.time() - self.began_s)

    async def hear(self, pcm: bytes) -> None:
        """Push audio in real time."""
        for at in range(0, len(pcm), FRAME_BYTES):
            await asyncio.sleep(FRAME_MS / 1000)
            self.session.push(pcm[at : at + FRAME_BYTES], self.at_ms)
            self.at_ms += FRAME_MS

    async def words(self, *numbers: int) -> None:
        """Say these words."""
        for number in numbers:
            await self.hear(word_second(number))

    def finals(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Final)]

    def errors(self) -> list[Error]:
        return [event for event in self.events if isinstance(event, Error)]


def simulate(
    play: Callable[[Room], Awaitable[None]],
    dialect: type[MemoryDialect] = MemoryDialect,
    *,
    interim: bool = False,
) -> Room:
    """Play a scene to its end; `Closed` must have been the last thing told, once, and nothing is left over."""

    async def main() -> Room:
        room = Room(dialect, interim=interim)
        await play(room)
        await room.session.close()
        await room.session.close()
        assert [type(event) for event in room.events].count(Closed) == 1
        assert isinstance(room.events[-1], Closed)
        await room.tasks.wait(timeout_s=2)
        assert len(room.tasks) == 0, "tasks are left over"
        assert all(connection.closed for connection in room.vendor.connections)
        return room

    loop = VirtualTimeLoop()
    return run_simulation(main(), loop)
