"""Recordings through the official SDK: what reaches the leg, what is refused, and the resource itself."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import telnyx
from prometheus_client import CollectorRegistry

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call.values import Track
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.pages import Page
from offhook.edge.http.recordings import RecordingQuery, RecordingResource
from offhook.edge.http.server import HttpServer
from tests.api.conftest import API_KEY, Api
from tests.api.test_actions import problem
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api

ID = "32de0dea-53cb-4b21-89a4-9e1819c043bc"


class Shelf:
    """A `RecordingService` of a few recordings in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = {ID: resource(ID)}
        self.queries: list[RecordingQuery] = []

    async def get(self, recording_id: str) -> RecordingResource | None:
        return self.kept.get(recording_id)

    async def page(self, query: RecordingQuery, page: Page) -> tuple[list[RecordingResource], int]:
        self.queries.append(query)
        found = list(self.kept.values())
        return found[page.first : page.first + page.size], len(found)

    async def delete(self, recording_ids: list[str]) -> list[RecordingResource]:
        return [self.kept.pop(each) for each in recording_ids if each in self.kept]

    async def file(self, name: str, *, expires: str, signature: str) -> tuple[Path, str] | None:
        file = self.folder / name
        return (file, "mine-1.wav") if (expires, signature) == ("1", "s") and file.is_file() else None


def resource(recording_id: str) -> RecordingResource:
    return RecordingResource(
        id=recording_id,
        call_control_id="v3:x",
        call_leg_id="leg",
        call_session_id="session",
        channels="dual",
        connection_id="1000000000000000001",
        created_at="2026-11-23T08:00:00.000000Z",
        download_urls={"wav": "http://127.0.0.1/a.wav"},
        duration_millis=1000,
        from_="+15550100001",
        initiated_by="StartCallRecordingAPI",
        recording_ended_at="2026-11-23T08:00:01.000000Z",
        recording_started_at="2026-11-23T08:00:00.000000Z",
        to="+15550100002",
        updated_at="2026-11-23T08:00:01.000000Z",
    )


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[tuple[Api, Shelf]]:
    service, shelf = LegService(), Shelf(tmp_path)
    app = create_app(
        service,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=lambda ip: None),
        clock=service.clock,
        registry=CollectorRegistry(),
        recordings=shelf,
    )
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    yield Api(server.url, service, app), shelf
    await server.close()


async def test_every_parameter_of_a_recording_reaches_the_leg_once_a_command_id(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(2):
            started = await client.calls.actions.start_recording(
                call,
                format="mp3",
                channels="single",
                recording_track="inbound",
                play_beep=True,
                max_length=60,
                timeout_secs=5,
                trim="trim-silence",
                custom_file_name="mine",
                client_state="c3RhdGU=",
                command_id="once",
            )
            assert started.data is not None
            assert started.data.result == "ok"
            recording_id = started.data.model_extra["recording_id"]  # type: ignore[index]
        for act in ("pause_recording", "resume_recording", "stop_recording"):
            done = await getattr(client.calls.actions, act)(call, recording_id=recording_id)
            assert done.data.result == "ok"
    [opened] = api.service.effects_of(do.OpenRecording)
    assert opened.recording_id == recording_id
    assert opened.options == ask.RecordingOptions(
        format=ask.RecordingFormat.MP3,
        dual=False,
        tracks=(Track.RX,),
        max_s=60,
        silence_timeout_s=5,
        trim_silence=True,
        beep=True,
        file_name="mine",
    )
    assert [effect.held for effect in api.service.effects_of(do.HoldRecording)] == [True, False]
    assert len(api.service.effects_of(do.CloseRecording)) == 1


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"format": None}, ("10004", "/format")),
        ({"channels": None}, ("10004", "/channels")),
        ({"format": "ogg"}, ("90000", "/format")),
        ({"format": 1}, ("10026", "/format")),
        ({"channels": "three"}, ("90001", "/channels")),
        ({"recording_track": "all"}, ("90059", "/recording_track")),
        ({"timeout_secs": -1}, ("90002", "/timeout_secs")),
        ({"max_length": 14_401}, ("10033", "/max_length")),
        ({"max_length": True}, ("10026", "/max_length")),
        ({"trim": "all"}, ("10032", "/trim")),
        ({"play_beep": "yes"}, ("10026", "/play_beep")),
        ({"custom_file_name": ""}, ("10025", "/custom_file_name")),
        ({"custom_file_name": "x" * 41}, ("10025", "/custom_file_name")),
        ({"transcription": True}, ("10038", "/transcription")),
    ],
)
async def test_what_no_recording_can_be_is_refused_by_name(
    api: Api, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    body = {
        name: value
        for name, value in ({"format": "wav", "channels": "dual"} | members).items()
        if value is not None
    }
    assert await api.refusal("record_start", body) == expected
    assert api.service.effects_of(do.OpenRecording) == []


async def test_recordings_are_refused_where_there_are_none(api: Api) -> None:
    ringing, call = api.service.ring(), api.service.ring(answered=True)
    async with api.sdk() as client:
        actions = client.calls.actions
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.start_recording(ringing, format="wav", channels="dual")
        assert problem(caught.value) == ("90034", None)
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.stop_recording(call, recording_id=ID)
        assert problem(caught.value) == ("10015", "/recording_id")
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.stop_recording(call, recording_id="mine")
        assert problem(caught.value) == ("10015", "/recording_id")
        assert (await actions.stop_recording(call)).data is not None


async def test_an_answer_and_a_dial_tell_the_recording_they_begin(api: Api) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        answered = await client.calls.actions.answer(
            call,
            record="record-from-answer",
            record_format="wav",
            record_channels="single",
            record_max_length=9,
        )
    [opened] = api.service.effects_of(do.OpenRecording)
    assert answered.data is not None
    assert answered.data.recording_id == opened.recording_id
    assert opened.options == ask.RecordingOptions(format=ask.RecordingFormat.WAV, dual=False, max_s=9)


async def test_the_resource_is_that_of_the_sdk(shelf: tuple[Api, Shelf]) -> None:
    api, kept = shelf
    async with api.sdk() as client:
        found = (await client.recordings.retrieve(ID)).data
        assert found is not None
        assert (found.id, found.from_, found.status, found.duration_millis) == (
            ID,
            "+15550100001",
            "completed",
            1000,
        )
        page = await client.recordings.list(
            filter={
                "call_leg_id": "leg",
                "from": "+15550100001",
                "created_at": {"gte": "2026-11-23T08:00:00Z", "lte": "2026-11-24"},
                "end_time": {"gte": "2026-11-23T08:00:00+01:00"},
            }
        )
        assert [item.id for item in page.data or []] == [ID]
        assert page.meta is not None
        assert page.meta.total_results == 1
        none = await client.recordings.list(filter={"conference_id": "x"})
        assert none.data == []
        await client.recordings.actions.delete(ids=[ID, "other"])
        with pytest.raises(telnyx.NotFoundError):
            await client.recordings.delete(ID)
    [query] = kept.queries
    assert dict(query.equal) == {"call_leg_id": "leg", "caller": "+15550100001"}
    assert query.started_from == pytest.approx(1_795_420_800, abs=0.001)
    assert query.ended_from == pytest.approx(1_795_417_200, abs=0.001)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/recordings?filter[colour]=red", "10015"),
        ("/v2/recordings?filter[created_at][gte]=yesterday", "10015"),
        ("/v2/recordings?filter[from]=", "10025"),
        ("/v2/recordings?page[size]=0", "10033"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(shelf: tuple[Api, Shelf], path: str, code: str) -> None:
    async with shelf[0].http() as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "x"}, {"ids": [1]}, {"ids": ["x"] * 101}])
async def test_deletions_that_name_nothing_are_refused(
    shelf: tuple[Api, Shelf], body: dict[str, Any]
) -> None:
    async with shelf[0].http() as client:
        answer = await client.post("/v2/recordings/actions/delete", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["source"]["pointer"] == "/ids"


async def test_a_file_needs_its_url_and_no_key_and_all_else_needs_a_key(shelf: tuple[Api, Shelf]) -> None:
    api, kept = shelf
    (kept.folder / "a.wav").write_bytes(b"RIFF1234")
    async with api.http(headers={}, timeout=30) as client:
        got = await client.get("/v2/recordings/files/a.wav?expires=1&signature=s")
        assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"RIFF1234", "audio/wav")
        assert got.headers["content-disposition"] == 'attachment; filename="mine-1.wav"'
        assert got.headers["cache-control"] == "private, no-store"
        part = await client.get(
            "/v2/recordings/files/a.wav?expires=1&signature=s", headers={"range": "bytes=4-"}
        )
        assert (part.status_code, part.content) == (206, b"1234")
        for query in ("", "?expires=1", "?expires=1&signature=x", "?signature=s"):
            refused = await client.get(f"/v2/recordings/files/a.wav{query}")
            assert (refused.status_code, refused.json()["errors"][0]["code"]) == (404, "10005")
        assert (await client.get("/v2/recordings/files/..%2Fa.wav?expires=1&signature=s")).status_code == 404
        for method, path in (
            ("GET", ""),
            ("GET", f"/{ID}"),
            ("DELETE", f"/{ID}"),
            ("POST", "/actions/delete"),
        ):
            assert (await client.request(method, f"/v2/recordings{path}")).status_code == 401
    assert ID in kept.kept
