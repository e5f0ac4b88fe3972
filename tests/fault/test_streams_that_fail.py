"""Streams whose far end is missing, wrong, slow, dead or deaf: the call goes on, and the app is told why."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = "token-in-the-query"
RECEIVE_BUFFER_BYTES = 16 << 10


@asynccontextmanager
async def tcp_server(answer: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve plain TCP or TLS on loopback; yields the port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await answer(reader, writer)
        with suppress(OSError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def forbid(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def say_rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(bytes(3_000))
    await writer.drain()


async def never_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
    for _ in range(10_000):
        writer.write(b"X-More: yes\r\n" * 100)
        await writer.drain()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read(1 << 20)
    await reader.read()


def own_certificate(folder: Path) -> ssl.SSLContext:
    """Return a context whose certificate nobody has reason to trust."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_every_unreachable_url_is_accepted_and_then_failed_with_its_reason(tmp_path: Path) -> None:
    expected: dict[str, str] = {}
    waiting: list[str] = []
    started: dict[str, dict[str, Any]] = {}

    async def on_event(app: App, event: dict[str, Any]) -> None:
        payload = event["data"]["payload"]
        call = payload["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif event["data"]["event_type"] == "call.answered":
            waiting.extend(expected)
            for url in [waiting.pop() for _ in range(8)]:
                started[url] = await app.act(call, "streaming_start", stream_url=url)
        elif event["data"]["event_type"] == "streaming.failed" and waiting:
            url = waiting.pop()
            started[url] = await app.act(call, "streaming_start", stream_url=url)

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        context = own_certificate(tmp_path)
        plain, moved, rubbish, endless, hanging, tls = [
            await enter(tcp_server(answer, used))
            for answer, used in (
                *((answer, None) for answer in (forbid, redirect, say_rubbish, never_end, hang)),
                (hang, context),
            )
        ]
        expected.update(
            {
                f"ws://127.0.0.1:1/?key={SECRET}": "refused",
                "ws://no-such-name.invalid/": "could not be resolved",
                f"ws://127.0.0.1:{plain}/?key={SECRET}": "HTTP 403",
                f"ws://127.0.0.1:{moved}/": "HTTP 302",
                f"ws://127.0.0.1:{rubbish}/": "not HTTP",
                f"ws://127.0.0.1:{endless}/": "not HTTP",
                f"wss://localhost:{tls}/": "TLS",
                f"ws://127.0.0.1:{hanging}/": "no answer within 5000 ms",
                "ws://169.254.169.254/latest": "egress policy",
                "ws://224.0.0.1/": "egress policy",
                f"ws://{'a' * 80}.example/": "could not be resolved",
                f"ws://user:{SECRET}@127.0.0.1:1/": "refused",
            }
        )
        app = await enter(running_app(on_event))
        phone = await enter(Phone())
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url, OFFHOOK_LOG_LEVEL="debug")
        app.api = server.api
        hang_up = asyncio.Event()
        call = asyncio.create_task(
            phone.call(
                CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", hang_up_after_play=False),
                hang_up_when=hang_up,
            )
        )
        try:
            await app.wait_for(lambda app: app.types().count("streaming.failed") == len(expected), 40)
            hang_up.set()
            assert (await call).ended_by == "local", "the call itself never suffered"
            await app.wait_for(lambda app: "call.hangup" in app.types())
            log = server.log()
        finally:
            hang_up.set()
            assert await stop_offhook(server) == 0

    assert app.refused == []
    failed = {
        event["data"]["payload"]["stream_params"]["stream_url"]: event["data"]["payload"]
        for event in app.events
        if event["data"]["event_type"] == "streaming.failed"
    }
    assert "streaming.started" not in app.types()
    for url, part in expected.items():
        assert failed[url]["failure_reason"] == "connection_failed"
        assert part in failed[url]["failure_detail"], url
        assert failed[url]["stream_id"] == started[url]["data"]["stream_id"]
    assert log.count("stream failed") == len(expected), "visible in the log"
    assert SECRET not in log


MANNERS = ("dies", "falls", "leaves", "deaf", "good")


class Audience:
    """A WebSocket server whose paths behave in different ways."""

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.listen_again = asyncio.Event()

    async def take(self, connection: ServerConnection) -> None:
        """Take one stream."""
        assert connection.request is not None
        manner = connection.request.path.strip("/")
        if manner == "deaf":
            connection.transport.pause_reading()
            await self.listen_again.wait()
            connection.transport.resume_reading()
        async for _ in connection:
            self.frames[manner] = count = self.frames.get(manner, 0) + 1
            if manner in ("dies", "falls") and count == 20:
                connection.transport.abort()
            if manner == "leaves" and count == 20:
                await connection.close()


def listening_socket() -> socket.socket:
    """Return a socket whose connections hold little: what an app does not read must not hide in the kernel."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listener.bind(("127.0.0.1", 0))
    return listener


def resident_kib(pid: int) -> int:
    """Return the memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


async def streams_of(server: OffhookProcess) -> dict[str, dict[str, Any]]:
    """Return the counters of each open stream, by its id."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{server.api}/offhook/streams") as answer,
    ):
        return {item["stream_id"]: item["counters"] for item in (await answer.json())["data"]}


async def test_an_app_that_dies_leaves_or_goes_deaf_costs_the_call_nothing(tmp_path: Path) -> None:
    audience = Audience()
    ids: dict[str, str] = {}
    listener = listening_socket()
    base = f"ws://127.0.0.1:{listener.getsockname()[1]}/"

    async def on_event(app: App, event: dict[str, Any]) -> None:
        payload = event["data"]["payload"]
        call = payload["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(call, "answer", send_silence_when_idle=True)
        elif event["data"]["event_type"] == "call.answered":
            for manner in MANNERS:
                told = await app.act(
                    call,
                    "streaming_start",
                    stream_url=base + manner,
                    stream_track="both_tracks",
                    enable_reconnect=manner != "dies",
                )
                ids[manner] = told["data"]["stream_id"]

    async with (
        running_app(on_event) as app,
        serve(audience.take, sock=listener, max_queue=4, close_timeout=1),
        Phone() as phone,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        hang_up = asyncio.Event()
        call = asyncio.create_task(
            phone.call(
                CallPlan(
                    uri=f"sip:a@127.0.0.1:{server.sip_port}",
                    play=Sound(bytes(16_000 * 30), 8_000),
                    tail_s=0,
                ),
                hang_up_when=hang_up,
            )
        )
        try:
            await app.wait_for(lambda app: app.types().count("streaming.started") == len(MANNERS))
            await asyncio.sleep(1.5)
            before_kib = resident_kib(server.pid)
            await asyncio.sleep(9.0)
            grown_kib = resident_kib(server.pid) - before_kib
            counters = await streams_of(server)
            hang_up.set()
            audience.listen_again.set()
            assert (await call).ended_by == "local"
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            hang_up.set()
            audience.listen_again.set()
            assert await stop_offhook(server) == 0

    ends = {
        event["data"]["payload"]["stream_id"]: event["data"]
        for event in app.events
        if event["data"]["event_type"] in ("streaming.stopped", "streaming.failed")
    }
    assert ends[ids["dies"]]["payload"]["failure_reason"] == "connection_lost"
    for manner in ("falls", "leaves", "deaf", "good"):
        assert ends[ids[manner]]["event_type"] == "streaming.stopped"
    assert set(counters) == {ids["falls"], ids["deaf"], ids["good"]}
    assert (counters[ids["falls"]]["reconnects"], counters[ids["falls"]]["frames_dropped"]) == (1, 0)
    assert audience.frames["falls"] > 950, "it heard what it had missed"
    assert counters[ids["deaf"]]["frames_dropped"] > 100, "it lost its own audio, and that was counted"
    assert counters[ids["good"]]["frames_dropped"] == 0
    assert audience.frames["good"] > 950, "the others heard everything"
    assert grown_kib < 1024, "an app that stops reading costs under 1 MB"
