"""Webhooks asked for by GET: the event is in the query, and the signature covers the query as sent."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from offhook.proto.webhook import Event, encode_event, query_of
from tests.unit.webhook.conftest import KEY, Got

pytestmark = pytest.mark.unit


def check_signature(got: Got) -> None:
    covered = f"{got.headers['telnyx-timestamp']}|{got.query}".encode()
    KEY.public_key().verify(base64.b64decode(got.headers["telnyx-signature-ed25519"]), covered)


def test_the_query_names_what_lies_deeper_and_leaves_out_null() -> None:
    payload = {
        "from": "+15550100 & =?#[]%äö",
        "client_state": None,
        "is_final": True,
        "score": 1.5,
        "stats": {"inbound": {"mos": "4.50"}, "outbound": {}},
        "headers": [{"name": "X-A", "value": "1"}, {"name": "X-B", "value": ""}],
    }
    query = query_of(encode_event(Event("call.answered", "id-1", "2026-11-23T08:00:00.000000Z", payload)))
    assert query.isascii()
    assert parse_qsl(query, keep_blank_values=True, strict_parsing=True) == [
        ("event_type", "call.answered"),
        ("id", "id-1"),
        ("occurred_at", "2026-11-23T08:00:00.000000Z"),
        ("from", "+15550100 & =?#[]%äö"),
        ("headers[0][name]", "X-A"),
        ("headers[0][value]", "1"),
        ("headers[1][name]", "X-B"),
        ("headers[1][value]", ""),
        ("is_final", "true"),
        ("score", "1.5"),
        ("stats[inbound][mos]", "4.50"),
    ]


async def test_a_get_has_no_body_and_its_signature_covers_the_whole_query(rig: Any, receiver: Any) -> None:
    receipt = await rig.put(receiver.base + "/a?key=a%20b+c&x=%C3%A4#part", method="GET")
    assert await receipt.first_attempt
    (got,) = receiver.got
    assert (got.method, got.path, got.body) == ("GET", "/a", b"")
    assert got.query.startswith("key=a%20b+c&x=%C3%A4&event_type=call.answered&id=" + receipt.event_id)
    assert dict(parse_qsl(got.query))["n"] == "1"
    assert "content-type" not in got.headers
    check_signature(got)


async def test_the_failover_url_of_a_get_is_posted_to(rig: Any, receiver: Any) -> None:
    receiver.answers["/a"] = 404
    receipt = await rig.put(receiver.base + "/a", failover=receiver.base + "/b", method="GET")
    await receiver.until(2)
    assert [(got.method, got.path) for got in receiver.got] == [("GET", "/a"), ("POST", "/b")]
    assert receiver.got[1].id == receipt.event_id


@pytest.mark.parametrize("keep_query", [True, False])
async def test_a_redirected_get_keeps_its_event(rig: Any, receiver: Any, keep_query: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        query = f"?{request.rel_url.raw_query_string}" if keep_query else ""
        return web.Response(status=307, headers={"Location": "/b" + query})

    receiver.answers["/a"] = answer
    receipt = await rig.put(receiver.base + "/a", method="GET")
    assert await receipt.first_attempt
    assert [got.path for got in receiver.got] == ["/a", "/b"]
    assert receiver.got[0].query == receiver.got[1].query
    check_signature(receiver.got[1])


async def test_an_event_with_a_url_of_its_own_goes_there(rig: Any, receiver: Any) -> None:
    wishes = {"urls": {"call.hangup": receiver.base + "/end"}, "urls_method": "GET"}
    await rig.put(receiver.base + "/all", **wishes)
    receipt = await rig.put(receiver.base + "/all", event="call.hangup", **wishes)
    assert await receipt.first_attempt
    assert [(got.method, got.path) for got in receiver.got] == [("POST", "/all"), ("GET", "/end")]


@pytest.mark.parametrize(("waits_s", "attempts"), [((), 1), ((0.01,) * 5, 6)])
async def test_an_application_may_say_how_often_an_event_is_tried(
    rig: Any, receiver: Any, waits_s: tuple[float, ...], attempts: int
) -> None:
    receiver.answers["/a"] = receiver.answers["/b"] = 500
    receipt = await rig.put(
        receiver.base + "/a", failover=receiver.base + "/b", retries_s={"call.answered": waits_s}
    )
    await rig.settled()
    view = await rig.deliveries.find(receipt.event_id)
    assert [got.path for got in receiver.got] == ["/a"] * attempts + ["/b"] * attempts
    assert (view.state, view.row.retries_s) == ("failed", waits_s)
