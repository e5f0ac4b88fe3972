"""Receivers of webhooks in trouble: what the app sees, and what the log of deliveries says."""

import asyncio
import datetime
import ipaddress
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from offhook.base.clock import SystemClock
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from offhook.kit.webhook import WebhookInvalid, verify
from tests.fakes.server import API_KEY, App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

SETTINGS = """
[webhooks]
timeout_s = 0.5
retry_fast_s = [0.05, 0.05]
retry_slow_s = [1.0]
"""


@dataclass
class Trouble:
    """A receiver with one path for each kind of trouble."""

    base: str = ""
    asked: list[str] = field(default_factory=list)
    well_from: float = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path:
            case "/hang":
                await asyncio.sleep(20)
            case "/sick":
                return web.Response(
                    status=200 if asyncio.get_running_loop().time() >= self.well_from else 500
                )
            case "/moved":
                raise web.HTTPPermanentRedirect("/here")
            case "/loop":
                raise web.HTTPTemporaryRedirect("/loop")
            case "/found":
                raise web.HTTPFound("/here")
            case "/inward":
                raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest/meta-data/")
        return web.Response()


@asynccontextmanager
async def trouble(tls: ssl.SSLContext | None = None) -> AsyncIterator[Trouble]:
    receiver = Trouble()
    app = web.Application()
    app.router.add_post("/{path}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.base = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


def self_signed(directory: Path) -> ssl.SSLContext:
    """Return TLS with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "tls.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def busy(app: App, event: dict[str, Any]) -> None:
    data = event["data"]
    if data["event_type"] == "call.initiated":
        await app.act(data["payload"]["call_control_id"], "reject", cause="USER_BUSY")


async def start(directory: Path, url: str, failover: str | None = None) -> OffhookProcess:
    directory.mkdir(exist_ok=True)
    (directory / "offhook.toml").write_text(SETTINGS)
    more = {} if failover is None else {"OFFHOOK_WEBHOOK_FAILOVER_URL": failover}
    return await start_offhook(directory, OFFHOOK_WEBHOOK_URL=url, **more)


async def deliveries(server: OffhookProcess, state: str, count: int) -> list[dict[str, Any]]:
    """Return the deliveries in `state`, oldest first, once there are `count`."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.timeout(30):
        while True:
            url = f"{server.api}/webhook_deliveries"
            async with session.get(url, params={"filter[status][eq]": state}) as answer:
                found: list[dict[str, Any]] = (await answer.json())["data"]
            if len(found) >= count:
                return found[::-1]
            await asyncio.sleep(0.1)


def told(delivery: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return the path and the error of each attempt, oldest first."""
    return [
        (each["http"]["request"]["url"].rpartition("/")[2], each["error"])
        for each in reversed(delivery["attempts"])
    ]


@pytest.mark.parametrize(
    ("path", "tries", "error"),
    [
        ("hang", 3, "timeout"),
        ("sick", 3, "HTTP 500"),
        ("loop", 3, "too many redirects"),
        ("found", 3, "HTTP 302"),
        ("inward", 1, "the egress policy of this server does not allow a connection to 169.254.169.254"),
    ],
)
async def test_the_failover_url_takes_over_and_the_log_says_why(
    tmp_path: Path, path: str, tries: int, error: str
) -> None:
    async with trouble() as receiver, running_app(busy) as app, Phone() as phone:
        receiver.well_from = float("inf")
        server = await start(tmp_path, f"{receiver.base}/{path}", app.url)
        app.api = server.api
        try:
            call = await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", duration_s=20))
            assert (call.outcome, call.status) == ("rejected", 486), "the app was told in time to act"
            for delivery in await deliveries(server, "delivered", 2):
                assert told(delivery) == [(path, error)] * tries + [("webhooks", None)]
        finally:
            await stop_offhook(server)
        assert app.types() == ["call.initiated", "call.hangup"]
        assert [event["meta"]["attempt"] for event in app.events] == [tries + 1] * 2
        assert "/here" not in receiver.asked


async def test_a_certificate_that_nobody_vouches_for_is_not_talked_to(tmp_path: Path) -> None:
    async with (
        trouble(self_signed(tmp_path)) as receiver,
        running_app(busy) as app,
        Phone() as phone,
    ):
        server = await start(tmp_path, f"{receiver.base}/hook", app.url)
        app.api = server.api
        try:
            await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", duration_s=20))
            for delivery in await deliveries(server, "delivered", 2):
                *refused, last = told(delivery)
                error = "the certificate or the TLS handshake is not acceptable"
                assert (refused, last) == ([("hook", error)] * 3, ("webhooks", None))
        finally:
            await stop_offhook(server)
        assert receiver.asked == [], "no event left this machine"


async def test_a_permanent_redirect_is_followed_with_the_event(tmp_path: Path) -> None:
    async with trouble() as receiver, Phone() as phone:
        server = await start(tmp_path, f"{receiver.base}/moved")
        try:
            await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", ring_timeout_s=1))
            for delivery in await deliveries(server, "delivered", 2):
                assert told(delivery) == [("moved", None)]
        finally:
            await stop_offhook(server)
        assert receiver.asked == ["/moved", "/here"] * 2


async def test_a_receiver_that_is_sick_for_a_while_gets_every_event_once_it_is_well(tmp_path: Path) -> None:
    async with trouble() as receiver, Phone() as phone:
        receiver.well_from = asyncio.get_running_loop().time() + 6
        server = await start(tmp_path, f"{receiver.base}/sick")
        try:
            await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", ring_timeout_s=1))
            (first, _) = await deliveries(server, "pending", 2)
            assert (first["status"], first["finished_at"]) == (None, None)
            assert first["next_attempt_at"] > first["started_at"]
            for delivery in await deliveries(server, "delivered", 2):
                *failed, last = told(delivery)
                assert failed[:3] == [("sick", "HTTP 500")] * 3
                assert last == ("sick", None)
        finally:
            await stop_offhook(server)


async def test_a_running_server_follows_a_rotation_of_its_key_and_loses_no_event(tmp_path: Path) -> None:
    async with running_app(busy) as app, Phone() as phone:
        server = await start(tmp_path, app.url)
        app.api = server.api

        async def keys(*arguments: str) -> dict[str, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "offhook", "keys", "--data-dir", str(tmp_path / "data")),
                *(*arguments, "--json"),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            shown: dict[str, str] = json.loads(output)
            return shown

        async def published() -> dict[str, str]:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{server.api}/offhook/public_key") as answer,
            ):
                return dict((await answer.json())["data"])

        async def call() -> None:
            await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", duration_s=20))

        try:
            await call()
            await app.wait_for(lambda app: len(app.raw) == 2)
            new = (await keys("rotate"))["next_public_key"]
            async with asyncio.timeout(30):
                while (await published()).get("next_public_key") != new:
                    await asyncio.sleep(0.1)
            assert await keys("switch") == {"public_key": new}
            async with asyncio.timeout(30):
                while (await published())["public_key"] != new:
                    await asyncio.sleep(0.1)
            assert (await published())["previous_public_key"] == server.public_key
            await call()
            await app.wait_for(lambda app: len(app.raw) == 4)
        finally:
            await stop_offhook(server)
    old_ones, new_ones = app.raw[:2], app.raw[2:]
    now = SystemClock().unix_time()
    for body, headers in old_ones:
        verify(body, headers, server.public_key, now)
    for body, headers in new_ones:
        verify(body, headers, new, now)
        verify(body, headers, [server.public_key, new], now)
        with pytest.raises(WebhookInvalid):
            verify(body, headers, server.public_key, now)
