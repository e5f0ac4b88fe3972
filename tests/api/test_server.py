"""The server itself: house paths, its port, its bounds, its end."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from offhook.base import limits
from offhook.base.errors import ConfigError
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import ACTIONS, Rules
from offhook.edge.http.server import HttpServer
from tests.api.conftest import Api, no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api


def new_server(service: Any = None, *, port: int = 0, **options: Any) -> HttpServer:
    service = service or LegService()
    app = create_app(
        service,
        auth=ApiKeys(["KEY"]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        **options,
    )
    return HttpServer(app, host="127.0.0.1", port=port)


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/metrics", "/docs", "/openapi.json", "/v2/offhook/public_key", "/offhook/public_key"],
)
async def test_the_house_paths_need_no_key(api: Api, path: str) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        assert (await client.get(path)).status_code == 200


async def test_the_public_key_is_what_the_sdk_wants(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        answer = await client.get("/v2/offhook/public_key")
    assert answer.json() == {"data": api.service.public_keys()}


async def test_health_turns_503_when_calls_are_not_taken(api: Api) -> None:
    api.service.healthy = False
    async with httpx.AsyncClient(base_url=api.url) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


async def test_metrics_count_requests_by_route_and_never_by_path(api: Api) -> None:
    call = api.service.ring()
    async with api.http() as client:
        await client.post(f"/v2/calls/{call}/actions/answer")
        await client.post(f"/v2/calls/{call}/actions/answer")
        await client.get("/some/path/of/an/attacker")
        text = (await client.get("/metrics")).text
    assert 'offhook_http_requests_total{route="answer",status="200"} 1.0' in text
    assert 'offhook_http_requests_total{route="answer",status="422"} 1.0' in text
    assert 'offhook_http_requests_total{route="none",status="404"} 1.0' in text
    assert call not in text
    assert "attacker" not in text


async def test_metrics_need_a_key_where_the_setting_says_so() -> None:
    server = new_server(metrics_need_key=True)
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/metrics")).status_code == 401
        allowed = await client.get("/metrics", headers={"authorization": "Bearer KEY"})
        assert allowed.status_code == 200
    await server.close()


async def test_the_openapi_description_shows_every_command_with_its_parameters(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        description = (await client.get("/openapi.json")).json()
        page = (await client.get("/docs")).text
    schemas = description["components"]["schemas"]
    for action in ACTIONS:
        operation = description["paths"][f"/v2/calls/{{call_control_id}}/actions/{action.name}"]
        body = operation[action.method.lower()]["requestBody"]["content"]["application/json"]["schema"]
        schema = schemas[body["$ref"].removeprefix("#/components/schemas/")]
        fields = {field.alias or name for name, field in action.body.model_fields.items()}
        assert set(schema["properties"]) == fields
        assert operation[action.method.lower()]["security"]
    assert all(path.startswith(("/v2/", "/healthz")) for path in description["paths"])
    for reference in _references(description):
        assert reference.removeprefix("#/components/schemas/") in schemas
    assert "http://" not in page, "the page loads nothing from elsewhere"
    assert "https://" not in page


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for member in value.values() for found in _references(member)]
    if isinstance(value, list):
        return [found for member in value for found in _references(member)]
    return []


async def test_a_port_in_use_is_one_sentence_that_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as refused:
            await new_server(port=port).start()
    text = str(refused.value)
    assert str(port) in text
    assert "in use" in text
    assert "OFFHOOK_HTTP_LISTEN" in text
    assert "\n" not in text


async def test_an_address_of_another_machine_is_one_sentence_too() -> None:
    server = HttpServer(new_server()._server.config.app, host="192.0.2.1", port=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="OFFHOOK_HTTP_LISTEN"):
        await server.start()


async def test_closing_frees_the_port_ends_idle_connections_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    server = new_server()
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/healthz")).status_code == 200
        await server.close()
    await server.close()
    assert asyncio.all_tasks() == before
    again = new_server(port=server.address[1])
    await again.start()
    await again.close()


async def test_a_server_that_never_started_can_be_closed() -> None:
    await new_server().close()


async def test_signal_handlers_stay_those_of_the_process() -> None:
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    server = new_server()
    await server.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    await server.close()


async def test_a_client_that_never_finishes_its_head_is_dropped(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_HEAD_TIMEOUT_S", 0.05)
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    for sent in (b"", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_never_finishes_its_body_is_told_and_dropped(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_TIMEOUT_S", 0.05)
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    call = api.service.ring()
    writer.write(
        f"POST /v2/calls/{call}/actions/answer HTTP/1.1\r\nhost: x\r\n"
        "authorization: Bearer KEY0123456789\r\ncontent-length: 10\r\n\r\n{".encode()
    )
    async with asyncio.timeout(30):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"10008"' in answer
    assert not api.service.commands
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00", b"\r\n\r\n\0\0", b"GET\r\n\r\n", b"GET /\xff HTTP/9.9\r\n\r\n", b"A" * 100_000],
)
async def test_bytes_that_are_no_http_do_no_harm(api: Api, sent: bytes) -> None:
    host, _, port = api.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(30):
        await reader.read()
    writer.close()
    async with httpx.AsyncClient(base_url=api.url) as client:
        assert (await client.get("/healthz")).status_code == 200


async def test_commands_on_many_connections_at_once_are_all_answered(api: Api) -> None:
    calls = [api.service.ring() for _ in range(50)]
    async with api.http() as client:
        answers = await asyncio.gather(*(client.post(f"/v2/calls/{call}/actions/answer") for call in calls))
    assert {answer.status_code for answer in answers} == {200}
    assert len(api.service.commands) == 50
