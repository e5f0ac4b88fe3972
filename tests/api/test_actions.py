"""Actions on a call through the official SDK: what reaches the leg, and what is refused with which code."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import telnyx

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call.values import Header, TargetLegs
from offhook.proto.ssml import script_of_text
from tests.api.conftest import Api

pytestmark = pytest.mark.api

URL = "https://app.example/hello.wav"


def problem(error: telnyx.APIStatusError) -> tuple[str, str | None]:
    body: Any = error.body
    [entry] = body["errors"]
    return entry["code"], entry.get("source", {}).get("pointer")


async def test_keys_are_pressed_once_a_command_id(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(2):
            pressed = await client.calls.actions.send_dtmf(
                call, digits="1www2WABCDw9", duration_millis=500, client_state="c3RhdGU=", command_id="once"
            )
            assert pressed.data is not None
            assert pressed.data.result == "ok"
        status = (await client.calls.retrieve_status(call)).data
    assert status is not None
    assert status.client_state == "c3RhdGU="
    [press] = api.service.effects_of(do.SendDigits)
    assert (press.digits, press.duration_ms) == ("1www2WABCDw9", 500)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ("10004", "/digits")),
        ({"digits": ""}, ("90014", "/digits")),
        ({"digits": "12E"}, ("90014", "/digits")),
        ({"digits": "1 2"}, ("90014", "/digits")),
        ({"digits": "\u0661"}, ("90014", "/digits")),
        ({"digits": 12}, ("10026", "/digits")),
        ({"digits": "1" * 129}, ("10025", "/digits")),
        ({"digits": "1", "duration_millis": 99}, ("90027", "/duration_millis")),
        ({"digits": "1", "duration_millis": 501}, ("90027", "/duration_millis")),
        ({"digits": "1", "duration_millis": "250"}, ("10026", "/duration_millis")),
        ({"digits": "1", "duration_millis": True}, ("10026", "/duration_millis")),
    ],
)
async def test_keys_that_are_none_are_refused_by_name(
    api: Api, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await api.refusal("send_dtmf", members) == expected
    assert api.service.effects_of(do.SendDigits) == []


@pytest.mark.parametrize(("answered", "code"), [(False, "90034"), (True, "90018")])
async def test_keys_need_a_call_that_is_up(api: Api, answered: bool, code: str) -> None:
    call = api.service.ring(answered=answered)
    async with api.sdk() as client:
        if answered:
            await client.calls.actions.hangup(call)
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await client.calls.actions.send_dtmf(call, digits="1")
    assert problem(caught.value) == (code, None)


async def test_the_client_state_alone_is_set_by_put_while_the_call_rings_and_no_more_when_it_ended(
    api: Api,
) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        actions = client.calls.actions
        await actions.update_client_state(call, client_state="b25l")
        assert (await client.calls.retrieve_status(call)).data.client_state == "b25l"  # type: ignore[union-attr]
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.update_client_state(call, client_state="not base64!")
        assert problem(caught.value) == ("90017", "/client_state")
        assert (await client.calls.retrieve_status(call)).data.client_state == "b25l"  # type: ignore[union-attr]
        await actions.answer(call)
        told = [effect.payload["client_state"] for effect in api.service.effects_of(do.Notify)]
        assert told == [None, "b25l"]
        await actions.hangup(call)
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.update_client_state(call, client_state="dHdv")
    assert problem(caught.value) == ("90018", None)


async def test_every_parameter_of_a_gather_reaches_the_leg(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        actions = client.calls.actions
        for _ in range(2):
            gathered = await actions.gather(
                call,
                minimum_digits=4,
                maximum_digits=6,
                terminating_digit="",
                valid_digits="0123456789",
                timeout_millis=20_000,
                inter_digit_timeout_millis=1_500,
                initial_timeout_millis=7_000,
                gather_id="pin",
                client_state="c3RhdGU=",
                command_id="once",
            )
            assert gathered.data is not None
            assert gathered.data.result == "ok"
        await actions.stop_gather(call)
        await actions.gather(call)
    asked = [command for _, command in api.service.commands]
    assert asked[0] == asked[1]
    assert asked[1:] == [
        ask.Gather(
            gather_id="pin",
            minimum_digits=4,
            maximum_digits=6,
            terminating_digit="",
            valid_digits="0123456789",
            timeout_s=20.0,
            inter_digit_timeout_s=1.5,
            initial_timeout_s=7.0,
            client_state="c3RhdGU=",
            command_id="once",
        ),
        ask.StopGather(),
        ask.Gather(),
    ]
    [end] = api.service.effects_of(do.Notify)
    typed = telnyx.types.CallGatherEnded.model_validate(
        {"event_type": end.event_type, "payload": end.payload}, strict=True
    )
    assert typed.payload is not None
    assert (typed.payload.status, typed.payload.digits, typed.payload.from_) == (
        "cancelled",
        "",
        "+15550100001",
    )
    assert set(typed.payload.model_extra or {}) == {"calling_party_type", "gather_id", "start_time"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"minimum_digits": 0}, ("90022", "/minimum_digits")),
        ({"minimum_digits": "1"}, ("10026", "/minimum_digits")),
        ({"maximum_digits": 129}, ("90023", "/maximum_digits")),
        ({"maximum_digits": True}, ("10026", "/maximum_digits")),
        ({"minimum_digits": 3, "maximum_digits": 2}, ("90023", "/maximum_digits")),
        ({"timeout_millis": 0}, ("90025", "/timeout_millis")),
        ({"timeout_millis": 14_400_001}, ("90025", "/timeout_millis")),
        ({"inter_digit_timeout_millis": -1}, ("90026", "/inter_digit_timeout_millis")),
        ({"initial_timeout_millis": 0}, ("90056", "/initial_timeout_millis")),
        ({"initial_timeout_millis": 1.5}, ("10026", "/initial_timeout_millis")),
        ({"terminating_digit": "##"}, ("90007", "/terminating_digit")),
        ({"terminating_digit": "x"}, ("90007", "/terminating_digit")),
        ({"terminating_digit": 1}, ("10026", "/terminating_digit")),
        ({"valid_digits": ""}, ("90008", "/valid_digits")),
        ({"valid_digits": "12 "}, ("90008", "/valid_digits")),
        ({"gather_id": ""}, ("10025", "/gather_id")),
        ({"gather_id": "x" * 41}, ("10025", "/gather_id")),
    ],
)
async def test_a_gather_that_cannot_be_is_refused_by_name(
    api: Api, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await api.refusal("gather", members) == expected
    assert api.service.commands == []


async def test_every_parameter_of_a_prompt_reaches_the_leg(api: Api) -> None:
    call = api.service.ring(answered=True)
    wanted: dict[str, Any] = {
        "minimum_digits": 4,
        "maximum_digits": 6,
        "maximum_tries": 2,
        "terminating_digit": "*",
        "valid_digits": "0123",
        "timeout_millis": 7_000,
        "inter_digit_timeout_millis": 1_500,
        "client_state": "c3RhdGU=",
        "command_id": "once",
    }
    expected = ask.Gather(
        minimum_digits=4,
        maximum_digits=6,
        tries=2,
        terminating_digit="*",
        valid_digits="0123",
        initial_timeout_s=7.0,
        inter_digit_timeout_s=1.5,
        timeout_s=14_400.0,
        client_state="c3RhdGU=",
        command_id="once",
    )
    async with api.sdk() as client:
        actions = client.calls.actions
        await actions.gather_using_audio(
            call, audio_url=URL, invalid_audio_url="https://app.example/wrong.wav", **wanted
        )
        await actions.gather_using_speak(
            call, payload="Your PIN?", invalid_payload="Wrong.", voice="female", language="en-GB", **wanted
        )
        await actions.gather_using_audio(call, audio_url=URL)
    wrong = ask.PlaybackOptions(url="https://app.example/wrong.wav")
    said = [
        ask.SpeakOptions(script=script_of_text(text), voice="female", language="en-GB")
        for text in ("Your PIN?", "Wrong.")
    ]
    assert [command for _, command in api.service.commands] == [
        replace(expected, prompt=ask.PlaybackOptions(url=URL), invalid_prompt=wrong),
        replace(expected, prompt=said[0], invalid_prompt=said[1]),
        ask.Gather(prompt=ask.PlaybackOptions(url=URL), tries=3, initial_timeout_s=60.0, timeout_s=14_400.0),
    ]


@pytest.mark.parametrize(
    ("action", "members", "expected"),
    [
        ("gather_using_audio", {}, ("10004", "/audio_url")),
        ("gather_using_audio", {"audio_url": "ftp://h/x"}, ("10003", "/audio_url")),
        ("gather_using_audio", {"audio_url": URL, "media_name": "x"}, ("10015", "/media_name")),
        ("gather_using_audio", {"media_name": "x"}, ("10038", "/media_name")),
        (
            "gather_using_audio",
            {"audio_url": URL, "invalid_audio_url": URL, "invalid_media_name": "x"},
            ("10015", "/invalid_media_name"),
        ),
        (
            "gather_using_audio",
            {"audio_url": URL, "invalid_media_name": "x"},
            ("10038", "/invalid_media_name"),
        ),
        ("gather_using_audio", {"audio_url": URL, "maximum_tries": 0}, ("90024", "/maximum_tries")),
        (
            "gather_using_audio",
            {"audio_url": URL, "minimum_digits": 3, "maximum_digits": 2},
            ("90023", "/maximum_digits"),
        ),
        ("gather_using_speak", {"voice": "female"}, ("10004", "/payload")),
        ("gather_using_speak", {"payload": "x"}, ("10004", "/voice")),
        (
            "gather_using_speak",
            {
                "payload": "<speak>x</speak>",
                "invalid_payload": "<speak>",
                "payload_type": "ssml",
                "voice": "female",
            },
            ("90010", "/invalid_payload"),
        ),
    ],
)
async def test_a_prompt_that_cannot_be_is_refused_by_name(
    api: Api, action: str, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await api.refusal(action, members) == expected
    assert api.service.commands == []


async def test_an_info_is_sent_once_a_command_id(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(2):
            sent = await client.calls.actions.send_sip_info(
                call,
                content_type="application/json;charset=utf-8",
                body='{"caf\u00e9": 1}',
                client_state="c3RhdGU=",
                command_id="once",
            )
            assert sent.data is not None
            assert sent.data.result == "ok"
    kind, body = "application/json;charset=utf-8", '{"caf\u00e9": 1}'.encode()
    assert [command for _, command in api.service.commands] == [
        ask.SendInfo(content_type=kind, body=body, client_state="c3RhdGU=", command_id="once")
    ] * 2
    assert api.service.effects_of(do.SendInfo) == [do.SendInfo(kind, body)]


async def test_every_parameter_of_a_referral_reaches_the_leg(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(2):
            referred = await client.calls.actions.refer(
                call,
                sip_address="sip:desk@pbx.example;transport=tcp",
                sip_headers=[{"name": "User-to-User", "value": "abc"}],
                custom_headers=[{"name": "X-Ticket", "value": "7"}],
                sip_auth_username="us",
                sip_auth_password="secret",
                client_state="c3RhdGU=",
                command_id="once",
            )
            assert referred.data is not None
            assert referred.data.result == "ok"
        await client.calls.actions.hangup(call)
    command = api.service.commands[0][1]
    assert command == ask.Refer(
        target="sip:desk@pbx.example;transport=tcp",
        headers=(Header("User-to-User", "abc"), Header("X-Ticket", "7")),
        username="us",
        password="secret",
        client_state="c3RhdGU=",
        command_id="once",
    )
    assert len(api.service.effects_of(do.ReferCall)) == 1
    failed = api.service.effects_of(do.Notify)[0]
    typed = telnyx.types.CallReferFailed.model_validate(
        {"event_type": failed.event_type, "payload": failed.payload}, strict=True
    )
    assert typed.payload is not None
    assert (typed.payload.sip_notify_response, typed.payload.to) == (100, "+15550100002")
    assert set(typed.payload.model_extra or {}) == {"calling_party_type", "start_time"}


@pytest.mark.parametrize(
    ("action", "members", "expected"),
    [
        ("send_sip_info", {"body": ""}, ("10004", "/content_type")),
        ("send_sip_info", {"content_type": "text/plain"}, ("10004", "/body")),
        ("send_sip_info", {"content_type": "text", "body": ""}, ("10015", "/content_type")),
        ("send_sip_info", {"content_type": "a/b\r\nX: y", "body": ""}, ("10015", "/content_type")),
        ("send_sip_info", {"content_type": "a/b" * 400, "body": ""}, ("10025", "/content_type")),
        ("send_sip_info", {"content_type": "a/b", "body": "\u00e9" * 701}, ("10025", "/body")),
        ("send_sip_info", {"content_type": "a/b", "body": 1}, ("10026", "/body")),
        ("refer", {}, ("10004", "/sip_address")),
        ("refer", {"sip_address": "desk"}, ("10015", "/sip_address")),
        ("refer", {"sip_address": "http://x"}, ("10015", "/sip_address")),
        ("refer", {"sip_address": "sip:a@b>"}, ("10015", "/sip_address")),
        ("refer", {"sip_address": "sip:a@b\r\nX: y"}, ("10015", "/sip_address")),
        ("refer", {"sip_address": "sip:a@b", "sip_auth_username": ""}, ("10025", "/sip_auth_username")),
        (
            "refer",
            {"sip_address": "sip:a@b", "custom_headers": [{"name": "Refer-To", "value": "x"}]},
            ("10015", "/custom_headers/0/name"),
        ),
        (
            "refer",
            {"sip_address": "sip:a@b", "sip_headers": [{"name": "X", "value": "x"}]},
            ("10032", "/sip_headers/0/name"),
        ),
    ],
)
async def test_a_signal_that_cannot_be_is_refused_by_name(
    api: Api, action: str, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await api.refusal(action, members) == expected
    assert api.service.commands == []


WAV = b"RIFF\x00\x00\x00\x00WAVE"


async def test_every_parameter_of_a_playback_reaches_the_leg(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        actions = client.calls.actions
        await actions.start_playback(
            call,
            audio_url=URL,
            audio_type="wav",
            cache_audio=False,
            loop="infinity",
            overlay=False,
            stop="current",
            target_legs="self",
            client_state="c3RhdGU=",
            command_id="once",
        )
        await actions.start_playback(call, playback_content=base64.b64encode(WAV).decode(), loop=3)
        await actions.start_playback(call, audio_url=URL, overlay=True)
        await actions.start_playback(call, audio_url=URL, target_legs="both")
        await actions.stop_playback(call, stop="current", overlay=True)
        stopped = await actions.stop_playback(call)
        assert stopped.data is not None
        assert stopped.data.result == "ok"
    commands = [command for _, command in api.service.commands]
    assert commands == [
        ask.StartPlayback(
            playback=ask.PlaybackOptions(url=URL, loop=None, cache=False),
            stop=ask.StopWhich.CURRENT,
            client_state="c3RhdGU=",
            command_id="once",
        ),
        ask.StartPlayback(playback=ask.PlaybackOptions(content=WAV, loop=3)),
        ask.StartPlayback(playback=ask.PlaybackOptions(url=URL, overlay=True)),
        ask.StartPlayback(playback=ask.PlaybackOptions(url=URL, target_legs=TargetLegs.BOTH)),
        ask.StopPlayback(stop=ask.StopWhich.CURRENT, overlay=True),
        ask.StopPlayback(),
    ]
    told = [effect.event_type for effect in api.service.effects_of(do.Notify)]
    assert told == ["call.playback.started"] * 4 + ["call.playback.ended"] * 4


@pytest.mark.parametrize(
    ("action", "members", "expected"),
    [
        ("playback_start", {}, ("10004", "/audio_url")),
        ("playback_start", {"audio_url": "ftp://h/x"}, ("10003", "/audio_url")),
        ("playback_start", {"audio_url": 1}, ("10026", "/audio_url")),
        (
            "playback_start",
            {"audio_url": URL, "playback_content": "UklGRg=="},
            ("10015", "/playback_content"),
        ),
        ("playback_start", {"playback_content": "?"}, ("10015", "/playback_content")),
        ("playback_start", {"playback_content": ""}, ("10015", "/playback_content")),
        ("playback_start", {"audio_url": URL, "media_name": "x"}, ("10015", "/media_name")),
        ("playback_start", {"media_name": "x"}, ("10038", "/media_name")),
        ("playback_start", {"media_name": ""}, ("10025", "/media_name")),
        ("playback_start", {"media_name": "x" * 256}, ("10025", "/media_name")),
        (
            "playback_start",
            {"audio_url": URL, "overlay": True, "target_legs": "both"},
            ("10015", "/target_legs"),
        ),
        ("playback_start", {"audio_url": URL, "audio_type": "ogg"}, ("10032", "/audio_type")),
        ("playback_start", {"audio_url": URL, "target_legs": "all"}, ("10032", "/target_legs")),
        ("playback_start", {"audio_url": URL, "cache_audio": 1}, ("10026", "/cache_audio")),
        ("playback_start", {"audio_url": URL, "loop": 0}, ("90009", "/loop")),
        ("playback_start", {"audio_url": URL, "loop": 101}, ("90009", "/loop")),
        ("playback_start", {"audio_url": URL, "loop": "forever"}, ("90009", "/loop")),
        ("playback_start", {"audio_url": URL, "loop": 1.5}, ("10026", "/loop")),
        ("playback_start", {"audio_url": URL, "loop": True}, ("10026", "/loop")),
        ("playback_start", {"audio_url": URL, "stop": "some"}, ("90016", "/stop")),
        ("playback_stop", {"stop": "some"}, ("90016", "/stop")),
        ("playback_stop", {"stop": 1}, ("10026", "/stop")),
        ("playback_stop", {"overlay": "no"}, ("10026", "/overlay")),
    ],
)
async def test_a_playback_that_cannot_be_is_refused_by_name(
    api: Api, action: str, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert await api.refusal(action, members) == expected
    assert api.service.effects_of(do.OpenPlayback) == []


@pytest.mark.parametrize(("loop", "times"), [("3", 3), (100, 100), (None, 1)])
async def test_a_loop_may_be_a_number_in_text_and_null_is_absent(api: Api, loop: Any, times: int) -> None:
    call = api.service.ring(answered=True)
    async with api.http() as client:
        body = {"audio_url": URL, "loop": loop}
        answer = await client.post(f"/v2/calls/{call}/actions/playback_start", json=body)
    assert answer.status_code == 200
    [opened] = api.service.effects_of(do.OpenPlayback)
    assert opened.options.loop == times
