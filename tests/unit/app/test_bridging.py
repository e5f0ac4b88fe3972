"""Two legs of a house: bridged, transferred, parted. Both legs are real, what is around them is in memory."""

from typing import Any

import pytest

from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import TargetLegs
from offhook.edge.media.engine import MediaError
from offhook.proto import sip
from tests.fakes.far_ends import ONE, Far, plan
from tests.fakes.runners import OFFER

pytestmark = pytest.mark.unit


def bridge(far: Far, call: str, other: str, **options: Any) -> ask.Reply:
    return far.house.calls.command(
        call, "bridge", ask.Bridge(bridge=ask.BridgeOptions(other=other, **options))
    )


def transfer(far: Far, call: str, after: ask.AfterBridge = ask.AfterBridge.END, **options: Any) -> ask.Reply:
    wanted = ask.BridgeOptions(other="", transfers=True, **options)
    command = ask.Transfer(
        plan=ask.Dial(connection_id="", to=(ONE,), caller="", bridge=wanted, client_state="Yg=="), after=after
    )
    return far.house.calls.command(call, "transfer", command)


async def bridged(**options: Any) -> tuple[Far, str, str]:
    far = Far()
    one, two = await far.take(1), await far.take(2)
    bridge(far, one, two, **options)
    await far.house.settle()
    return far, one, two


async def transferred(after: ask.AfterBridge = ask.AfterBridge.END, **options: Any) -> tuple[Far, str, str]:
    far = Far()
    one = await far.take(1)
    transfer(far, one, after, **options)
    await far.house.settle()
    return far, one, far.house.call_control_id


async def end(far: Far, number: int) -> None:
    await far.say(sip.CallEnded(sip.CallHandle(number), by_peer=True))


async def test_both_legs_are_told_and_hear_each_other() -> None:
    far, one, two = await bridged()
    assert len(far.bridged_media()) == 2
    for call in (one, two):
        assert far.events(call) == ["call.initiated", "call.answered", "call.bridged"]


@pytest.mark.parametrize("ender", [1, 2])
async def test_one_side_hangs_up_and_the_other_is_ended(ender: int) -> None:
    far, one, two = await bridged()
    await end(far, ender)
    for call in (one, two):
        assert far.events(call)[-1] == "call.hangup"
    assert far.sip.hung_up == [sip.CallHandle(3 - ender)]
    far.house.assert_nothing_left()


async def test_a_parked_leg_stays_and_may_be_bridged_again() -> None:
    far, one, two = await bridged(after=ask.AfterBridge.PARK)
    await end(far, 2)
    assert far.events(one)[-1] == "call.bridged"
    assert far.bridged_media() == set()
    three = await far.take(3)
    bridge(far, one, three)
    await far.house.settle()
    assert far.events(one).count("call.bridged") == 2
    await end(far, 3)
    assert far.events(one)[-1] == "call.hangup"
    assert two != three
    far.house.assert_nothing_left()


async def test_a_held_leg_gets_an_offer_to_listen_only_and_another_one_with_the_next_bridge() -> None:
    far, one, _ = await bridged(after=ask.AfterBridge.HOLD)
    await end(far, 2)
    assert b"a=sendonly" in far.sip.offers[0]
    bridge(far, one, await far.take(3))
    await far.house.settle()
    assert b"a=sendrecv" in far.sip.offers[1]
    assert len(far.bridged_media()) == 2


async def test_a_new_bridge_ends_the_former_partners_call() -> None:
    far, one, two = await bridged()
    three = await far.take(3)
    bridge(far, three, one)
    await far.house.settle()
    assert far.events(two)[-1] == "call.hangup"
    assert far.events(one).count("call.bridged") == 2
    assert len(far.bridged_media()) == 2


async def test_a_call_that_is_hung_up_right_behind_its_bridge_is_not_bridged() -> None:
    far = Far()
    one, two = await far.take(1), await far.take(2)
    bridge(far, one, two)
    far.house.calls.command(one, "hangup", ask.Hangup())
    await far.house.settle()
    assert "call.bridged" not in far.events(one)
    assert far.events(two) == ["call.initiated", "call.answered"]
    assert far.bridged_media() == set()


async def test_a_double_bridge_is_prevented_and_unknown_calls_are_refused() -> None:
    far, one, two = await bridged()
    three = await far.take(3)
    with pytest.raises(CommandError, match="10027"):
        bridge(far, three, one, prevent_double=True)
    with pytest.raises(CommandError, match="90015"):
        bridge(far, three, "v3:unknown")
    await end(far, 1)
    with pytest.raises(CommandError, match="90018"):
        bridge(far, three, two)


async def test_a_repeated_bridge_answers_as_the_first_did_and_does_nothing() -> None:
    far = Far()
    one, two = await far.take(1), await far.take(2)
    command = ask.Bridge(bridge=ask.BridgeOptions(other=two), command_id="x")
    first = far.house.calls.command(one, "bridge", command)
    await far.house.settle()
    again = far.house.calls.command(one, "bridge", command)
    await far.house.settle()
    assert (again.duplicate, again.data) == (True, first.data)
    assert far.events(one).count("call.bridged") == 1


async def test_a_ringing_call_is_answered_to_be_bridged() -> None:
    far = Far()
    one, two = await far.ring(1), await far.take(2)
    bridge(far, one, two)
    await far.house.settle()
    assert far.bridged_media() == set()
    await far.say(sip.CallEstablished(sip.CallHandle(1), None))
    assert far.events(one) == ["call.initiated", "call.answered", "call.bridged"]
    assert far.events(two)[-1] == "call.bridged"


async def test_a_transfer_to_a_phone_that_answers() -> None:
    far, one, new = await transferred()
    assert far.events(new) == ["call.initiated"]
    [(request, _)] = far.sip.invites
    assert request.uri == ONE
    assert request.from_uri.startswith("sip:+15550002222@"), "the number that was called"
    assert far.house.newest.client_state == "Yg=="
    assert far.house.newest.identity.call_session_id == far.house.calls.status(one)["call_session_id"]  # type: ignore[index]
    await far.pick_up(0)
    assert far.events(new) == ["call.initiated", "call.answered", "call.bridged"]
    assert far.events(one)[-1] == "call.bridged"
    await far.say(sip.CallEnded(far.call(0), by_peer=True))
    assert far.events(one)[-1] == "call.hangup"
    far.house.assert_nothing_left()


async def test_a_transfer_to_a_busy_phone_leaves_the_call_up() -> None:
    far, one, new = await transferred()
    await far.say(sip.CallRejected(far.call(0), 486, "Busy Here", by_peer=True))
    assert far.events(new) == ["call.initiated", "call.hangup"]
    assert far.events(one) == ["call.initiated", "call.answered"]
    transfer(far, one)
    await far.house.settle()
    await far.pick_up(1)
    assert far.events(one)[-1] == "call.bridged"


async def test_the_call_that_is_transferred_ends_and_nobody_rings_for_it_any_more() -> None:
    far, one, new = await transferred()
    await end(far, 1)
    assert far.sip.hung_up == [far.call(0)]
    assert far.events(one)[-1] == "call.hangup"
    assert far.events(new)[-1] == "call.hangup"
    far.house.assert_nothing_left()


async def test_a_transferred_call_hears_early_audio_unless_told_not_to() -> None:
    for early in (True, False):
        far, one, _ = await transferred(early_media=early)
        await far.say(sip.CallRinging(far.call(0), 183, far.answer(0)))
        assert bool(far.bridged_media()) is early
        assert "call.bridged" not in far.events(one)
        await far.say(sip.CallRejected(far.call(0), 480, "Temporarily Unavailable", by_peer=True))
        assert far.bridged_media() == set()
        assert far.events(one) == ["call.initiated", "call.answered"]


async def test_a_transferred_call_may_be_parked_behind_the_bridge() -> None:
    far, one, _ = await transferred(ask.AfterBridge.PARK)
    await far.pick_up(0)
    await far.say(sip.CallEnded(far.call(0), by_peer=True))
    assert far.events(one)[-1] == "call.bridged"
    assert far.house.calls.status(one)["is_alive"] is True  # type: ignore[index]


async def test_a_ringing_call_is_answered_when_its_transfer_is() -> None:
    far = Far()
    one = await far.ring(1)
    transfer(far, one)
    await far.house.settle()
    new = far.house.call_control_id
    await far.pick_up(0)
    assert far.events(one) == ["call.initiated"]
    assert far.house.journal.done.count("accept") == 1
    await far.say(sip.CallEstablished(sip.CallHandle(1), None))
    assert far.events(one) == ["call.initiated", "call.answered", "call.bridged"]
    assert far.events(new)[-1] == "call.bridged"


async def test_a_refused_transfer_leaves_no_trace() -> None:
    far = Far(flags={"limits": {"legs": 1}})
    one = await far.take(1)
    with pytest.raises(Exception, match="as many calls"):
        transfer(far, one)
    assert len(far.house.calls) == 1


async def test_a_dialled_call_is_bridged_on_its_answer_and_may_show_the_linked_caller() -> None:
    far = Far()
    one = await far.take(1)
    wanted = ask.BridgeOptions(other=one)
    far.house.calls.dial(plan(link_to=one, caller_of_link=True, bridge=wanted))
    await far.house.settle()
    assert far.sip.invites[0][0].from_uri.startswith("sip:+15550001111@")
    await far.pick_up(0)
    assert far.events(one)[-1] == "call.bridged"


async def test_a_dialled_call_stays_alone_when_the_linked_one_has_gone() -> None:
    far = Far()
    one = await far.take(1)
    far.house.calls.dial(plan(link_to=one, bridge=ask.BridgeOptions(other=one)))
    await far.house.settle()
    new = far.house.call_control_id
    await end(far, 1)
    await far.pick_up(0)
    assert far.events(new) == ["call.initiated", "call.answered"]
    assert len(far.house.calls) == 1


@pytest.mark.parametrize(
    ("muted", "heard"),
    [("none", ("1", "2")), ("self", ("", "2")), ("opposite", ("1", "")), ("both", ("", ""))],
)
async def test_keys_of_the_muted_side_stay_with_the_webhooks(muted: str, heard: tuple[str, str]) -> None:
    far, one, two = await bridged(mute_dtmf=ask.MuteDtmf(muted))
    first, second = far.house.media.legs.values()
    far.house.media.press(first.leg_id, "1")
    far.house.media.press(second.leg_id, "2")
    await far.house.settle()
    assert (second.digits_sent, first.digits_sent) == heard
    for call in (one, two):
        assert far.events(call)[-1] == "call.dtmf.received"


async def test_hold_by_the_far_end_is_told_and_the_bridge_goes_on() -> None:
    far, one, _ = await bridged()
    held = OFFER.replace(b"a=sendrecv", b"a=sendonly")
    await far.say(sip.OfferReceived(sip.CallHandle(1), held))
    assert far.events(one)[-1] == "call.hold"
    await far.say(sip.OfferReceived(sip.CallHandle(1), OFFER))
    assert far.events(one)[-1] == "call.unhold"
    assert len(far.bridged_media()) == 2


async def test_a_media_core_that_cannot_bridge_ends_only_what_was_made_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far, one, new = await transferred()

    def refuse(*_: object, **__: object) -> None:
        raise MediaError("no")

    monkeypatch.setattr(far.house.media, "bridge", refuse)
    await far.pick_up(0)
    assert far.events(new)[-1] == "call.hangup"
    assert far.events(one)[-1] == "call.answered"


@pytest.mark.parametrize(
    ("target", "alone", "with_another"),
    [("self", (1,), (1,)), ("opposite", (1,), (2,)), ("both", (1,), (1, 2))],
)
async def test_sounds_go_to_the_legs_they_are_meant_for(
    target: str, alone: tuple[int, ...], with_another: tuple[int, ...]
) -> None:
    far, one, two = await bridged(after=ask.AfterBridge.PARK)
    bridges = far.house.calls._bridges
    first, second = (far.house.calls._runners[call] for call in (one, two))
    order = {first.media_leg_id: 1, second.media_leg_id: 2}
    heard = bridges.hearing(first, TargetLegs(target))
    assert tuple(order[leg] for leg in heard) == with_another
    await end(far, 2)
    assert tuple(order[leg] for leg in bridges.hearing(first, TargetLegs(target))) == alone
