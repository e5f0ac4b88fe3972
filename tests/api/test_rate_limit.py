"""The rate limit as the official SDK meets it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import telnyx
from prometheus_client import CollectorRegistry

from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.rates import RateLimit
from offhook.edge.http.server import HttpServer
from tests.api.conftest import API_KEY, no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api


@asynccontextmanager
async def served(rate_limit: RateLimit | None) -> AsyncIterator[tuple[str, LegService]]:
    service = LegService()
    app = create_app(
        service,
        auth=ApiKeys([API_KEY, "KEYother"]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        rate_limit=rate_limit,
    )
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    try:
        yield server.url, service
    finally:
        await server.close()


def limits_in(answer: httpx.Response) -> tuple[str | None, ...]:
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")
    return tuple(answer.headers.get(name) for name in names)


async def test_one_request_too_many_is_refused_until_the_next_window() -> None:
    async with served(RateLimit(2, 30)) as (url, service):
        call = service.ring()
        path = f"/v2/calls/{call}"
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {API_KEY}"}) as client:
            assert limits_in(await client.get(path)) == ("2", "1", "30", None)
            service.clock.seconds += 10
            refused = await client.post(f"{path}/actions/streaming_stop")
            assert (refused.status_code, limits_in(refused)) == (422, ("2", "0", "20", None))
            over = await client.post(f"{path}/actions/answer")
            assert (over.status_code, limits_in(over)) == (429, ("2", "0", "20", "20"))
            (error,) = over.json()["errors"]
            assert (error["code"], error["title"]) == ("10011", "Too many requests")
            assert service.commands == []
            other = await client.get(path, headers={"authorization": "Bearer KEYother"})
            assert limits_in(other) == ("2", "1", "30", None)
            service.clock.seconds += 20
            assert (await client.post(f"{path}/actions/answer")).status_code == 200


async def test_the_sdk_has_its_own_exception_for_it() -> None:
    async with served(RateLimit(1, 60)) as (url, service):
        call = service.ring()
        async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=f"{url}/v2", max_retries=0) as client:
            await client.calls.retrieve_status(call)
            with pytest.raises(telnyx.RateLimitError) as refused:
                await client.calls.actions.answer(call)
    assert refused.value.response.headers["retry-after"] == "60"


async def test_the_sdk_waits_as_it_is_told_and_its_command_counts_once() -> None:
    asked_at: list[float] = []

    async def note(request: httpx.Request) -> None:
        asked_at.append(asyncio.get_running_loop().time())
        if len(asked_at) > 2:  # the window that Retry-After named has come
            service.clock.seconds += 1

    async with served(RateLimit(1, 1)) as (url, service):
        call = service.ring()
        http = httpx.AsyncClient(event_hooks={"request": [note]})
        async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=f"{url}/v2", http_client=http) as client:
            await client.calls.retrieve_status(call)
            answered = await client.calls.actions.answer(call, command_id="once")
    assert answered.data is not None
    assert answered.data.result == "ok"
    assert len(asked_at) == 3, "the status, the answer that was refused, and the answer again"
    assert asked_at[2] - asked_at[1] >= 1.0, "not its own backoff of half a second"
    assert len(service.commands) == 1


async def test_a_refused_request_takes_nothing_of_the_next_window() -> None:
    async with served(RateLimit(2, 30)) as (url, service):
        path = f"/v2/calls/{service.ring()}"
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {API_KEY}"}) as client:
            statuses = [(await client.get(path)).status_code for _ in range(50)]
            assert statuses == [200, 200, *[429] * 48]
            service.clock.seconds += 30
            assert limits_in(await client.get(path)) == ("2", "1", "30", None)


async def test_without_a_limit_and_without_a_key_nothing_is_told() -> None:
    for rate_limit in (None, RateLimit(1, 60)):
        async with served(rate_limit) as (url, _), httpx.AsyncClient(base_url=url) as client:
            for path in ("/v2/calls/x", "/healthz", "/v2/offhook/public_key"):
                assert limits_in(await client.get(path)) == (None,) * 4
    async with served(None) as (url, service), httpx.AsyncClient(base_url=url) as client:
        client.headers["authorization"] = f"Bearer {API_KEY}"
        assert limits_in(await client.get(f"/v2/calls/{service.ring()}")) == (None,) * 4
