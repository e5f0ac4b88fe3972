"""Two worlds around a media engine: real sockets for the native one, nothing at all for the fake.

A test of the seam is written once against `World` and runs in both.
"""

import asyncio
import contextlib
import http
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from offhook.edge.media.engine import MediaEngine
from offhook.edge.media.events import MediaEvent
from offhook.edge.media.fake import FakeEngine, FakeStream
from offhook.edge.media.fake_audio import RtpFields, build_rtp
from offhook.edge.media.native import NativeEngine

WAIT_S = 30.0
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = (24_500 + 300 * _WORKER, 24_799 + 300 * _WORKER)
"""Of this test process alone, and below the range from which the system gives ports to anybody."""


class World(Protocol):
    """An engine, a far end that speaks RTP, and an application with a WebSocket."""

    events: list[MediaEvent]

    @property
    def engine(self) -> MediaEngine: ...
    async def until(self, predicate: Callable[[list[MediaEvent]], bool]) -> None: ...
    async def until_played(self, predicate: Callable[[list[MediaEvent]], bool]) -> None: ...
    async def hear(self, leg_id: int, packet: bytes) -> None: ...
    def add_stream(self, leg_id: int, tap_id: int, **changes: Any) -> None: ...
    async def app_closes(self, leg_id: int, tap_id: int) -> None: ...
    async def app_dies(self, leg_id: int, tap_id: int) -> None: ...
    async def app_is_back(self, leg_id: int, tap_id: int) -> None: ...
    async def app_says(self, leg_id: int, tap_id: int, *texts: str | bytes) -> None: ...
    async def frames(self, event: str, number: int) -> list[dict[str, Any]]: ...
    def add_refused_stream(self, leg_id: int, tap_id: int) -> None: ...


def packet(number: int, payload: bytes = b"\xff" * 160, payload_type: int = 0, ssrc: int = 7) -> bytes:
    """Return packet `number` of a far end that sends 20 ms each."""
    return build_rtp(RtpFields(payload_type, number, number * 160, ssrc, payload))


def connect(world: World, leg_id: int, **changes: Any) -> None:
    """Connect a leg as a usual call is."""
    arguments: dict[str, Any] = {
        "codec": "PCMU",
        "payload_type": 0,
        "clock_rate_hz": 8000,
        "ptime_ms": 20,
        "dtmf_payload_type": 101,
        "remote_rtp": "127.0.0.1:9",
        "remote_rtcp": "127.0.0.1:9",
        "rtcp_mux": False,
        "keepalive_ms": 5000,
    }
    world.engine.connect_leg(leg_id, **(arguments | changes))


def stream_arguments(**changes: Any) -> dict[str, Any]:
    """Return the arguments of a usual stream."""
    arguments: dict[str, Any] = {
        "url": "ws://app.test/media",
        "addresses": ["127.0.0.1:9"],
        "headers": [("x-telnyx-streaming-auth-token", "t")],
        "rx": True,
        "tx": False,
        "codec": "PCMU",
        "sample_rate_hz": 8000,
        "frame_ms": 20,
        "stream_id": "s-1",
        "connected_json": '{"event":"connected","version":"1.0.0"}',
        "start_json": '{"call_control_id":"c"}',
        "stop_json": '{"call_control_id":"c"}',
        "connect_timeout_ms": 30_000,
        "connect_retry_ms": [],
    }
    return arguments | changes


class _Events:
    def __init__(self) -> None:
        self.events: list[MediaEvent] = []
        self._more = asyncio.Event()

    def add(self, event: MediaEvent) -> None:
        self.events.append(event)
        self._more.set()

    async def until(self, predicate: Callable[[list[MediaEvent]], bool]) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not predicate(self.events):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"it did not happen; what did: {self.events}") from None


class FakeWorld(_Events):
    """All in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = FakeEngine(port_range=PORTS)
        self.engine.attach(asyncio.get_running_loop(), self.add)

    async def until_played(self, predicate: Callable[[list[MediaEvent]], bool]) -> None:
        """Let time pass until something has happened."""
        for _ in range(round(WAIT_S * 50)):
            await asyncio.sleep(0)
            if predicate(self.events):
                return
            self.engine.advance(20)
        raise AssertionError(f"it did not happen; what did: {self.events}")

    async def hear(self, leg_id: int, packet: bytes) -> None:
        self.engine.feed_rtp(leg_id, packet)

    def add_stream(self, leg_id: int, tap_id: int, **changes: Any) -> None:
        self.engine.add_stream(leg_id, tap_id, **stream_arguments(**changes))

    async def app_closes(self, leg_id: int, tap_id: int) -> None:
        self.engine.app_closes(leg_id, tap_id)

    async def app_dies(self, leg_id: int, tap_id: int) -> None:
        self.engine.lose_stream(leg_id, tap_id)

    async def app_is_back(self, leg_id: int, tap_id: int) -> None:
        self.engine.connect_stream(leg_id, tap_id)

    async def app_says(self, leg_id: int, tap_id: int, *texts: str | bytes) -> None:
        for text in texts:
            if isinstance(text, bytes):
                self.engine.app_sends_binary(leg_id, tap_id, text)
            else:
                self.engine.app_sends(leg_id, tap_id, text)

    async def frames(self, event: str, number: int) -> list[dict[str, Any]]:
        """Let time pass until the last stream has sent so many frames of a kind."""
        taps = [tap for leg in self.engine.legs.values() for tap in leg.taps.values()]
        stream = [tap for tap in taps if isinstance(tap, FakeStream)][-1]
        for _ in range(round(WAIT_S * 50)):
            found = [frame for frame in stream.frames if frame["event"] == event]
            if len(found) >= number:
                return found
            self.engine.advance(20)
        raise AssertionError(f"no {number} {event} frames: {stream.frames}")

    def add_refused_stream(self, leg_id: int, tap_id: int) -> None:
        self.engine.auto_connect = False
        self.engine.add_stream(leg_id, tap_id, **stream_arguments())
        self.engine.auto_connect = True
        self.engine.fail_stream(leg_id, tap_id, "connection_failed", "HTTP 403")


class _RememberingEngine(NativeEngine):
    """Knows which ports a leg was given, as a far end does by the SDP."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ports: dict[int, tuple[int, int]] = {}

    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        self.ports[leg_id] = super().open_leg(leg_id, rtcp_mux=rtcp_mux)
        return self.ports[leg_id]


class NativeWorld(_Events):
    """Real sockets on loopback."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.engine = _RememberingEngine(workers=2, bind_address="127.0.0.1", port_range=PORTS, drain_s=0)
        self.engine.attach(asyncio.get_running_loop(), self.add)
        self.far_end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far_end.bind(("127.0.0.1", 0))
        self.apps: list[ServerConnection] = []
        self.messages: list[list[str]] = []
        self._port = port
        self._app_came = asyncio.Event()

    async def app(self, connection: ServerConnection) -> None:
        """Be an application that only listens."""
        messages: list[str] = []
        self.apps.append(connection)
        self.messages.append(messages)
        self._app_came.set()
        with contextlib.suppress(Exception):
            async for message in connection:
                messages.append(str(message))  # noqa: PERF401 - tests look while it grows

    async def until_played(self, predicate: Callable[[list[MediaEvent]], bool]) -> None:
        """Wait until something has happened."""
        await self.until(predicate)

    async def hear(self, leg_id: int, packet: bytes) -> None:
        port = self.engine.ports[leg_id][0]
        self.far_end.sendto(packet, ("127.0.0.1", port))

    def add_stream(self, leg_id: int, tap_id: int, **changes: Any) -> None:
        usual = {"url": f"ws://localhost:{self._port}/media", "addresses": [f"127.0.0.1:{self._port}"]}
        self.engine.add_stream(leg_id, tap_id, **stream_arguments(**(usual | changes)))

    async def app_says(self, leg_id: int, tap_id: int, *texts: str | bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._app_came.wait()
            for text in texts:
                await self.apps[-1].send(text)

    async def frames(self, event: str, number: int) -> list[dict[str, Any]]:
        """Wait until the last application has got so many frames of a kind."""
        found: list[dict[str, Any]] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while len(found) < number:
                    await asyncio.sleep(0.002)
                    found = [frame for frame in map(json.loads, self.messages[-1]) if frame["event"] == event]
        assert len(found) >= number, f"no {number} {event} frames: {self.messages}"
        return found

    async def app_closes(self, leg_id: int, tap_id: int) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._app_came.wait()
            await self.apps[-1].close(1000)

    async def app_dies(self, leg_id: int, tap_id: int) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._app_came.wait()
        self._app_came.clear()
        self.apps[-1].transport.abort()

    async def app_is_back(self, leg_id: int, tap_id: int) -> None:
        async with asyncio.timeout(WAIT_S):
            await self._app_came.wait()

    def add_refused_stream(self, leg_id: int, tap_id: int) -> None:
        url = f"ws://localhost:{self._port}/refused"
        self.add_stream(leg_id, tap_id, url=url)


def _refuse(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/refused":
        return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")
    return None


@contextlib.asynccontextmanager
async def fake_world() -> AsyncIterator[World]:
    """Yield a world in memory and see that nothing is left in it."""
    world = FakeWorld()
    yield world
    world.engine.shutdown()
    world.engine.drain()
    world.engine.assert_no_leaks()


@contextlib.asynccontextmanager
async def native_world() -> AsyncIterator[NativeWorld]:
    """Yield a world of sockets and see that nothing is left in it."""
    worlds: list[NativeWorld] = []

    async def app(connection: ServerConnection) -> None:
        await worlds[0].app(connection)

    async with serve(app, "127.0.0.1", 0, process_request=_refuse, compression=None) as server:
        world = NativeWorld(next(iter(server.sockets)).getsockname()[1])
        worlds.append(world)
        try:
            yield world
            await asyncio.to_thread(world.engine.shutdown)
            world.engine.drain()
            counters = world.engine.counters()
            left = {
                name: counters[name]
                for name in (
                    "legs_open",
                    "taps_open",
                    "stream_sockets_open",
                    "streams_connecting",
                    "ports_in_use",
                )
            }
            assert not any(left.values()), f"left behind: {left}"
        finally:
            world.engine.detach()
            world.engine.shutdown()
            world.far_end.close()
