"""Races between two user agents that loss alone rarely shows: crossing messages, glare, forks."""

import pytest

from offhook.proto.sip import Flow, UserAgentConfig, parse_message
from offhook.proto.sip.message import Request
from tests.sim.sip_net import (
    CallCancelled,
    CallEnded,
    CallHandle,
    CallRejected,
    IncomingCall,
    Link,
    Net,
    OfferReceived,
    Phone,
)

pytestmark = pytest.mark.sim


def _answering(net: Net, phone: Phone, *, delay_s: float = 0.0) -> None:
    def act(event: object) -> None:
        if isinstance(event, IncomingCall):
            phone.agent.ring(event.call, net.now)
            net.after(delay_s, lambda: _accept(net, phone, event.call))
        elif isinstance(event, OfferReceived):
            phone.agent.answer_offer(event.call, b"v=0\r\n", net.now)

    phone.on_event = act


def _accept(net: Net, phone: Phone, call: CallHandle) -> None:
    if call in phone.agent.calls:
        phone.agent.accept(call, b"v=0\r\n", net.now)
        net.pump(phone)


def _do(net: Net, phone: Phone, at: float, action: object) -> None:
    def act() -> None:
        action()  # type: ignore[operator]
        net.pump(phone)

    net.after(at, act)


@pytest.mark.parametrize("cancel_at", [0.0, 0.005, 0.0105, 0.5, 0.995, 1.0, 1.005, 1.0101, 1.0105, 1.011])
def test_a_cancel_at_any_moment_ends_the_call_on_both_sides(cancel_at: float) -> None:
    net = Net(1, Link(delay_s=(0.01, 0.01)))
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee, delay_s=1.0)
    call = caller.call(callee)
    _do(net, caller, cancel_at, lambda: caller.agent.hangup(call, net.now))
    net.run()
    last = caller.told[call][-1]
    (heard,) = callee.told.values()
    if isinstance(last, CallRejected):
        assert last.status == 487
        assert isinstance(heard[-1], CallCancelled)
    else:
        assert isinstance(last, CallEnded)
        assert isinstance(heard[-1], CallEnded)
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_the_200_to_a_cancel_leaves_before_the_487() -> None:
    net = Net(1)
    caller, callee = net.phone(5070), net.phone(5080)
    callee.on_event = lambda event: (
        callee.agent.ring(event.call, net.now) if isinstance(event, IncomingCall) else None
    )
    call = caller.call(callee)
    _do(net, caller, 1.0, lambda: caller.agent.cancel(call, net.now, headers=(("Reason", "SIP;cause=200"),)))
    net.run()
    answers = [data.split(b"\r\n")[0] for data in net.datagrams if data.startswith(b"SIP/2.0")]
    assert answers[-2:] == [b"SIP/2.0 200 OK", b"SIP/2.0 487 Request Terminated"]
    (heard,) = callee.told.values()
    assert isinstance(heard[-1], CallCancelled)
    assert heard[-1].reason == "SIP;cause=200"


def test_a_cancel_before_any_response_waits_for_the_first_one() -> None:
    net = Net(1, Link(loss=1.0))
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee, delay_s=5.0)
    call = caller.call(callee)
    caller.agent.hangup(call, net.now)
    net.pump(caller)
    net.run(until=1.0)
    assert all(data.startswith(b"INVITE ") for data in net.datagrams)
    net.link.loss = 0.0
    net.run()
    assert caller.names(call) == ["CallRejected"]
    assert any(data.startswith(b"CANCEL ") for data in net.datagrams)
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_both_sides_hanging_up_at_once_is_an_end_for_both() -> None:
    net = Net(1, Link(delay_s=(0.01, 0.01)))
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee)
    call = caller.call(callee)
    net.run(until=5)
    (other,) = callee.told
    _do(net, caller, 1, lambda: caller.agent.hangup(call, net.now))
    _do(net, callee, 1, lambda: callee.agent.hangup(other, net.now))
    net.run()
    assert caller.names(call)[-1] == "CallEnded"
    assert callee.names(other)[-1] == "CallEnded"
    assert not any(data.startswith(b"SIP/2.0 481") for data in net.datagrams)
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_a_hangup_before_the_ack_ends_at_once_and_sends_bye_only_after_the_ack() -> None:
    net = Net(1, Link(delay_s=(0.1, 0.1)))
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee)
    caller.call(callee)
    net.run(until=0.15)
    (call,) = callee.told
    assert callee.names(call) == ["IncomingCall"]
    callee.agent.hangup(call, net.now)
    net.pump(callee)
    assert callee.names(call) == ["IncomingCall", "CallEnded"]
    assert not any(data.startswith(b"BYE") for data in net.datagrams)
    net.run()
    kinds = [data.split(b" ")[0] for data in net.datagrams]
    assert kinds.index(b"BYE") > kinds.index(b"ACK")
    assert callee.agent.is_idle()
    assert caller.agent.is_idle()


def test_offers_that_cross_are_491_for_both_and_the_call_lives() -> None:
    net = Net(1, Link(delay_s=(0.01, 0.01)))
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee)
    call = caller.call(callee)
    net.run(until=5)
    (other,) = callee.told
    _do(net, caller, 1, lambda: caller.agent.reinvite(call, b"v=0 a\r\n", net.now))
    _do(net, callee, 1, lambda: callee.agent.reinvite(other, b"v=0 b\r\n", net.now))
    net.run()
    assert caller.names(call)[-1] == "OfferRefused"
    assert callee.names(other)[-1] == "OfferRefused"
    _do(net, caller, 1, lambda: caller.agent.reinvite(call, b"v=0 a\r\n", net.now))
    net.run()
    assert caller.names(call)[-1] == "OfferAnswered"
    assert callee.names(other)[-1] == "OfferReceived"
    _do(net, caller, 1, lambda: caller.agent.hangup(call, net.now))
    net.run()
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_the_second_phone_that_answers_a_forked_call_gets_ack_and_bye() -> None:
    net = Net(1, Link(delay_s=(0.01, 0.02)))
    caller, first, second = net.phone(5070), net.phone(5080), net.phone(5090)
    _answering(net, first)
    _answering(net, second, delay_s=0.5)
    call = caller.call(first)
    invite = next(data for data in net.datagrams if data.startswith(b"INVITE"))
    # The fork of a proxy, which passes the same request on to another phone.
    second.agent.receive(invite, Flow("udp", second.address, caller.address), net.now)
    net.pump(second)
    net.run()
    assert caller.names(call).count("CallAccepted") == 1
    (lost,) = second.told
    assert second.names(lost) == ["IncomingCall", "CallEstablished", "CallEnded"]
    (won,) = first.told
    assert first.names(won) == ["IncomingCall", "CallEstablished"]
    caller.agent.hangup(call, net.now)
    net.pump(caller)
    net.run()
    assert all(phone.agent.is_idle() for phone in (caller, first, second))


def test_a_call_nobody_answers_or_refuses_ends_after_the_ring_timeout_on_both_sides() -> None:
    net = Net(1)
    patient = UserAgentConfig(ring_timeout_s=30.0)
    caller, callee = net.phone(5070, patient), net.phone(5080)
    call = caller.call(callee)
    net.run()
    last = caller.told[call][-1]
    assert isinstance(last, CallRejected)
    assert (last.status, last.by_peer) == (408, False)
    assert isinstance(next(iter(callee.told.values()))[-1], CallCancelled)
    net = Net(2)
    caller, callee = net.phone(5070), net.phone(5080, patient)
    call = caller.call(callee)
    net.run()
    assert caller.names(call) == ["CallRejected"]
    assert getattr(caller.told[call][0], "status", None) == 480
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_a_cancel_whose_487_never_comes_still_ends_the_call() -> None:
    net = Net(1)
    caller, callee = net.phone(5070), net.phone(5080)
    call = caller.call(callee)
    net.run(until=1)
    net.link.loss = 1.0
    caller.agent.hangup(call, net.now)
    net.pump(caller)
    net.run(until=40)
    assert caller.names(call) == ["CallRejected"]
    assert getattr(caller.told[call][0], "status", None) == 487
    net.run(until=60)
    assert caller.agent.is_idle()


def test_bounds_of_calls_are_a_503_with_retry_after() -> None:
    net = Net(1)
    caller, callee = net.phone(5070), net.phone(5080, UserAgentConfig(max_calls=2))
    calls = [caller.call(callee) for _ in range(3)]
    net.run(until=1)
    statuses = [getattr(event, "status", None) for call in calls for event in caller.told[call]]
    assert statuses == [503]
    refusal = next(data for data in net.datagrams if data.startswith(b"SIP/2.0 503"))
    assert parse_message(refusal).get("retry-after") == "5"


def test_requests_go_where_the_route_set_and_the_contact_say() -> None:
    net = Net(1)
    callee = net.phone(5080)
    _answering(net, callee)
    lines = (
        "INVITE sip:bob@127.0.0.1:5080 SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKx\r\n"
        "Record-Route: <sip:127.0.0.1:5098;lr>, <sip:127.0.0.1:5097;lr>\r\n"
        "From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: route\r\nCSeq: 7 INVITE\r\n"
        "Contact: <sip:a@127.0.0.1:5096>\r\nContent-Length: 0\r\n\r\n"
    )
    callee.agent.receive(lines.encode(), Flow("udp", callee.address, ("127.0.0.1", 5099)), net.now)
    net.pump(callee)
    net.run(until=0.1)
    answer = parse_message(net.datagrams[-1])
    assert answer.get_lines("record-route") == ["<sip:127.0.0.1:5098;lr>, <sip:127.0.0.1:5097;lr>"]
    to = answer.get("to") or ""
    ack = (
        "ACK sip:bob@127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5098;branch=z9hG4bKy\r\n"
        f"From: <sip:a@x>;tag=1\r\nTo: {to}\r\nCall-ID: route\r\nCSeq: 7 ACK\r\n\r\n"
    )
    callee.agent.receive(ack.encode(), Flow("udp", callee.address, ("127.0.0.1", 5098)), net.now)
    (call,) = callee.agent.calls
    callee.agent.hangup(call, net.now)
    (transmit,) = callee.agent.transmits()
    bye = parse_message(transmit.data)
    assert isinstance(bye, Request)
    assert bye.uri == "sip:a@127.0.0.1:5096"
    assert bye.get_values("route") == ["<sip:127.0.0.1:5098;lr>", "<sip:127.0.0.1:5097;lr>"]
    assert transmit.flow.remote == ("127.0.0.1", 5098)


def test_a_bye_before_we_saw_the_200_gives_the_call_up() -> None:
    net = Net(1)
    caller, callee = net.phone(5070), net.phone(5080)
    _answering(net, callee, delay_s=1.0)
    call = caller.call(callee)
    net.run(until=0.5)
    net.link.loss = 1.0
    net.run(until=3)
    (other,) = callee.told
    # Every 200 and the ACK's wait are lost; the callee gives up and its BYE is what gets through.
    net.run(until=33.2)
    net.link.loss = 0.0
    net.run()
    assert callee.names(other)[-2:] == ["AckTimedOut", "CallEnded"]
    assert caller.names(call) == ["CallRinging", "CallRejected"]
    assert caller.agent.is_idle()
    assert callee.agent.is_idle()


def test_a_hundred_phones_that_answer_one_call_get_no_more_than_the_bound() -> None:
    net = Net(1, Link(delay_s=(0.01, 0.01)))
    caller = net.phone(5070)
    phones = [net.phone(port) for port in range(6000, 6100)]
    for phone in phones:
        _answering(net, phone)
    call = caller.call(phones[0])
    invite = net.datagrams[0]
    for phone in phones[1:]:
        phone.agent.receive(invite, Flow("udp", phone.address, caller.address), net.now)
        net.pump(phone)
    net.run()
    assert caller.names(call).count("CallAccepted") == 1
    answered = [phone for phone in phones if any("CallEstablished" in phone.names(c) for c in phone.told)]
    assert len(answered) == 16
    assert caller.agent.counters["forked_answers_ignored"] > 0
    assert sum(len(phone.agent.calls) for phone in phones) == 1
