"""One leg's side of a bridge: what it tells, what it lets be done, and what becomes of it behind it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from offhook.call.values import LegState
from offhook.proto.sdp import NegotiatedMedia
from tests.fakes.legs import (
    Desk,
    answered,
    dialling,
    incoming,
    kinds,
    media,
    payload,
    picked_up,
    plan,
    ringing,
    told,
)

pytestmark = pytest.mark.unit

OTHER = "v3:other"
UP = ask.OtherLeg(state=LegState.ANSWERED, bridged=False)


def bridge(found: ask.OtherLeg | None = UP, **options: Any) -> ask.Bridge:
    return ask.Bridge(bridge=ask.BridgeOptions(**{"other": OTHER, **options}), found=found)


def bridged(after: ask.AfterBridge = ask.AfterBridge.END) -> Desk:
    desk = answered()
    desk.command(bridge(after=after))
    desk.tell(facts.Bridged(OTHER))
    return desk


def test_a_bridge_is_told_when_both_hear_each_other() -> None:
    desk = answered()
    effects = desk.command(bridge())
    assert effects == [do.JoinLegs(ask.BridgeOptions(other=OTHER))]
    assert desk.leg.bridged_to is None
    effects = desk.tell(facts.Bridged(OTHER))
    assert told(effects) == ["call.bridged"]
    said = payload(effects, "call.bridged")
    assert (said["from"], said["to"]) == ("+15550001111", "+15550002222")
    assert desk.leg.bridged_to == OTHER


@pytest.mark.parametrize("status", ["completed", "file_not_found", "cancelled"])
def test_a_transfer_with_a_sound_is_bridged_behind_it_however_it_ends(status: str) -> None:
    options = ask.BridgeOptions(other=OTHER, transfers=True)
    desk = dialling(bridge=options, playback=ask.PlaybackOptions(name="hello"))
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media()))
    assert kinds(effects)[-1] is do.OpenPlayback
    assert do.JoinLegs(options) not in effects
    desk.tell(facts.PlaybackStarted("id-1"))
    assert do.JoinLegs(options) in desk.tell(facts.PlaybackEnded("id-1", status))
    desk.command(ask.StartPlayback(playback=ask.PlaybackOptions(name="bye")))
    assert kinds(desk.tell(facts.PlaybackEnded("id-2", "completed"))) == [do.Notify]


def test_a_transfer_that_ends_with_its_sound_is_not_bridged() -> None:
    options = ask.BridgeOptions(other=OTHER, transfers=True)
    desk = dialling(bridge=options, playback=ask.PlaybackOptions(name="hello"))
    desk.tell(facts.CalleeAnswered("+15550002222", media()), facts.PeerHungUp())
    assert do.JoinLegs(options) not in desk.tell(facts.PlaybackEnded("id-1", "cancelled"))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (None, "90015"),
        (ask.OtherLeg(state=LegState.DIALLING, bridged=False), "90034"),
        (ask.OtherLeg(state=LegState.PARKED, bridged=False), "90034"),
        (ask.OtherLeg(state=LegState.ENDING, bridged=False), "90018"),
        (ask.OtherLeg(state=LegState.ENDED, bridged=False), "90018"),
    ],
)
def test_a_call_that_is_not_up_cannot_be_bridged_to(found: ask.OtherLeg | None, code: str) -> None:
    desk = answered()
    with pytest.raises(CommandError, match=code) as caught:
        desk.command(bridge(found))
    assert caught.value.problem.pointer == "/call_control_id"


def test_a_call_cannot_be_bridged_to_itself() -> None:
    desk = answered()
    with pytest.raises(CommandError, match="90015"):
        desk.command(bridge(other=desk.leg.identity.call_control_id))


def test_a_double_bridge_is_prevented_where_that_is_asked_for() -> None:
    desk, busy = answered(), ask.OtherLeg(state=LegState.ANSWERED, bridged=True)
    desk.command(bridge(busy))
    with pytest.raises(CommandError, match="10027"):
        desk.command(bridge(busy, prevent_double=True))


def test_a_ringing_call_is_answered_for_its_bridge() -> None:
    desk = ringing()
    effects = desk.command(bridge())
    assert kinds(effects) == [do.OpenMedia, do.AcceptCall]
    effects = desk.tell(facts.AckReceived())
    assert told(effects) == ["call.answered"]
    assert effects[-1] == do.JoinLegs(ask.BridgeOptions(other=OTHER))


def test_a_ringing_call_that_cannot_be_answered_is_not_bridged() -> None:
    desk = Desk()
    desk.tell(incoming())
    desk.command(ask.Hangup())
    with pytest.raises(CommandError, match="90018"):
        desk.command(bridge())


def test_a_call_of_ours_that_still_rings_is_neither_bridged_nor_transferred() -> None:
    for command in (bridge(), ask.Transfer(plan=plan())):
        with pytest.raises(CommandError, match="90034"):
            dialling().command(command)


def test_the_end_of_the_other_leg_ends_this_one() -> None:
    desk = bridged()
    effects = desk.tell(facts.Unbridged())
    assert kinds(effects) == [do.EndCall, do.CloseMedia]
    effects = desk.tell(facts.MediaClosed())
    said = payload(effects, "call.hangup")
    assert (said["hangup_cause"], said["hangup_source"]) == ("normal_clearing", "callee")


def test_a_leg_that_is_to_be_parked_stays_up_once() -> None:
    desk = bridged(ask.AfterBridge.PARK)
    assert desk.tell(facts.Unbridged()) == []
    assert (desk.leg.state, desk.leg.bridged_to) == (LegState.ANSWERED, None)
    desk.tell(facts.Bridged("v3:third"))
    assert do.EndCall in kinds(desk.tell(facts.Unbridged()))


def test_a_leg_that_is_to_be_held_tells_its_phone_and_resumes_with_the_next_bridge() -> None:
    desk = bridged(ask.AfterBridge.HOLD)
    assert desk.tell(facts.Unbridged()) == [do.HoldCall(hold=True)]
    effects = desk.tell(facts.Bridged("v3:third"))
    assert effects[0] == do.HoldCall(hold=False)
    assert told(effects) == ["call.bridged"]


def test_the_end_of_a_leg_parts_it_first() -> None:
    desk = bridged()
    effects = desk.command(ask.Hangup())
    assert kinds(effects) == [do.EndCall, do.PartLegs, do.CloseMedia]
    assert desk.tell(facts.Unbridged()) == []


def test_a_call_that_ends_is_bridged_no_more() -> None:
    desk = answered()
    desk.command(bridge())
    desk.command(ask.Hangup())
    assert desk.tell(facts.Bridged(OTHER)) == []
    assert desk.leg.bridged_to is None


def test_a_call_that_was_never_bridged_does_not_end_by_that() -> None:
    desk = answered()
    assert desk.tell(facts.Unbridged()) == []
    assert desk.leg.state is LegState.ANSWERED
    assert do.PartLegs not in kinds(desk.command(ask.Hangup()))


def test_what_is_dialled_for_another_call_joins_it_with_the_answer() -> None:
    options = ask.BridgeOptions(other=OTHER, transfers=True)
    desk = picked_up(bridge=options, digits="1")
    assert do.JoinLegs(options) in desk.done
    assert desk.events == ["call.initiated", "call.answered"]


def test_early_audio_is_heard_by_the_call_that_is_transferred() -> None:
    early = ask.BridgeOptions(other=OTHER, transfers=True, early_media=True)
    assert do.HearEarly(early) in dialling(bridge=early).tell(facts.CalleeRinging(media()))
    assert dialling(bridge=early).tell(facts.CalleeRinging()) == []
    late = ask.BridgeOptions(other=OTHER, transfers=True)
    assert do.HearEarly not in kinds(dialling(bridge=late).tell(facts.CalleeRinging(media())))


def test_a_dialled_call_may_stay_behind_any_bridge() -> None:
    desk = picked_up(after_bridge=ask.AfterBridge.PARK)
    desk.tell(facts.Bridged(OTHER))
    assert desk.tell(facts.Unbridged()) == []
    assert desk.leg.state is LegState.ANSWERED


@pytest.mark.parametrize("make", [answered, ringing])
def test_a_transfer_leaves_the_call_as_it_is_and_parts_at_its_end(make: Callable[[], Desk]) -> None:
    desk = make()
    state = desk.leg.state
    assert desk.command(ask.Transfer(plan=plan())) == []
    assert desk.leg.state is state
    assert do.PartLegs() in desk.command(ask.Hangup())


def test_hold_and_unhold_are_told_once_each() -> None:
    desk = answered()
    held = facts.MediaRenegotiated(_directed(sending=False))
    assert told(desk.tell(held)) == ["call.hold"]
    assert told(desk.tell(held)) == []
    effects = desk.tell(facts.MediaRenegotiated(_directed(sending=True)))
    assert told(effects) == ["call.unhold"]
    assert payload(effects, "call.unhold")["from"] == "+15550001111"


def _directed(*, sending: bool) -> NegotiatedMedia:
    return replace(media(), sending=sending)


def test_a_sound_that_ends_before_the_answer_is_nothing_to_a_bridge() -> None:
    assert dialling().tell(facts.PlaybackEnded("id-1", "completed")) == []
