"""How the server meets the app of a stream: trust, headers, tokens, pings, and each way to part."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fault.test_streams_that_fail import tcp_server
from tests.interop.test_media_core import make_certificate

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

TOKEN = "a token with spaces: {}"


@dataclass
class Call:
    """One call that asks for streams as soon as it is answered, and what became of each, by its URL."""

    wanted: dict[str, dict[str, Any]]
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        kind, payload = event["data"]["event_type"], event["data"]["payload"]
        call = payload["call_control_id"]
        if kind == "call.initiated":
            await app.act(call, "answer", send_silence_when_idle=True)
        elif kind == "call.answered":
            for url, options in self.wanted.items():
                await app.act(call, "streaming_start", stream_url=url, **options)
        elif kind.startswith("streaming."):
            url = payload.get("stream_url") or payload["stream_params"]["stream_url"]
            self.told.setdefault(url, []).append({"kind": kind, **payload})

    def ends(self) -> dict[str, dict[str, Any]]:
        """Return the last webhook of each stream that has ended."""
        return {url: told[-1] for url, told in self.told.items() if told[-1]["kind"] != "streaming.started"}


@asynccontextmanager
async def calling(folder: Path, call: Call, settings: str = "") -> AsyncIterator[App]:
    """Have a call up at a server with these settings."""
    config = folder / "offhook.toml"
    config.write_text(settings)
    async with running_app(call.on_event) as app, Phone() as phone:
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url, OFFHOOK_CONFIG=str(config))
        app.api = server.api
        hang_up = asyncio.Event()
        plan = CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", hang_up_after_play=False)
        try:
            async with asyncio.TaskGroup() as tasks:
                talk = tasks.create_task(phone.call(plan, hang_up_when=hang_up))
                try:
                    yield app
                    assert not talk.done(), "the call itself never suffered"
                finally:
                    hang_up.set()
        finally:
            log = server.log()
            assert await stop_offhook(server) == 0
    assert app.refused == []
    assert TOKEN not in log


def port_of(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


@pytest.mark.parametrize("trust", ["ca_file", "tls_verify"])
async def test_a_stream_over_tls_carries_token_and_parameters(tmp_path: Path, trust: str) -> None:
    ca_file, chain = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    received: list[tuple[ServerConnection, list[str]]] = []
    media = asyncio.Event()

    async def take(connection: ServerConnection) -> None:
        frames: list[str] = []
        received.append((connection, frames))
        async for message in connection:
            frames.append(str(message))
            if '"event":"media"' in str(message):
                media.set()

    async with serve(take, "127.0.0.1", 0, ssl=tls) as server:
        port = port_of(server)
        url = f"wss://localhost:{port}/media?room=7"
        parameters = [{"name": "room", "value": "7"}]
        options = {"stream_auth_token": TOKEN, "custom_parameters": parameters, "stream_track": "both_tracks"}
        call = Call({url: options})
        settings = (
            f'[stream]\nca_file = "{ca_file}"' if trust == "ca_file" else "[stream]\ntls_verify = false"
        )
        async with calling(tmp_path, call, settings):
            async with asyncio.timeout(30):
                await media.wait()
    (connection, frames), *_ = received
    assert connection.request is not None
    headers = connection.request.headers
    assert connection.request.path == "/media?room=7"
    assert headers["Host"] == f"localhost:{port}"
    assert headers["x-telnyx-streaming-auth-token"] == TOKEN
    assert headers["User-Agent"].startswith("offhook/")
    assert "Sec-WebSocket-Protocol" not in headers
    assert "Sec-WebSocket-Extensions" not in headers
    assert TOKEN in frames[0]
    assert '"custom_parameters":{"room":"7"}' in frames[1]
    assert call.told[url][0]["kind"] == "streaming.started"


async def test_failure_detail_says_what_was_wrong_with_tls(tmp_path: Path) -> None:
    _, chain = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)

    async def take(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(take, "127.0.0.1", 0, ssl=tls) as secret, serve(take, "127.0.0.1", 0) as plain:
        expected = {
            f"wss://localhost:{port_of(secret)}/": "UnknownIssuer",
            f"wss://localhost:{port_of(plain)}/": "TLS: ",
            f"ws://localhost:{port_of(secret)}/": "the connection ended before the upgrade was answered",
        }
        call = Call({url: {} for url in expected})
        async with calling(tmp_path, call, "[stream]\nconnect_retry_s = []") as app:
            await app.wait_for(lambda app: len(call.ends()) == len(expected), 20)
    for url, part in expected.items():
        end = call.ends()[url]
        assert (end["kind"], end["failure_reason"]) == ("streaming.failed", "connection_failed")
        assert part in end["failure_detail"]


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    visitors: list[str] = []

    async def elsewhere(connection: ServerConnection) -> None:
        visitors.append("one")

    async with serve(elsewhere, "127.0.0.1", 0) as target:
        location = f"ws://127.0.0.1:{port_of(target)}/"

        async def move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()

        async with tcp_server(move) as port:
            url = f"ws://127.0.0.1:{port}/"
            call = Call({url: {}})
            async with calling(tmp_path, call) as app:
                await app.wait_for(lambda app: bool(call.ends()))
    assert call.ends()[url]["failure_detail"] == "HTTP 307"
    assert visitors == []


Leave = Callable[[ServerConnection], Awaitable[None]]


def closing(code: int) -> Leave:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(code)

    return leave


async def leave_without_a_code(connection: ServerConnection) -> None:
    connection.transport.write(b"\x88\x00")
    await connection.wait_closed()


async def abort(connection: ServerConnection) -> None:
    connection.transport.abort()


async def break_the_protocol(connection: ServerConnection) -> None:
    connection.transport.write(b"\xff\xff\xff\xff")
    await connection.wait_closed()


async def stop_answering(connection: ServerConnection) -> None:
    connection.transport.pause_reading()
    await asyncio.sleep(8)


WAYS: dict[str, tuple[Leave, str]] = {
    "c1000": (closing(1000), "stopped"),
    "c1001": (closing(1001), "stopped"),
    "nocode": (leave_without_a_code, "stopped"),
    "c1011": (closing(1011), "the app closed with code 1011"),
    "c4001": (closing(4001), "the app closed with code 4001"),
    "abort": (abort, "without a close frame|os error"),
    "rubbish": (break_the_protocol, "a frame that RFC 6455 does not allow"),
    "silent": (stop_answering, "no pong within 500 ms"),
}


async def test_each_way_to_part_is_told_as_what_it_is(tmp_path: Path) -> None:
    came: dict[str, int] = {}

    async def take(connection: ServerConnection) -> None:
        assert connection.request is not None
        way = connection.request.path.strip("/")
        came[way] = came.get(way, 0) + 1
        with suppress(Exception):
            async for message in connection:
                if '"event":"media"' in str(message):
                    await WAYS[way][0](connection)

    async with serve(take, "127.0.0.1", 0, close_timeout=0.2, ping_interval=None) as server:
        base = f"ws://127.0.0.1:{port_of(server)}/"
        call = Call({base + way: {"enable_reconnect": False} for way in WAYS})
        async with calling(tmp_path, call, "[stream]\nping_s = 0.5") as app:
            await app.wait_for(lambda app: len(call.ends()) == len(WAYS), 20)
    assert came == dict.fromkeys(WAYS, 1)
    for way, (_, expected) in WAYS.items():
        started, end = call.told[base + way]
        assert started["kind"] == "streaming.started"
        if expected == "stopped":
            assert (end["kind"], end["stop_reason"]) == ("streaming.stopped", "app_closed"), way
        else:
            assert (end["kind"], end["failure_reason"]) == ("streaming.failed", "connection_lost"), way
            assert re.search(expected, end["failure_detail"]), (way, end["failure_detail"])


async def test_a_loss_that_cannot_be_mended_is_told_once_with_its_tries(tmp_path: Path) -> None:
    lost = asyncio.Event()

    async def take(connection: ServerConnection) -> None:
        async for message in connection:
            if '"event":"media"' in str(message):
                server.close(close_connections=False)
                connection.transport.abort()
                lost.set()

    async with serve(take, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{port_of(server)}/"
        call = Call({url: {}})
        async with calling(tmp_path, call) as app:
            async with asyncio.timeout(30):
                await lost.wait()
            began = asyncio.get_running_loop().time()
            await app.wait_for(lambda app: bool(call.ends()))
            took_s = asyncio.get_running_loop().time() - began
    started, failed = call.told[url]
    assert started["kind"] == "streaming.started"
    assert (failed["kind"], failed["failure_reason"]) == ("streaming.failed", "connection_lost")
    assert failed["failure_detail"].startswith("given up after 5 tries; the last: ")
    assert "refused (os error 111)" in failed["failure_detail"]
    assert took_s > 7.5
