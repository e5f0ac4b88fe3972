"""A text that nobody here can say is refused while the app listens, and leaves no trace."""

from typing import Any

import pytest

from offhook.app.settings import VoiceSettings
from offhook.app.voice import inspect_voice, make_voice, warm_up_voice
from offhook.base.errors import ConfigError
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.edge.voice import service as service_module
from offhook.edge.voice.local import LocalVoice
from offhook.edge.voice.protocol import VoiceNotInstalled, VoiceUnavailable
from offhook.proto import sip
from offhook.proto.ssml import Words
from tests.fakes.runners import House
from tests.fakes.voice import VoiceInMemory

pytestmark = pytest.mark.unit


def speak(voice: str = "female", language: str = "en-US", **common: Any) -> ask.Speak:
    options = ask.SpeakOptions(script=(Words("Hello."),), voice=voice, language=language)
    return ask.Speak(speak=options, **common)


async def answered(voice: VoiceInMemory) -> House:
    house = House(voice=voice)
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    return house


def refused(house: House, command: ask.Speak) -> tuple[str, str | None]:
    with pytest.raises(CommandError) as caught:
        house.calls.command(house.call_control_id, "speak", command)
    return caught.value.problem.code, caught.value.problem.pointer


async def test_without_the_extra_a_text_is_refused_and_not_even_its_command_id_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(self: LocalVoice, options: object) -> None:
        raise VoiceNotInstalled("the local voice is not installed: pip install 'offhook[voice]'")

    monkeypatch.setattr(LocalVoice, "check", missing)
    voice = VoiceInMemory()
    await inspect_voice(voice)
    await warm_up_voice(voice)
    house = await answered(voice)
    assert refused(house, speak(command_id="once", client_state="eA==")) == ("10038", "/voice")
    assert house.newest.client_state is None
    monkeypatch.setattr(LocalVoice, "check", lambda self, options: None)
    await voice.inspect()
    house.calls.command(house.call_control_id, "speak", speak(command_id="once"))
    await house.settle()
    assert voice.made == 1


async def test_each_reason_has_its_code_and_field() -> None:
    house = await answered(VoiceInMemory(routes={"Azure": "reject"}, speaks_per_worker_max=0))
    assert refused(house, speak("Azure.en-US-AvaNeural")) == ("90012", "/voice")
    assert refused(house, speak(language="de-DE")) == ("10038", "/language")
    assert refused(house, speak()) == ("10027", None)


async def test_a_repetition_is_answered_even_when_all_voices_are_busy() -> None:
    voice = VoiceInMemory()
    house = await answered(voice)
    house.calls.command(house.call_control_id, "speak", speak(command_id="once"))
    voice._speaks_per_worker_max = 0
    assert house.calls.command(house.call_control_id, "speak", speak(command_id="once")).duplicate
    assert refused(house, speak(command_id="twice")) == ("10027", None)


async def test_a_damaged_or_unknown_voice_keeps_the_server_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="no voice called alice is installed"):
        await inspect_voice(make_voice(VoiceSettings(voices={"AWS": "alice"})))

    def damaged(self: LocalVoice, options: object) -> None:
        raise VoiceUnavailable("the voice file hibari.onnx is not the expected version")

    monkeypatch.setattr(LocalVoice, "check", damaged)
    with pytest.raises(ConfigError, match="not the expected version"):
        await inspect_voice(make_voice(VoiceSettings()))
    await inspect_voice(make_voice(VoiceSettings(default_voice="reject")))


async def test_an_installed_voice_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "fake", "tests.fakes.voice:ENGINE"

    def points(*, group: str, name: str = "fake") -> list[Point]:
        assert group == "offhook.voices"
        return [Point()] if name == "fake" else []

    monkeypatch.setattr(service_module, "entry_points", points)
    service = make_voice(VoiceSettings(default_voice="fake"))
    assert await service.inspect() == {}
    assert service.check("anything").name == "fake"
