"""The API on a TCP port, inside a loop that others already run."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Generator

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from offhook.base import limits
from offhook.base.errors import ConfigError
from offhook.base.tasks import TaskSet
from offhook.edge.http.websocket import WebSocketProtocol

log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 10.0
_DATE_HEADER_S = 1.0


class HttpServer:
    """Serves one application on one address from `start` until `close`."""

    def __init__(self, app: ASGIApp, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._tasks = TaskSet()
        self._serving: asyncio.Task[None] | None = None
        # A broken request line is the peer's doing; uvicorn would log a warning for each.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=_HeadTimeout,
            ws=WebSocketProtocol,
            ws_max_size=limits.WEBSOCKET_MESSAGE_BYTES_MAX,
            ws_ping_interval=limits.WEBSOCKET_PING_S,
            ws_ping_timeout=limits.WEBSOCKET_PING_S,
            # Audio is not made smaller by it, and nobody can send a bomb.
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.HTTP_CONNECTIONS_MAX,
            timeout_keep_alive=limits.HTTP_KEEP_ALIVE_S,
            timeout_graceful_shutdown=limits.HTTP_CLOSE_GRACE_S,
        )
        self._server = _EmbeddedServer(config)

    @property
    def address(self) -> tuple[str, int]:
        """The address and port that are listened on, once started."""
        return self._host, self._port

    @property
    def url(self) -> str:
        """The root of the server as a URL, once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen; requests are answered when this returns.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = await self._bind()
        self._port = listener.getsockname()[1]
        self._serving = self._tasks.start(self._server.serve([listener]), name="http server")
        async with asyncio.timeout(_START_TIMEOUT_S):
            await self._server.ready.wait()

    async def close(self) -> None:
        """Stop listening, let running requests end within `HTTP_CLOSE_GRACE_S`, then cut them off."""
        if self._serving is None:
            return
        self._server.stop()
        await asyncio.wait([self._serving], timeout=limits.HTTP_CLOSE_GRACE_S + 2.0)
        await self._tasks.close()
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        self._serving = None

    async def _bind(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, address = found[0]
            listener = socket.socket(family, kind, protocol)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(socket.SOMAXCONN)
                listener.setblocking(False)
            except OSError:
                listener.close()
                raise
        except OSError as error:
            raise ConfigError(self._why_not(error)) from None
        return listener

    def _why_not(self, error: OSError) -> str:
        where = f"{self._host}:{self._port}"
        if error.errno == errno.EADDRINUSE:
            return f"The API cannot listen on {where} because the port is in use; set OFFHOOK_HTTP_LISTEN to another."
        reason = error.strerror or "the address is not usable"
        return f"The API cannot listen on {where} ({reason}); set OFFHOOK_HTTP_LISTEN to an address of this machine."


class _EmbeddedServer(uvicorn.Server):
    """uvicorn without its signal handlers: the process that embeds it decides what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End `serve` gracefully."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        # uvicorn polls ten times a second; all that has to be done in between is a new date header.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_HEADER_S):
                    await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


class _HeadTimeout(HttpToolsProtocol):
    """Closes a connection whose request line and headers do not arrive in `HTTP_HEAD_TIMEOUT_S`.

    uvicorn bounds the time between requests, not the time within one.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._watch_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def _watch_head(self) -> None:
        self._head_came()
        self._head_timer = self.loop.call_later(limits.HTTP_HEAD_TIMEOUT_S, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
