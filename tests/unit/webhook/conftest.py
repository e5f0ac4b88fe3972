import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from offhook.base.clock import SystemClock
from offhook.call.values import WebhookRoute
from offhook.edge.egress import Egress
from offhook.edge.store import Deliveries, Store
from offhook.edge.webhook import Outbox, Poster, Receipt, WebhookSender
from offhook.edge.webhook.sender import SenderSettings
from offhook.proto.webhook import RetrySchedule, WebhookSigner

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
FAST = RetrySchedule(fast_waits_s=(0.01, 0.02), slow_waits_s=())
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Got:
    path: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"
    query: str = ""

    @property
    def envelope(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.envelope["data"]["id"]

    @property
    def attempt(self) -> int:
        return self.envelope["meta"]["attempt"]


class Receiver:
    """A real HTTP server on loopback that answers as it is told."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.arrived = asyncio.Condition()
        self.answers: dict[str, Answer | int] = {}
        self.base = ""
        self._runner: web.AppRunner | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> "Receiver":
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.base = f"http{'s' if tls else ''}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def until(self, count: int, path: str | None = None) -> list[Got]:
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.at(path)) >= count)
            return self.at(path)

    def at(self, path: str | None) -> list[Got]:
        return [got for got in self.got if path is None or got.path == path]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self.arrived:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.got.append(
                Got(request.path, body, headers, request.method, request.rel_url.raw_query_string)
            )
            self.arrived.notify_all()
        answer = self.answers.get(request.path, 200)
        if isinstance(answer, int):
            return web.Response(status=answer)
        return await answer(request)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver().start()
    yield receiver
    await receiver.stop()


@dataclass
class Rig:
    """Store, outbox and sender, as the application wires them."""

    directory: Path
    schedule: RetrySchedule = FAST
    allow_private: bool = True
    settings: SenderSettings = field(
        default_factory=lambda: SenderSettings(timeout_s=0.25, load_every_s=0.02)
    )
    outbox_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.store = Store.open(self.directory)
        self.deliveries = Deliveries(self.store)
        self.outbox = Outbox(self.deliveries, self.clock, schedule=self.schedule, **self.outbox_options)
        poster = Poster(Egress(allow_private=self.allow_private), WebhookSigner(KEY), self.clock)
        self.sender = WebhookSender(self.outbox, poster, self.clock, self.settings)

    async def start(self) -> "Rig":
        await self.sender.start()
        return self

    async def stop(self, grace_s: float = 1.0) -> None:
        await self.sender.close(grace_s)
        self.store.close()

    async def put(
        self,
        url: str,
        *,
        event: str = "call.answered",
        leg: str = "leg",
        failover: str | None = None,
        **wishes: Any,
    ) -> Receipt:
        route = WebhookRoute(url, failover, **wishes)
        return await self.outbox.put(event, {"n": 1}, occurred_at=1.7e9, route=route, call_leg_id=leg)

    async def settled(self) -> None:
        """Wait until no delivery is in memory and all results are in the file."""
        async with asyncio.timeout(30):
            while self.outbox.counters.in_memory:
                await self.store.submit(lambda db: None)
        self.outbox.flush()
        await self.store.submit(lambda db: None)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = await Rig(tmp_path / "data").start()
    yield rig
    await rig.stop()


@pytest.fixture
def make_rig(tmp_path: Path) -> Callable[..., Rig]:
    return lambda **options: Rig(tmp_path / "data", **options)
