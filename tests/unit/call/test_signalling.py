"""What a leg does with INFO, with keys that come by it, and with referrals."""

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from offhook.call.keypresses import KEYS_KEPT_MAX, Keypresses
from offhook.call.values import Header
from tests.fakes.legs import Desk, answered, answering, payload, told

pytestmark = pytest.mark.unit

INFO = ask.SendInfo(content_type="application/json", body=b"{}")
REFER = ask.Refer(target="sip:desk@pbx.example", headers=(Header("X-A", "1"),), username="u", password="p")


def code(desk: Desk, command: ask.Command) -> str:
    with pytest.raises(CommandError) as refused:
        desk.command(command)
    return refused.value.problem.code


# INFO


def test_infos_are_sent_and_no_more_wait_than_the_bound() -> None:
    desk = answered()
    for _ in range(limits.INFOS_WAITING_MAX):
        assert desk.command(INFO) == [do.SendInfo("application/json", b"{}")]
    assert code(desk, INFO) == "10027"
    assert desk.tell(facts.InfoAnswered(415)) == [], "an answer is not told"
    assert len(desk.command(INFO)) == 1


def test_an_info_of_the_far_end_is_told_on_its_own_leg() -> None:
    effects = answered().tell(facts.InfoReceived("text/plain", "hello"))
    assert payload(effects, "call.sip_info.received") == {
        **payload(effects, "call.sip_info.received"),
        "body": "hello",
        "content_type": "text/plain",
        "from": "+15550001111",
        "to": "+15550002222",
    }


def test_no_info_is_told_before_the_call_is_up_or_when_it_ends() -> None:
    info = facts.InfoReceived("text/plain", "hello")
    assert answering().tell(info) == []
    desk = answered()
    desk.command(ask.Hangup())
    assert desk.tell(info) == []


# Keys


def press(desk: Desk, keys: str) -> str:
    """Press keys, those in lower case by INFO (`i` is `1`, `z` is `2`); return what was told."""
    for key in keys:
        by_info = key.islower()
        desk.tell(facts.DigitReceived({"i": "1", "z": "2"}.get(key, key), by_info=by_info))
    return "".join(
        each.payload["digit"]
        for each in desk.done
        if isinstance(each, do.Notify) and each.event_type == "call.dtmf.received"
    )


@pytest.mark.parametrize(
    ("pressed", "heard"),
    [("1122", "1122"), ("iizz", "1122"), ("1i1i2z", "112"), ("i1i1z2", "112"), ("11ii2z", "112"), ("12iz", "12"),
     ("1z", "12"), ("i1i", "11")],
)  # fmt: skip
def test_a_key_that_comes_by_both_ways_is_told_once(pressed: str, heard: str) -> None:
    assert press(answered(), pressed) == heard


def test_the_same_key_much_later_is_another() -> None:
    desk = answered()
    press(desk, "1")
    desk.wait(2.0)
    assert press(desk, "i") == "11"


def test_the_keys_that_wait_for_their_counterpart_are_bounded() -> None:
    keys = Keypresses()
    for _ in range(10 * KEYS_KEPT_MAX):
        assert keys.is_new("1", by_info=True, now=0.0)
    assert len(keys._alone) == KEYS_KEPT_MAX


# REFER


def test_a_referral_is_told_from_its_start_to_its_end() -> None:
    desk = answered()
    assert desk.command(REFER) == [do.ReferCall("sip:desk@pbx.example", REFER.headers, "u", "p")]
    assert "'p'" not in repr(REFER) + repr(desk.done[-1])
    started = desk.tell(facts.ReferAnswered(202))
    assert payload(started, "call.refer.started") == {
        **payload(started, "call.refer.started"),
        "sip_notify_response": 100,
        "from": "+15550001111",
        "to": "+15550002222",
    }
    assert desk.tell(facts.ReferNotified(180, over=False)) == []
    completed = desk.tell(facts.ReferNotified(200, over=False))
    assert payload(completed, "call.refer.completed")["sip_notify_response"] == 200
    assert desk.tell(facts.ReferNotified(200, over=True)) == [], "an end is told once"
    assert code(desk, ask.Answer()) == "10027", "the call goes on"


@pytest.mark.parametrize(
    ("told_by_peer", "status", "events"),
    [
        ([facts.ReferAnswered(403)], 403, ["failed"]),
        ([facts.ReferAnswered(202), facts.ReferNotified(603, over=True)], 603, ["started", "failed"]),
        ([facts.ReferNotified(503, over=True), facts.ReferAnswered(202)], 503, ["started", "failed"]),
        ([facts.ReferAnswered(202), facts.ReferNotified(None, over=True)], 100, ["started", "failed"]),
        (
            [facts.ReferNotified(180, over=False), facts.ReferAnswered(200), facts.PeerHungUp()],
            180,
            ["started", "failed"],
        ),
        ([facts.PeerHungUp()], 100, ["failed"]),
    ],
)
def test_a_referral_that_fails_says_the_last_status_heard(
    told_by_peer: list[facts.Fact], status: int, events: list[str]
) -> None:
    desk = answered()
    desk.command(REFER)
    desk.tell(*told_by_peer)
    refers = [event for event in desk.events if event.startswith("call.refer")]
    assert refers == [f"call.refer.{event}" for event in events]
    assert payload(desk.done, "call.refer.failed")["sip_notify_response"] == status


def test_a_referral_that_nobody_tells_of_fails_by_time_and_is_forgotten() -> None:
    desk = answered()
    desk.command(REFER)
    desk.tell(facts.ReferAnswered(202))
    assert desk.leg.poll_timeout() == desk.now + limits.REFERRAL_TIMEOUT_S
    effects = desk.wait(limits.REFERRAL_TIMEOUT_S)
    assert effects[0] == do.ForgetReferral()
    assert payload(effects, "call.refer.failed")["sip_notify_response"] == 408


def test_there_is_one_referral_at_a_time() -> None:
    desk = answered()
    desk.command(REFER)
    assert code(desk, REFER) == "10027"
    desk.tell(facts.ReferAnswered(486))
    assert len(desk.command(REFER)) == 1
    assert told(desk.tell(facts.ReferAnswered(202))) == ["call.refer.started"]
