"""The transcription socket (contract 7b): audio in by binary messages, results out by JSON ones.

Knows keys, bounds and how the sockets of a server end; what hears the audio is behind `TranscriptionService`.
A client may be as fast as it likes: it is not read while the engine has enough to do.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.responses import JSONResponse
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from offhook.base import limits
from offhook.base.tasks import TaskSet
from offhook.call.errors import Problem
from offhook.edge.http.auth import bearer_of
from offhook.edge.http.problems import Refusal, envelope
from offhook.edge.http.transcription_client import Hearing, Result, TranscriptionClient
from offhook.edge.http.transcription_query import (
    AskedTranscription,
    SocketRefusal,
    read_query,
    unknown_parameters,
)

log = structlog.get_logger(__name__)

PATH = "/speech-to-text/transcription"


class TranscriptionService(Protocol):
    """Opens hearings. `on_result` is called on the event loop and does not block."""

    async def open(
        self,
        asked: AskedTranscription,
        on_result: Callable[[Result], None],
        on_failure: Callable[[SocketRefusal], None],
    ) -> Hearing:
        """Begin to hear; `on_failure` is called at most once, when the engine is lost.

        Raises:
            SocketRefusal: it cannot be done, or not now.
        """
        ...


class TranscriptionSockets:
    """All transcription sockets of a server.

    Args:
        service: what hears the audio.
        registry: gets the metrics of the sockets.
        ignore_unsupported: do without parameters that are not done, instead of refusing them.
    """

    def __init__(
        self,
        service: TranscriptionService,
        *,
        registry: CollectorRegistry,
        ignore_unsupported: bool = False,
    ) -> None:
        self._service = service
        self._ignore_unsupported = ignore_unsupported
        self._stopping = asyncio.Event()
        self._running = TaskSet()
        self._open = Gauge(
            "offhook_transcription_sockets_open", "Transcription sockets open now", registry=registry
        )
        self._ended = Counter(
            "offhook_transcription_sockets",
            "Transcription sockets, by how they ended",
            ["end"],
            registry=registry,
        )
        self._dropped = Counter(
            "offhook_transcription_socket_dropped",
            "Messages that were not taken or not sent",
            ["what"],
            registry=registry,
        )

    def stop_accepting(self) -> None:
        """Take no new sockets and let each that is open end with its last words."""
        self._stopping.set()

    async def close(self) -> None:
        """End all sockets with their last words, within `TRANSCRIPTION_SOCKET_FINISH_S`."""
        self.stop_accepting()
        await self._running.wait(timeout_s=limits.TRANSCRIPTION_SOCKET_FINISH_S)
        await self._running.close()

    def refused_by_key(self) -> None:
        """Count a handshake without an accepted key."""
        self._ended.labels("no_key").inc()

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one client, whose key was accepted, to the end."""
        try:
            await websocket.accept()
        except WebSocketDisconnect:
            return
        task = self._running.start(self._serve(websocket), name="transcription socket")
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()

    async def _serve(self, websocket: WebSocket) -> None:
        self._open.inc()
        socket = TranscriptionClient(websocket, self._dropped)
        try:
            if self._stopping.is_set():
                raise SocketRefusal("10007", "The server is shutting down.", close_code=1012)
            if len(self._running) > limits.TRANSCRIPTION_SOCKETS_MAX:
                raise SocketRefusal("10007", "Too many transcription sockets are open.", close_code=1013)
            unknown = unknown_parameters(websocket.query_params)
            if unknown:
                log.debug("unknown parameters ignored", action="transcription socket", parameters=unknown)
            asked = read_query(websocket.query_params, ignore_unsupported=self._ignore_unsupported)
            hearing = await self._service.open(asked, socket.tell, socket.fail)
            try:
                end = await socket.run(hearing, self._stopping)
            finally:
                await hearing.close()
        except SocketRefusal as refusal:
            log.info("transcription socket refused", code=refusal.code, parameter=refusal.parameter)
            await socket.refuse(refusal)
            end = "refused"
        except Exception as error:
            log.error("transcription socket failed", exc_info=error)
            await socket.end("fault")
            end = "fault"
        finally:
            self._open.dec()
        self._ended.labels(end).inc()
        log.info("transcription socket ended", end=end)


def transcription_router(
    sockets: TranscriptionSockets, admit: Callable[[str | None, Scope], None]
) -> APIRouter:
    """Return the socket's path; `admit` raises `Refusal` for a key that is not accepted."""
    router = APIRouter(redirect_slashes=False)

    @router.websocket(PATH, name="transcription_socket")
    async def transcribe(websocket: WebSocket) -> None:
        try:
            admit(bearer_of(websocket.headers.get("authorization")), websocket.scope)
        except Refusal as refusal:
            sockets.refused_by_key()
            content = envelope(refusal.problems, refusal.status)
            answer = JSONResponse(content, status_code=refusal.status, headers=refusal.headers)
            await websocket.send_denial_response(answer)
            return
        await sockets.serve(websocket)

    @router.get(PATH, name="transcription_socket_only", include_in_schema=False)
    async def no_socket() -> Response:
        problem = Problem("10015", "This URL is a WebSocket: connect to it with ws: or wss:.")
        raise Refusal(426, problem, headers={"upgrade": "websocket"})

    return router
