"""Recordings of a leg: which run, what a command about them does, and that each ends once."""

from typing import Any

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.errors import CommandError
from offhook.call.values import LegState
from tests.fakes.legs import QUALITY, Desk, answered, answering, incoming, picked_up, ringing, sdp, told

pytestmark = pytest.mark.unit


def options(**changes: Any) -> ask.RecordingOptions:
    return ask.RecordingOptions(**{"format": ask.RecordingFormat.WAV, "dual": True, **changes})


def start(**changes: Any) -> ask.StartRecording:
    return ask.StartRecording(recording=options(**changes))


def recording(desk: Desk) -> str:
    reply, effects = desk.command_for_reply(start())
    [opened] = effects
    assert isinstance(opened, do.OpenRecording)
    assert reply.data == {"result": "ok", "recording_id": opened.recording_id}
    return opened.recording_id


def test_a_recording_runs_until_it_is_stopped_and_tells_nothing_itself() -> None:
    desk = answered()
    first = recording(desk)
    assert desk.command(ask.StopRecording()) == [do.CloseRecording(first)]
    assert desk.command(ask.StopRecording()) == [], "it is being stopped"
    assert desk.tell(facts.RecordingEnded(first, "command")) == []
    assert desk.command(ask.StopRecording(recording_id=first)) == [], "it has ended"


def test_a_command_is_about_one_recording_or_all_of_them() -> None:
    desk = answered()
    first, second = recording(desk), recording(desk)
    assert desk.command(ask.PauseRecording(recording_id=second)) == [do.HoldRecording(second, True)]
    assert desk.command(ask.PauseRecording()) == [do.HoldRecording(first, True)], "the other is held already"
    assert desk.command(ask.ResumeRecording(recording_id=first)) == [do.HoldRecording(first, False)]
    assert desk.command(ask.ResumeRecording(recording_id=first)) == []
    assert desk.command(ask.StopRecording()) == [do.CloseRecording(first), do.CloseRecording(second)]
    assert desk.command(ask.PauseRecording()) == [], "what ends is held no more"


@pytest.mark.parametrize("command", [ask.StopRecording, ask.PauseRecording, ask.ResumeRecording])
def test_a_recording_that_never_was_is_refused_by_name(command: Any) -> None:
    desk = answered()
    recording(desk)
    with pytest.raises(CommandError, match="10015") as refused:
        desk.command(command(recording_id="00000000-0000-4000-8000-000000000000"))
    assert refused.value.problem.pointer == "/recording_id"


def test_a_recording_begins_with_the_answer() -> None:
    desk = ringing()
    reply, _ = desk.command_for_reply(ask.Answer(recording=options(max_s=7)))
    effects = desk.tell(facts.AckReceived())
    [opened] = [effect for effect in effects if isinstance(effect, do.OpenRecording)]
    assert told(effects) == ["call.answered"]
    assert reply.data["recording_id"] == opened.recording_id
    assert (opened.options.max_s, opened.sample_rate_hz) == (7, 8000)


def test_a_recording_begins_when_the_far_end_answers() -> None:
    desk = picked_up(recording=options())
    [opened] = [effect for effect in desk.done if isinstance(effect, do.OpenRecording)]
    assert desk.leg.inline_ids == {"recording_id": opened.recording_id}


@pytest.mark.parametrize(("codec", "rate_hz"), [("0", 8000), ("9", 16_000)])
def test_a_call_in_wide_band_is_recorded_in_it(codec: str, rate_hz: int) -> None:
    desk = Desk(codecs=CodecPolicy(("PCMU", "G722")))
    desk.tell(incoming(offer=sdp(codec)))
    desk.command(ask.Answer())
    desk.tell(facts.AckReceived())
    [opened] = desk.command(start())
    assert isinstance(opened, do.OpenRecording)
    assert opened.sample_rate_hz == rate_hz


def test_the_end_of_the_call_ends_recordings_and_waits_for_them() -> None:
    desk = answered()
    first = recording(desk)
    effects = desk.command(ask.Hangup())
    assert do.CloseRecording(first) in effects
    assert desk.tell(facts.MediaClosed(QUALITY)) == []
    assert told(desk.tell(facts.RecordingEnded(first, "call_ended"))) == ["call.hangup"]


def test_a_file_that_is_never_closed_delays_the_end_of_the_call_only_so_long() -> None:
    desk = answered()
    recording(desk)
    desk.command(ask.Hangup())
    desk.tell(facts.MediaClosed(QUALITY))
    assert told(desk.wait(limits.ENDING_TIMEOUT_S)) == ["call.hangup"]


def test_a_call_has_so_many_recordings_and_no_more() -> None:
    desk = answered()
    for _ in range(limits.RECORDINGS_PER_LEG_MAX):
        last = recording(desk)
    with pytest.raises(CommandError, match="10027"):
        desk.command(start())
    desk.tell(facts.RecordingEnded(last, "max_length"))
    recording(desk)


def test_nothing_is_recorded_before_the_answer() -> None:
    for desk in (ringing(), answering()):
        with pytest.raises(CommandError, match="90034"):
            desk.command(start())


def test_what_cannot_be_decoded_is_not_recorded() -> None:
    desk = Desk(codecs=CodecPolicy(("PCMU",), opaque=frozenset({"PCMU"})))
    desk.tell(incoming(offer=sdp("0")))
    with pytest.raises(CommandError, match="10038"):
        desk.command(ask.Answer(recording=options()))
    desk.command(ask.Answer())
    desk.tell(facts.AckReceived())
    with pytest.raises(CommandError, match="10038"):
        desk.command(start())


def test_what_every_webhook_says_is_known_after_the_end_too() -> None:
    desk = answered()
    desk.command(ask.UpdateClientState(client_state="eA=="))
    desk.command(ask.Hangup())
    desk.tell(facts.MediaClosed(QUALITY))
    assert desk.leg.told_by_all()["client_state"] == "eA=="


def test_a_bridge_may_begin_a_recording_of_the_asking_leg() -> None:
    found = ask.OtherLeg(state=LegState.ANSWERED, bridged=False)
    bridge = ask.Bridge(bridge=ask.BridgeOptions(other="v3:other"), recording=options(), found=found)
    desk = answered()
    assert [type(effect) for effect in desk.command(bridge)] == [do.JoinLegs, do.OpenRecording]
    for _ in range(limits.RECORDINGS_PER_LEG_MAX - 1):
        recording(desk)
    with pytest.raises(CommandError, match="10027"):
        desk.command(bridge)
    parked = ringing()
    parked.command(bridge)
    effects = parked.tell(facts.AckReceived())
    assert [type(effect) for effect in effects if not isinstance(effect, do.Notify)] == [
        do.OpenRecording,
        do.JoinLegs,
    ]
