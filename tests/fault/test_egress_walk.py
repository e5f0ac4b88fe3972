"""Every address that a caller of the API can name, pointed at a place that this server must not reach.

The forbidden place is 127.0.0.2, where a canary counts what comes; 127.0.0.1, where app, phone and a
server of redirects are, is allowed. Names that resolve inwards are its other spellings, which only the
resolver turns into an address.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from offhook.edge.http.app import create_app
from offhook.edge.http.schemas import Body
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

FORBIDDEN = "127.0.0.2"
SPELLINGS = (FORBIDDEN, "2130706434", "0x7f.0.0.2", "127.2", "[::ffff:127.0.0.2]")
NAMES_A_PLACE = re.compile(r"url|uri|callback|address|(^|_)(to|rx|tx|target)$")
SETTINGS = """
[egress]
allow_private = false
allowed_networks = ["127.0.0.1/32"]

[webhooks]
timeout_s = 1.0
retry_fast_s = []
retry_slow_s = []

[stream]
connect_retry_s = []
"""
WALKED = {
    "webhook_url", "webhook_urls", "webhook_event_url", "webhook_event_failover_url", "stream_url", "Url",
    "StatusCallback", "rx", "tx", "target", "audio_url", "invalid_audio_url", "to",
}  # fmt: skip
"""Parameters that this test points at the canary."""
NOT_CONTACTED = {
    "webhook_url_method", "webhook_urls_method", "StatusCallbackMethod",  # no places
    "link_to",  # a call of ours
    "token_uri",  # of a service account: tokens are signed here
    "sip_address",  # of refer: it is the phone that calls there
}  # fmt: skip


@dataclass
class Canary:
    """Counts connections and datagrams at the forbidden address."""

    port: int = 0
    visits: int = 0

    def visit(self) -> None:
        self.visits += 1


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._canary.visit()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    found = Canary()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        found.visit()
        writer.close()

    server = await asyncio.start_server(connected, FORBIDDEN, 0)
    found.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Listener(found), local_addr=(FORBIDDEN, found.port)
    )
    try:
        yield found
    finally:
        transport.close()
        server.close()


@asynccontextmanager
async def redirects_to(place: str) -> AsyncIterator[str]:
    """Serve redirects to `place` from where it is allowed; yields their URL."""

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(place)

    app = web.Application()
    app.router.add_route("*", "/{path}", redirect)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/moved"
    finally:
        await runner.cleanup()


class Api:
    """The API by hand: an SDK would not send what is wrong."""

    def __init__(self, server: OffhookProcess, session: aiohttp.ClientSession) -> None:
        self._server = server
        self._session = session

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        async with self._session.post(f"{self._server.api}{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def attempts(self) -> list[str]:
        """Return the error of each attempt at a webhook that failed."""
        async with self._session.get(
            f"{self._server.api}/webhook_deliveries", params={"page[size]": "250"}
        ) as answer:
            found = (await answer.json())["data"]
        return [str(each["error"]) for delivery in found for each in delivery["attempts"] if each["error"]]

    async def refused_total(self) -> float:
        url = self._server.api.removesuffix("/v2") + "/metrics"
        async with self._session.get(url) as answer:
            text = await answer.text()
        found = re.search(r"^offhook_egress_refused_total (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found.group(1))


def up_and_running(phone: Phone, server: OffhookProcess, user: str) -> asyncio.Task[Any]:
    plan = CallPlan(uri=f"sip:{user}@127.0.0.1:{server.sip_port}", hang_up_after_play=False, duration_s=60)
    return asyncio.ensure_future(phone.call(plan))


async def named_by_an_answer(api: Api, call: str, place: str) -> None:
    """Give webhooks and a stream to the place; the call stays up."""
    status, told = await api.post(
        f"/calls/{call}/actions/answer",
        {
            "webhook_url": f"http://{place}/",
            "webhook_urls": {"call.answered": f"http://{place}/answered"},
            "stream_url": f"ws://{place}/",
        },
    )
    assert status == 200, told


async def named_by_commands(api: Api, call: str, place: str, moved: str) -> None:
    """Name the place in every command of an answered call."""
    actions = f"/calls/{call}/actions"
    for url in (f"ws://{place}/", f"wss://{place}/"):
        status, told = await api.post(f"{actions}/streaming_start", {"stream_url": url})
        assert status == 200, told
    for url in (f"http://{place}/a.wav", f"https://{place}/a.wav", moved):
        status, told = await api.post(f"{actions}/playback_start", {"audio_url": url})
        assert status == 200, told
    for body in ({"target": f"udp:{place}"}, {"rx": f"udp:{place}", "tx": "udp:127.0.0.1:9"}):
        status, told = await api.post(f"{actions}/fork_start", body)
        assert (status, told["errors"][0]["code"]) == (422, "10015")
    status, told = await api.post(
        f"/texml/Accounts/x/Calls/{call}/Streams.json",
        {"Url": f"ws://{place}/", "StatusCallback": f"http://{place}/"},
    )
    assert status == 200, told


async def named_by_a_dial(api: Api, connection_id: str, place: str) -> None:
    """Call the place, over both transports, with everything else pointing there too."""
    for transport in ("udp", "tcp"):
        status, told = await api.post(
            "/calls",
            {
                "connection_id": connection_id,
                "from": "+15550001111",
                "to": f"sip:bob@{place};transport={transport}",
                "webhook_url": f"http://{place}/",
                "stream_url": f"ws://{place}/",
                "stream_establish_before_call_originate": True,
            },
        )
        assert status in (200, 422), told


async def named_by_a_gather(api: Api, call: str, place: str) -> None:
    """Ask for keys with a sound of the place, before and after the keys."""
    status, told = await api.post(
        f"/calls/{call}/actions/gather_using_audio",
        {
            "audio_url": f"http://{place}/a.wav",
            "invalid_audio_url": f"http://{place}/b.wav",
            "maximum_tries": 2,
            "timeout_millis": 500,
        },
    )
    assert status == 200, told


async def named_by_a_transfer(api: Api, call: str, place: str) -> None:
    """Hand a call over to the place."""
    status, told = await api.post(
        f"/calls/{call}/actions/transfer",
        {"to": f"sip:bob@{place}", "audio_url": f"http://{place}/a.wav", "webhook_url": f"http://{place}/"},
    )
    assert status in (200, 422), told


async def application_at(api: Api, name: str, url: str, failover: str) -> str:
    status, told = await api.post(
        "/call_control_applications",
        {"application_name": name, "webhook_event_url": url, "webhook_event_failover_url": failover},
    )
    assert status < 300, told
    return str(told["data"]["id"])


async def test_nothing_that_an_app_can_name_leads_to_a_forbidden_address(tmp_path: Path) -> None:
    (tmp_path / "offhook.toml").write_text(SETTINGS)
    async with (
        canary() as forbidden,
        redirects_to(f"http://{FORBIDDEN}:{forbidden.port}/") as moved,
        running_app() as app,
        Phone() as phone,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        api = Api(server, session)
        app.api = server.api
        calls = []
        try:
            for number, spelling in enumerate(SPELLINGS):
                place = f"{spelling}:{forbidden.port}"
                answered, plain = await two_calls(phone, server, app, number, calls)
                await named_by_an_answer(api, answered, place)
                await app.act(plain, "answer")
                await until_told(app, plain, "call.answered")
                await named_by_commands(api, plain, place, moved)
                inward = await application_at(api, f"inward{number}", f"http://{place}/", moved)
                calls.append(up_and_running(phone, server, inward))
                await named_by_a_gather(api, plain, place)
                await named_by_a_transfer(api, answered, place)
                await named_by_a_dial(api, inward, place)
            await app.wait_for(lambda app: app.types().count("call.playback.ended") >= 3 * len(SPELLINGS), 30)
            await app.wait_for(lambda app: app.types().count("streaming.failed") >= 2 * len(SPELLINGS), 30)
            await asyncio.sleep(1.0)
            errors = await api.attempts()
            assert forbidden.visits == 0
            assert await api.refused_total() >= 8 * len(SPELLINGS)
            ended = [
                event["data"]["payload"]["status"]
                for event in app.events
                if event["data"]["event_type"] == "call.playback.ended"
            ]
            assert len(ended) >= 3 * len(SPELLINGS)
            assert set(ended) == {"failed"}
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await stop_offhook(server)
    assert sum(error.startswith("the egress policy") for error in errors) >= 2 * len(SPELLINGS)
    # Some spellings are no URL for the HTTP client.
    assert all(error.startswith(("the egress policy", "the URL is not usable")) for error in errors)


async def two_calls(
    phone: Phone, server: OffhookProcess, app: App, number: int, calls: list[asyncio.Task[Any]]
) -> list[str]:
    """Let two phones ring; return their calls."""
    users = [f"+1555000{number}{which}" for which in (1, 2)]
    calls += [up_and_running(phone, server, user) for user in users]
    found = {}

    def both(app: App) -> bool:
        for event in app.events:
            payload = event["data"]["payload"]
            if event["data"]["event_type"] == "call.initiated" and payload["to"] in users:
                found[payload["to"]] = payload["call_control_id"]
        return len(found) == len(users)

    await app.wait_for(both)
    return [found[user] for user in users]


async def until_told(app: App, call: str, event_type: str) -> None:
    await app.wait_for(
        lambda app: any(
            (event["data"]["event_type"], event["data"]["payload"]["call_control_id"]) == (event_type, call)
            for event in app.events
        )
    )


def _bodies(base: type[Body]) -> set[type[Body]]:
    return {base}.union(*(_bodies(each) for each in base.__subclasses__()))


def test_no_parameter_that_names_a_place_is_left_out() -> None:
    assert create_app, "its module knows every route, and so every body"
    names = {
        field.alias or name
        for body in _bodies(Body)
        for name, field in body.model_fields.items()
        if NAMES_A_PLACE.search((field.alias or name).lower())
    }
    assert names - WALKED - NOT_CONTACTED == set()
    assert names >= WALKED - {"Url"}


def test_the_other_spellings_are_the_forbidden_address() -> None:
    found = {socket.getaddrinfo(text.strip("[]"), 80, type=socket.SOCK_STREAM)[0][4][0] for text in SPELLINGS}
    assert {str(ip).removeprefix("::ffff:") for ip in found} == {FORBIDDEN}
