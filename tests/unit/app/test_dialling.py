"""Calls out as the registry carries them out: targets, branches, and who gets the call."""

from typing import Any

import pytest

from offhook.app.settings import TrunkSettings
from offhook.app.trunks import Trunks
from offhook.base import limits
from offhook.base.errors import ConfigError, LimitReached
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import WebhookWishes
from offhook.proto import sip
from tests.fakes.far_ends import APPLICATION, ONE, TWO, Far, plan
from tests.fakes.runners import HandClock

pytestmark = pytest.mark.unit


def trunk(**changes: Any) -> TrunkSettings:
    return TrunkSettings(**{"name": "t", "address": "pbx.example:5080", **changes})


async def test_a_dial_sends_an_invite_with_our_offer_and_ends_with_nothing_left() -> None:
    far = Far()
    call = await far.dial(headers=(), caller_name="Shop")
    [(request, sdp)] = far.sip.invites
    assert (request.uri, request.flow.remote) == (ONE, ("192.0.2.9", 5070))
    assert (request.from_uri, request.from_display) == ("sip:+15550001111@192.0.2.1:5060", "Shop")
    assert b"m=audio" in sdp
    await far.say(sip.CallRinging(far.call(0), 183, far.answer(0)))
    await far.say(sip.CallAccepted(far.call(0), far.answer(0), ()))
    assert far.told("call.answered")["codec"] == "PCMA"
    await far.say(sip.CallEnded(far.call(0), by_peer=True))
    assert far.told("call.hangup")["hangup_source"] == "callee"
    far.house.assert_nothing_left()
    assert far.house.calls.status(call)["is_alive"] is False  # type: ignore[index]


async def test_the_answer_of_early_audio_serves_when_the_200_brings_none() -> None:
    far = Far()
    await far.dial()
    await far.say(sip.CallRinging(far.call(0), 183, far.answer(0)))
    await far.say(sip.CallAccepted(far.call(0), None, ()))
    assert far.told("call.answered")["codec"] == "PCMA"


async def test_of_several_the_first_that_answers_gets_the_call() -> None:
    far = Far()
    call = await far.dial(ONE, TWO)
    assert len(far.sip.invites) == 2
    await far.say(sip.CallAccepted(far.call(1), far.answer(1), ()))
    assert far.sip.hung_up == [far.call(0)]
    assert far.told("call.answered")["to"] == TWO
    await far.say(sip.CallRejected(far.call(0), 487, "Request Terminated", by_peer=True))
    assert far.house.calls.status(call)["is_alive"] is True  # type: ignore[index]
    far.house.calls.command(call, "hangup", ask.Hangup())
    await far.house.settle()
    assert far.sip.hung_up == [far.call(0), far.call(1)]
    far.house.assert_nothing_left()


async def test_the_call_ends_when_the_last_has_refused_with_the_word_of_a_phone() -> None:
    far = Far()
    await far.dial(ONE, TWO)
    await far.say(sip.CallRejected(far.call(0), 486, "Busy Here", by_peer=True))
    assert len(far.house.calls) == 1
    await far.say(sip.CallRejected(far.call(1), 408, "Request Timeout", by_peer=False))
    assert far.told("call.hangup")["hangup_cause"] == "user_busy"
    far.house.assert_nothing_left()


async def test_hangup_cancels_every_phone_and_gives_the_reason() -> None:
    far = Far()
    call = await far.dial(ONE, TWO)
    far.house.calls.command(call, "hangup", ask.Hangup(reason="no need"))
    await far.house.settle()
    assert far.sip.hung_up == [far.call(0), far.call(1)]
    assert far.sip.farewells[0] == (("Reason", 'SIP;cause=200;text="no need"'),)
    assert far.told("call.hangup")["hangup_cause"] == "originator_cancel"
    far.house.assert_nothing_left()


async def test_a_host_that_is_not_found_ends_the_call() -> None:
    far = Far()
    far.house.egress.known = False
    await far.dial()
    assert far.told("call.hangup")["hangup_cause"] == "unspecified"
    assert far.sip.invites == []
    far.house.assert_nothing_left()


async def test_a_call_given_up_while_its_host_is_looked_up_is_never_placed() -> None:
    far = Far()
    far.house.egress.answer.clear()
    call = await far.dial()
    far.house.calls.command(call, "hangup", ask.Hangup())
    await far.house.settle()
    far.house.egress.answer.set()
    await far.house.settle()
    assert far.sip.invites == []
    far.house.assert_nothing_left()


async def test_a_call_without_a_port_is_not_placed() -> None:
    far = Far()
    far.house.media.full = True
    await far.dial()
    assert far.sip.invites == []
    assert far.told("call.hangup")["sip_hangup_cause"] == "500"
    far.house.assert_nothing_left()


async def test_a_hidden_caller_is_anonymous_to_the_phone() -> None:
    far = Far()
    await far.dial(hide_caller=True, caller_name="Shop")
    [(request, _)] = far.sip.invites
    assert request.from_uri == "sip:anonymous@anonymous.invalid"
    assert ("Privacy", "id") in request.headers
    assert "Shop" not in request.from_display


async def test_keys_are_pressed_after_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[str] = []
    far = Far()
    monkeypatch.setattr(
        far.house.media, "send_digits", lambda leg_id, *, digits, duration_ms, gap_ms: pressed.append(digits)
    )
    await far.dial(digits="1")
    assert pressed == []
    await far.say(sip.CallAccepted(far.call(0), far.answer(0), ()))
    assert pressed == ["1"]


async def test_the_same_command_id_makes_one_call_for_a_minute() -> None:
    far = Far()
    calls, clock = far.house.calls, far.house.clock
    assert isinstance(clock, HandClock)
    first = calls.dial(plan(command_id="x"))
    again = calls.dial(plan(command_id="x"))
    assert again.duplicate
    assert again.data == first.data
    assert len(calls) == 1
    clock.at_s += limits.COMMAND_IDS_KEPT_S
    assert calls.dial(plan(command_id="x")).data != first.data


async def test_a_linked_call_shares_the_session() -> None:
    far = Far()
    first = far.house.calls.dial(plan())
    second = far.house.calls.dial(plan(link_to=str(first.data["call_control_id"])))
    assert second.data["call_session_id"] == first.data["call_session_id"]
    assert second.data["call_leg_id"] != first.data["call_leg_id"]
    with pytest.raises(CommandError, match="90015"):
        far.house.calls.dial(plan(link_to="v3:unknown"))


async def test_a_dial_that_cannot_be_leaves_no_trace() -> None:
    far = Far(flags={"limits": {"legs": 1}})
    with pytest.raises(CommandError, match="10015"):
        far.house.calls.dial(ask.Dial(connection_id="9", to=(ONE,), caller="a", command_id="x"))
    with pytest.raises(CommandError, match="10038"):
        far.house.calls.dial(plan("+15550002222", command_id="x"))
    assert len(far.house.calls) == 0
    far.house.calls.dial(plan(command_id="x"))
    with pytest.raises(LimitReached):
        far.house.calls.dial(plan())


async def test_a_draining_server_makes_no_call() -> None:
    far = Far()
    far.house.calls.stop_accepting()
    with pytest.raises(LimitReached):
        far.house.calls.dial(plan())


async def test_a_dial_that_nobody_would_hear_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.runners.WEBHOOKS", {})
    far = Far()
    with pytest.raises(CommandError, match="10015"):
        far.house.calls.dial(plan())
    far.house.calls.dial(plan(webhooks=WebhookWishes("https://app.example/hook")))


def test_the_longest_beginning_of_a_number_decides_its_trunk() -> None:
    near = trunk(name="near", address="[2001:db8::1]", numbers=("+1555", "1"), transport="tcp")
    trunks = Trunks([trunk(name="far"), near])
    (abroad,) = trunks.targets(plan("+4930123"))
    assert (abroad.uri, abroad.domain, abroad.trusted) == (
        "sip:+4930123@pbx.example:5080",
        "pbx.example",
        True,
    )
    (home, inside) = trunks.targets(plan("+15550002222", "101"))
    assert home.uri == "sip:+15550002222@[2001:db8::1];transport=tcp"
    assert inside.uri == "sip:101@[2001:db8::1];transport=tcp"


def test_a_number_that_no_trunk_takes_is_refused() -> None:
    trunks = Trunks([trunk(numbers=("+49",))])
    with pytest.raises(CommandError, match="10038"):
        trunks.targets(plan("+15550002222"))
    with pytest.raises(CommandError, match="10016"):
        trunks.targets(plan("101"))


def test_credentials_come_from_the_plan_or_the_trunk(tmp_path: Any) -> None:
    secret = tmp_path / "password"
    secret.write_text("from file\n")
    settings = [trunk(username="u", password_file=str(secret), caller="+15550009999", domain="us.example")]
    (target,) = Trunks(settings).targets(plan("+15550002222"))
    assert target.credentials == sip.Credentials("u", "from file")
    assert (target.caller, target.domain) == ("+15550009999", "us.example")
    (target,) = Trunks(settings).targets(plan("+15550002222", username="me", password="mine"))
    assert target.credentials == sip.Credentials("me", "mine")
    (target,) = Trunks([trunk(username="u", password_env="P")], {"P": "from env"}).targets(
        plan("+15550002222")
    )
    assert target.credentials == sip.Credentials("u", "from env")


@pytest.mark.parametrize("where", [{"password_env": "NOWHERE"}, {"password_file": "/nowhere/at/all"}])
def test_a_password_that_is_not_there_keeps_the_server_from_starting(where: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="The trunk t has no password"):
        Trunks([trunk(username="u", **where)], {})


def test_a_sip_uri_keeps_what_it_says_and_loses_what_is_ours() -> None:
    (target,) = Trunks().targets(plan("SIP:a@[2001:db8::1]:5070;secure=true;user=phone"))
    assert target.uri == "sip:a@[2001:db8::1]:5070;user=phone"
    (target,) = Trunks().targets(plan(TWO, transport=ask.Transport.TCP))
    assert target.uri == TWO + ";transport=tcp"
    (target,) = Trunks().targets(plan(TWO + ";transport=udp", transport=ask.Transport.TCP))
    assert target.uri == TWO + ";transport=udp"
    (target,) = Trunks().targets(
        ask.Dial(connection_id=APPLICATION, to=(TWO,), caller="sip:alice@us.example")
    )
    assert (target.caller, target.domain) == ("alice", "us.example")
