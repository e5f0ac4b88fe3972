"""What all WebSocket services have in common: an address, plans for what goes wrong, and what was seen."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

KEY = "vendor-key"


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong with one connection; without any of it the service works."""

    refuse: int = 0
    """Answer the handshake with this status."""
    mute: bool = False
    """Connect, and say nothing at all."""
    deaf_after_ms: int | None = None
    """Say nothing more after so much audio."""
    close_after_ms: int | None = None
    """Close after so much audio; with code 0 the connection just breaks."""
    close_code: int = 0
    close_reason: str = ""
    nonsense: tuple[str | bytes, ...] = ()
    """Sent before anything else."""


class Closing(Exception):
    """The service ends the connection."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class VendorConnection:
    """One connection, as the service sees it. Subclasses speak a protocol."""

    def __init__(self, host: "VendorHost", socket: ServerConnection, plan: Plan) -> None:
        self.host = host
        self.plan = plan
        self._socket = socket
        self.messages: list[dict[str, Any]] = []
        """The JSON messages that came, without audio."""
        self.audio_ms = 0
        self.idle_s: float | None = None
        path = urlsplit(socket.request.path if socket.request else "")
        self.path = path.path
        self.query = dict(parse_qsl(path.query, keep_blank_values=True))

    async def run(self) -> None:
        """Serve until somebody closes."""
        try:
            for message in self.plan.nonsense:
                await self._socket.send(message)
            await self.begin()
            while True:
                await self.take(await self._next_message())
                if self.plan.close_after_ms is not None and self.audio_ms >= self.plan.close_after_ms:
                    raise Closing(self.plan.close_code, self.plan.close_reason)
        except Closing as closing:
            if closing.code:
                await self._socket.close(closing.code, closing.reason[:120])
            else:
                self._socket.transport.abort()
        except ConnectionClosed:
            pass

    async def begin(self) -> None:
        """Say what the service says first."""

    async def take(self, message: str | bytes) -> None:
        """Take one message.

        Raises:
            Closing: the service has had enough.
        """
        raise NotImplementedError

    async def send(self, message: dict[str, Any]) -> None:
        """Say something, unless the plan is to be silent."""
        if self.plan.mute or (
            self.plan.deaf_after_ms is not None and self.audio_ms >= self.plan.deaf_after_ms
        ):
            return
        await self._socket.send(json.dumps(message))

    async def idle(self) -> None:
        """Do what the service does when nothing came for `idle_s`."""

    async def _next_message(self) -> str | bytes:
        while True:
            try:
                async with asyncio.timeout(self.idle_s):
                    return await self._socket.recv()
            except TimeoutError:
                await self.idle()


class VendorHost:
    """A service on a port of this machine. The n-th connection follows the n-th plan, later ones the last."""

    connection_type: type[VendorConnection] = VendorConnection
    paths: tuple[str, ...] = ()

    def __init__(self, *plans: Plan, key: str = KEY) -> None:
        self.plans = plans or (Plan(),)
        self.key = key
        self.port = 0
        self.attempts = 0
        self.connections: list[VendorConnection] = []
        self.open_count = 0

    @property
    def address(self) -> str:
        """Return where it is."""
        return f"ws://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Serve while in the block."""
        async with serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._process_request,
            max_size=1 << 20,
            close_timeout=1,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    def refusal(self, request: Request) -> tuple[int, str] | None:
        """Return status and text when the handshake is refused."""
        if urlsplit(request.path).path not in self.paths:
            return 404, "no such endpoint"
        return None

    def _plan(self) -> Plan:
        return self.plans[min(self.attempts, len(self.plans)) - 1]

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        if self._plan().refuse:
            return connection.respond(HTTPStatus(self._plan().refuse), "refused\n")
        refused = self.refusal(request)
        return connection.respond(HTTPStatus(refused[0]), refused[1]) if refused else None

    async def _serve(self, socket: ServerConnection) -> None:
        connection = self.connection_type(self, socket, self._plan())
        self.connections.append(connection)
        self.open_count += 1
        try:
            await connection.run()
        finally:
            self.open_count -= 1
