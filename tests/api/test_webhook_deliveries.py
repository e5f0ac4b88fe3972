"""The resource `webhook_deliveries` through the official SDK, over a real store, outbox and receiver."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import telnyx
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry

from offhook.app.deliveries import DeliveryLog
from offhook.base import limits
from offhook.base.clock import SystemClock
from offhook.call.values import WebhookRoute
from offhook.edge.egress import Egress
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.server import HttpServer
from offhook.edge.store import Deliveries, Store
from offhook.edge.webhook import Outbox, Poster, WebhookSender
from offhook.edge.webhook.sender import SenderSettings
from offhook.proto.webhook import RetrySchedule, WebhookSigner
from tests.api.conftest import API_KEY, no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api

USER_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
LIST = "/v2/webhook_deliveries"


@dataclass
class Rig:
    """An API with its log of deliveries, and an app that answers as it is told."""

    api: str = ""
    app: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)
    outbox: Any = None
    store: Any = None

    def sdk(self) -> telnyx.AsyncTelnyx:
        return telnyx.AsyncTelnyx(
            api_key=API_KEY, base_url=f"{self.api}/v2", _strict_response_validation=True, max_retries=0
        )

    async def ask(self, method: str, path: str, **query: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=self.api, headers=headers) as client:
            return await client.request(method, path, params=query)

    async def put(self, event: str = "call.answered", **payload: Any) -> str:
        """Put an event and return its id once it has ended."""
        receipt = await self.outbox.put(
            event, payload, occurred_at=1.7e9, route=WebhookRoute(self.app), call_leg_id="leg"
        )
        await self.until_ended()
        return str(receipt.event_id)

    async def until_ended(self) -> None:
        async with asyncio.timeout(30):
            while self.outbox.counters.pending:
                await asyncio.sleep(0.005)

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        return web.Response(
            status=self.status, text="the disk is full", headers={"X-Why": "disk", "Set-Cookie": "id=secret"}
        )


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig, clock = Rig(), SystemClock()
    app = web.Application()
    app.router.add_post("/", rig.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rig.app = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    rig.store = Store.open(tmp_path)
    deliveries = Deliveries(rig.store)
    schedule = RetrySchedule(fast_waits_s=(0.01,), slow_waits_s=())
    rig.outbox = Outbox(deliveries, clock, schedule=schedule)
    signer = WebhookSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    poster = Poster(Egress(allow_private=True), signer, clock)
    sender = WebhookSender(rig.outbox, poster, clock, SenderSettings(load_every_s=0.02))
    await sender.start()
    service = LegService()
    api = create_app(
        service,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        deliveries=DeliveryLog(deliveries, rig.outbox, sender, user_id=USER_ID),
    )
    server = HttpServer(api, host="127.0.0.1", port=0)
    await server.start()
    rig.api = server.url
    yield rig
    await server.close()
    await sender.close(1.0)
    rig.store.close()
    await runner.cleanup()


async def test_a_delivery_is_told_with_every_attempt_newest_first(rig: Rig) -> None:
    rig.status = 500
    event_id = await rig.put(digit="5")
    async with rig.sdk() as client:
        told = (await client.webhook_deliveries.retrieve(event_id)).data
    assert told is not None
    assert told.webhook is not None
    assert told.attempts is not None
    assert (told.id, told.status, told.record_type, told.user_id) == (
        event_id,
        "failed",
        "webhook_delivery",
        USER_ID,
    )
    assert (told.webhook.id, told.webhook.event_type, told.webhook.payload) == (
        event_id,
        "call.answered",
        {"digit": "5"},
    )
    last, first = told.attempts
    assert told.started_at == first.started_at < last.started_at < told.finished_at == last.finished_at
    assert [each.status for each in told.attempts] == ["failed", "failed"]
    assert last.http is not None
    assert last.http.request is not None
    assert last.http.response is not None
    assert last.http.request.url == rig.app
    sent = {name.lower(): value for name, value in last.http.request.headers or []}
    assert {"telnyx-timestamp", "telnyx-signature-ed25519", "user-agent", "content-type"} <= sent.keys()
    assert (last.http.response.status, last.http.response.body) == (500, "the disk is full")
    assert ["X-Why", "disk"] in (last.http.response.headers or [])
    assert ["Set-Cookie", "****"] in (last.http.response.headers or []), "a receiver's cookie is not kept"


async def test_what_no_receiver_answered_says_why(rig: Rig) -> None:
    rig.app = "http://127.0.0.1:1/"
    event_id = await rig.put()
    told = (await rig.ask("GET", f"{LIST}/{event_id}")).json()["data"]
    assert [each["number"] for each in told["attempts"]] == [2, 1]
    assert told["attempts"][0]["error"].startswith("no connection: ")
    assert told["attempts"][0]["http"]["response"] is None
    assert told["attempts"][0]["http"]["request"]["headers"]


async def test_the_list_has_pages_newest_first(rig: Rig) -> None:
    ids = [await rig.put(n=n) for n in range(5)]
    async with rig.sdk() as client:
        page = await client.webhook_deliveries.list(page_number=2, page_size=2)
        assert [each.id for each in page.data] == [ids[2], ids[1]]
        assert [each.id async for each in client.webhook_deliveries.list(page_size=2)] == ids[::-1]
    answer = (await rig.ask("GET", LIST, **{"page[size]": "2"})).json()
    assert answer["meta"] == {"page_number": 1, "page_size": 2, "total_pages": 3, "total_results": 5}


async def test_every_filter_of_the_sdk_filters(rig: Rig) -> None:
    good = await rig.put("call.answered", place="Ämter")
    rig.status = 503
    bad = await rig.put("call.hangup", place="elsewhere")

    async with rig.sdk() as client:

        async def ids(**wanted: Any) -> list[str | None]:
            return [each.id async for each in client.webhook_deliveries.list(filter=wanted)]  # type: ignore[arg-type]

        between = (await client.webhook_deliveries.retrieve(bad)).data
        assert between is not None
        assert between.started_at is not None
        moment = between.started_at.isoformat()
        assert await ids(status={"eq": "delivered"}) == [good]
        assert await ids(status={"eq": "failed"}) == [bad]
        assert await ids(event_type="call.hangup") == [bad]
        assert await ids(event_type="call.hangup,call.answered") == [bad, good]
        assert await ids(webhook={"contains": "Ämter"}) == [good]
        assert await ids(webhook={"contains": "%"}) == [], "a text, not a pattern"
        assert await ids(attempts={"contains": "HTTP 503"}) == [bad]
        assert await ids(attempts={"contains": rig.app}) == [bad, good]
        assert await ids(started_at={"gte": moment}) == [bad]
        assert await ids(started_at={"lte": moment}) == [bad, good]
        assert await ids(finished_at={"lte": moment}) == [good]
        assert await ids(finished_at={"gte": moment}) == [bad]
        assert await ids(status={"eq": "failed"}, event_type="call.answered") == []


async def test_a_delivery_under_way_has_no_status_yet_and_says_when_it_goes_on(rig: Rig) -> None:
    rig.outbox.schedule = RetrySchedule(fast_waits_s=(), slow_waits_s=(600.0,))
    rig.status = 500
    receipt = await rig.outbox.put(
        "call.answered", {}, occurred_at=1.7e9, route=WebhookRoute(rig.app), call_leg_id="leg"
    )
    async with asyncio.timeout(30):
        while not rig.outbox.counters.parked:
            await asyncio.sleep(0.005)
    async with rig.sdk() as client:
        told = (await client.webhook_deliveries.retrieve(receipt.event_id)).data
    assert told is not None
    assert (told.status, told.finished_at) == (None, None)
    waiting = (await rig.ask("GET", LIST, **{"filter[status][eq]": "pending"})).json()["data"]
    assert [each["id"] for each in waiting] == [receipt.event_id]
    assert waiting[0]["next_attempt_at"] > waiting[0]["attempts"][0]["finished_at"]

    rig.status = 200
    assert (await rig.ask("POST", f"/v2/offhook/webhook_deliveries/{receipt.event_id}/resend")).is_success
    await rig.until_ended()
    assert [each["meta"]["attempt"] for each in rig.got] == [1, 2], "sent at once, ten minutes early"


@pytest.mark.parametrize("status", [200, 400])
async def test_an_ended_delivery_is_sent_again_with_its_own_id(rig: Rig, status: int) -> None:
    rig.status = status
    event_id = await rig.put()
    rig.status = 200
    answer = await rig.ask("POST", f"/v2/offhook/webhook_deliveries/{event_id}/resend")
    assert answer.status_code == 202
    assert answer.json()["data"]["state"] == "pending"
    await rig.until_ended()
    told = (await rig.ask("GET", f"{LIST}/{event_id}")).json()["data"]
    assert (told["status"], [each["number"] for each in told["attempts"]]) == ("delivered", [2, 1])
    assert [each["data"]["id"] for each in rig.got] == [event_id] * 2
    assert rig.outbox.counters.resent_total == 1


async def test_an_unknown_delivery_is_not_found(rig: Rig) -> None:
    async with rig.sdk() as client:
        with pytest.raises(telnyx.NotFoundError) as refused:
            await client.webhook_deliveries.retrieve("00000000-0000-4000-8000-000000000000")
    assert refused.value.body["errors"][0]["code"] == "10005"  # type: ignore[index]
    assert (await rig.ask("POST", "/v2/offhook/webhook_deliveries/x/resend")).status_code == 404
    assert rig.outbox.counters.pending == 0, "an unknown one is not counted as waiting"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("filter[status][eq]", "lost", "10032"),
        ("filter[event_type]", "call.answered,no.such", "10032"),
        ("filter[started_at][gte]", "yesterday", "10015"),
        ("filter[finished_at][lte]", "2026-13-01T00:00:00Z", "10015"),
        ("filter[webhook][contains]", "", "10025"),
        ("filter[attempts][contains]", "x" * (limits.WEBHOOK_SEARCH_CHARACTERS_MAX + 1), "10025"),
        ("filter[colour]", "blue", "10015"),
        ("page[size]", "0", "10033"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused_by_name(rig: Rig, name: str, value: str, code: str) -> None:
    answer = await rig.ask("GET", LIST, **{name: value})
    assert answer.status_code == 422
    error = answer.json()["errors"][0]
    assert (error["code"], error["source"]["pointer"]) == (code, f"/{name}")


async def test_the_log_needs_a_key(rig: Rig) -> None:
    async with httpx.AsyncClient(base_url=rig.api) as client:
        assert (await client.get(LIST)).status_code == 401
        assert (await client.post("/v2/offhook/webhook_deliveries/x/resend")).status_code == 401


async def test_a_store_that_fails_is_told_as_unavailable(rig: Rig) -> None:
    rig.store.close()
    for answer in (
        await rig.ask("GET", LIST),
        await rig.ask("GET", f"{LIST}/x"),
        await rig.ask("POST", "/v2/offhook/webhook_deliveries/x/resend"),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "10007")
