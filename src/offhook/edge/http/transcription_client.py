"""One client of the transcription socket: what it sends, what waits for it, and how it ends."""

import asyncio
import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from prometheus_client import Counter
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from offhook.base import limits
from offhook.base.tasks import TaskSet
from offhook.edge.http.transcription_query import SocketRefusal

_TEXT_UNKNOWN = 'Text messages are {"type": "CloseStream"}, "Finalize" or "KeepAlive"; audio is binary.'


@dataclass(frozen=True, slots=True)
class Result:
    """Words for the client; `extra` is what Telnyx does not send."""

    transcript: str = field(repr=False)
    is_final: bool
    speech_final: bool
    confidence: float | None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def frame(self) -> dict[str, Any]:
        """Return the message."""
        return {
            "type": "transcript",
            "transcript": self.transcript,
            "is_final": self.is_final,
            "confidence": self.confidence,
            "speech_final": self.speech_final,
            "utterance_end": self.speech_final,
            **self.extra,
        }


class Hearing(Protocol):
    """One socket's audio on its way into an engine."""

    async def push(self, data: bytes) -> None:
        """Take audio; returns when there is room for more.

        Raises:
            SocketRefusal: it is not what the query says.
        """
        ...

    async def flush(self, *, timeout_s: float) -> None:
        """End the utterance; returns when all its words were told, or that takes too long."""
        ...

    async def close(self) -> None:
        """End it; nothing is told after this returns."""
        ...


_CLOSES: dict[str, tuple[int, str]] = {
    "asked": (1000, ""),
    "closed": (1000, ""),
    "idle": (1008, "no audio came"),
    "slow": (1008, "results were not read"),
    "shutdown": (1012, "the server is shutting down"),
    "fault": (1011, "the server failed"),
}
"""How a socket is closed, by why: code and reason of RFC 6455, 7.4.1."""


class TranscriptionClient:
    """One client of the socket, from its first message to its last."""

    def __init__(self, websocket: WebSocket, dropped: Counter) -> None:
        self._websocket = websocket
        self._dropped = dropped
        self._frames: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._over = False
        self._failure: SocketRefusal | None = None
        self._failed = asyncio.Event()
        self._slow = asyncio.Event()
        self._warned = False
        self._message = asyncio.Lock()
        """Held while a message is being taken."""

    def tell(self, result: Result) -> None:
        """Let the client have a result. Interim ones are dropped while it does not read."""
        if len(self._frames) >= limits.TRANSCRIPTION_SOCKET_FRAMES_MAX:
            interim = next((frame for frame in self._frames if not frame.get("is_final", True)), None)
            if interim is not None:
                self._frames.remove(interim)
                self._dropped.labels("interim_result").inc()
            else:
                self._slow.set()
                self._dropped.labels("final_result").inc()
                return
        self._queue(result.frame())

    def fail(self, refusal: SocketRefusal) -> None:
        """The engine is lost."""
        self._failure = refusal
        self._failed.set()

    async def run(self, hearing: Hearing, stopping: asyncio.Event) -> str:
        """Serve until one side has enough; returns why it ended."""
        tasks = TaskSet()
        try:
            writing = tasks.start(self._write(), name="transcription results")
            reading = tasks.start(self._read(hearing), name="transcription audio")
            waits = {
                tasks.start(stopping.wait(), name="stop"): "shutdown",
                tasks.start(self._failed.wait(), name="engine"): "failed",
                tasks.start(self._slow.wait(), name="slow"): "slow",
                writing: "slow",
                reading: "",
            }
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            end = next(why for task, why in waits.items() if task in done)
            if not end:
                end = reading.result()
            if end not in ("slow", "failed"):
                await self._finish(hearing, reading)
            reading.cancel()
            if self._failure is not None:
                end = "failed"
                self._queue(self._failure.frame())
            await self._written(writing)
        finally:
            await tasks.close()
        code = self._failure.close_code if self._failure is not None else _CLOSES[end][0]
        await self._close(code, _CLOSES.get(end, (0, ""))[1])
        return end

    async def refuse(self, refusal: SocketRefusal) -> None:
        """Tell why it is not served, and close."""
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(limits.TRANSCRIPTION_SOCKET_SEND_S):
                await self._websocket.send_text(json.dumps(refusal.frame(), ensure_ascii=False))
        await self._close(refusal.close_code, "")

    async def end(self, why: str) -> None:
        """Close without more words."""
        await self._close(*_CLOSES[why])

    async def _read(self, hearing: Hearing) -> str:
        while True:
            try:
                async with asyncio.timeout(limits.TRANSCRIPTION_SOCKET_IDLE_S):
                    message = await self._websocket.receive()
            except TimeoutError:
                return "idle"
            if message["type"] == "websocket.disconnect":
                return "closed"
            async with self._message:
                if await self._take(message, hearing):
                    return "asked"

    async def _take(self, message: Message, hearing: Hearing) -> bool:
        """Do what a message says; returns whether it is the last."""
        data, text = message.get("bytes"), message.get("text")
        if data:
            await hearing.push(data)
        elif text is not None:
            match _kind(text):
                case "CloseStream":
                    return True
                case "Finalize":
                    await hearing.flush(timeout_s=limits.TRANSCRIPTION_SOCKET_FINISH_S)
                case "KeepAlive":
                    pass
                case _:
                    self._ignore_text()
        return False

    def _ignore_text(self) -> None:
        self._dropped.labels("text").inc()
        if not self._warned:
            self._warned = True
            self._queue({"type": "error", "error": _TEXT_UNKNOWN})

    async def _finish(self, hearing: Hearing, reading: "asyncio.Task[str]") -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.TRANSCRIPTION_SOCKET_FINISH_S):
                async with self._message:  # what has come is heard whole
                    reading.cancel()
                await hearing.flush(timeout_s=limits.TRANSCRIPTION_SOCKET_FINISH_S)
                # A service of the network gives its last words only when it is left.
                await hearing.close()

    async def _write(self) -> None:
        """Send what waits, until it is over or the client is gone or takes nothing."""
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            while True:
                while self._frames:
                    text = json.dumps(self._frames[0], ensure_ascii=False)
                    async with asyncio.timeout(limits.TRANSCRIPTION_SOCKET_SEND_S):
                        await self._websocket.send_text(text)
                    self._frames.popleft()
                if self._over:
                    return
                self._wake.clear()
                await self._wake.wait()

    async def _written(self, writing: "asyncio.Task[None]") -> None:
        self._over = True
        self._wake.set()
        await asyncio.wait([writing], timeout=limits.TRANSCRIPTION_SOCKET_SEND_S)

    def _queue(self, frame: dict[str, Any]) -> None:
        self._frames.append(frame)
        self._wake.set()

    async def _close(self, code: int, reason: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(limits.TRANSCRIPTION_SOCKET_SEND_S):
                await self._websocket.close(code, reason)


def _kind(text: str) -> str | None:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    kind = message.get("type") if isinstance(message, dict) else None
    return kind if isinstance(kind, str) else None
