"""The API on a real port, with real call legs behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import telnyx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.base.errors import OffhookError
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.server import HttpServer
from tests.fakes.call_service import LegService

API_KEY = "KEY0123456789"
PRIVATE = "udp:10.0.0.1:9"


@dataclass
class Api:
    """A running API and what a test needs around it."""

    url: str
    service: LegService
    app: FastAPI
    requests: list[tuple[str, str]] = field(default_factory=list)
    answered: list[tuple[str, str]] = field(default_factory=list)

    def sdk(self, **options: Any) -> telnyx.AsyncTelnyx:
        """Return the official asynchronous client; it refuses answers that do not fit its models."""
        return telnyx.AsyncTelnyx(**self._options(options))

    def blocking_sdk(self, **options: Any) -> telnyx.Telnyx:
        """Return the official synchronous client, for use in a thread."""
        return telnyx.Telnyx(**self._options(options))

    def http(self, **options: Any) -> httpx.AsyncClient:
        """Return a plain HTTP client that sends the key."""
        headers = {"authorization": f"Bearer {API_KEY}"}
        return httpx.AsyncClient(**({"base_url": self.url, "headers": headers} | options))

    async def refusal(self, action: str, members: dict[str, Any]) -> tuple[str, str]:
        """Send a command to a call that is up; return code and place of the one error it is refused with."""
        call = self.service.ring(answered=True)
        async with self.http() as client:
            answer = await client.post(f"/v2/calls/{call}/actions/{action}", json=members)
        assert answer.status_code == 422
        assert "secret" not in answer.text
        [entry] = answer.json()["errors"]
        return entry["code"], entry["source"]["pointer"]

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "api_key": API_KEY,
            "base_url": f"{self.url}/v2",
            "_strict_response_validation": True,
        } | options


class _Recorder:
    """Notes every request on its way in, so that a test can count them, and on its way out."""

    def __init__(
        self, app: ASGIApp, requests: list[tuple[str, str]], answered: list[tuple[str, str]]
    ) -> None:
        self._app = app
        self._requests = requests
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._requests.append((scope["method"], scope["path"]))
        await self._app(scope, receive, send)
        self._answered.append((scope["method"], scope["path"]))


def no_private(ip: str) -> None:
    """Refuse the one private network of these tests."""
    if ip.startswith("10."):
        raise OffhookError("private")


@asynccontextmanager
async def running_api(**options: Any) -> AsyncIterator[Api]:
    """Run an API; `options` are further ones of `create_app`."""
    service = LegService()
    app = create_app(
        service,
        auth=ApiKeys([API_KEY, "KEYother"]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        **options,
    )
    requests: list[tuple[str, str]] = []
    answered: list[tuple[str, str]] = []
    server = HttpServer(_Recorder(app, requests, answered), host="127.0.0.1", port=0)
    await server.start()
    try:
        yield Api(server.url, service, app, requests, answered)
    finally:
        await server.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_api() as api:
        yield api
