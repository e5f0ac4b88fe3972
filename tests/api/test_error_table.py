"""The error table row by row: each is produced for real and read through the SDK's exception classes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import telnyx

from offhook.app.dialogflow import Agents
from offhook.app.settings import DEFAULT_APPLICATION_ID, DialogflowSettings
from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.edge.http.commands import DIAL
from offhook.edge.http.rates import RateLimit
from offhook.edge.store import DialogflowConnections, Store
from tests.api.conftest import Api, running_api
from tests.api.reference import ROOT, operation_of, sections
from tests.fakes.command_samples import LEAST, SOCKET

pytestmark = pytest.mark.api

Client = telnyx.AsyncTelnyx
Ask = Callable[[Api, Client], Awaitable[Any]]

CLASSES: dict[int, type[telnyx.APIStatusError]] = {
    400: telnyx.BadRequestError,
    401: telnyx.AuthenticationError,
    404: telnyx.NotFoundError,
    422: telnyx.UnprocessableEntityError,
    429: telnyx.RateLimitError,
    500: telnyx.InternalServerError,
    503: telnyx.InternalServerError,
}
"""What the SDK raises for a status; for the others the base of all."""
STREAM = {"stream_url": SOCKET}
RAW_AUDIO = {**STREAM, "stream_bidirectional_mode": "rtp"}


def command(name: str, *before: str, answered: bool = True, **members: Any) -> Ask:
    """Return the request for a command that is refused, on a call that has had others `before`."""

    async def ask(api: Api, client: Client) -> None:
        call = api.service.ring(answered=answered)
        for earlier in before:
            await _send(client, earlier, call, LEAST[earlier])
        await _send(client, name, call, {**LEAST[name], **members})

    return ask


def twice(name: str, **members: Any) -> Ask:
    """Return a request that is refused because the same was accepted before."""

    async def ask(api: Api, client: Client) -> None:
        call = api.service.ring(answered=True)
        for _ in range(2):
            await _send(client, name, call, {**LEAST[name], **members})

    return ask


def without(name: str, parameter: str) -> Ask:
    """Return the request for a command that lacks a parameter."""

    async def ask(api: Api, client: Client) -> None:
        members = {key: value for key, value in LEAST[name].items() if key != parameter}
        await _send(client, name, api.service.ring(answered=True), members)

    return ask


def dial(**members: Any) -> Ask:
    """Return the request for a call that is refused."""

    async def ask(api: Api, client: Client) -> None:
        await client.post("/calls", body={**LEAST[DIAL], **members}, cast_to=object)

    return ask


def raw(content: bytes) -> Ask:
    """Return a request with such a body."""

    async def ask(api: Api, client: Client) -> None:
        path = f"/calls/{api.service.ring()}/actions/answer"
        await client.post(path, content=content, cast_to=object)

    return ask


def failing(failure: Exception) -> Ask:
    """Return a request that meets a server in trouble."""

    async def ask(api: Api, client: Client) -> None:
        api.service.failure = failure
        await client.calls.actions.hangup("v3:any")

    return ask


async def _send(client: Client, name: str, call: str, members: dict[str, Any]) -> None:
    method = operation_of(name).partition(" ")[0].lower()
    await getattr(client, method)(f"/calls/{call}/actions/{name}", body=members, cast_to=object)


async def _answer_our_own(api: Api, client: Client) -> None:
    made = (
        await client.calls.dial(**{"from_" if k == "from" else k: v for k, v in LEAST[DIAL].items()})
    ).data
    assert made is not None
    await client.calls.actions.answer(made.call_control_id)


async def _wrong_dialogflow(api: Api, client: Client) -> None:
    body = {"service_account": {"type": "service_account"}, "dialogflow_api": "zx"}
    await client.put(f"/dialogflow_connections/{DEFAULT_APPLICATION_ID}", body=body, cast_to=object)


async def _slow_body(api: Api, client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        while not api.answered:
            await asyncio.sleep(0.01)

    path = f"/calls/{api.service.ring()}/actions/answer"
    await client.post(path, content=endless(), cast_to=object)


async def _too_often(api: Api, client: Client) -> None:
    for _ in range(3):
        await client.calls.actions.answer(api.service.ring())


ROWS: dict[tuple[int, str], Ask] = {
    (400, "10015"): raw(b"[]"),
    (400, "10023"): raw(b"{"),
    (400, "10028"): raw(b'{"a": "\xff"}'),
    (401, "10009"): lambda api, client: client.with_options(api_key="wrong").calls.actions.answer("v3:any"),
    (404, "10005"): lambda api, client: client.calls.retrieve_status(api.service.stranger()),
    (405, "10030"): lambda api, client: client.delete("/calls/v3:any", cast_to=object),
    (408, "10008"): _slow_body,
    (413, "10015"): raw(b'{"a": "' + b"x" * limits.COMMAND_BODY_BYTES_MAX + b'"}'),
    (422, "10003"): command("streaming_start", stream_url="http://app.example"),
    (422, "10004"): without("streaming_start", "stream_url"),
    (422, "10015"): command("fork_start", rx="nowhere"),
    (422, "10016"): dial(to="nobody"),
    (422, "10025"): command("streaming_start", stream_auth_token="t" * 4001),
    (422, "10026"): command("streaming_start", stream_url=5),
    (422, "10027"): command("answer"),
    (422, "10032"): command("streaming_start", stream_track="all"),
    (422, "10033"): dial(timeout_secs=4),
    (422, "10038"): dial(answering_machine_detection="detect"),
    (422, "90000"): command("record_start", format="ogg"),
    (422, "90001"): command("record_start", channels="three"),
    (422, "90002"): command("record_start", timeout_secs=-1),
    (422, "90007"): command("gather", terminating_digit="12"),
    (422, "90008"): command("gather", valid_digits="xyz"),
    (422, "90009"): command("playback_start", loop=0),
    (422, "90010"): command("speak", payload=" "),
    (422, "90012"): command("speak", voice=""),
    (422, "90014"): command("send_dtmf", digits="x"),
    (422, "90015"): lambda api, client: client.calls.actions.hangup(api.service.stranger()),
    (422, "90016"): command("playback_stop", stop="some"),
    (422, "90017"): command("client_state_update", client_state="%"),
    (422, "90018"): command("hangup", "hangup"),
    (422, "90022"): command("gather", minimum_digits=0),
    (422, "90023"): command("gather", maximum_digits=129),
    (422, "90024"): command("gather_using_audio", maximum_tries=0),
    (422, "90025"): command("gather", timeout_millis=0),
    (422, "90026"): command("gather", inter_digit_timeout_millis=0),
    (422, "90027"): command("send_dtmf", duration_millis=99),
    (422, "90031"): command("fork_stop"),
    (422, "90034"): command("streaming_start", answered=False),
    (422, "90045"): twice("streaming_start", **RAW_AUDIO),
    (422, "90048"): command("streaming_stop"),
    (422, "90054"): twice("transcription_start"),
    (422, "90056"): command("gather", initial_timeout_millis=0),
    (422, "90057"): command("answer", answered=False, webhook_urls={"call.sneezed": "https://h"}),
    (422, "90059"): command("record_start", recording_track="all"),
    (422, "90102"): _answer_our_own,
    (422, "100001"): _wrong_dialogflow,
    (429, "10011"): _too_often,
    (500, "10007"): failing(RuntimeError("a bug")),
    (503, "10007"): failing(LimitReached("STREAMS_MAX is reached")),
}
"""A request for each row of docs/reference/errors.md."""


def documented() -> Iterator[tuple[int, str]]:
    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    for status, code in re.findall(r"^\| (\d{3}) \| (\d{5,6}) \|", page, re.MULTILINE):
        yield int(status), code


@asynccontextmanager
async def api_for(status: int, folder: Path) -> AsyncIterator[Api]:
    store = Store.open(folder)

    async def nowhere(host: str, port: int) -> list[tuple[str, int]]:
        return [(host, port)]

    agents = Agents(DialogflowConnections(store), DialogflowSettings(), nowhere)
    rate = RateLimit(2, 60.0) if status == 429 else None
    try:
        async with running_api(dialogflow=agents, rate_limit=rate) as api:
            yield api
    finally:
        store.close()


def test_every_row_of_the_page_is_produced_here_and_no_other() -> None:
    assert set(ROWS) == set(documented()), "each row of docs/reference/errors.md needs a request here"


@pytest.mark.parametrize(("status", "code"), sorted(ROWS, key=str))
async def test_a_row_reaches_the_app_as_the_exception_of_its_status(
    status: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_TIMEOUT_S", 0.05 if status == 408 else 10)
    async with api_for(status, tmp_path) as api, api.sdk(max_retries=0) as client:
        with pytest.raises(telnyx.APIStatusError) as caught:
            await ROWS[status, code](api, client)
    error = caught.value
    assert type(error) is CLASSES.get(status, telnyx.APIStatusError)
    assert error.status_code == status
    body: Any = error.body
    entry = body["errors"][0]
    assert (entry["code"], isinstance(entry["detail"], str)) == (code, True)
    assert entry["title"] in titles_of(code)
    assert entry["meta"]["url"].endswith(f"/errors/{code}")


def titles_of(code: str) -> set[str]:
    """Return the titles that Telnyx publishes for a code."""
    published = json.loads((ROOT / "tests/data/telnyx/error_titles.json").read_text())
    plain = {**published, **published.get("titles", {})}
    return {str(plain.get(code)), *OTHER_TITLES.get(code, ())}


OTHER_TITLES = {
    "10007": ("Internal server error", "Service unavailable"),
    "10016": ("Phone number must be in +E164 format",),
}
"""Where Telnyx answers with another title than its list of codes has (contract 1.2)."""


def test_what_telnyx_has_and_this_server_never_answers_is_documented() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", sections("errors.md")["Never answered"], re.MULTILINE)
    never = {code for row in rows for code in row.split(", ")}
    answered = {code for _, code in documented()}
    assert never & answered == set()
    assert (never | answered) >= OF_THE_TABLE


OF_THE_TABLE = {
    *("10003", "10004", "10005", "10007", "10009", "10010", "10011", "10015", "10016", "10023", "10025"),
    *("10026", "10028", "10030", "10032", "10033", "90009", "90010", "90012", "90014", "90015", "90016"),
    *("90017", "90018", "90020", "90021", "90027", "90031", "90034", "90041", "90042", "90043", "90045"),
    *("90046", "90048", "90054", "90055", "90057", "90102", "100001"),
}
"""Codes that Telnyx's documentation has for what this server is about (contract 1.2)."""
