"""Streams started and stopped over TeXML REST, by the official SDK and by forms."""

from typing import Any

import httpx
import pytest
import telnyx

from offhook.call.commands import StartStream, StopStream, StreamCallback
from offhook.call.effects import Notify
from offhook.call.values import Track
from tests.api.conftest import Api

pytestmark = pytest.mark.api

URL = "wss://app.example/media?a=1&b=%20"


def path_of(call: str) -> str:
    return f"/v2/texml/Accounts/account/Calls/{call}/Streams"


async def post(api: Api, path: str, **fields: Any) -> httpx.Response:
    async with api.http() as client:
        return await client.post(f"{path}.json", data=fields)


async def test_the_sdk_starts_and_stops_a_stream(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        calls = client.texml.accounts.calls
        made = await calls.streams_json(
            call,
            account_sid="account",
            url=URL,
            name="mine",
            track="both_tracks",
            bidirectional_mode="rtp",
            bidirectional_codec="G722",
        )
        assert (made.account_sid, made.call_sid, made.name, made.status) == (
            "account",
            call,
            "mine",
            "in-progress",
        )
        assert made.sid is not None
        assert made.uri == f"{path_of(call)}/{made.sid}.json"
        assert made.date_updated is not None
        stopped = await calls.streams.streaming_sid_json(
            made.sid.upper(), account_sid="account", call_sid=call, status="stopped"
        )
        assert (stopped.status, stopped.sid) == ("stopped", made.sid)
        with pytest.raises(telnyx.NotFoundError):
            await calls.streams.streaming_sid_json(
                "nothing", account_sid="account", call_sid=call, status="stopped"
            )
    (_, start), (_, stop) = api.service.commands
    assert isinstance(start, StartStream)
    assert start.stream is not None
    assert (start.stream.url, start.stream.tracks, start.stream.app_codec) == (
        URL,
        (Track.RX, Track.TX),
        "G722",
    )
    assert stop == StopStream(stream_id=made.sid)


async def test_a_form_starts_and_stops_a_stream(api: Api) -> None:
    call = api.service.ring(answered=True)
    made = await post(api, path_of(call), Url=URL, Name="ä", Track="", Unknown="x")
    assert (made.status_code, made.json()["name"]) == (200, "ä")
    stopped = await post(api, f"{path_of(call)}/{made.json()['sid']}", Status="stopped")
    assert (stopped.status_code, stopped.json()["status"]) == (200, "stopped")
    _, start = api.service.commands[0]
    assert isinstance(start, StartStream)
    assert start.stream is not None
    assert (start.stream.url, start.stream.tracks) == (URL, (Track.RX,))


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({}, "10004", "/Url"),
        ({"Url": "http://app.example/"}, "10003", "/Url"),
        ({"Url": URL, "Track": "inbound"}, "10032", "/Track"),
        ({"Url": URL, "BidirectionalCodec": "OPUS"}, "10032", "/BidirectionalCodec"),
        (
            {"Url": URL, "StatusCallback": "http://app.example/", "StatusCallbackMethod": "PUT"},
            "10032",
            "/StatusCallbackMethod",
        ),
        ({"Url": URL, "StatusCallback": "app.example"}, "10003", "/StatusCallback"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, fields: dict[str, str], code: str, pointer: str) -> None:
    answer = await post(api, path_of(api.service.ring(answered=True)), **fields)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["source"]["pointer"]) == (422, code, pointer)
    assert api.service.commands == []


async def test_a_status_callback_reaches_the_leg_with_its_names(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        made = await client.texml.accounts.calls.streams_json(
            call,
            account_sid="account",
            url=URL,
            name="mine",
            status_callback="https://app.example/status",
            status_callback_method="GET",
        )
    _, start = api.service.commands[0]
    assert isinstance(start, StartStream)
    assert start.stream is not None
    assert start.stream.callback == StreamCallback(
        url="https://app.example/status", method="GET", account_sid="account", name="mine"
    )
    told = [each for each in api.service.effects_of(Notify) if each.route.form]
    assert [(each.event_type, each.payload["StreamSid"]) for each in told] == [("stream-started", made.sid)]


async def test_a_call_or_a_state_that_is_not_there_is_told(api: Api) -> None:
    unknown = await post(api, path_of("v3:nothing"), Url=URL)
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (404, "10005")
    early = await post(api, path_of(api.service.ring()), Url=URL)
    assert (early.status_code, early.json()["errors"][0]["code"]) == (422, "90034")
    call = api.service.ring(answered=True)
    for fields, code in (({}, "10004"), ({"Status": "paused"}, "10032")):
        answer = await post(api, f"{path_of(call)}/x", **fields)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


@pytest.mark.parametrize("body", [b"Url=\xff", b"Url=%ff", b"&".join(b"a=1" for _ in range(101))])
async def test_a_broken_form_is_refused(api: Api, body: bytes) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    async with api.http() as client:
        path = f"{path_of(api.service.ring(answered=True))}.json"
        answer = await client.post(path, content=body, headers=form)
    assert answer.status_code == 400


async def test_the_sdks_own_retry_starts_no_second_stream(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.http() as client:
        client.headers["x-stainless-retry-count"] = "1"
        answers = [await client.post(f"{path_of(call)}.json", data={"Url": URL}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["offhook-duplicate"] == "true"
    assert len(api.service.commands) == 1
