"""INFO and REFER between a leg and its dialog."""

import pytest

from offhook.call import commands as ask
from offhook.call.values import Header
from offhook.proto import sip
from tests.fakes.runners import House

pytestmark = pytest.mark.unit


async def answered() -> tuple[House, sip.CallHandle, str]:
    house = House()
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    house.journal.done.clear()
    return house, call, house.call_control_id


async def test_signals_go_into_the_dialog_and_their_answers_come_back() -> None:
    house, call, name = await answered()
    house.calls.command(name, "send_sip_info", ask.SendInfo(content_type="text/plain", body=b"hi"))
    refer = ask.Refer(target="sip:a@b", headers=(Header("X-A", "1"),), username="us", password="secret")
    house.calls.command(name, "refer", refer)
    await house.settle()
    house.calls.on_sip_event(sip.InfoAnswered(call, 200))
    house.calls.on_sip_event(sip.ReferAnswered(call, 202))
    house.calls.on_sip_event(sip.ReferNotified(call, 200, over=True))
    await house.settle()
    assert house.journal.done == [
        "info text/plain hi",
        "refer sip:a@b (('X-A', '1'),) us",
        "call.refer.started",
        "call.refer.completed",
    ]


async def test_infos_are_told_as_what_they_are_and_keys_that_are_none_are_counted() -> None:
    house, call, _ = await answered()
    for kind, body in (
        ("application/dtmf-relay", b"Signal=5"),
        ("application/dtmf-relay", b"Signal=?"),
        ("application/json", b"{}"),
    ):
        house.calls.on_sip_event(sip.InfoReceived(call, kind, body, ()))
        await house.settle()
    assert house.journal.done == ["call.dtmf.received", "call.sip_info.received"]
    assert house.services.counters["info_keys_unusable_total"] == 1


async def test_a_referral_without_credentials_uses_none() -> None:
    house, _, name = await answered()
    house.calls.command(name, "refer", ask.Refer(target="sip:a@b"))
    await house.settle()
    assert house.journal.done == ["refer sip:a@b () None"]
