"""Stream connections of SIP: framing, reuse, bounds, idle ends. Knows no SIP beyond message borders."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol, cast

from offhook.base.limits import (
    SIP_CONNECT_TIMEOUT_S,
    SIP_CONNECTION_IDLE_S,
    SIP_CONNECTION_WRITE_BYTES_MAX,
    SIP_CONNECTIONS_MAX,
)
from offhook.base.tasks import TaskSet
from offhook.proto.sip import PONG, Broken, Flow, HostPort, Oversized, Ping, StreamFramer, Transport


class Receiver(Protocol):
    """Who takes what connections bring."""

    def message(self, data: bytes, flow: Flow) -> None:
        """Take one whole message."""

    def oversized(self, item: Oversized, flow: Flow) -> None:
        """Take the head of a message that is too large; the connection closes after the answer."""

    def lost(self, flow: Flow) -> None:
        """Take note that a connection ended, or could not be opened (then without its number)."""


class Connection(asyncio.Protocol):
    """One open stream connection of either direction."""

    def __init__(self, streams: "Streams", transport_name: Transport, number: int) -> None:
        self._streams = streams
        self._transport_name = transport_name
        self._number = number
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.flow: Flow | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the open connections, or close at once when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is None or not self._streams.admit():
            self._transport.abort()
            return
        remote = (str(peer[0]), int(peer[1]))
        local = self._streams.local_for(self._transport_name, remote[0])
        self.flow = Flow(self._transport_name, local, remote, self._number)
        self._streams.opened(self, self.flow)
        self._touch()

    def data_received(self, data: bytes) -> None:
        """Cut the bytes into messages."""
        if self.flow is None or self._transport is None:
            return
        self._touch()
        for item in self._framer.feed(data):
            match item:
                case Ping():
                    self.send(PONG)
                case Oversized():
                    self._streams.receiver.oversized(item, self.flow)
                    self._transport.close()
                case Broken():
                    self._streams.counters["stream_broken"] += 1
                    self._transport.close()
                case _:
                    self._streams.receiver.message(item, self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the open connections."""
        del exc
        if self._idle is not None:
            self._idle.cancel()
        if self.flow is not None:
            self._streams.closed(self, self.flow)

    def send(self, data: bytes) -> None:
        """Write; a peer that does not read loses its connection, not our memory."""
        if self._transport is None or self._transport.is_closing():
            self._streams.counters["stream_sends_dropped"] += 1
            return
        if self._transport.get_write_buffer_size() + len(data) > SIP_CONNECTION_WRITE_BYTES_MAX:
            self._streams.counters["stream_slow_readers"] += 1
            self._transport.abort()
            return
        self._transport.write(data)

    def abort(self) -> None:
        """Close without waiting for anybody."""
        if self._transport is not None:
            self._transport.abort()

    def _touch(self) -> None:
        loop = self._streams.loop
        if self._idle is None:
            self._idle = loop.call_later(SIP_CONNECTION_IDLE_S, self._idled)
        self._last_heard = loop.time()

    def _idled(self) -> None:
        # Re-armed here and not at every read: a busy connection costs no timer work.
        left = self._last_heard + SIP_CONNECTION_IDLE_S - self._streams.loop.time()
        if left > 0:
            self._idle = self._streams.loop.call_later(left, self._idled)
        elif self._transport is not None:
            self._streams.counters["stream_idle_closed"] += 1
            self._transport.close()


class Streams:
    """All stream connections of one SIP server, by number and by peer."""

    def __init__(
        self,
        receiver: Receiver,
        local_for: Callable[[Transport, str], HostPort],
        counters: Counter[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.receiver = receiver
        self.local_for = local_for
        self.counters = counters
        self.loop = loop
        self._by_number: dict[int, Connection] = {}
        self._by_peer: dict[tuple[str, HostPort], Connection] = {}
        self._waiting: dict[tuple[str, HostPort], list[bytes]] = {}
        self._tasks = TaskSet()
        self._made = 0
        self._closing = False

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._by_number)

    def new_connection(self, transport: Transport) -> Connection:
        """Return the protocol of a connection that a listener accepted or that we open."""
        self._made += 1
        return Connection(self, transport, self._made)

    def admit(self) -> bool:
        """Say whether one more connection may be open."""
        if self._closing or len(self._by_number) >= SIP_CONNECTIONS_MAX:
            self.counters["stream_refused"] += 1
            return False
        return True

    def opened(self, connection: Connection, flow: Flow) -> None:
        """Take note of an open connection."""
        self._by_number[flow.connection] = connection
        self._by_peer[flow.transport, flow.remote] = connection

    def closed(self, connection: Connection, flow: Flow) -> None:
        """Take note of a closed connection."""
        self._by_number.pop(flow.connection, None)
        if self._by_peer.get((flow.transport, flow.remote)) is connection:
            del self._by_peer[flow.transport, flow.remote]
        if not self._closing:
            self.receiver.lost(flow)

    def send(self, data: bytes, flow: Flow) -> None:
        """Send over the flow's connection, an open one to the same peer, or a new one."""
        if flow.connection:
            connection = self._by_number.get(flow.connection)
            if connection is None:
                self.counters["stream_sends_dropped"] += 1
            else:
                connection.send(data)
            return
        key = (flow.transport, flow.remote)
        connection = self._by_peer.get(key)
        if connection is not None:
            connection.send(data)
        elif key in self._waiting:
            self._keep(self._waiting[key], data)
        elif len(self._waiting) + len(self) >= SIP_CONNECTIONS_MAX:
            self.counters["stream_refused"] += 1
            self.loop.call_soon(self.receiver.lost, flow)
        else:
            self._waiting[key] = [data]
            self._tasks.start(self._connect(flow), name="sip connect")

    async def close(self) -> None:
        """Close everything; nothing is reported any more."""
        self._closing = True
        await self._tasks.close()
        for connection in tuple(self._by_number.values()):
            connection.abort()
        # The aborted transports report their end in the loop's next turns.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _connect(self, flow: Flow) -> None:
        key = (flow.transport, flow.remote)
        host, port = flow.remote
        try:
            async with asyncio.timeout(SIP_CONNECT_TIMEOUT_S):
                _, connection = await self.loop.create_connection(
                    lambda: self.new_connection(flow.transport), host, port
                )
        except (OSError, TimeoutError):
            self.counters["stream_connects_failed"] += 1
            self._waiting.pop(key, None)
            self.receiver.lost(flow)
            return
        waiting = self._waiting.pop(key, [])
        if connection.flow is None:
            self.receiver.lost(flow)
            return
        for data in waiting:
            connection.send(data)

    def _keep(self, waiting: list[bytes], data: bytes) -> None:
        if sum(map(len, waiting)) + len(data) > SIP_CONNECTION_WRITE_BYTES_MAX:
            self.counters["stream_sends_dropped"] += 1
        else:
            waiting.append(data)
