"""Calls between two user agents over a network that loses, doubles and reorders, in virtual time."""

import random

import pytest

from offhook.proto.sip import CallStateError
from tests.sim.sip_net import (
    LAST_EVENTS,
    AckTimedOut,
    CallAccepted,
    CallEstablished,
    CallHandle,
    CallRejected,
    IncomingCall,
    Link,
    Net,
    OfferReceived,
    Phone,
)

pytestmark = pytest.mark.sim

CALLS = 1_000
BATCH = 50


def _plays_callee(net: Net, phone: Phone, dice: random.Random) -> None:
    """Answer like people do: at once or later, or not at all; hang up sometimes; take every offer."""

    def act(event: object) -> None:
        if isinstance(event, IncomingCall):
            phone.agent.ring(event.call, net.now)
            choice = dice.random()
            if choice < 0.75:
                net.after(dice.uniform(0, 3), lambda: _try_accept(net, phone, event.call))
            elif choice < 0.9:
                net.after(dice.uniform(0, 3), lambda: _try_reject(net, phone, event.call))
            else:
                net.after(dice.uniform(0, 3), lambda: _hang_up(net, phone, event.call))
            if choice < 0.3:
                net.after(dice.uniform(0, 20), lambda: _hang_up(net, phone, event.call))
        elif isinstance(event, OfferReceived):
            phone.agent.answer_offer(event.call, b"v=0 again\r\n", net.now)

    phone.on_event = act


def _plays_caller(net: Net, phone: Phone, dice: random.Random) -> None:
    def act(event: object) -> None:
        if isinstance(event, CallAccepted):
            net.after(dice.uniform(0, 20), lambda: _hang_up(net, phone, event.call))
            if dice.random() < 0.3:
                net.after(dice.uniform(0, 5), lambda: _try_reinvite(net, phone, event.call))
        elif isinstance(event, OfferReceived):
            phone.agent.refuse_offer(event.call, net.now)

    phone.on_event = act


def _answers_at_once(net: Net, phone: Phone) -> None:
    def act(event: object) -> None:
        if isinstance(event, IncomingCall):
            _try_accept(net, phone, event.call)

    phone.on_event = act


def _hangs_up_later(net: Net, phone: Phone) -> None:
    def act(event: object) -> None:
        if isinstance(event, CallAccepted):
            # Later than any repeat of the 200 that brings a lost ACK.
            net.after(40, lambda: _hang_up(net, phone, event.call))

    phone.on_event = act


def _try_accept(net: Net, phone: Phone, call: CallHandle) -> None:
    try:
        phone.agent.accept(call, b"v=0\r\n", net.now)
    except CallStateError:
        return
    net.pump(phone)


def _try_reject(net: Net, phone: Phone, call: CallHandle) -> None:
    try:
        phone.agent.reject(call, 486, net.now)
    except CallStateError:
        return
    net.pump(phone)


def _try_reinvite(net: Net, phone: Phone, call: CallHandle) -> None:
    try:
        phone.agent.reinvite(call, b"v=0 more\r\n", net.now)
    except CallStateError:
        return
    net.pump(phone)


def _hang_up(net: Net, phone: Phone, call: CallHandle) -> None:
    phone.agent.hangup(call, net.now)
    net.pump(phone)


def _run(seed: int, loss: float) -> tuple[Phone, Phone]:
    dice = random.Random(seed + 1)
    net = Net(seed, Link(loss=loss, duplicates=0.1, delay_s=(0.001, 0.3)))
    caller, callee = net.phone(5070), net.phone(5080)
    _plays_callee(net, callee, dice)
    _plays_caller(net, caller, dice)
    for _ in range(BATCH):
        net.after(dice.uniform(0, 10), lambda: _start(net, caller, callee, dice))
    net.run()
    return caller, callee


def _start(net: Net, caller: Phone, callee: Phone, dice: random.Random) -> None:
    call = caller.call(callee)
    if dice.random() < 0.2:
        net.after(dice.uniform(0, 4), lambda: _hang_up(net, caller, call))


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15, 0.3])
def test_both_sides_of_every_call_hear_exactly_one_verdict_and_nothing_is_left(loss: float) -> None:
    for seed in range(CALLS // BATCH):
        caller, callee = _run(seed, loss)
        assert len(caller.told) == BATCH
        for phone in (caller, callee):
            for call, told in phone.told.items():
                last = [event for event in told if isinstance(event, LAST_EVENTS)]
                assert len(last) == 1, f"seed {seed} loss {loss} {call}: {phone.names(call)}"
                assert told[-1] is last[0], f"seed {seed} loss {loss} {call}: {phone.names(call)}"
            assert phone.agent.is_idle(), f"seed {seed} loss {loss}"
            assert not [name for name in phone.agent.counters if name.startswith("malformed")]


@pytest.mark.parametrize("loss", [0.0, 0.05, 0.15, 0.3])
def test_a_caller_who_waits_gets_through(loss: float) -> None:
    failed = 0
    for seed in range(5):
        net = Net(seed, Link(loss=loss, duplicates=0.05, delay_s=(0.001, 0.2)))
        caller, callee = net.phone(5070), net.phone(5080)
        _answers_at_once(net, callee)
        _hangs_up_later(net, caller)
        calls = [caller.call(callee) for _ in range(BATCH)]
        net.run()
        for call in calls:
            failed += "CallAccepted" not in caller.names(call)
        established = sum(isinstance(e, CallEstablished) for told in callee.told.values() for e in told)
        gave_up = sum(
            isinstance(e, AckTimedOut | CallRejected) for told in callee.told.values() for e in told
        )
        assert established == BATCH
        assert gave_up == 0
    # Eleven tries of each message: at 30 % loss one in two million is never heard.
    assert failed == 0


def test_a_silent_peer_is_a_408_after_64_t1_and_leaves_nothing() -> None:
    net = Net(1, Link(loss=1.0))
    caller, callee = net.phone(5070), net.phone(5080)
    call = caller.call(callee)
    net.run()
    assert caller.names(call) == ["CallRejected"]
    verdict = caller.told[call][0]
    assert isinstance(verdict, CallRejected)
    assert (verdict.status, verdict.by_peer) == (408, False)
    assert net.now == pytest.approx(32.0)
    assert net.sent == 7  # at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s
    assert caller.agent.is_idle()


def test_an_ack_that_never_comes_ends_the_call_with_a_bye_after_64_t1() -> None:
    net = Net(2)
    caller, callee = net.phone(5070), net.phone(5080)

    def answer_and_cut(event: object) -> None:
        if isinstance(event, IncomingCall):
            _try_accept(net, callee, event.call)
            net.link.loss = 1.0

    callee.on_event = answer_and_cut
    caller.call(callee)
    net.run()
    (call,) = callee.told
    assert callee.names(call) == ["IncomingCall", "AckTimedOut", "CallEnded"]
    # 200 at 0, .5, 1.5, 3.5, 7.5, then every 4 s up to 31.5 s, as T2 says.
    assert sum(data.startswith(b"SIP/2.0 200") for data in net.datagrams) == 11
    assert sum(data.startswith(b"BYE ") for data in net.datagrams) > 1
    assert callee.agent.is_idle()
