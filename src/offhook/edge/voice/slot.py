"""One worker process: started when needed, ended when it hangs, and asked one thing at a time."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from offhook.base.limits import (
    VOICE_READY_TIMEOUT_S,
    VOICE_TRIES_MAX,
    VOICE_UTTERANCE_TIMEOUT_S,
)
from offhook.base.tasks import TaskSet
from offhook.base.workers import end_worker, start_worker
from offhook.edge.voice import frames
from offhook.edge.voice.protocol import VoiceError, VoiceFailed, VoiceUnavailable

log = structlog.get_logger(__name__)

_WORKER = "offhook.edge.voice.worker"
_READ_BYTES = 256 * 1024


class _WorkerLost(Exception):
    """The process ended, hung or spoke nonsense; another one may do."""


@dataclass(slots=True)
class _Order:
    """One thing to be done by the worker: an utterance, or without a request just getting ready."""

    request: bytes | None
    wanted: bool = True
    pieces: list[bytes] = field(default_factory=list)
    error: VoiceError | None = None


class WorkerSlot:
    """The place of one worker. Empty until the first utterance or `start`.

    Utterances wait for one another in the order in which they were asked for, so texts that are
    spoken at the same time take turns.
    """

    def __init__(self, number: int, reference: str, options: Mapping[str, Any]) -> None:
        self._number = number
        self._load = json.dumps({"engine": reference, "options": dict(options)}).encode() + b"\n"
        self._turn = asyncio.Lock()
        self._tasks = TaskSet()
        self._process: asyncio.subprocess.Process | None = None
        self._reader = frames.FrameReader()
        self._closed = False
        self.speaks = 0
        """Texts that are being spoken here."""
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Load the voice now.

        Raises:
            VoiceUnavailable: it cannot be loaded.
            VoiceFailed: the process does not start.
        """
        await self._order(_Order(None))

    async def say(self, text: str, rate: float, gain_db: float) -> list[bytes]:
        """Return the audio of one utterance.

        Raises:
            VoiceUnavailable: the voice cannot be loaded.
            VoiceFailed: it cannot say this.
        """
        request = json.dumps({"text": text, "rate": rate, "gain_db": gain_db}).encode() + b"\n"
        return await self._order(_Order(request))

    async def close(self) -> None:
        """End the worker; returns when the process is gone."""
        self._closed = True
        await self._tasks.close()
        await self._end_process()

    async def _order(self, order: "_Order") -> list[bytes]:
        try:
            # Not cancelled in the middle of an answer: it would be taken for the next one's.
            await asyncio.shield(self._tasks.start(self._serve(order), name="voice utterance"))
        finally:
            order.wanted = False
        if self._closed:
            raise VoiceUnavailable("the voice is shutting down")
        if order.error is not None:
            raise order.error
        return order.pieces

    async def _serve(self, order: "_Order") -> None:
        async with self._turn:
            for attempt in range(VOICE_TRIES_MAX):
                if not order.wanted:
                    return
                try:
                    process = await self._running()
                    if order.request is not None:
                        order.pieces = await self._ask(process, order.request)
                    return
                except VoiceError as error:
                    order.error = error
                    return
                except _WorkerLost as lost:
                    await self._end_process()
                    self.restarts += 1
                    log.warning("voice worker lost", worker=self._number, reason=str(lost), attempt=attempt)
            order.error = VoiceFailed("the voice worker ended or kept silent")

    async def _ask(self, process: asyncio.subprocess.Process, request: bytes) -> list[bytes]:
        assert process.stdin is not None, "started with a pipe"
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(VOICE_UTTERANCE_TIMEOUT_S):
                process.stdin.write(request)
                await process.stdin.drain()
                while True:
                    for kind, body in await self._next_frames(process):
                        if kind == frames.DONE:
                            return pieces
                        if kind == frames.FAILED:
                            name = body.decode("ascii", "replace")[:64]
                            raise VoiceFailed(f"the voice could not say a sentence ({name})")
                        pieces.append(body)
        except TimeoutError:
            raise _WorkerLost("it kept silent") from None
        except (BrokenPipeError, ConnectionResetError):
            raise _WorkerLost("it ended") from None

    async def _running(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise VoiceUnavailable("the voice is shutting down")
        if self._process is not None:
            if self._process.returncode is None:
                return self._process
            await self._end_process()
        self._reader = frames.FrameReader()
        try:
            self._process = process = await start_worker(_WORKER)
        except OSError as err:
            raise _WorkerLost(f"it cannot be started ({type(err).__name__})") from None
        assert process.stdin is not None, "started with a pipe"
        try:
            async with asyncio.timeout(VOICE_READY_TIMEOUT_S):
                process.stdin.write(self._load)
                await self._wait_ready(process)
        except TimeoutError:
            raise _WorkerLost("it did not get ready") from None
        except (BrokenPipeError, ConnectionResetError):
            raise _WorkerLost("it ended while loading") from None
        except VoiceUnavailable:
            await self._end_process()
            raise
        log.info("voice worker ready", worker=self._number, pid=process.pid)
        return process

    async def _wait_ready(self, process: asyncio.subprocess.Process) -> None:
        while True:
            for kind, body in await self._next_frames(process):
                if kind == frames.READY:
                    return
                if kind == frames.UNAVAILABLE:
                    raise VoiceUnavailable(body.decode("utf-8", "replace"))
                raise _WorkerLost("it spoke before it was ready")

    async def _next_frames(self, process: asyncio.subprocess.Process) -> list[tuple[bytes, bytes]]:
        assert process.stdout is not None, "started with a pipe"
        data = await process.stdout.read(_READ_BYTES)
        if not data:
            raise _WorkerLost("it ended")
        try:
            return list(self._reader.feed(data))
        except frames.FrameError:
            raise _WorkerLost("it spoke nonsense") from None

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end_worker(process)
