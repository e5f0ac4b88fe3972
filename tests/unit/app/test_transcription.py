"""A transcription from its command to the words of its webhooks, with an engine in the hands of the test."""

from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import Track
from offhook.proto import sip
from tests.fakes.runners import House
from tests.fakes.speech_sessions import HandEngine, service_of

pytestmark = pytest.mark.unit


async def up(house: House) -> None:
    """Bring a call up."""
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()


def transcribe(house: House, **options: Any) -> ask.Reply:
    options = {"command_id": None, "tracks": (Track.RX,), **options}
    asked = ask.StartTranscription(
        command_id=options.pop("command_id"), transcription=ask.TranscriptionOptions(**options)
    )
    return house.calls.command(house.call_control_id, "transcription_start", asked)


async def test_a_field_that_the_serving_engine_cannot_do_is_refused_by_its_pointer() -> None:
    house = House(speech=service_of(HandEngine()))
    options = ask.TranscriptionOptions(engine="Google", options={"hints": ["x"], "profanity_filter": True})
    house.invite()
    with pytest.raises(CommandError) as caught:
        house.calls.command(house.call_control_id, "answer", ask.Answer(transcription=options))
    pointer = "/transcription_engine_config/profanity_filter"
    assert (caught.value.problem.code, caught.value.problem.pointer) == (
        "10038",
        f"/transcription_config{pointer}",
    )
    house = House(speech=service_of(HandEngine()))
    await up(house)
    with pytest.raises(CommandError) as caught:
        transcribe(house, options=options.options)
    assert (caught.value.problem.code, caught.value.problem.pointer) == ("10038", pointer)
    assert "`profanity_filter`" in caught.value.problem.detail


async def test_an_engine_that_does_without_a_field_never_sees_it() -> None:
    engine = HandEngine()
    house = House(speech=service_of(engine, ignore_unsupported=True))
    await up(house)
    transcribe(house, options={"hints": ["x"], "profanity_filter": True})
    await house.settle()
    assert engine.sessions[0].config.parameters == {"hints": ["x"]}


async def test_a_transcription_that_does_not_fit_is_refused_at_its_start() -> None:
    engine = HandEngine(tracks_max=1)
    house = House(speech=service_of(engine))
    await up(house)
    with pytest.raises(LimitReached, match="2 more tracks"):
        transcribe(house, tracks=(Track.RX, Track.TX))
    assert not transcribe(house, command_id="c").duplicate
    await house.settle()
    assert transcribe(house, command_id="c").duplicate, "a repeated command needs no room"
    with pytest.raises(CommandError, match="90054"):
        transcribe(house)
    house.calls.hang_up_all()
    await house.settle()
    assert engine.open_now == 0
    house.assert_nothing_left()
