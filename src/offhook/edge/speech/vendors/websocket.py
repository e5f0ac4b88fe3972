"""Connections to vendors over WebSocket (RFC 6455). No URL, header or message is ever logged."""

import asyncio
import functools
import logging
import ssl

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from offhook.base.limits import (
    VENDOR_MESSAGE_BYTES_MAX,
    VENDOR_MESSAGES_QUEUED_MAX,
    VENDOR_OPEN_TIMEOUT_S,
    VENDOR_REFUSAL_BYTES_MAX,
)
from offhook.edge.speech.vendors.dialect import Connection, ConnectionLost, ConnectionRefused, Dial, Wire

_BROKEN = 1006
_CLOSE_TIMEOUT_S = 1.0

# The library logs handshakes, keys included, and messages.
_silent = logging.Logger("offhook.speech.vendors")  # noqa: LOG001 - outside the tree, so nobody can turn it on
_silent.disabled = True


class WebSocketConnection:
    """A `Connection` over one WebSocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, message: Wire) -> None:
        """Send text or bytes; waits while the vendor does not read."""
        try:
            await self._socket.send(message)
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def receive(self) -> Wire:
        """Return the next message, text or bytes."""
        try:
            return await self._socket.recv()
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def close(self) -> None:
        """Close it, for at most a second."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._socket.close()
        except (TimeoutError, OSError, WebSocketException):
            self._socket.transport.abort()


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow nobody: the key is for the host that was named."""
        return exc


async def connect_websocket(dial: Dial) -> Connection:
    """Connect; `wss` verifies the host's certificate.

    Raises:
        ConnectionRefused: the vendor does not want us, or is not there.
    """
    try:
        socket = await _Connect(
            dial.url,
            additional_headers=list(dial.headers),
            subprotocols=list(dial.subprotocols) or None,  # type: ignore[arg-type] # a NewType of str
            ssl=_tls() if dial.url.startswith("wss:") else None,
            user_agent_header="offhook",
            # Audio does not shrink, and to try costs time and a quarter of a megabyte a track.
            compression=None,
            open_timeout=VENDOR_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=VENDOR_MESSAGE_BYTES_MAX,
            max_queue=VENDOR_MESSAGES_QUEUED_MAX,
            logger=_silent,
        )
    except InvalidStatus as refused:
        response = refused.response
        raise ConnectionRefused(
            response.status_code,
            bytes(response.body or b"")[:VENDOR_REFUSAL_BYTES_MAX],
            retry_after_s=_seconds(response.headers.get("Retry-After")),
        ) from None
    except (OSError, TimeoutError, WebSocketException, ValueError, ImportError):
        # ImportError: the environment names a SOCKS proxy, for which a package is missing.
        raise ConnectionRefused(0) from None
    return WebSocketConnection(socket)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    received = closed.rcvd
    return ConnectionLost(received.code, received.reason) if received else ConnectionLost(_BROKEN)


def _seconds(value: str | None) -> float:
    """Return a `Retry-After` of seconds (RFC 9110 10.2.3); a date counts as nothing."""
    return float(value) if value and value.isascii() and value.isdigit() and len(value) < 7 else 0.0
