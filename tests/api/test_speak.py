"""`speak` through the official SDK: what reaches the leg, and what is refused with which code."""

from typing import Any

import pytest

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.proto.ssml import Pause, Words
from tests.api.conftest import Api

pytestmark = pytest.mark.api


async def test_every_parameter_of_a_text_reaches_the_leg(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        actions = client.calls.actions
        spoken = await actions.speak(
            call,
            payload="<speak>One<break time='1s'/><prosody rate='80%'>two</prosody></speak>",
            payload_type="ssml",
            voice="Telnyx.KokoroTTS.af",
            language="en-GB",
            service_level="premium",
            voice_settings={"type": "telnyx", "voice_speed": 1.25},
            loop="infinity",
            stop="current",
            target_legs="self",
            client_state="c3RhdGU=",
            command_id="once",
        )
        assert spoken.data is not None
        assert spoken.data.result == "ok"
        await actions.speak(call, payload="<b> is text", voice="female", service_level="basic", loop=3)
    assert [command for _, command in api.service.commands] == [
        ask.Speak(
            speak=ask.SpeakOptions(
                script=(Words("One", 1.25), Pause(1000), Words("two", 1.0)),
                voice="Telnyx.KokoroTTS.af",
                language="en-GB",
                loop=None,
            ),
            stop=ask.StopWhich.CURRENT,
            client_state="c3RhdGU=",
            command_id="once",
        ),
        ask.Speak(speak=ask.SpeakOptions(script=(Words("<b> is text"),), voice="female", loop=3)),
    ]
    told = [effect.event_type for effect in api.service.effects_of(do.Notify)]
    assert told[0] == "call.speak.started"


async def test_a_repeated_command_id_speaks_once(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(3):
            await client.calls.actions.speak(call, payload="Hello.", voice="female", command_id="once")
    assert len(api.service.effects_of(do.OpenSpeak)) == 1


@pytest.mark.parametrize(
    ("voice", "language", "expected"),
    [
        ("female", None, "en-US"),
        ("female", "de-DE", "de-DE"),
        ("Soniox.tts-rt-v2.Emma", "it", "it"),
        ("AWS.Polly.Joanna-Neural", "de-DE", "en-US"),
        ("Polly.Brian", "es-MX", "en-US"),
        ("Azure.de-DE-KatjaNeural", None, "de-DE"),
        ("Azure.en-US-Ava:DragonHDLatestNeural", "fr-FR", "en-US"),
    ],
)
async def test_the_language_is_that_of_the_voice_or_of_the_parameter(
    api: Api, voice: str, language: str | None, expected: str
) -> None:
    call = api.service.ring(answered=True)
    async with api.http() as client:
        body = {"payload": "Hello.", "voice": voice, "language": language}
        answer = await client.post(f"/v2/calls/{call}/actions/speak", json=body)
    assert answer.status_code == 200
    [opened] = api.service.effects_of(do.OpenSpeak)
    assert opened.options.language == expected


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"payload": None}, "10004", "/payload"),
        ({"payload": ""}, "90010", "/payload"),
        ({"payload": " \n "}, "90010", "/payload"),
        ({"payload": 5}, "10026", "/payload"),
        ({"payload": "x" * 3001}, "10025", "/payload"),
        ({"payload_type": "html"}, "10032", "/payload_type"),
        ({"payload_type": "ssml"}, "90010", "/payload"),
        ({"payload_type": "ssml", "payload": "<speak><blink/></speak>"}, "90010", "/payload"),
        ({"payload_type": "ssml", "payload": "<!DOCTYPE a><speak/>"}, "90010", "/payload"),
        ({"voice": None}, "10004", "/voice"),
        ({"voice": ""}, "90012", "/voice"),
        ({"voice": "a\nb"}, "90012", "/voice"),
        ({"voice": ["female"]}, "10026", "/voice"),
        ({"language": "english language"}, "10032", "/language"),
        ({"language": 1}, "10026", "/language"),
        ({"service_level": "gold"}, "10032", "/service_level"),
        ({"service_level": "basic", "language": "en-GB"}, "10015", "/language"),
        (
            {"service_level": "basic", "payload_type": "ssml", "payload": "<speak/>"},
            "10015",
            "/payload_type",
        ),
        ({"voice_settings": {"type": "telnyx", "voice_speed": 3}}, "10033", "/voice_settings/voice_speed"),
        ({"voice_settings": {"speed": "1"}}, "10026", "/voice_settings/speed"),
        (
            {"voice_settings": {"type": "elevenlabs", "api_key_ref": "secret"}},
            "10038",
            "/voice_settings",
        ),
        ({"voice_settings": "fast"}, "10026", "/voice_settings"),
        ({"loop": 0}, "90009", "/loop"),
        ({"stop": "some"}, "90016", "/stop"),
        ({"target_legs": "all"}, "10032", "/target_legs"),
    ],
)
async def test_a_text_that_cannot_be_is_refused_by_name(
    api: Api, members: dict[str, Any], code: str, pointer: str
) -> None:
    body = {"payload": "Hello.", "voice": "female", **members}
    assert await api.refusal("speak", body) == (code, pointer)
    assert api.service.effects_of(do.OpenSpeak) == []
