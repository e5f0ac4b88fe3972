"""The SIP server on loopback sockets, under the stock loop and under uvloop."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import ClassVar, Literal

import pytest
import uvloop

from offhook.base.errors import ConfigError
from offhook.edge.sip import Listen, SipServer, addresses, streams
from offhook.edge.sip.addresses import LocalAddresses
from offhook.proto.sip import (
    CallAccepted,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallRejected,
    CallRinging,
    IncomingCall,
    OfferAnswered,
    OfferReceived,
    OfferRefused,
    OutgoingCall,
    SipSyntaxError,
    TimerSettings,
    UserAgentConfig,
    UserAgentEvent,
    parse_message,
)
from tests.unit.sip.wire import request

pytestmark = pytest.mark.unit

SDP = b"v=0\r\n"
BOTH = (Listen("udp", "127.0.0.1", 0), Listen("tcp", "127.0.0.1", 0))


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[None]], None]]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        async def bounded(work: Awaitable[None]) -> None:
            try:
                async with asyncio.timeout(10):
                    await work
            finally:
                # A loop closed under open sockets may hang; a failed test must fail instead.
                while Endpoint.opened:
                    await Endpoint.opened.pop().close()

        yield lambda work: runner.run(bounded(work))


class Endpoint:
    """A server, what it was told, and a way to wait for it."""

    opened: ClassVar[list[SipServer]] = []

    def __init__(self, config: UserAgentConfig | None = None, *, answering: bool = False) -> None:
        self.told: list[UserAgentEvent] = []
        self.answering = answering
        self.changed = asyncio.Event()
        self.server = SipServer(config or UserAgentConfig(), self.on_event)
        self.opened.append(self.server)

    def on_event(self, event: UserAgentEvent) -> None:
        self.told.append(event)
        self.changed.set()
        if self.answering and isinstance(event, IncomingCall):
            self.server.ring(event.call)
            self.server.accept(event.call, SDP)

    async def until(self, kind: type) -> UserAgentEvent:
        while True:
            for event in self.told:
                if isinstance(event, kind):
                    return event
            self.changed.clear()
            await self.changed.wait()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_call_between_two_servers_and_nothing_left_after_close(
    run: Callable[[Awaitable[None]], None], transport: str
) -> None:
    async def play() -> None:
        caller, callee = Endpoint(), Endpoint(answering=True)
        await caller.server.start(BOTH)
        await callee.server.start(BOTH)
        port = next(b.port for b in callee.server.bound if b.transport == transport)
        uri = f"sip:bob@127.0.0.1:{port};transport={transport}"
        flow = await caller.server.flow_to(uri)
        call = caller.server.invite(OutgoingCall(uri, "sip:alice@127.0.0.1", flow), SDP)
        await caller.until(CallAccepted)
        await callee.until(CallEstablished)
        caller.server.hangup(call)
        ended = await callee.until(CallEnded)
        assert isinstance(ended, CallEnded)
        assert ended.by_peer
        if transport == "tcp":
            assert caller.server.stats()["connections"] == callee.server.stats()["connections"] == 1
        assert callee.server.stats()["calls"] == 0
        await caller.server.close()
        await callee.server.close()
        assert callee.server.stats()["connections"] == 0
        assert callee.server.stats().get("internal_errors", 0) == 0
        assert len(asyncio.all_tasks()) == 1

    run(play())


def test_the_callee_hangs_up_over_the_callers_own_connection(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        caller, callee = Endpoint(), Endpoint(answering=True)
        await caller.server.start([Listen("tcp", "127.0.0.1", 0)])
        await callee.server.start([Listen("tcp", "127.0.0.1", 0)])
        uri = f"sip:bob@127.0.0.1:{callee.server.bound[0].port};transport=tcp"
        caller.server.invite(OutgoingCall(uri, "sip:a@x", await caller.server.flow_to(uri)), SDP)
        established = await callee.until(CallEstablished)
        callee.server.hangup(established.call)
        assert await caller.until(CallEnded)
        assert caller.server.stats()["connections"] == 1
        await caller.server.close()
        await callee.server.close()

    run(play())


def test_nobody_at_the_port_is_a_503_over_tcp(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start(BOTH)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        uri = f"sip:bob@127.0.0.1:{port};transport=tcp"
        endpoint.server.invite(OutgoingCall(uri, "sip:a@x", await endpoint.server.flow_to(uri)), SDP)
        event = await endpoint.until(CallRejected)
        assert isinstance(event, CallRejected)
        assert event.status == 503
        assert endpoint.server.stats()["stream_connects_failed"] == 1
        await endpoint.server.close()

    run(play())


def test_timers_run_a_silent_peer_is_given_up(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        endpoint = Endpoint(UserAgentConfig(timers=TimerSettings(t1_s=0.005, t2_s=0.04, t4_s=0.05)))
        await endpoint.server.start(BOTH)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            uri = f"sip:bob@127.0.0.1:{silent.getsockname()[1]}"
            endpoint.server.invite(OutgoingCall(uri, "sip:a@x", await endpoint.server.flow_to(uri)), SDP)
            event = await endpoint.until(CallRejected)
            assert isinstance(event, CallRejected)
            assert event.status == 408
            silent.setblocking(False)
            repeats = 0
            while True:
                try:
                    repeats += silent.recv(4096).startswith(b"INVITE")
                except BlockingIOError:
                    break
            assert repeats in (6, 7)  # the seventh is due within a tick of the end
        await endpoint.server.close()

    run(play())


def test_a_stream_is_framed_pinged_and_cut_off_when_broken(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("tcp", "127.0.0.1", 0)])
        port = endpoint.server.bound[0].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = request("OPTIONS", via="SIP/2.0/TCP 127.0.0.1:5;branch=z9hG4bKt").encode()
        writer.write(b"\r\n\r\n" + data[:30])
        assert await reader.readexactly(2) == b"\r\n"
        writer.write(data[30:])
        answer = parse_message(await reader.readuntil(b"\r\n\r\n"))
        assert getattr(answer, "status", None) == 200
        writer.write(
            request("INVITE", via="SIP/2.0/TCP h;branch=z9hG4bKu").replace("h: 0", "h: 70000").encode()
        )
        answer = parse_message(await reader.readuntil(b"\r\n\r\n"))
        assert getattr(answer, "status", None) == 513
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 70_000)
        assert await reader.read() == b""
        writer.close()
        assert endpoint.server.stats()["stream_broken"] == 1
        await endpoint.server.close()

    run(play())


def test_hostile_datagrams_cost_counters_only(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("udp", "127.0.0.1", 0)])
        where = ("127.0.0.1", endpoint.server.bound[0].port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            for data in (b"", b"\xff\xfe", b"INVITE", b"\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"):
                peer.sendto(data, where)
            peer.sendto(
                request("OPTIONS").replace("UDP 198.51.100.7:5062", "UDP 127.0.0.1:9;rport").encode(), where
            )
            loop = asyncio.get_running_loop()
            answer = await loop.sock_recv(peer, 4096)
            assert answer.startswith(b"SIP/2.0 200 OK")
        stats = endpoint.server.stats()
        assert stats.get("internal_errors", 0) == 0
        assert stats["malformed_start_line"] >= 1
        assert endpoint.told == []
        await endpoint.server.close()

    run(play())


def test_an_application_that_fails_on_an_event_does_not_stop_the_server(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def play() -> None:
        def fail(event: UserAgentEvent) -> None:
            raise RuntimeError(type(event).__name__)

        server = SipServer(UserAgentConfig(), fail)
        await server.start([Listen("udp", "127.0.0.1", 0)])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            invite = request("INVITE").replace("UDP 198.51.100.7:5062", "UDP 127.0.0.1:9;rport").encode()
            peer.sendto(invite, ("127.0.0.1", server.bound[0].port))
            answer = await asyncio.get_running_loop().sock_recv(peer, 4096)
            assert answer.startswith(b"SIP/2.0 100 ")
        assert server.stats()["internal_errors"] == 1
        await server.close()

    run(play())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_in_use_is_one_sentence_and_leaves_nothing_open(
    run: Callable[[Awaitable[None]], None], transport: str
) -> None:
    async def play() -> None:
        first, second = Endpoint(), Endpoint()
        await first.server.start(BOTH)
        port = next(b.port for b in first.server.bound if b.transport == transport)
        taken = Listen.parse(f"{transport}:127.0.0.1:{port}")
        with pytest.raises(ConfigError, match=f"{transport} 127.0.0.1:{port}"):
            await second.server.start([Listen("udp", "127.0.0.1", 0), taken])
        assert second.server.bound == ()
        await first.server.close()

    run(play())


def test_what_cannot_be_called_is_refused(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("udp", "127.0.0.1", 0)])
        for uri in ("tel:+1", "nothing", "sip:a@127.0.0.1;transport=sctp", "sip:a@[::1]"):
            with pytest.raises(SipSyntaxError):
                await endpoint.server.flow_to(uri)
        flow = await endpoint.server.flow_to("sip:a@127.0.0.1")
        assert (flow.transport, flow.remote) == ("udp", ("127.0.0.1", 5060))
        assert flow.local == ("127.0.0.1", endpoint.server.bound[0].port)
        await endpoint.server.close()

    run(play())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_listener_by_name_is_known_by_its_address(
    transport: Literal["udp", "tcp"], run: Callable[[Awaitable[None]], None]
) -> None:
    async def scenario() -> None:
        one = Endpoint()
        await one.server.start([Listen(transport, "localhost", 0)])
        [bound] = one.server.bound
        assert bound.host in ("127.0.0.1", "::1"), "what is written into SIP and SDP is no name"
        assert bound.port > 0

    run(scenario())


def test_draining_refuses_new_calls(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        caller, callee = Endpoint(), Endpoint(answering=True)
        await caller.server.start(BOTH)
        await callee.server.start(BOTH)
        callee.server.refuse_new_calls()
        uri = f"sip:bob@127.0.0.1:{callee.server.bound[0].port}"
        caller.server.invite(OutgoingCall(uri, "sip:a@x", await caller.server.flow_to(uri)), SDP)
        event = await caller.until(CallRejected)
        assert isinstance(event, CallRejected)
        assert event.status == 503
        await caller.server.close()
        await callee.server.close()

    run(play())


@pytest.mark.parametrize(
    "text", ["", "udp", "udp:5060", "sctp:0.0.0.0:1", "udp:0.0.0.0:x", "udp:0.0.0.0:70000"]
)
def test_a_wrong_listen_address_is_named(text: str) -> None:
    with pytest.raises(ConfigError):
        Listen.parse(text)


def test_listen_addresses() -> None:
    assert Listen.parse(" tcp:[::1]:5061 ") == Listen("tcp", "::1", 5061)


def test_the_address_a_peer_can_reach() -> None:
    plain, public = LocalAddresses(None), LocalAddresses("203.0.113.5")
    assert plain.advertised("192.0.2.1", "198.51.100.1") == "192.0.2.1"
    assert plain.advertised("0.0.0.0", "127.0.0.1") == "127.0.0.1"
    assert plain.advertised("::", "::1") == "::1"
    assert public.advertised("0.0.0.0", "198.51.100.1") == "203.0.113.5"
    assert public.advertised("10.0.0.1", "198.51.100.1") == "203.0.113.5"
    assert public.advertised("127.0.0.1", "198.51.100.1") == "127.0.0.1"
    assert public.towards("localhost") == "127.0.0.1"
    assert plain.towards("127.0.0.2") == "127.0.0.1"


def test_the_address_by_route_is_asked_once_and_the_memory_of_routes_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def by_route(host: str) -> str:
        asked.append(host)
        return "192.0.2.77"

    monkeypatch.setattr(addresses, "_by_route", by_route)
    monkeypatch.setattr(addresses, "SIP_ROUTES_CACHED_MAX", 2)
    plain = LocalAddresses(None)
    for host in ("198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.1"):
        assert plain.towards(host) == "192.0.2.77"
    assert asked == ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.1"]
    assert len(plain._routes) == 2


def test_the_address_by_route_to_this_machine_is_its_own() -> None:
    assert addresses._by_route("127.0.0.1") == "127.0.0.1"
    assert addresses._by_route("no address") in ("127.0.0.1", "::1")


def test_no_more_connections_than_the_bound(
    run: Callable[[Awaitable[None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SIP_CONNECTIONS_MAX", 1)

    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("tcp", "127.0.0.1", 0)])
        port = endpoint.server.bound[0].port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\r\n"
        refused, second = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await refused.read() == b""
        assert endpoint.server.stats()["stream_refused"] == 1
        uri = "sip:bob@127.0.0.1:9;transport=tcp"
        endpoint.server.invite(OutgoingCall(uri, "sip:a@x", await endpoint.server.flow_to(uri)), SDP)
        event = await endpoint.until(CallRejected)
        assert isinstance(event, CallRejected)
        assert event.status == 503
        writer.close()
        second.close()

    run(play())


def test_a_connection_that_says_nothing_is_closed(
    run: Callable[[Awaitable[None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SIP_CONNECTION_IDLE_S", 0.05)

    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("tcp", "127.0.0.1", 0)])
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.bound[0].port)
        assert await reader.read() == b""
        writer.close()
        assert endpoint.server.stats()["stream_idle_closed"] == 1

    run(play())


def test_a_peer_that_does_not_read_loses_its_connection_and_not_our_memory(
    run: Callable[[Awaitable[None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SIP_CONNECTION_WRITE_BYTES_MAX", 20_000)

    async def play() -> None:
        endpoint = Endpoint()
        await endpoint.server.start([Listen("tcp", "127.0.0.1", 0)])
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", endpoint.server.bound[0].port))
            peer.setblocking(False)
            loop = asyncio.get_running_loop()
            # Answers repeat the Via, so that few of them fill what the kernel keeps for the peer.
            options = request("OPTIONS", via=f"SIP/2.0/TCP h;branch=z9hG4bKs;y={'y' * 4000}").encode()
            with suppress(ConnectionError):
                while not endpoint.server.stats().get("stream_slow_readers"):
                    await loop.sock_sendall(peer, options * 20)
        assert endpoint.server.stats()["stream_slow_readers"] == 1

    run(play())


def test_every_action_of_a_call_goes_through_the_server(run: Callable[[Awaitable[None]], None]) -> None:
    async def play() -> None:
        caller, callee = Endpoint(), Endpoint()
        await caller.server.start(BOTH)
        await callee.server.start(BOTH)
        assert caller.server.local_address_for("127.0.0.1") == "127.0.0.1"
        uri = f"sip:bob@127.0.0.1:{callee.server.bound[0].port}"
        flow = await caller.server.flow_to(uri)
        first = caller.server.invite(OutgoingCall(uri, "sip:a@x", flow), SDP)
        incoming = await callee.until(IncomingCall)
        callee.server.ring(incoming.call)
        await caller.until(CallRinging)
        caller.server.cancel(first)
        await callee.until(CallCancelled)
        await caller.until(CallRejected)
        caller.told.clear()
        callee.told.clear()
        caller.server.invite(OutgoingCall(uri, "sip:a@x", flow), SDP)
        callee.server.reject((await callee.until(IncomingCall)).call, 486)
        await caller.until(CallRejected)
        caller.told.clear()
        callee.told.clear()
        call = caller.server.invite(OutgoingCall(uri, "sip:a@x", flow), SDP)
        other = (await callee.until(IncomingCall)).call
        callee.server.accept(other, SDP)
        await callee.until(CallEstablished)
        caller.server.reinvite(call, SDP)
        await callee.until(OfferReceived)
        callee.server.answer_offer(other, SDP)
        await caller.until(OfferAnswered)
        callee.told.clear()
        caller.server.reinvite(call, SDP)
        await callee.until(OfferReceived)
        callee.server.refuse_offer(other, 488)
        await caller.until(OfferRefused)
        callee.server.hangup(other)
        await caller.until(CallEnded)
        assert callee.server.agent.calls == ()

    run(play())
