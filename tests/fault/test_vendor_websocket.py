"""The WebSocket to a service: whom it trusts, where it goes, and what becomes of every end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from offhook.base.limits import VENDOR_MESSAGE_BYTES_MAX, VENDOR_REFUSAL_BYTES_MAX
from offhook.edge.speech.vendors.dialect import ConnectionLost, ConnectionRefused, Dial
from offhook.edge.speech.vendors.websocket import connect_websocket
from tests.fault.test_streams_that_fail import own_certificate

pytestmark = [pytest.mark.fault, pytest.mark.timeout(30)]

Act = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def service(act: Act, answer: Response | None = None) -> AsyncIterator[str]:
    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        del connection, request
        return answer

    async with serve(
        act, "127.0.0.1", 0, process_request=process_request, max_size=None, close_timeout=0.5
    ) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def wait(socket: ServerConnection) -> None:
    await socket.wait_closed()


def answer(status: HTTPStatus, body: bytes = b"", **headers: str) -> Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status.value, status.phrase, Headers({"Content-Length": str(len(body)), **told}), body)


async def refusal(url: str) -> ConnectionRefused:
    with pytest.raises(ConnectionRefused) as refused:
        await connect_websocket(Dial(url))
    return refused.value


async def test_headers_and_subprotocol_go_with_the_handshake() -> None:
    async def act(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(socket.request.headers["Authorization"])
        await socket.send(socket.request.headers["Sec-WebSocket-Protocol"])
        # No compression: audio does not shrink.
        assert "Sec-WebSocket-Extensions" not in socket.request.headers
        await socket.send(await socket.recv())

    async with service(act) as url:
        connection = await connect_websocket(Dial(url, (("Authorization", "Token k"),), ("USP",)))
        assert await connection.receive() == "Token k"
        assert await connection.receive() == "USP"
        await connection.send(b"\x00\x01")
        assert await connection.receive() == b"\x00\x01"
        await connection.close()
        await connection.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async with serve(wait, "127.0.0.1", 0, ssl=own_certificate(tmp_path)) as server:
        refused = await refusal(f"wss://localhost:{server.sockets[0].getsockname()[1]}/")
    assert refused.status == 0


async def test_a_refusal_comes_with_its_status_body_and_pause() -> None:
    body = b"too busy" * 10_000
    async with service(wait, answer(HTTPStatus.TOO_MANY_REQUESTS, body, Retry_After="7")) as url:
        refused = await refusal(url)
    assert (refused.status, refused.retry_after_s) == (429, 7.0)
    assert refused.body == body[:VENDOR_REFUSAL_BYTES_MAX]


@pytest.mark.parametrize("pause", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "1e9", "99999999"])
async def test_a_pause_that_is_no_small_number_counts_as_none(pause: str) -> None:
    async with service(wait, answer(HTTPStatus.SERVICE_UNAVAILABLE, Retry_After=pause)) as url:
        assert (await refusal(url)).retry_after_s == 0


async def test_nobody_is_followed_to_another_place() -> None:
    async def never(socket: ServerConnection) -> None:
        raise AssertionError("the key was taken elsewhere")

    async with (
        service(never) as elsewhere,
        service(wait, answer(HTTPStatus.FOUND, Location=elsewhere)) as url,
    ):
        assert (await refusal(url)).status == 302


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "http://127.0.0.1/", "no address", "ws://"])
async def test_an_address_where_nobody_is_is_refused_without_a_status(url: str) -> None:
    assert (await refusal(url)).status == 0


async def test_every_end_is_told_with_its_code() -> None:
    async def close(socket: ServerConnection) -> None:
        await socket.close(4_029, "too fast")

    async def vanish(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def flood(socket: ServerConnection) -> None:
        await socket.send(b"x" * (VENDOR_MESSAGE_BYTES_MAX + 1))
        await socket.wait_closed()

    for act, code, reason in ((close, 4_029, "too fast"), (vanish, 1006, ""), (flood, 1006, "")):
        async with service(act) as url:
            connection = await connect_websocket(Dial(url))
            with pytest.raises(ConnectionLost) as lost:
                await connection.receive()
            assert (lost.value.code, lost.value.reason) == (code, reason)
            with pytest.raises(ConnectionLost):
                await connection.send("too late")
            await connection.close()


async def test_a_service_that_does_not_close_is_left_after_a_second() -> None:
    async def stubborn(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await asyncio.sleep(3)

    async with service(stubborn) as url:
        connection = await connect_websocket(Dial(url))
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await connection.close()
        assert asyncio.get_running_loop().time() - began < 2.5
