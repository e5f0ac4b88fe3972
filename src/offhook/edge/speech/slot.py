"""One worker process and the sessions on it: started when needed, restarted when it ends.

Knows pipes and processes; what the bytes mean for a session is `session`'s business.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import structlog

from offhook.base.limits import (
    SPEECH_PING_S,
    SPEECH_READY_TIMEOUT_S,
    SPEECH_SILENT_WORKER_S,
    SPEECH_START_FAILURES_MAX,
    WORKER_EXIT_TIMEOUT_S,
)
from offhook.base.tasks import TaskSet
from offhook.base.workers import end_worker, hang_up, start_worker
from offhook.edge.speech.frames import FrameError, FrameReader, Message, pack_message
from offhook.edge.speech.session import PoolSession

log = structlog.get_logger(__name__)

_WORKER = "offhook.edge.speech.worker"
_READ_BYTES = 64 * 1024
_BACKOFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)


class WorkerSlot:
    """The place of one worker. Empty until the first session or `start`."""

    def __init__(
        self, number: int, engine_reference: str, options: Mapping[str, Any], tasks: TaskSet
    ) -> None:
        self._number = number
        self._load = pack_message({"op": "load", "engine": engine_reference, "options": dict(options)})
        self._tasks = tasks
        self.sessions: dict[int, PoolSession] = {}
        self._dropped: deque[int] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._verdict: asyncio.Future[str | None] | None = None
        self._closing = asyncio.Event()
        self._ready = False
        self._failures = 0
        self.restarts = 0
        self._of_worker: dict[str, int] = {}
        self._of_ended_workers: Counter[str] = Counter()

    @property
    def worker_counters(self) -> dict[str, int]:
        """What the workers of this place have counted, those that ended included; as of the last ping."""
        return dict(self._of_ended_workers + Counter(self._of_worker))

    @property
    def started(self) -> bool:
        """True while a worker runs or is being started."""
        return self._task is not None

    @property
    def pid(self) -> int | None:
        """The worker's process id, while there is one."""
        return None if self._process is None else self._process.pid

    def add(self, session: PoolSession) -> None:
        """Run `session` here; the worker is started if there is none."""
        self.sessions[session.session_id] = session
        session.wake = self._wake.set
        session.leave = lambda: self._leave(session.session_id)
        self._wake.set()
        self.start()

    def start(self) -> None:
        """Start the worker if there is none."""
        if self._task is None and not self._closing.is_set():
            self._verdict = asyncio.get_running_loop().create_future()
            self._failures = 0
            self._task = self._tasks.start(self._run(), name=f"speech worker {self._number}")

    async def wait_ready(self) -> str | None:
        """Wait until the model is loaded; returns why it cannot be, or None."""
        assert self._verdict is not None, "started first"
        return await asyncio.shield(self._verdict)

    async def close(self) -> None:
        """End the worker and every session on it; returns when the process is gone."""
        self._closing.set()
        for session in tuple(self.sessions.values()):
            session.end()
        if self._process is not None:
            hang_up(self._process)
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=WORKER_EXIT_TIMEOUT_S)
            # Only a worker that hangs or is still loading is left now.
            task.cancel()
            await asyncio.wait([task], timeout=2 * WORKER_EXIT_TIMEOUT_S)

    async def _run(self) -> None:
        try:
            while not self._closing.is_set():
                why = await self._live_once()
                if self._closing.is_set() or (why is None and not self.sessions):
                    return
                if why is not None:
                    self._give_up(why)
                    return
                if self._failures > SPEECH_START_FAILURES_MAX:
                    self._give_up("the speech worker does not start")
                    return
                self.restarts += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]):
                        await self._closing.wait()
                self._failures += 1
        finally:
            self._task = None
            if self._verdict is not None and not self._verdict.done():
                self._verdict.set_result("the speech worker ended")

    async def _live_once(self) -> str | None:
        """Run one process to its end; returns why another try would be useless, or None."""
        self._dropped.clear()
        try:
            process = await start_worker(_WORKER)
        except OSError as err:
            log.warning("speech worker cannot be started", worker=self._number, error=type(err).__name__)
            return None
        self._process = process
        helpers = TaskSet()
        try:
            if self._closing.is_set():
                return None
            assert process.stdin is not None, "started with a pipe"
            helpers.start(self._write(process.stdin), name="speech worker input")
            helpers.start(self._ping(process.stdin), name="speech worker ping")
            return await self._read(process)
        finally:
            self._process = None
            self._ready = False
            self._of_ended_workers.update(self._of_worker)
            self._of_worker = {}
            await helpers.close()
            status = await end_worker(process)
            if not self._closing.is_set():
                log.warning(
                    "speech worker ended", worker=self._number, status=status, sessions=len(self.sessions)
                )
                for session in tuple(self.sessions.values()):
                    session.worker_ended()

    async def _read(self, process: asyncio.subprocess.Process) -> str | None:
        assert process.stdout is not None, "started with a pipe"
        reader = FrameReader()
        try:
            while True:
                patience_s = SPEECH_SILENT_WORKER_S if self._ready else SPEECH_READY_TIMEOUT_S
                async with asyncio.timeout(patience_s):
                    data = await process.stdout.read(_READ_BYTES)
                if not data:
                    return None
                for frame in reader.feed(data):
                    if not isinstance(frame, dict):
                        raise FrameError("a worker sends no audio")
                    if frame["ev"] == "unavailable":
                        return str(frame["why"])
                    self._receive(frame)
        except (FrameError, KeyError, TypeError) as err:
            log.error("speech worker speaks nonsense", worker=self._number, error=type(err).__name__)
        except TimeoutError:
            log.error("speech worker is silent", worker=self._number)
        return None

    def _receive(self, message: Message) -> None:
        match message["ev"]:
            case "ready":
                self._ready = True
                self._wake.set()
                if self._verdict is not None and not self._verdict.done():
                    self._verdict.set_result(None)
                log.info("speech worker ready", worker=self._number, pid=self.pid)
            case "pong":
                self._of_worker = dict(message["counters"])
            case kind:
                if kind in ("final", "settled"):
                    self._failures = 0
                session = self.sessions.get(message["s"])
                if session is not None:
                    session.receive(message)

    async def _write(self, pipe: asyncio.StreamWriter) -> None:
        try:
            pipe.write(self._load)
            while True:
                self._wake.clear()
                while self._ready and not pipe.is_closing() and (batch := self._next_batch()):
                    # `drain` returns at once until the pipe is full: then audio waits in its sessions.
                    pipe.write(batch)
                    await pipe.drain()
                await self._wake.wait()
        except (BrokenPipeError, ConnectionResetError):
            return  # the reader sees the end too, and it decides

    def _next_batch(self) -> bytes:
        drops = [pack_message({"op": "drop", "s": session_id}) for session_id in self._dropped]
        self._dropped.clear()
        return b"".join([*drops, *(session.take() for session in tuple(self.sessions.values()))])

    async def _ping(self, pipe: asyncio.StreamWriter) -> None:
        ping = pack_message({"op": "ping"})
        while True:
            await asyncio.sleep(SPEECH_PING_S)
            if pipe.is_closing():
                return  # the worker is being ended; uvloop refuses to write then
            # A worker that does not read gets no second ping: its input stays bounded.
            if self._ready and not pipe.transport.get_write_buffer_size():
                pipe.write(ping)

    def _leave(self, session_id: int) -> None:
        if self.sessions.pop(session_id, None) is not None and self._ready:
            self._dropped.append(session_id)
            self._wake.set()

    def _give_up(self, why: str) -> None:
        log.error("speech worker given up", worker=self._number)
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(why)
        for session in tuple(self.sessions.values()):
            session.fail(why)
