"""Every command through the official SDK, with strict validation of our answers."""

import asyncio
from typing import Any

import pytest

from offhook.call import commands as domain
from offhook.call import effects as do
from offhook.call.values import Track, UdpTarget
from tests.api.conftest import Api

pytestmark = pytest.mark.api

URL = "ws://127.0.0.1:9/media"


async def test_a_whole_call_through_the_sdk(api: Api) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        actions = client.calls.actions
        answered = await actions.answer(call, client_state="c3RhdGU=", command_id="answer-1")
        assert answered.data is not None
        assert answered.data.result == "ok"
        started = await actions.start_streaming(call, stream_url=URL, stream_track="both_tracks")
        assert started.data is not None
        stream_id: Any = (started.data.model_extra or {})["stream_id"]
        await actions.start_forking(call, rx="udp:127.0.0.1:9000", tx="udp:127.0.0.1:9002")
        await actions.start_transcription(call, transcription_engine="Telnyx", transcription_tracks="both")
        status = (await client.calls.retrieve_status(call)).data
        assert status is not None
        assert (status.is_alive, status.client_state, status.record_type) == (True, "c3RhdGU=", "call")
        listed = await client.get("/offhook/streams", cast_to=object)
        assert [item["stream_id"] for item in listed["data"]] == [stream_id]  # type: ignore[index]
        await actions.stop_transcription(call)
        await actions.stop_forking(call)
        await actions.stop_streaming(call, stream_id=stream_id)
        updated = await actions.update_client_state(call, client_state="bmV3")
        assert updated.data is not None
        assert updated.data.result == "ok"
        await actions.hangup(call)
        ended = (await client.calls.retrieve_status(call)).data
        assert ended is not None
        assert (ended.is_alive, ended.client_state) == (False, "bmV3")
        assert ended.end_time is not None
    [stream] = api.service.effects_of(do.OpenStream)
    assert (stream.url, stream.tracks) == (URL, (Track.RX, Track.TX))
    [fork] = api.service.effects_of(do.OpenFork)
    assert (fork.rx, fork.tx) == (UdpTarget("127.0.0.1", 9000), UdpTarget("127.0.0.1", 9002))
    told = [effect.event_type for effect in api.service.effects_of(do.Notify)]
    assert told == [
        "call.initiated",
        "call.answered",
        "streaming.started",
        "call.fork.started",
        "call.fork.stopped",
        "streaming.stopped",
        "call.hangup",
    ]


async def test_the_blocking_sdk_speaks_to_us_just_as_well(api: Api) -> None:
    call = api.service.ring()

    def use() -> list[str | None]:
        with api.blocking_sdk() as client:
            actions = client.calls.actions
            results = [
                actions.answer(call, stream_url=URL, transcription=True).data,
                actions.stop_streaming(call).data,
                actions.start_forking(call, rx="udp:127.0.0.1:9000", tx="udp:127.0.0.1:9002").data,
                actions.stop_forking(call, stream_type="decrypted").data,
                actions.stop_transcription(call).data,
                actions.start_streaming(call, stream_url=URL, stream_codec="PCMA").data,
                actions.update_client_state(call, client_state="").data,
                actions.start_transcription(call).data,
                actions.hangup(call, custom_headers=[{"name": "X-Why", "value": "done"}]).data,
            ]
            assert client.calls.retrieve_status(call).data is not None
        return [result.result if result is not None else None for result in results]

    assert await asyncio.to_thread(use) == ["ok"] * 9


@pytest.mark.parametrize("cause", ["CALL_REJECTED", "USER_BUSY", "NOT_FOUND", "TEMPORARILY_UNAVAILABLE"])
async def test_a_call_is_rejected_with_every_cause(api: Api, cause: Any) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        result = await client.calls.actions.reject(call, cause=cause)
    assert result.data is not None
    assert result.data.result == "ok"
    assert len(api.service.effects_of(do.RejectCall)) == 1


async def test_every_parameter_of_the_sdk_reaches_the_command(api: Api) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        await client.calls.actions.answer(
            call,
            preferred_codecs="G722,PCMU,PCMA,G729,OPUS,VP8,H264",
            custom_headers=[{"name": "X-A", "value": "1"}],
            sip_headers=[{"name": "User-to-User", "value": "00"}],
            send_silence_when_idle=True,
            webhook_url="https://app.example/hook",
            stream_url=URL,
            stream_track="outbound_track",
            stream_codec="PCMA",
            stream_bidirectional_mode="mp3",
            stream_bidirectional_codec="PCMU",
            stream_bidirectional_target_legs="opposite",
            transcription=True,
            transcription_config={
                "transcription_engine": "Deepgram",
                "transcription_engine_config": {
                    "transcription_engine": "deepgram/nova-3",
                    "transcription_model": "deepgram/nova-3",
                    "language": "en-US",
                    "interim_results": True,
                    "keyterms": ["Offhook"],
                },
                "transcription_tracks": "both",
            },
        )
    [(_, command)] = api.service.commands
    assert isinstance(command, domain.Answer)
    assert command.stream == domain.StreamOptions(url=URL, tracks=(Track.TX,), codec="PCMA", app_codec="MP3")
    assert command.transcription == domain.TranscriptionOptions(
        engine="Deepgram",
        tracks=(Track.RX, Track.TX),
        language="en-US",
        interim_results=True,
        model="deepgram/nova-3",
        options={"keyterms": ["Offhook"]},
    )
    assert command.silence_when_idle
    assert command.webhooks.url == "https://app.example/hook"


async def test_the_same_command_id_gets_the_first_answer_byte_for_byte(api: Api) -> None:
    call = api.service.ring(answered=True)
    body = {"stream_url": URL, "command_id": "8a1b"}
    async with api.http() as client:
        path = f"/v2/calls/{call}/actions/streaming_start"
        first = await client.post(path, json=body)
        second = await client.post(path, json=body)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "offhook-duplicate" not in first.headers
    assert second.headers["offhook-duplicate"] == "true"
    assert len(api.service.effects_of(do.OpenStream)) == 1


async def test_one_command_id_may_serve_different_actions(api: Api) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        await client.calls.actions.answer(call, command_id="same")
        await client.calls.actions.start_streaming(call, stream_url=URL, command_id="same")
    assert len(api.service.effects_of(do.OpenStream)) == 1


class TestTheSdksOwnRetries:
    RETRY = {"x-stainless-retry-count": "1"}  # noqa: RUF012  # never changed

    async def test_a_retry_of_an_accepted_command_gets_the_first_answer(self, api: Api) -> None:
        call = api.service.ring(answered=True)
        path = f"/v2/calls/{call}/actions/streaming_start"
        async with api.http() as client:
            first = await client.post(path, json={"stream_url": URL})
            again = await client.post(path, json={"stream_url": URL}, headers=self.RETRY)
        assert again.content == first.content
        assert again.headers["offhook-duplicate"] == "true"
        assert len(api.service.effects_of(do.OpenStream)) == 1

    async def test_a_retry_of_a_hangup_does_not_meet_the_ended_call(self, api: Api) -> None:
        call = api.service.ring(answered=True)
        path = f"/v2/calls/{call}/actions/hangup"
        async with api.http() as client:
            await client.post(path)
            assert (await client.post(path, headers=self.RETRY)).status_code == 200
            assert (await client.post(path)).json()["errors"][0]["code"] == "90018"

    async def test_a_retry_whose_first_try_never_came_is_carried_out(self, api: Api) -> None:
        call = api.service.ring(answered=True)
        path = f"/v2/calls/{call}/actions/streaming_start"
        async with api.http() as client:
            answer = await client.post(path, json={"stream_url": URL}, headers=self.RETRY)
        assert answer.status_code == 200
        assert "offhook-duplicate" not in answer.headers
        assert len(api.service.effects_of(do.OpenStream)) == 1

    async def test_another_body_or_another_minute_is_another_command(self, api: Api) -> None:
        call = api.service.ring(answered=True)
        path = f"/v2/calls/{call}/actions/streaming_start"
        async with api.http() as client:
            await client.post(path, json={"stream_url": URL})
            await client.post(path, json={"stream_url": URL + "2"}, headers=self.RETRY)
            api.service.clock.seconds += 61
            await client.post(path, json={"stream_url": URL}, headers=self.RETRY)
        assert len(api.service.effects_of(do.OpenStream)) == 3

    async def test_the_same_request_twice_is_two_commands_unless_it_is_a_retry(self, api: Api) -> None:
        call = api.service.ring(answered=True)
        path = f"/v2/calls/{call}/actions/streaming_start"
        async with api.http() as client:
            for _ in range(2):
                await client.post(path, json={"stream_url": URL}, headers={"x-stainless-retry-count": "0"})
        assert len(api.service.effects_of(do.OpenStream)) == 2


@pytest.mark.parametrize("prefix", ["/v2", ""])
async def test_everything_is_served_with_and_without_the_version(api: Api, prefix: str) -> None:
    call = api.service.ring()
    async with api.http() as client:
        assert (await client.get(f"{prefix}/calls/{call}")).status_code == 200
        assert (await client.post(f"{prefix}/calls/{call}/actions/answer")).status_code == 200
        assert (await client.get(f"{prefix}/offhook/streams")).status_code == 200
        assert (await client.get(f"{prefix}/offhook/public_key")).status_code == 200


async def test_the_colon_of_a_call_control_id_may_be_escaped(api: Api) -> None:
    call = api.service.ring()
    async with api.http() as client:
        escaped = call.replace(":", "%3A")
        assert (await client.post(f"/v2/calls/{escaped}/actions/answer")).status_code == 200
        assert (await client.get(f"/v2/calls/{escaped}")).json()["data"]["call_control_id"] == call


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream", None])
async def test_the_content_type_of_a_body_that_parses_does_not_matter(
    api: Api, content_type: str | None
) -> None:
    call = api.service.ring()
    headers = {} if content_type is None else {"content-type": content_type}
    async with api.http() as client:
        answer = await client.post(
            f"/v2/calls/{call}/actions/answer", content=b'{"client_state": "YQ=="}', headers=headers
        )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"client_state": null, "of_tomorrow": 1}'])
async def test_an_action_without_parameters_takes_no_body_an_empty_one_and_unknown_members(
    api: Api, content: bytes
) -> None:
    call = api.service.ring()
    async with api.http() as client:
        answer = await client.post(
            f"/v2/calls/{call}/actions/hangup", content=content, headers={"content-type": "application/json"}
        )
    assert answer.json() == {"data": {"result": "ok"}}
