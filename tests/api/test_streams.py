"""`GET /v2/offhook/streams`: filters, pages, and refusals in Telnyx's words."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from offhook.app.cli import app as cli
from tests.api.conftest import API_KEY, Api

pytestmark = pytest.mark.api

URL = "wss://app.example/media?token=hidden"


async def streams(api: Api, **query: str | int) -> tuple[int, Any]:
    async with api.http() as client:
        answer = await client.get("/v2/offhook/streams", params=query)
        assert "hidden" not in answer.text
        return answer.status_code, answer.json()


async def start(api: Api, call: str) -> str:
    async with api.http() as client:
        answer = await client.post(f"/v2/calls/{call}/actions/streaming_start", json={"stream_url": URL})
        return str(answer.json()["data"]["stream_id"])


async def test_streams_are_listed_by_call_and_state(api: Api) -> None:
    one, other = api.service.ring(answered=True), api.service.ring(answered=True)
    ids = [await start(api, call) for call in (one, one, other)]
    async with api.http() as client:
        await client.post(f"/v2/calls/{one}/actions/streaming_stop", json={"stream_id": ids[0]})
    found = {}
    for query in ({}, {"state": "ended"}, {"state": "all"}, {"call_control_id": other}, {"state": "failed"}):
        status, body = await streams(api, **query)
        assert status == 200
        found[str(query)] = {item["stream_id"] for item in body["data"]}
    assert list(found.values()) == [set(ids[1:]), {ids[0]}, set(ids), {ids[2]}, set()]


async def test_a_list_comes_in_pages(api: Api) -> None:
    call = api.service.ring(answered=True)
    ids = [await start(api, call) for _ in range(5)]
    seen = []
    for number in (1, 2, 3, 4):
        status, body = await streams(api, **{"page[number]": number, "page[size]": 2})
        assert status == 200
        assert body["meta"] == {"page_number": number, "page_size": 2, "total_pages": 3, "total_results": 5}
        seen += [item["stream_id"] for item in body["data"]]
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ({"state": "sleeping"}, "10032", "/state"),
        ({"page[number]": "0"}, "10033", "/page[number]"),
        ({"page[number]": "x"}, "10026", "/page[number]"),
        ({"page[size]": "251"}, "10033", "/page[size]"),
        ({"page[size]": "-1"}, "10026", "/page[size]"),
        ({"page[size]": "9" * 400}, "10026", "/page[size]"),
    ],
)
async def test_a_wrong_question_is_named(api: Api, query: dict[str, str], code: str, pointer: str) -> None:
    status, body = await streams(api, **query)
    assert status == 422
    assert [(error["code"], error["source"]["pointer"]) for error in body["errors"]] == [(code, pointer)]


async def offhook_streams(api: Api, *arguments: str) -> Result:
    command = ["streams", "--url", api.url, "--api-key", API_KEY, *arguments]
    return await asyncio.to_thread(CliRunner().invoke, cli, command)


async def test_the_command_line_shows_what_the_api_tells(api: Api) -> None:
    call = api.service.ring(answered=True)
    ids = [await start(api, call) for _ in range(2)]
    shown = await offhook_streams(api, "--json")
    assert shown.exit_code == 0
    listed = (await streams(api, state="all"))[1]["data"]
    assert [json.loads(line) for line in shown.output.splitlines()] == listed
    shown = await offhook_streams(api, "--state", "live", "--call", call)
    assert all(stream_id in shown.output for stream_id in ids)
    assert "wss://app.example/media?..." in shown.output
    assert (await offhook_streams(api, "--state", "failed")).output == "No streams.\n"


async def test_the_command_line_says_what_was_refused(api: Api) -> None:
    refused = await offhook_streams(api, "--state", "sleeping")
    assert refused.exit_code == 2
    assert "must be one of live" in refused.output
