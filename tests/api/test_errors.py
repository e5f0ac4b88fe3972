"""The error table of contract 1.2, through the SDK's exception classes, one request each."""

from typing import Any

import pytest
import telnyx
from structlog.testing import capture_logs

from offhook.base.errors import LimitReached
from offhook.edge.http.not_yet import ACTIONS_NOT_YET
from tests.api.conftest import PRIVATE, Api
from tests.fakes.call_service import CONNECTION_ID

pytestmark = pytest.mark.api

URL = "ws://127.0.0.1:9/media"
ERRORS = "https://developers.telnyx.com/docs/overview/errors/"


def problem(error: telnyx.APIStatusError) -> tuple[str, str | None]:
    """Return code and pointer of the first problem, after a look at the shape of the whole."""
    body: Any = error.body
    assert set(body) == {"errors"}
    for entry in body["errors"]:
        assert set(entry) - {"source"} == {"code", "title", "detail", "meta"}
        assert all(isinstance(entry[key], str) and entry[key] for key in ("code", "title", "detail"))
        assert entry["meta"] == {"url": ERRORS + entry["code"]}
    first = body["errors"][0]
    return first["code"], first.get("source", {}).get("pointer")


async def refused(api: Api, method: str, call: str, **members: Any) -> tuple[str, str | None]:
    """Return the problem of a command that is refused with 422, by one request and without a trace."""
    before = (len(api.requests), list(api.service.effects), api.service.status(call))
    async with api.sdk() as client:
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await getattr(client.calls.actions, method)(call, **members)
    assert len(api.requests) == before[0] + 1, "a refused command must not be retried by the SDK"
    assert (api.service.effects, api.service.status(call)) == before[1:], "a refusal leaves no trace"
    return problem(caught.value)


PARAMETERS = [
    ("start_streaming", {}, ("10004", "/stream_url")),
    ("start_streaming", {"stream_url": "http://app.example"}, ("10003", "/stream_url")),
    ("start_streaming", {"stream_url": URL, "stream_track": "all"}, ("10032", "/stream_track")),
    ("start_streaming", {"stream_url": 5}, ("10026", "/stream_url")),
    (
        "start_streaming",
        {"stream_url": URL, "stream_auth_token": "t" * 4001},
        ("10025", "/stream_auth_token"),
    ),
    ("start_streaming", {"stream_url": URL, "client_state": "no base64!"}, ("90017", "/client_state")),
    ("start_streaming", {"stream_url": URL, "stream_codec": "GSM"}, ("10032", "/stream_codec")),
    (
        "start_streaming",
        {
            "stream_url": URL,
            "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": "OPUS",
            "stream_bidirectional_sampling_rate": 22050,
        },
        ("10032", "/stream_bidirectional_sampling_rate"),
    ),
    ("start_forking", {}, ("10004", "/rx")),
    ("start_forking", {"rx": "udp:192.0.2.1:1"}, ("10004", "/tx")),
    ("start_forking", {"rx": "nowhere", "tx": "udp:192.0.2.1:1"}, ("10015", "/rx")),
    ("start_forking", {"rx": "udp:192.0.2.1:1", "tx": PRIVATE}, ("10015", "/tx")),
    ("start_transcription", {"transcription_engine": "Whisper"}, ("10032", "/transcription_engine")),
    (
        "start_transcription",
        {"transcription_engine_config": {"speech_context": [{"boost": 21.0}]}},
        ("10033", "/transcription_engine_config/speech_context/0/boost"),
    ),
    ("update_client_state", {"client_state": "%"}, ("90017", "/client_state")),
    ("hangup", {"command_id": "x" * 256}, ("10025", "/command_id")),
    ("answer", {"webhook_urls": {"call.sneezed": ["https://h"]}}, ("90057", "/webhook_urls")),
    ("answer", {"sound_modifications": {"pitch": 2}}, ("10038", "/sound_modifications")),
    ("reject", {"cause": "BORED"}, ("10032", "/cause")),
]


@pytest.mark.parametrize(("method", "members", "expected"), PARAMETERS)
async def test_a_bad_parameter_is_unprocessable(
    api: Api, method: str, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    call = api.service.ring(answered=method.startswith(("start", "stop")))
    assert await refused(api, method, call, **members) == expected


async def test_a_missing_parameter_is_named(api: Api) -> None:
    call = api.service.ring()
    async with api.http() as client:
        answer = await client.post(f"/v2/calls/{call}/actions/reject", json={})
    assert answer.status_code == 422
    [entry] = answer.json()["errors"]
    assert (entry["code"], entry["source"]) == ("10004", {"pointer": "/cause"})
    assert "`cause`" in entry["detail"]


@pytest.mark.parametrize(
    "method", ["start_streaming", "start_forking", "start_transcription", "stop_streaming"]
)
async def test_media_commands_wait_for_the_answer(api: Api, method: str) -> None:
    members: dict[str, Any] = {
        "start_streaming": {"stream_url": URL},
        "start_forking": {"rx": "udp:127.0.0.1:1", "tx": "udp:127.0.0.1:2"},
    }.get(method, {})
    assert (await refused(api, method, api.service.ring(), **members))[0] == "90034"


@pytest.mark.parametrize(
    "method", ["answer", "hangup", "start_streaming", "stop_forking", "stop_transcription"]
)
async def test_commands_for_a_call_that_has_ended_are_refused(api: Api, method: str) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        await client.calls.actions.hangup(call)
    members = {"stream_url": URL} if method == "start_streaming" else {}
    assert (await refused(api, method, call, **members))[0] == "90018"


async def test_what_does_not_run_cannot_be_stopped(api: Api) -> None:
    call = api.service.ring(answered=True)
    assert (await refused(api, "stop_forking", call))[0] == "90031"
    assert (await refused(api, "stop_streaming", call))[0] == "90048"
    async with api.sdk() as client:
        await client.calls.actions.stop_transcription(call)
        await client.calls.actions.start_streaming(call, stream_url=URL)
    unknown = "32de0dea-53cb-4b21-89a4-9e1819c043bc"
    assert await refused(api, "stop_streaming", call, stream_id=unknown) == ("90048", "/stream_id")


async def test_one_transcription_at_a_time_and_one_answer(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        await client.calls.actions.start_transcription(call)
    assert (await refused(api, "start_transcription", call))[0] == "90054"
    assert (await refused(api, "answer", call))[0] == "10027"


async def test_a_refused_command_id_is_free_to_be_used(api: Api) -> None:
    call = api.service.ring()
    assert (await refused(api, "start_streaming", call, stream_url=URL, command_id="one"))[0] == "90034"
    async with api.sdk() as client:
        await client.calls.actions.answer(call)
        started = await client.calls.actions.start_streaming(call, stream_url=URL, command_id="one")
    assert started.data is not None
    assert started.data.result == "ok"


@pytest.mark.parametrize(
    "form", ["stranger", "v3:abc", "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ", "%"]
)
async def test_an_unknown_call_is_an_invalid_id_for_commands_and_not_found_for_reading(
    api: Api, form: str
) -> None:
    call = api.service.stranger() if form == "stranger" else form
    async with api.sdk() as client:
        with pytest.raises(telnyx.UnprocessableEntityError) as invalid:
            await client.calls.actions.hangup(call)
        assert problem(invalid.value) == ("90015", "/call_control_id")
        with pytest.raises(telnyx.NotFoundError) as unknown:
            await client.calls.retrieve_status(call)
        assert problem(unknown.value)[0] == "10005"
    assert len(api.requests) == 2


@pytest.mark.parametrize("key", ["wrong", "KEY", "ключ"])
async def test_a_wrong_key_gets_nowhere(api: Api, key: str) -> None:
    call = api.service.ring()
    async with api.http(headers={"authorization": f"Bearer {key}".encode()}) as client:
        answer = await client.post(f"/v2/calls/{call}/actions/answer")
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "10009"
    assert key not in answer.text
    assert not api.service.commands


async def test_the_sdk_calls_a_wrong_key_an_authentication_error(api: Api) -> None:
    async with api.sdk(api_key="wrong") as client:
        with pytest.raises(telnyx.AuthenticationError) as caught:
            await client.calls.actions.answer(api.service.ring())
    assert problem(caught.value) == ("10009", None)
    assert len(api.requests) == 1


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic S0VZ", "KEY0123456789"])
async def test_a_missing_or_odd_authorization_is_told(api: Api, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with api.http(headers=headers) as client:
        answer = await client.get("/v2/offhook/streams")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "10009")


async def test_each_key_is_accepted_and_the_scheme_in_any_case(api: Api) -> None:
    for authorization in ("bearer KEY0123456789", "Bearer KEYother"):
        async with api.http(headers={"authorization": authorization}) as client:
            assert (await client.get("/v2/offhook/streams")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v2",
        "/v2/nope",
        "/v3/calls/x",
        "/v2/calls/x/actions/fly",
        "/v2/calls/x/actions/",
        "/v2/calls//x",
    ],
)
async def test_an_unknown_url_is_not_found(api: Api, path: str) -> None:
    async with api.http() as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, path)
            [entry] = answer.json()["errors"]
            assert (answer.status_code, entry["code"], entry["source"]) == (404, "10005", {"pointer": "/"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/calls/x/actions/answer"),
        ("POST", "/v2/calls/x/actions/client_state_update"),
        ("PUT", "/calls/x/actions/hangup"),
        ("DELETE", "/v2/calls/x"),
        ("GET", "/v2/calls"),
        ("POST", "/healthz"),
    ],
)
async def test_a_wrong_method_is_told_with_the_right_one(api: Api, method: str, path: str) -> None:
    async with api.http() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, "10030")
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "10023"),
        (b"stream_url=ws://h", 400, "10023"),
        (b'{"a": "\xff\xfe"}', 400, "10028"),
        (b"[]", 400, "10015"),
        (b'"x"', 400, "10015"),
        (b'{"a": "' + b"x" * 256 * 1024 + b'"}', 413, "10015"),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_bad_request(
    api: Api, content: bytes, status: int, code: str
) -> None:
    call = api.service.ring()
    async with api.http() as client:
        answer = await client.post(f"/v2/calls/{call}/actions/answer", content=content)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)
        after = await client.post(f"/v2/calls/{call}/actions/answer")
    assert after.status_code == 200, "the connection must go on working"


async def test_a_chunked_body_that_grows_too_large_is_cut_off(api: Api) -> None:
    async def endless() -> Any:
        for _ in range(80):
            yield b" " * 4096

    async with api.http() as client:
        answer = await client.post(f"/v2/calls/{api.service.ring()}/actions/answer", content=endless())
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "10015")


async def test_a_command_of_a_later_version_says_so(api: Api) -> None:
    call = api.service.ring()
    async with api.http() as client:
        for name in ACTIONS_NOT_YET:
            answer = await client.post(f"/v2/calls/{call}/actions/{name}", json={"payload": "x"})
            [entry] = answer.json()["errors"]
            assert (answer.status_code, entry["code"], entry["title"]) == (
                422,
                "10038",
                "Feature not permitted",
            )
            assert name in entry["detail"]


async def test_a_dial_from_an_unknown_application_is_an_unprocessable_entity_in_the_sdk(api: Api) -> None:
    async with api.sdk() as client:
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await client.calls.dial(connection_id="1", from_="+15550100001", to="+15550100002")
    assert problem(caught.value) == ("10015", "/connection_id")


async def test_the_calls_of_an_unknown_connection_are_not_found(api: Api) -> None:
    async with api.sdk() as client:
        with pytest.raises(telnyx.NotFoundError) as caught:
            await client.connections.list_active_calls("1")
    assert problem(caught.value) == ("10005", "/connection_id")


@pytest.mark.parametrize(
    "query", ["page[after]=x", "page[before]=Y2FsbDp4", "page[limit]=0", "page[number]=x"]
)
async def test_a_place_in_a_list_that_is_none_is_refused(api: Api, query: str) -> None:
    async with api.http() as client:
        answer = await client.get(f"/v2/connections/{CONNECTION_ID}/active_calls?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["source"]["pointer"] == "/" + query.partition("=")[0]


async def test_a_full_server_is_unavailable_and_worth_a_retry(api: Api) -> None:
    api.service.failure = LimitReached("STREAMS_MAX is reached")
    async with api.sdk(max_retries=0) as client:
        with pytest.raises(telnyx.InternalServerError) as caught:
            await client.calls.actions.hangup(api.service.ring())
    assert problem(caught.value) == ("10007", None)
    assert caught.value.status_code == 503
    assert "x-should-retry" not in caught.value.response.headers


async def test_an_unexpected_failure_is_told_once_and_keeps_its_details_to_the_log(
    api: Api,
) -> None:
    api.service.failure = RuntimeError("a bug with details")
    call = api.service.ring()
    async with api.sdk() as client:
        with capture_logs() as logged, pytest.raises(telnyx.InternalServerError) as caught:
            await client.calls.actions.hangup(call)
    assert problem(caught.value) == ("10007", None)
    assert caught.value.status_code == 500
    assert "details" not in str(caught.value.body).replace("its log has the details", "")
    assert len(api.requests) == 1, "x-should-retry: false must stop the SDK"
    assert [(entry["event"], entry["route"], str(entry["exc_info"])) for entry in logged] == [
        ("request failed", "hangup", "a bug with details")
    ]
    api.service.failure = None
    async with api.sdk() as client:
        await client.calls.actions.hangup(call)


async def test_no_answer_is_a_204_or_a_409(api: Api) -> None:
    call = api.service.ring()
    async with api.http() as client:
        statuses = {
            (await client.post(f"/v2/calls/{call}/actions/{name}", json=members)).status_code
            for name, members in [
                ("answer", {"command_id": "a"}),
                ("answer", {"command_id": "a"}),
                ("answer", {}),
                ("transcription_start", {}),
                ("transcription_start", {}),
                ("hangup", {}),
                ("hangup", {}),
            ]
        }
    assert statuses == {200, 422}
