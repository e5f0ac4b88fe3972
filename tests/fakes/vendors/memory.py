"""A speech service without a network or a protocol, whose every trouble can be chosen.

It says one word for each second of audio: the word's number is in the samples.
"""

import array
import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

from offhook.edge.speech.protocol import SpeechConfig, Word
from offhook.edge.speech.vendors.dialect import (
    ConnectionLost,
    ConnectionRefused,
    Dial,
    Done,
    Ready,
    Said,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)

RATE_HZ = 8000
LOUD = 3000
"""The sample of word 0; that of word 5 is 5 more."""


def word_second(number: int) -> bytes:
    """Return the second of audio that is word `number`."""
    return array.array("h", [LOUD + number] * RATE_HZ).tobytes()


class MemoryDialect:
    """Says events as they are."""

    chunk_ms: ClassVar[int] = 100
    keep_alive_s: ClassVar[float | None] = None
    session_max_s: ClassVar[float | None] = None
    realtime: ClassVar[bool] = False
    greets: ClassVar[bool] = True
    answers: ClassVar[bool] = False

    def __init__(self, config: SpeechConfig) -> None:
        self.config = config

    def dial(self) -> Dial:
        return Dial("memory:")

    def opening(self) -> Sequence[Wire]:
        return ["hello"]

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        return [pcm]

    def keep_alive(self) -> Sequence[Wire]:
        return ["keep alive"]

    def flush(self) -> Sequence[Wire]:
        return ["flush"]

    def finish(self) -> Sequence[Wire]:
        return ["finish"]

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        if isinstance(message, Exception):
            raise message
        return [Unreadable()] if isinstance(message, str) else [message]

    def refused(self, status: int, body: bytes) -> Trouble:
        return Trouble(f"refused with {status}", retry=status not in (401, 403))

    def closed(self, code: int, reason: str) -> Trouble:
        return Trouble(f"closed with {code}", retry=True)


class MemoryConnection:
    """One connection, and the vendor's ear at its other end."""

    def __init__(self, vendor: "MemoryVendor") -> None:
        self._vendor = vendor
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Wire] = []
        self.audio_samples = 0
        self.opened_at_s = asyncio.get_running_loop().time()
        self.closed = False
        self._pcm = bytearray()
        self._consumed = 0

    async def send(self, message: Wire) -> None:
        if self.closed:
            raise ConnectionLost(1006)
        if self._vendor.deaf:
            await asyncio.Event().wait()
        self.sent.append(message)
        match message:
            case "hello":
                if not self._vendor.mute:
                    self.say(Ready())
            case "finish":
                self._words(end=True)
                self.say(Done())
            case bytes():
                self.audio_samples += len(message) // 2
                self._pcm += message
                self._words()
            case _:
                pass

    async def receive(self) -> Wire:
        message = await self.inbox.get()
        if isinstance(message, ConnectionLost):
            self.closed = True
            raise message
        return message

    async def close(self) -> None:
        self.closed = True

    def say(self, message: Any) -> None:
        """Send a message to the session."""
        self.inbox.put_nowait(message)

    def lose(self, code: int = 1006) -> None:
        """Break it: what was said and not yet read is lost as well."""
        while not self.inbox.empty():
            self.inbox.get_nowait()
        self.say(ConnectionLost(code))

    def _words(self, *, end: bool = False) -> None:
        """Tell each word whose audio has been heard, and `lag_ms` after it."""
        while (head := self._head()) is not None:
            number, samples, followed = head
            rest = len(self._pcm) // 2 - samples
            if not end and (not followed or rest < self._vendor.lag_ms * RATE_HZ // 1000):
                return
            start_ms = self._consumed * 1000 // RATE_HZ
            self._consumed += samples
            del self._pcm[: samples * 2]
            end_ms = self._consumed * 1000 // RATE_HZ
            if number >= 0 and not self._vendor.mute:
                text = f"w{number}"
                self.say(Said(text, True, start_ms, end_ms, 0.9, (Word(text, start_ms, end_ms, 0.9),)))

    def _head(self) -> tuple[int, int, bool] | None:
        """Return the first word's number (-1: quiet), its samples so far, and whether they are all."""
        if not self._pcm:
            return None
        first = bytes(self._pcm[:2])
        second = bytes(self._pcm[: RATE_HZ * 2])
        rest = second.lstrip(first) if first == bytes(2) else second.replace(first, b"")
        count = (len(second) - len(rest)) // 2
        (number,) = array.array("h", first)
        return (number - LOUD if number >= LOUD else -1), count, count == RATE_HZ or bool(rest)


class MemoryVendor:
    """The transport to the service, and the switches of its moods."""

    def __init__(self, *, lag_ms: int = 0) -> None:
        self.connections: list[MemoryConnection] = []
        self.lag_ms = lag_ms
        self.refusals: deque[ConnectionRefused] = deque()
        """What the next connections are answered."""
        self.unreachable = False
        """Connecting takes for ever."""
        self.mute = False
        """It never says anything."""
        self.deaf = False
        """It never reads."""
        self.dialled_at_s: list[float] = []

    async def __call__(self, dial: Dial) -> MemoryConnection:
        self.dialled_at_s.append(asyncio.get_running_loop().time())
        if self.unreachable:
            await asyncio.Event().wait()
        if self.refusals:
            raise self.refusals.popleft()
        connection = MemoryConnection(self)
        self.connections.append(connection)
        return connection

    @property
    def last(self) -> MemoryConnection:
        """The newest connection."""
        return self.connections[-1]
