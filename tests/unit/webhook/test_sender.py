import asyncio
import datetime
import ipaddress
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import telnyx
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from offhook.edge.webhook.sender import Pace, SenderSettings
from offhook.proto.webhook import RetrySchedule

pytestmark = pytest.mark.unit
Make = Callable[..., Any]


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def test_an_event_arrives_once_signed_and_is_known_to_be_delivered(rig: Any, receiver: Any) -> None:
    receipt = await rig.put(receiver.base + "/hook?token=1")
    assert receipt.durable
    assert await receipt.first_attempt
    (got,) = await receiver.until(1)
    client = telnyx.Telnyx(api_key="k", public_key=rig.sender._poster._signer.public_key)
    event = client.webhooks.unwrap(got.body.decode(), headers=got.headers)
    assert event.data.id == receipt.event_id
    assert got.envelope["meta"] == {"attempt": 1, "delivered_to": receiver.base + "/hook?token=1"}
    assert got.envelope["data"]["occurred_at"] == "2023-11-14T22:13:20.000000Z"
    assert got.headers["user-agent"] == "telnyx-webhooks"
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert (view.state, view.attempts[0].http_status, view.attempts[0].error) == ("delivered", 200, None)
    assert rig.outbox.counters.pending == 0


async def test_a_500_is_retried_with_the_same_id_and_a_new_attempt_number(rig: Any, receiver: Any) -> None:
    codes = iter([500, 503, 200])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=next(codes))

    receiver.answers["/"] = answer
    receipt = await rig.put(receiver.base + "/")
    assert not await receipt.first_attempt
    got = await receiver.until(3)
    await rig.settled()
    assert [one.attempt for one in got] == [1, 2, 3]
    assert {one.id for one in got} == {receipt.event_id}
    assert len({one.headers["telnyx-signature-ed25519"] for one in got}) == 3
    counters = rig.outbox.counters
    assert (counters.delivered_total, counters.attempts_failed_total, counters.retried_total) == (1, 2, 2)


async def test_after_three_failures_the_failover_is_tried_three_times_and_then_it_has_failed(
    rig: Any, receiver: Any
) -> None:
    receiver.answers |= {"/a": 500, "/b": 502}
    receipt = await rig.put(receiver.base + "/a", failover=receiver.base + "/b")
    got = await receiver.until(6)
    await rig.settled()
    assert [(one.path, one.attempt) for one in got] == [("/a", n) for n in (1, 2, 3)] + [
        ("/b", n) for n in (4, 5, 6)
    ]
    assert got[3].envelope["meta"]["delivered_to"] == receiver.base + "/b"
    view = await rig.deliveries.find(receipt.event_id)
    assert view.state == "failed"
    assert [attempt.error for attempt in view.attempts] == ["HTTP 500"] * 3 + ["HTTP 502"] * 3


async def test_a_404_goes_to_the_failover_at_once(rig: Any, receiver: Any) -> None:
    receiver.answers["/a"] = 404
    await rig.put(receiver.base + "/a", failover=receiver.base + "/b")
    got = await receiver.until(2)
    assert [(one.path, one.attempt) for one in got] == [("/a", 1), ("/b", 2)]


async def test_a_receiver_that_hangs_costs_its_timeout(rig: Any, receiver: Any) -> None:
    receiver.answers["/a"] = hang
    receipt = await rig.put(receiver.base + "/a", failover=receiver.base + "/b")
    await receiver.until(1, "/b")
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert [attempt.error for attempt in view.attempts] == ["timeout"] * 3 + [None]
    assert all(0.2 < one.finished_at - one.started_at < 2 for one in view.attempts[:3])


async def test_a_yes_whose_body_stalls_is_a_yes(rig: Any, receiver: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        await asyncio.Event().wait()
        return response

    receiver.answers["/"] = answer
    receipt = await rig.put(receiver.base + "/")
    assert await receipt.first_attempt


@pytest.mark.parametrize("code", [307, 308])
async def test_a_redirect_of_307_or_308_keeps_method_and_body(rig: Any, receiver: Any, code: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=code, headers={"Location": "/b"})

    receiver.answers["/a"] = answer
    receipt = await rig.put(receiver.base + "/a")
    assert await receipt.first_attempt
    first, second = await receiver.until(2)
    assert (second.path, second.body) == ("/b", first.body)


@pytest.mark.parametrize(
    ("redirect", "reason", "attempts"),
    [
        ((302, "/b"), "HTTP 302", 3),
        ((307, "/a"), "too many redirects", 3),
        ((307, "ftp://h/"), "the redirect leads away from http and https", 1),
        ((307, "http://["), "the redirect leads to no usable URL", 1),
        ((308, "http://169.254.169.254/latest"), "the egress policy of this server", 1),
        ((308, "http://2852039166/"), "the URL is not usable", 1),
    ],
)
async def test_no_other_redirect_is_followed(
    rig: Any, receiver: Any, redirect: tuple[int, str], reason: str, attempts: int
) -> None:
    status, location = redirect

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location})

    receiver.answers["/a"] = answer
    receipt = await rig.put(receiver.base + "/a")
    await receipt.first_attempt
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert view.state == "failed"
    assert len(view.attempts) == attempts
    assert view.attempts[0].error.startswith(reason)
    assert not receiver.at("/b")
    assert len(receiver.got) <= 4 * attempts, "three redirects an attempt"


async def test_nobody_listening_is_retried_until_somebody_is(rig: Any, receiver: Any) -> None:
    await receiver.stop()
    receipt = await rig.put(receiver.base + "/")
    assert not await receipt.first_attempt
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert view.attempts[0].error.startswith("no connection")
    await receiver.start()


async def test_a_certificate_nobody_signed_is_not_accepted(rig: Any, receiver: Any, tmp_path: Path) -> None:
    secure = await type(receiver)().start(self_signed(tmp_path))
    receipt = await rig.put(secure.base + "/", failover=receiver.base + "/b")
    await receiver.until(1, "/b")
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert "certificate" in view.attempts[0].error
    assert not secure.got, "not one byte of the event went out"
    await secure.stop()


def self_signed(directory: Path) -> ssl.SSLContext:
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
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = directory / "both.pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "nonsense", "http://[::1", "http://h:99999/"])
async def test_an_unusable_url_fails_at_once_and_breaks_nothing(rig: Any, receiver: Any, url: str) -> None:
    receipt = await rig.put(url, failover=receiver.base + "/b")
    assert not await receipt.first_attempt
    (got,) = await receiver.until(1)
    assert got.attempt == 2
    await rig.settled()


async def test_a_private_address_is_refused_when_the_policy_says_so(make_rig: Make, receiver: Any) -> None:
    rig = await make_rig(allow_private=False).start()
    receipts = [
        await rig.put(url, leg=url)
        for url in (
            receiver.base + "/",
            receiver.base.replace("127.0.0.1", "localhost") + "/",
            "http://127.1/",
        )
    ]
    for receipt in receipts:
        assert not await receipt.first_attempt
    await rig.settled()
    assert not receiver.got
    assert rig.outbox.counters.failed_total == 3, "no retry will make the address allowed"
    await rig.stop()


async def test_events_of_a_call_arrive_in_order_although_each_takes_its_time(rig: Any, receiver: Any) -> None:
    inside = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal inside
        inside += 1
        assert inside == 1, "one at a time"
        for _ in range(3):
            await asyncio.sleep(0)
        inside -= 1
        return web.Response()

    receiver.answers["/"] = answer
    receipts = [await rig.put(receiver.base + "/") for _ in range(20)]
    got = await receiver.until(20)
    assert [one.id for one in got] == [receipt.event_id for receipt in receipts]


async def test_the_next_event_waits_for_the_first_attempt_only(rig: Any, receiver: Any) -> None:
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if (await request.json())["data"]["event_type"] == "call.initiated":
            if (await request.json())["meta"]["attempt"] == 1:
                return web.Response(status=500)
            await release.wait()
        return web.Response()

    receiver.answers["/"] = answer
    first = await rig.put(receiver.base + "/", event="call.initiated")
    second = await rig.put(receiver.base + "/", event="call.answered")
    assert await second.first_attempt
    assert first.first_attempt.done()
    assert receiver.got[0].id == first.event_id
    release.set()
    await rig.settled()
    assert rig.outbox.counters.delivered_total == 2


async def test_a_call_whose_receiver_hangs_does_not_hold_up_another(rig: Any, receiver: Any) -> None:
    receiver.answers["/hang"] = hang
    slow = await rig.put(receiver.base + "/hang", leg="a")
    quick = await rig.put(receiver.base + "/", leg="b")
    assert await quick.first_attempt
    assert not slow.first_attempt.done()


async def test_attempts_at_once_are_bounded_for_each_origin(make_rig: Make, receiver: Any) -> None:
    other = await type(receiver)().start()
    rig = await make_rig(settings=SenderSettings(timeout_s=5.0, per_origin_max=4, load_every_s=0.02)).start()
    receiver.answers["/"] = hang
    for n in range(20):
        await rig.put(receiver.base + "/", leg=str(n))
    await receiver.until(4)
    receipt = await rig.put(other.base + "/", leg="other")
    assert await receipt.first_attempt, "the other receiver has places of its own"
    assert len(receiver.got) == 4
    await rig.stop(grace_s=0.0)
    await other.stop()


async def test_a_kept_connection_that_was_closed_costs_no_retry(rig: Any) -> None:
    served: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Answers one request and drops the connection when the second arrives on it.
        for answered in (False, True):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            served.append(await reader.readexactly(length))
            if answered:
                break
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for _ in range(2):
        receipt = await rig.put(url)
        assert await receipt.first_attempt
    assert len(served) == 3
    assert rig.outbox.counters.attempts_failed_total == 0
    await rig.stop()
    server.close()


async def test_each_change_of_state_is_logged_once_without_url_or_payload(rig: Any, receiver: Any) -> None:
    codes = iter([500, 500, 200])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=next(codes))

    receiver.answers["/secret-path"] = answer
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    with structlog.testing.capture_logs() as logs:
        receipt = await rig.put(receiver.base + "/secret-path?token=abc")
        await receiver.until(3)
        await rig.settled()
    texts = [str(line) for line in logs]
    assert len(texts) == 2
    assert "HTTP 500" in texts[0]
    assert "delivered" in texts[1]
    for text in texts:
        assert receipt.event_id in text
        assert "secret-path" not in text
        assert "token" not in text


async def test_closing_ends_hanging_attempts_and_keeps_their_events(make_rig: Make, receiver: Any) -> None:
    rig = await make_rig(settings=SenderSettings(timeout_s=20.0)).start()
    receiver.answers["/"] = hang
    receipts = [await rig.put(receiver.base + "/", leg=str(n)) for n in range(3)]
    await receiver.until(3)
    await rig.stop(grace_s=0.01)
    assert [await receipt.first_attempt for receipt in receipts] == [False] * 3
    assert rig.outbox.counters.in_memory == 0
    receiver.answers["/"] = 200
    receiver.got.clear()
    again = await make_rig().start()
    got = await receiver.until(3)
    assert {one.id for one in got} == {receipt.event_id for receipt in receipts}
    await again.stop()


async def test_closing_lets_an_attempt_under_way_end(make_rig: Make, receiver: Any) -> None:
    rig = await make_rig(settings=SenderSettings(timeout_s=20.0)).start()
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answers["/"] = answer
    receipt = await rig.put(receiver.base + "/")
    await receiver.until(1)
    closing = asyncio.ensure_future(rig.stop(grace_s=5.0))
    await asyncio.sleep(0)
    release.set()
    await closing
    assert receipt.first_attempt.result() is True
    assert rig.outbox.counters.delivered_total == 1


async def test_retry_after_is_waited_for(make_rig: Make, receiver: Any) -> None:
    schedule = RetrySchedule(fast_waits_s=(0.0,), slow_waits_s=(), retry_after_max_s=0.2)
    rig = await make_rig(schedule=schedule).start()
    codes = iter([429, 200])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=next(codes), headers={"Retry-After": "1"})

    receiver.answers["/"] = answer
    receipt = await rig.put(receiver.base + "/")
    await receiver.until(2)
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert view.attempts[1].started_at - view.attempts[0].finished_at >= 0.2
    await rig.stop()


def test_a_receiver_gets_a_seconds_worth_at_once_and_then_evenly() -> None:
    pace = Pace(4.0)
    waits_s = [pace.take("http://a", 100.0) for _ in range(6)]
    assert waits_s == [0.0, 0.0, 0.0, 0.0, 0.25, 0.5]
    assert pace.take("http://b", 100.0) == 0.0, "another receiver has its own pace"
    assert pace.take("http://a", 200.0) == 0.0
    assert Pace(0.0).take("http://a", 0.0) == 0.0
    assert [Pace(0.5).take("http://a", 9.0), Pace(0.5).take("http://a", 9.0)] == [0.0, 0.0]
    slow = Pace(0.5)
    assert [slow.take("http://a", 9.0) for _ in range(3)] == [0.0, 2.0, 4.0]


def test_receivers_of_long_ago_are_forgotten() -> None:
    pace = Pace(1.0)
    for n in range(10_000):
        pace.take(f"http://{n}", float(n))
    assert len(pace._free_at) <= 4096


async def test_attempts_beyond_the_rate_wait_and_none_is_lost(make_rig: Any, receiver: Any) -> None:
    settings = SenderSettings(timeout_s=0.5, per_s=20.0)
    rig = await make_rig(settings=settings).start()
    started_at = rig.clock.now()
    for n in range(25):
        await rig.put(receiver.base + "/", leg=f"leg{n}")
    await receiver.until(25)
    assert rig.clock.now() - started_at > 0.2, "five of them at 20 a second"
    await rig.settled()
    assert (rig.outbox.counters.paced_total > 0, rig.outbox.counters.delivered_total) == (True, 25)
    await rig.stop()
