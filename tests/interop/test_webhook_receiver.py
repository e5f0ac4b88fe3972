"""The kit's webhook receiver against a plain HTTP client."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from offhook.base.errors import ConfigError
from offhook.kit.webhook_receiver import NO_KEY, WEBHOOK_BODY_BYTES_MAX, ReceivedWebhook, WebhookReceiver
from offhook.proto.webhook import WebhookSigner
from offhook.proto.webhook.envelope import Event, body_of, encode_event

pytestmark = pytest.mark.interop

NOW = 1_800_000_000
SIGNER = WebhookSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
EVENT = Event("call.initiated", "7f0b", "2027-01-15T08:00:00.000000Z", {"call_control_id": "v3:abc"})
BODY = body_of(encode_event(EVENT), attempt=2, delivered_to="http://127.0.0.1/")


class StoppedClock:
    def now(self) -> float:
        return float(NOW)

    def unix_time(self) -> float:
        return float(NOW)


@asynccontextmanager
async def receiving(got: list[ReceivedWebhook], public_key: str | None) -> AsyncIterator[str]:
    receiver = WebhookReceiver(got.append, public_key=public_key, clock=StoppedClock())
    port = await receiver.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await receiver.close()


async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status


async def test_a_signed_webhook_is_verified_at_any_path() -> None:
    got: list[ReceivedWebhook] = []
    headers = SIGNER.headers(BODY, event_id="7f0b", unix_time=NOW)
    async with receiving(got, SIGNER.public_key) as url:
        assert await post(url + "/some/where?x=1", BODY, headers) == 200
    assert got == [
        ReceivedWebhook("call.initiated", "7f0b", "v3:abc", 2, {"call_control_id": "v3:abc"}, problem=None)
    ]


@pytest.mark.parametrize(
    ("body", "age_s", "drop", "problem"),
    [
        (BODY.replace(b"abc", b"abd"), 0, "", "does not match"),
        (BODY, 301, "", "too far"),
        (BODY, 0, "telnyx-timestamp", "missing"),
        (BODY, 0, "telnyx-signature-ed25519", "missing"),
    ],
)
async def test_anything_else_is_answered_401_and_told_why(
    body: bytes, age_s: int, drop: str, problem: str
) -> None:
    got: list[ReceivedWebhook] = []
    headers = SIGNER.headers(BODY, event_id="7f0b", unix_time=NOW - age_s)
    headers.pop(drop, None)
    async with receiving(got, SIGNER.public_key) as url:
        assert await post(url, body, headers) == 401
    assert problem in (got[0].problem or "")
    assert got[0].event_type == "call.initiated"


async def test_without_a_key_everything_is_taken_and_called_unverified() -> None:
    got: list[ReceivedWebhook] = []
    async with receiving(got, None) as url:
        assert await post(url, BODY, {}) == 200
    assert (got[0].problem, got[0].id) == (NO_KEY, "7f0b")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"data":7}', b"\xff\xfe", b"[" * 50_000, json.dumps({"data": {}}).encode()],
)
async def test_hostile_bodies_are_refused_and_break_nothing(body: bytes) -> None:
    got: list[ReceivedWebhook] = []
    async with receiving(got, SIGNER.public_key) as url:
        assert await post(url, body, {}) == 401
    assert got[0].problem is not None


async def test_a_body_over_the_bound_is_not_read() -> None:
    got: list[ReceivedWebhook] = []
    async with receiving(got, SIGNER.public_key) as url:
        assert await post(url, b"x" * (WEBHOOK_BODY_BYTES_MAX + 1), {}) == 413
    assert got == []


async def test_a_port_in_use_is_one_sentence() -> None:
    async with receiving([], None) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"Cannot listen at 127.0.0.1:{port}"):
            await WebhookReceiver(lambda _: None).start(port=port)


@pytest.mark.parametrize(("changed", "status", "problem"), [("", 200, None), ("&a=1", 401, "does not match")])
async def test_a_webhook_by_get_is_verified_by_its_query(
    changed: str, status: int, problem: str | None
) -> None:
    got: list[ReceivedWebhook] = []
    query = "key=1&event_type=call.initiated&id=7f0b&occurred_at=t&call_control_id=v3%3Aabc"
    headers = SIGNER.headers(query.encode(), event_id="7f0b", unix_time=NOW, method="GET")
    async with receiving(got, SIGNER.public_key) as url, aiohttp.ClientSession() as http:
        address = URL(f"{url}/some/where?{query}{changed}", encoded=True)
        async with http.get(address, headers=headers) as response:
            assert response.status == status
        async with http.get(url) as response:
            assert response.status == 405, "a browser is no webhook"
    (received,) = got
    assert (received.event_type, received.id, received.call_control_id) == (
        "call.initiated",
        "7f0b",
        "v3:abc",
    )
    assert received.problem is problem if problem is None else problem in str(received.problem)
