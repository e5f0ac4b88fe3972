"""The asyncio driver of one `UserAgent`: bytes in, bytes out, one timer."""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import structlog

from offhook.base.errors import ConfigError
from offhook.base.ids import RandomBytes, system_random
from offhook.base.limits import SIP_CONNECT_TIMEOUT_S, SIP_RECEIVE_BUFFER_BYTES
from offhook.edge.sip.addresses import LocalAddresses
from offhook.edge.sip.streams import Streams
from offhook.proto.sip import (
    CallHandle,
    Credentials,
    Flow,
    Headers,
    HostPort,
    OutgoingCall,
    Oversized,
    SipSyntaxError,
    SipUri,
    Transport,
    UserAgent,
    UserAgentConfig,
    UserAgentEvent,
    plain_host,
)

log = structlog.get_logger(__name__)

OnEvent = Callable[[UserAgentEvent], None]


@dataclass(frozen=True, slots=True)
class Listen:
    """One address to listen on. Port 0 takes any free one; `SipServer.bound` tells which."""

    transport: Transport
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Listen":
        """Read `udp:0.0.0.0:5060` or `tcp:[::]:5060`."""
        transport, _, rest = text.strip().partition(":")
        host, _, port = rest.rpartition(":")
        if transport not in ("udp", "tcp") or not host or not port.isdigit() or int(port) > 65535:
            raise ConfigError(
                f"SIP listen address {text!r} is not like udp:0.0.0.0:5060 or tcp:0.0.0.0:5060."
            )
        return cls(cast(Transport, transport), plain_host(host), int(port))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: "SipServer", index: int) -> None:
        self._server = server
        self._index = index
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Neither uvloop's nor 3.11's selector transport is an instance of DatagramTransport.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        self._server.datagram(data, (str(addr[0]), addr[1]), self._index)

    def error_received(self, exc: Exception) -> None:
        del exc
        self._server.counters["udp_errors"] += 1


class SipServer:
    """A SIP endpoint on real sockets. Its calls are the user agent's; `on_event` gets every event.

    `on_event` runs inside the event loop and may call any method here, also of the same call.

    Args:
        config: of the user agent.
        on_event: gets every event, in order.
        public_address: written into Via and Contact for peers that are not on this machine; by
            default the address that the route to the peer leaves from.
        random: source of tags and branches.
    """

    def __init__(
        self,
        config: UserAgentConfig,
        on_event: OnEvent,
        *,
        public_address: str | None = None,
        random: RandomBytes = system_random,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._agent = UserAgent(config, random)
        self._on_event = on_event
        self._addresses = LocalAddresses(public_address)
        self._datagrams: list[_Datagrams] = []
        self._bound: list[Listen] = []
        self._listeners: list[asyncio.Server] = []
        self._streams: Streams | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._pumping = False
        self._closed = False

    # Life

    async def start(self, listens: Sequence[Listen]) -> None:
        """Bind every address.

        Raises:
            ConfigError: one of them cannot be bound; nothing stays open then.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._streams = Streams(self, self._local_for, self.counters, loop)
        for listen in listens:
            try:
                await self._open(listen, loop)
            except OSError as error:
                await self.close()
                raise ConfigError(
                    f"Cannot listen for SIP on {listen.transport} {listen.host}:{listen.port} "
                    f"({_why(error)}); "
                    "choose another address with OFFHOOK_SIP_LISTEN or stop the program that uses it."
                ) from None

    @property
    def bound(self) -> tuple[Listen, ...]:
        """Return what is bound, with real ports, in the order asked for."""
        return tuple(self._bound)

    @property
    def agent(self) -> UserAgent:
        """The user agent, for reading its counters and calls. Act through the server's methods."""
        return self._agent

    def stats(self) -> Mapping[str, int]:
        """Return the counters of the user agent and of the sockets."""
        gauges = {
            "calls": len(self._agent.calls),
            "transactions": self._agent.transaction_count,
            "connections": len(self._streams) if self._streams is not None else 0,
        }
        return {**self._agent.counters, **self.counters, **gauges}

    def refuse_new_calls(self) -> None:
        """Answer every new INVITE with 503 from now on; calls that exist go on."""
        self._agent.accepting = False

    async def close(self) -> None:
        """Close sockets and timer at once. Hang up first what should end politely."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for listener in self._listeners:
            listener.close()
        if self._streams is not None:
            await self._streams.close()
        for datagrams in self._datagrams:
            if datagrams.transport is not None:
                datagrams.transport.close()
        # A closed datagram transport leaves the selector in the loop's next turn.
        await asyncio.sleep(0)
        self._datagrams.clear()
        self._listeners.clear()
        self._bound.clear()

    # Calls

    def ring(
        self, call: CallHandle, *, status: int = 180, sdp: bytes | None = None, headers: Headers = ()
    ) -> None:
        """Answer provisionally (`UserAgent.ring`)."""
        self._agent.ring(call, self._now(), status=status, sdp=sdp, headers=headers)
        self.pump()

    def accept(self, call: CallHandle, sdp: bytes, *, headers: Headers = ()) -> None:
        """Answer with 200 (`UserAgent.accept`)."""
        self._agent.accept(call, sdp, self._now(), headers=headers)
        self.pump()

    def reject(
        self, call: CallHandle, status: int, *, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Refuse (`UserAgent.reject`)."""
        self._agent.reject(call, status, self._now(), reason=reason, headers=headers)
        self.pump()

    def invite(self, call: OutgoingCall, sdp: bytes) -> CallHandle:
        """Call somebody (`UserAgent.invite`); `flow_to` makes the flow."""
        handle = self._agent.invite(call, sdp, self._now())
        self.pump()
        return handle

    def cancel(self, call: CallHandle, *, headers: Headers = ()) -> None:
        """Give up an unanswered outgoing call (`UserAgent.cancel`)."""
        self._agent.cancel(call, self._now(), headers=headers)
        self.pump()

    def hangup(self, call: CallHandle, *, headers: Headers = ()) -> None:
        """End a call, whatever its state (`UserAgent.hangup`)."""
        self._agent.hangup(call, self._now(), headers=headers)
        self.pump()

    def reinvite(self, call: CallHandle, sdp: bytes) -> None:
        """Offer new media (`UserAgent.reinvite`)."""
        self._agent.reinvite(call, sdp, self._now())
        self.pump()

    def answer_offer(self, call: CallHandle, sdp: bytes) -> None:
        """Accept a re-INVITE (`UserAgent.answer_offer`)."""
        self._agent.answer_offer(call, sdp, self._now())
        self.pump()

    def refuse_offer(self, call: CallHandle, status: int = 488) -> None:
        """Refuse a re-INVITE (`UserAgent.refuse_offer`)."""
        self._agent.refuse_offer(call, self._now(), status=status)
        self.pump()

    def info(self, call: CallHandle, content_type: str, body: bytes) -> None:
        """Send an INFO inside a call (`UserAgent.info`)."""
        self._agent.info(call, content_type, body, self._now())
        self.pump()

    def refer(
        self, call: CallHandle, target: str, *, headers: Headers = (), credentials: Credentials | None = None
    ) -> None:
        """Ask the far end to call somebody (`UserAgent.refer`)."""
        self._agent.refer(call, target, self._now(), headers=headers, credentials=credentials)
        self.pump()

    def forget_referral(self, call: CallHandle) -> None:
        """Tell no more of a referral (`UserAgent.forget_referral`)."""
        self._agent.forget_referral(call)

    def flow_at(self, transport: str, hosts: Sequence[str], port: int) -> Flow:
        """Return the flow to the first of these numeric addresses that we have a socket for.

        Raises:
            SipSyntaxError: there is none, or we do not speak that transport.
        """
        wanted = transport.lower() or self._default_transport()
        if wanted not in ("udp", "tcp"):
            raise SipSyntaxError("transport")
        chosen = cast(Transport, wanted)
        host = next((h for h in hosts if self._can_reach(chosen, h)), None)
        if host is None:
            raise SipSyntaxError("transport")
        return Flow(chosen, self._local_for(chosen, host), (host, port))

    async def flow_to(self, uri: str) -> Flow:
        """Return the flow to the host of a SIP URI: its transport, its address, our address for it.

        Raises:
            SipSyntaxError: the URI is not usable, or asks for a transport that is not bound.
            OSError: the name has no address.
            TimeoutError: the resolver does not answer.
        """
        target = SipUri.parse(uri)
        if target.scheme != "sip" or not target.host:
            raise SipSyntaxError("uri_scheme")
        port = target.port or 5060
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SIP_CONNECT_TIMEOUT_S):
            found = await loop.getaddrinfo(plain_host(target.host), port, type=socket.SOCK_DGRAM)
        hosts = [str(entry[4][0]) for entry in found]
        return self.flow_at(target.parameters.get("transport", ""), hosts, port)

    def local_address_for(self, remote_host: str) -> str:
        """Return the address of ours that a peer at `remote_host` can reach: for SIP and for SDP."""
        return self._addresses.towards(remote_host)

    # Input from the sockets

    def datagram(self, data: bytes, remote: HostPort, index: int) -> None:
        """Take one datagram of the socket `index`."""
        listen = self._bound[index] if index < len(self._bound) else None
        if listen is None or self._closed:
            return
        local = (self._advertised(listen, remote[0]), listen.port)
        self._receive(data, Flow("udp", local, remote))

    def message(self, data: bytes, flow: Flow) -> None:
        """Take one message of a stream."""
        self._receive(data, flow)

    def oversized(self, item: Oversized, flow: Flow) -> None:
        """Take the head of a stream message over the bound."""
        self._agent.receive_oversized(item, flow)
        self.pump()

    def lost(self, flow: Flow) -> None:
        """Take note of a stream connection that is gone."""
        if not self._closed:
            self._agent.connection_lost(flow, self._now())
            self.pump()

    def pump(self) -> None:
        """Send what the user agent has, tell its events, and wake again when it asks."""
        if self._pumping:
            return  # an event's handler acted; the loop below goes on with what that made
        self._pumping = True
        try:
            while True:
                for transmit in self._agent.transmits():
                    self._send(transmit.data, transmit.flow)
                events = self._agent.events()
                if not events:
                    break
                for event in events:
                    self._tell(event)
        finally:
            self._pumping = False
        self._arm()

    # Inside

    async def _open(self, listen: Listen, loop: asyncio.AbstractEventLoop) -> None:
        if listen.transport == "udp":
            sock = await _bound_socket(listen.host, listen.port, loop)
            index = len(self._bound)
            # The entry stands before the transport, so that no datagram finds it missing.
            self._bound.append(_as_bound(listen, sock))
            _, protocol = await loop.create_datagram_endpoint(lambda: _Datagrams(self, index), sock=sock)
            self._datagrams.append(protocol)
            return
        streams = self._streams
        assert streams is not None, "start made it"
        listener = await loop.create_server(
            lambda: streams.new_connection(listen.transport), listen.host, listen.port
        )
        self._listeners.append(listener)
        self._bound.append(_as_bound(listen, listener.sockets[0]))

    def _now(self) -> float:
        assert self._loop is not None, "start comes first"
        return self._loop.time()

    def _receive(self, data: bytes, flow: Flow) -> None:
        try:
            self._agent.receive(data, flow, self._now())
        except Exception:
            # The outermost loop of this edge: a defect of ours must cost one message, not the port.
            self.counters["internal_errors"] += 1
            log.exception("a SIP message could not be handled")
        self.pump()

    def _tell(self, event: UserAgentEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            self.counters["internal_errors"] += 1
            log.exception("a SIP event could not be handled", event_type=type(event).__name__)

    def _arm(self) -> None:
        due = self._agent.poll_timeout()
        if due == self._timer_at and (due is None or self._timer is not None):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = due
        if due is not None and not self._closed:
            assert self._loop is not None, "start comes first"
            self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = self._timer_at = None
        try:
            # A loop may wake a clock tick early; the deadline it was woken for counts as reached.
            self._agent.handle_timeout(self._now() + 0.001)
        except Exception:
            self.counters["internal_errors"] += 1
            log.exception("a SIP timer could not be handled")
        self.pump()

    def _send(self, data: bytes, flow: Flow) -> None:
        if self._closed:
            return
        if flow.reliable:
            assert self._streams is not None, "start made it"
            self._streams.send(data, flow)
            return
        sender = self._udp_for(flow)
        if sender is None or sender.transport is None:
            self.counters["udp_unsendable"] += 1
            return
        try:
            sender.transport.sendto(data, flow.remote)
        except (OSError, ValueError, TypeError):
            # What a peer wrote into Via or Contact may be an address no packet can go to.
            self.counters["udp_errors"] += 1

    def _udp_for(self, flow: Flow) -> _Datagrams | None:
        candidates = [listen for listen in self._bound if listen.transport == "udp"]
        six = ":" in flow.remote[0]
        for listen, datagrams in zip(candidates, self._datagrams, strict=False):
            if listen.port == flow.local[1] and (":" in listen.host) == six:
                return datagrams
        return None

    def _local_for(self, transport: Transport, remote_host: str) -> HostPort:
        six = ":" in remote_host
        for listen in self._bound:
            if listen.transport == transport and (":" in listen.host) == six:
                return self._advertised(listen, remote_host), listen.port
        return self._addresses.towards(remote_host), 5060

    def _advertised(self, listen: Listen, remote_host: str) -> str:
        return self._addresses.advertised(listen.host, remote_host)

    def _can_reach(self, transport: Transport, host: str) -> bool:
        six = ":" in host
        if transport == "tcp":
            return True
        return any(bound.transport == "udp" and (":" in bound.host) == six for bound in self._bound)

    def _default_transport(self) -> Transport:
        return self._bound[0].transport if self._bound else "udp"


def _as_bound(listen: Listen, sock: socket.socket) -> Listen:
    """Return what a socket is bound to: numbers, which are what goes into Via, Contact and SDP."""
    host, port = sock.getsockname()[:2]
    return replace(listen, host=str(host), port=int(port))


def _why(error: OSError) -> str:
    """Return the system's words: uvloop keeps them in the cause, and asyncio puts a sentence around them."""
    cause = error if error.errno is not None else error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) and cause.errno is not None:
        return os.strerror(cause.errno).lower()
    return "no such address"


async def _bound_socket(host: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
    """Return a bound UDP socket. Bound here and not by the loop: uvloop leaks the one it fails to bind."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP_RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
