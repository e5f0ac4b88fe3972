"""Callbacks: the payload alone as a form, signed like any webhook and sent again after a restart."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import pytest

from offhook.proto.webhook import Event, encode_event, form_of
from tests.unit.webhook.conftest import KEY, Got

pytestmark = pytest.mark.unit


def check_signature(got: Got, covered: bytes) -> None:
    signature = base64.b64decode(got.headers["telnyx-signature-ed25519"])
    KEY.public_key().verify(signature, got.headers["telnyx-timestamp"].encode() + b"|" + covered)


def test_a_form_holds_the_payload_and_nothing_else() -> None:
    payload = {"StreamName": "a & =?ä", "StreamEvent": "stream-started", "StreamError": None, "Empty": ""}
    form = form_of(encode_event(Event("stream-started", "id-1", "2026-11-23T08:00:00.000000Z", payload)))
    assert form.isascii()
    assert parse_qsl(form, keep_blank_values=True, strict_parsing=True) == [
        ("Empty", ""),
        ("StreamEvent", "stream-started"),
        ("StreamName", "a & =?ä"),
    ]


async def test_a_form_is_posted_and_its_signature_covers_the_body(rig: Any, receiver: Any) -> None:
    receipt = await rig.put(receiver.base + "/a?x=1", form=True)
    assert await receipt.first_attempt
    (got,) = receiver.got
    assert (got.method, got.query, got.body) == ("POST", "x=1", b"n=1")
    assert got.headers["content-type"] == "application/x-www-form-urlencoded"
    check_signature(got, got.body)


async def test_a_form_is_the_query_of_a_get(rig: Any, receiver: Any) -> None:
    receipt = await rig.put(receiver.base + "/a?x=1", form=True, method="GET")
    assert await receipt.first_attempt
    (got,) = receiver.got
    assert (got.method, got.query, got.body) == ("GET", "x=1&n=1", b"")
    check_signature(got, got.query.encode())


async def test_a_form_stays_one_over_a_restart(make_rig: Any, receiver: Any) -> None:
    first = make_rig()
    await first.put(receiver.base + "/a", form=True)  # nobody sends yet
    first.store.close()
    second = await make_rig().start()
    (got,) = await receiver.until(1)
    assert got.body == b"n=1"
    await second.stop()
