"""Calls as a user agent plays them, clause by clause, with raw messages on the other side."""

import pytest

from offhook.proto.sip import (
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallHandle,
    CallRejected,
    CallStateError,
    Flow,
    IncomingCall,
    OfferAnswered,
    OfferReceived,
    OutgoingCall,
    Request,
    Response,
    SipSyntaxError,
    UserAgentConfig,
)
from offhook.proto.sip.reply import reach
from tests.unit.sip.wire import PEER, SDP, TCP, UDP, US, Bench, request

pytestmark = pytest.mark.unit

OUT = OutgoingCall("sip:carol@198.51.100.7:5062", "sip:us@example.com", UDP, "Us")


def _statuses(messages: list[Request | Response]) -> list[int]:
    return [message.status for message in messages if isinstance(message, Response)]


def _methods(messages: list[Request | Response]) -> list[str]:
    return [message.method for message in messages if isinstance(message, Request)]


def _answer(invite: Request, status: int, *, tag: str = "r1", body: bytes = b"", extra: str = "") -> str:
    to = (invite.get("to") or "") + (f";tag={tag}" if tag else "")
    content = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"SIP/2.0 {status} Words\r\nVia: {invite.get('via')}\r\nFrom: {invite.get('from')}\r\nTo: {to}\r\n"
        f"Call-ID: {invite.call_id}\r\nCSeq: {invite.cseq.number} {invite.cseq.method}\r\n"
        f"Contact: <sip:carol@198.51.100.7:5070>\r\n{extra}{content}\r\n{body.decode()}"
    )


def _invited(bench: Bench) -> tuple[CallHandle, Request]:
    call = bench.agent.invite(OUT, SDP, bench.now)
    (invite,) = bench.out()
    assert isinstance(invite, Request)
    return call, invite


# Incoming


def test_an_invite_is_announced_once_and_its_repeat_gets_the_last_answer() -> None:
    bench = Bench()
    text = request("INVITE", body=SDP, extra="X-Account: 7\r\n")
    assert _statuses(bench.send(text)) == [100]
    (event,) = bench.told
    assert isinstance(event, IncomingCall)
    assert (event.from_uri, event.from_display) == ("sip:alice@example.com", "Alice")
    assert (event.to_uri, event.request_uri) == ("sip:bob@example.com", "sip:bob@192.0.2.10")
    assert (event.sdp, event.source, event.call_id) == (SDP, UDP, "c1")
    assert ("X-Account", "7") in event.headers
    bench.agent.ring(event.call, 0.0)
    bench.out()
    assert _statuses(bench.send(text)) == [180]
    assert bench.names() == ["IncomingCall"]


def test_12_1_1_ringing_and_answer_share_a_tag_and_tell_contact_and_record_route() -> None:
    bench = Bench()
    bench.send(request("INVITE", extra="Record-Route: <sip:p;lr>\r\n", body=SDP))
    call = bench.incoming()
    bench.agent.ring(call, 0.0, status=183, sdp=b"v=1\r\n", headers=(("X-A", "b"),))
    bench.agent.accept(call, SDP, 0.0)
    early, answer = bench.out()
    assert _statuses([early, answer]) == [183, 200]
    assert (early.body, answer.body, early.get("x-a")) == (b"v=1\r\n", SDP, "b")
    assert early.to.tag == answer.to.tag != ""
    assert answer.contact == "sip:offhook@192.0.2.10:5060"
    assert answer.get("record-route") == "<sip:p;lr>"
    assert answer.content_type == "application/sdp"


def test_13_3_1_4_a_200_is_repeated_over_tcp_too_until_its_ack() -> None:
    bench = Bench()
    bench.send(request("INVITE", body=SDP), TCP)
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    assert _statuses(bench.wait(4)) == [200, 200, 200]
    bench.send(request("ACK", branch="new", to_tag=tag), TCP)
    assert bench.wait(100) == []
    assert bench.names() == ["IncomingCall", "CallEstablished"]


def test_an_ack_brings_the_answer_to_an_invite_without_offer() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    assert isinstance(bench.told[0], IncomingCall)
    assert bench.told[0].sdp is None
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    ack = request("ACK", branch="new", to_tag=tag, body=b"v=9\r\n")
    bench.send(ack)
    bench.send(ack)
    assert bench.told[1:] == [CallEstablished(bench.incoming(), b"v=9\r\n")]


def test_an_ack_with_the_invites_own_branch_counts_too() -> None:
    bench = Bench()
    bench.send(request("INVITE", body=SDP))
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    bench.send(request("ACK", to_tag=tag))
    assert bench.names()[-1] == "CallEstablished"


def test_17_2_3_a_request_without_the_magic_cookie_is_matched_by_its_headers() -> None:
    bench = Bench()
    text = request("INVITE", via="SIP/2.0/UDP 198.51.100.7:5062", body=SDP)
    bench.send(text)
    bench.send(text)
    assert bench.names() == ["IncomingCall"]
    bench.agent.reject(bench.incoming(), 486, 0.0)
    bench.out()
    bench.send(request("ACK", via="SIP/2.0/UDP 198.51.100.7:5062", to_tag="any"))
    assert bench.wait(20) == []
    assert bench.agent.is_idle()


def test_a_rejection_is_told_at_once_and_repeated_until_the_ack() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    call = bench.incoming()
    bench.agent.reject(call, 603, 0.0, reason="Not today", headers=(("Retry-After", "60"),))
    (answer,) = bench.out()
    assert isinstance(answer, Response)
    assert (answer.status, answer.reason, answer.get("retry-after")) == (603, "Not today", "60")
    assert bench.told[-1] == CallRejected(call, 603, "Not today", by_peer=False)
    assert _statuses(bench.wait(2)) == [603, 603]
    bench.send(request("ACK", to_tag=answer.to.tag))
    assert bench.wait(10) == []
    assert bench.agent.is_idle()


def test_9_2_a_cancel_is_200_then_487() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    out = bench.send(request("CANCEL", extra="Reason: Q.850;cause=16\r\n"))
    assert [(m.status, m.cseq.method) for m in out if isinstance(m, Response)] == [
        (200, "CANCEL"),
        (487, "INVITE"),
    ]
    last = bench.told[-1]
    assert isinstance(last, CallCancelled)
    assert last.reason == "Q.850;cause=16"
    assert _statuses(bench.send(request("CANCEL"))) == [200]


def test_9_2_a_cancel_after_the_answer_changes_nothing() -> None:
    bench = Bench()
    bench.send(request("INVITE", body=SDP))
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    bench.out()
    assert _statuses(bench.send(request("CANCEL"))) == [200]
    assert bench.names() == ["IncomingCall"]


def test_15_a_bye_of_the_caller_before_our_answer_ends_the_invite_with_487() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    bench.agent.ring(bench.incoming(), 0.0)
    tag = bench.out()[-1].to.tag
    assert _statuses(bench.send(request("BYE", to_tag=tag, cseq=2, branch="b2"))) == [200, 487]
    assert bench.names() == ["IncomingCall", "CallCancelled"]


def test_15_1_2_a_bye_ends_the_call_and_its_repeat_gets_200_again() -> None:
    bench = Bench()
    peer = bench.answered_call()
    bye = peer.request("BYE", cseq=2, extra='Reason: Q.850;cause=31;text="x"\r\n')
    assert bench.status(bye) == 200
    assert bench.status(bye) == 200
    (event,) = bench.told
    assert isinstance(event, CallEnded)
    assert (event.by_peer, event.reason) == (True, 'Q.850;cause=31;text="x"')
    assert bench.status(peer.request("BYE", cseq=3)) == 481
    bench.wait(40)
    assert bench.agent.is_idle()


def test_a_bye_before_the_ack_ends_repeating_of_the_200() -> None:
    bench = Bench()
    bench.send(request("INVITE", body=SDP))
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    assert bench.status(request("BYE", to_tag=tag, cseq=2, branch="b2")) == 200
    assert bench.names() == ["IncomingCall", "CallEnded"]
    assert bench.wait(40) == []
    assert bench.agent.is_idle()


def test_our_bye_goes_to_the_contact_with_our_own_numbers() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    bench.agent.hangup(call, 1.0, headers=(("Reason", "Q.850;cause=16"),))
    (bye,) = bench.out()
    assert isinstance(bye, Request)
    assert (bye.method, bye.uri, bye.cseq.number) == ("BYE", "sip:alice@198.51.100.7:5062", 1)
    assert bye.to.tag == "f1"
    assert bye.get("reason") == "Q.850;cause=16"
    assert bench.told == [CallEnded(call, by_peer=False)]
    bench.send(_answer(bye, 200, tag=""))
    bench.wait(40)
    assert bench.agent.is_idle()


def test_12_2_2_a_number_lower_than_the_last_is_500() -> None:
    bench = Bench()
    peer = bench.answered_call()
    assert bench.status(peer.request("INFO", cseq=10)) == 200
    assert bench.status(peer.request("INFO", cseq=9)) == 500
    assert bench.names() == ["InfoReceived"]


def test_other_requests_inside_a_dialog() -> None:
    bench = Bench()
    peer = bench.answered_call()
    assert bench.status(peer.request("OPTIONS", cseq=2)) == 200
    assert bench.status(peer.request("REFER", cseq=3)) == 603
    assert bench.status(peer.request("SUBSCRIBE", cseq=3)) == 501
    assert bench.status(peer.request("UPDATE", cseq=4)) == 200
    assert bench.status(peer.request("INFO", cseq=5, extra="Require: x\r\n")) == 420
    assert bench.told == []


def test_a_guessed_call_id_is_not_enough_to_speak_in_a_dialog() -> None:
    bench = Bench()
    peer = bench.answered_call()
    assert bench.status(request("BYE", to_tag="wrong", cseq=2, branch="x1")) == 481
    assert bench.status(request("BYE", to_tag=peer.tag, from_tag="wrong", cseq=2, branch="x2")) == 481
    assert bench.told == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_14_2_an_offer_is_told_and_answered(method: str) -> None:
    bench = Bench()
    peer = bench.answered_call()
    (call,) = bench.agent.calls
    first = bench.send(peer.request(method, cseq=2, body=b"v=0 hold\r\n"))
    assert _statuses(first) == ([100] if method == "INVITE" else [])
    assert bench.told == [OfferReceived(call, b"v=0 hold\r\n")]
    assert bench.status(peer.request("INVITE", cseq=3, body=SDP)) == 500
    bench.agent.answer_offer(call, b"v=0 ok\r\n", 0.0)
    (answer,) = bench.out()
    assert answer.body == b"v=0 ok\r\n"
    if method == "INVITE":
        assert _statuses(bench.wait(0.6)) == [200]
        bench.send(peer.request("ACK", cseq=2))
    assert bench.wait(4) == []
    assert len(bench.told) == 1


def test_an_offer_asked_of_us_is_answered_in_the_ack() -> None:
    bench = Bench()
    peer = bench.answered_call()
    (call,) = bench.agent.calls
    bench.send(peer.request("INVITE", cseq=2))
    bench.agent.answer_offer(call, SDP, 0.0)
    bench.out()
    bench.send(peer.request("ACK", cseq=2, body=b"v=7\r\n"))
    assert bench.told == [OfferReceived(call, None), OfferAnswered(call, b"v=7\r\n")]


def test_an_offer_refused_or_left_unanswered_is_488_and_the_call_lives() -> None:
    bench = Bench()
    peer = bench.answered_call()
    (call,) = bench.agent.calls
    bench.send(peer.request("INVITE", cseq=2, body=SDP))
    bench.agent.refuse_offer(call, 0.0)
    assert _statuses(bench.out()) == [488]
    bench.send(peer.request("UPDATE", cseq=3, body=SDP))
    assert 488 in _statuses(bench.wait(17))
    assert bench.agent.calls == (call,)
    with pytest.raises(CallStateError):
        bench.agent.refuse_offer(call, 0.0)
    with pytest.raises(CallStateError):
        bench.agent.answer_offer(call, SDP, 0.0)


def test_14_2_an_offer_that_cannot_be_now_is_491_or_415() -> None:
    bench = Bench()
    peer = bench.answered_call()
    assert bench.status(peer.request("INVITE", cseq=2, body=b"x", kind="text/plain")) == 415
    (call,) = bench.agent.calls
    bench.agent.reinvite(call, SDP, 0.0)
    bench.out()
    assert bench.status(peer.request("INVITE", cseq=3, body=SDP)) == 491
    with pytest.raises(CallStateError):
        bench.agent.reinvite(call, SDP, 0.0)


def test_a_pending_offer_ends_with_487_by_cancel_and_by_bye() -> None:
    bench = Bench()
    peer = bench.answered_call()
    bench.send(peer.request("INVITE", cseq=2, body=SDP))
    cancel = request("CANCEL", branch=f"d{peer.branches}INVITE", to_tag=peer.tag, cseq=2)
    assert _statuses(bench.send(cancel)) == [200, 487]
    bench.send(peer.request("INVITE", cseq=3, body=SDP))
    assert _statuses(bench.send(peer.request("BYE", cseq=4))) == [200, 487]
    assert bench.names() == ["OfferReceived", "OfferReceived", "CallEnded"]


def test_12_2_a_target_refresh_moves_where_our_bye_goes() -> None:
    bench = Bench()
    peer = bench.answered_call()
    text = peer.request("UPDATE", cseq=2).replace(
        "sip:alice@198.51.100.7:5062", "sip:alice@198.51.100.9:7000"
    )
    assert bench.status(text) == 200
    (call,) = bench.agent.calls
    bench.agent.hangup(call, 0.0)
    (transmit,) = bench.agent.transmits()
    assert transmit.data.startswith(b"BYE sip:alice@198.51.100.9:7000 SIP/2.0\r\n")
    assert transmit.flow.remote == ("198.51.100.9", 7000)


@pytest.mark.parametrize("contact", ["sip:alice@10.1.2.3:5062", "sip:alice@phone.example.com"])
def test_a_contact_that_cannot_be_reached_is_replaced_by_where_the_call_came_from(contact: str) -> None:
    bench = Bench()
    bench.send(request("INVITE", contact=f"Contact: <{contact}>\r\n", body=SDP))
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    bench.send(request("ACK", branch="n", to_tag=tag))
    bench.agent.hangup(bench.incoming(), 0.0)
    (transmit,) = bench.agent.transmits()
    assert transmit.data.startswith(f"BYE {contact} SIP/2.0\r\n".encode())
    assert transmit.flow.remote == PEER


def test_12_2_1_1_a_strict_router_stands_in_the_request_uri() -> None:
    bench = Bench()
    bench.send(request("INVITE", extra="Record-Route: <sip:198.51.100.8>, <sip:q;lr>\r\n", body=SDP))
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    bench.send(request("ACK", branch="n", to_tag=tag))
    bench.agent.hangup(bench.incoming(), 0.0)
    (bye,) = bench.out()
    assert isinstance(bye, Request)
    assert bye.uri == "sip:198.51.100.8"
    assert bye.get_values("route") == ["<sip:q;lr>", "<sip:alice@198.51.100.7:5062>"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", 0), ("[fe80::1]", 0), ("10.1.1.1", 1), ("[fd00::1]", 1), ("203.0.113.1", 2), ("name", 2)],
)
def test_how_far_an_address_can_be_seen(host: str, expected: int) -> None:
    assert reach(host) == expected


def test_what_is_over_cannot_be_answered_and_hanging_up_again_is_nothing() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    call = bench.incoming()
    bench.agent.reject(call, 486, 0.0)
    bench.agent.hangup(call, 0.0)
    for act in (bench.agent.accept, bench.agent.reinvite, bench.agent.answer_offer):
        with pytest.raises(CallStateError):
            act(call, SDP, 0.0)
    with pytest.raises(CallStateError):
        bench.agent.ring(call, 0.0)
    with pytest.raises(CallStateError):
        bench.agent.cancel(call, 0.0)
    bench.out()
    assert bench.names() == ["IncomingCall", "CallRejected"]


def test_an_answered_call_cannot_be_answered_twice() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    with pytest.raises(CallStateError):
        bench.agent.accept(call, SDP, 0.0)
    with pytest.raises(CallStateError):
        bench.agent.cancel(call, 0.0)


# Outgoing


def test_13_2_a_call_of_ours_from_invite_to_bye() -> None:
    bench = Bench()
    call, invite = _invited(bench)
    assert (invite.uri, invite.body, invite.content_type) == (OUT.uri, SDP, "application/sdp")
    assert invite.sender.display == "Us"
    assert invite.contact == "sip:offhook@192.0.2.10:5060"
    bench.send(_answer(invite, 100, tag=""))
    bench.send(_answer(invite, 183, body=b"v=1\r\n"))
    (ack,) = bench.send(
        _answer(invite, 200, body=b"v=2\r\n", extra="Record-Route: <sip:b;lr>, <sip:a;lr>\r\n")
    )
    assert isinstance(ack, Request)
    assert (ack.method, ack.uri, ack.cseq.number) == ("ACK", "sip:carol@198.51.100.7:5070", 1)
    assert ack.get_values("route") == ["<sip:a;lr>", "<sip:b;lr>"]
    assert ack.via.branch != invite.via.branch
    assert bench.names() == ["CallRinging", "CallAccepted"]
    (again,) = bench.send(_answer(invite, 200, body=b"v=2\r\n"))
    assert again.to_bytes() == ack.to_bytes()
    bye = (
        f"BYE sip:us@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKz\r\n"
        f"From: {invite.get('to')};tag=r1\r\nTo: {invite.get('from')}\r\nCall-ID: {invite.call_id}\r\n"
        "CSeq: 77 BYE\r\n\r\n"
    )
    assert bench.status(bye) == 200
    assert bench.told[-1].call == call
    assert bench.names()[-1] == "CallEnded"
    bench.wait(40)
    assert bench.agent.is_idle()


@pytest.mark.parametrize("status", [302, 401, 404, 486, 500, 603])
def test_a_failure_is_told_with_its_status_and_acknowledged(status: int) -> None:
    bench = Bench()
    call, invite = _invited(bench)
    (ack,) = bench.send(_answer(invite, status))
    assert isinstance(ack, Request)
    assert ack.via.branch == invite.via.branch
    (event,) = bench.told
    assert isinstance(event, CallRejected)
    assert (event.call, event.status, event.reason, event.by_peer) == (call, status, "Words", True)
    bench.wait(40)
    assert bench.agent.is_idle()


def test_a_lost_connection_is_a_503_for_what_waits_and_calls_live_on() -> None:
    bench = Bench()
    flow = Flow("tcp", US, PEER)
    call = bench.agent.invite(OutgoingCall("sip:c@198.51.100.7;transport=tcp", "sip:u@x", flow), SDP, 0.0)
    bench.out()
    bench.agent.connection_lost(flow, 0.0)
    bench.out()
    (event,) = bench.told
    assert isinstance(event, CallRejected)
    assert (event.call, event.status) == (call, 503)
    bench = Bench()
    bench.send(request("INVITE", body=SDP), TCP)
    bench.agent.accept(bench.incoming(), SDP, 0.0)
    tag = bench.out()[-1].to.tag
    bench.send(request("ACK", branch="n", to_tag=tag), TCP)
    bench.agent.connection_lost(TCP, 0.0)
    bench.agent.hangup(bench.incoming(), 0.0)
    (transmit,) = bench.agent.transmits()
    assert transmit.flow == Flow("tcp", US, ("198.51.100.7", 5062))


@pytest.mark.parametrize(
    ("status", "names"),
    [(200, ["OfferAnswered"]), (488, ["OfferRefused"]), (481, ["OfferRefused", "CallEnded"])],
)
def test_14_1_our_offer_inside_a_call(status: int, names: list[str]) -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    bench.agent.reinvite(call, b"v=0 new\r\n", 0.0)
    (invite,) = bench.out()
    assert isinstance(invite, Request)
    assert invite.body == b"v=0 new\r\n"
    bench.send(_answer(invite, 100, tag=""))
    out = bench.send(_answer(invite, status, tag="", body=SDP))
    assert _methods(out) == (["ACK", "BYE"] if status == 481 else ["ACK"])
    assert bench.names() == names


def test_an_offer_of_ours_without_an_answer_ends_the_call() -> None:
    bench = Bench()
    bench.answered_call()
    bench.agent.reinvite(bench.agent.calls[0], SDP, 0.0)
    bench.wait(70)
    assert bench.names() == ["OfferRefused", "CallEnded"]
    assert bench.agent.is_idle()


def test_no_more_outgoing_calls_than_the_bound() -> None:
    bench = Bench(UserAgentConfig(max_calls=1))
    _invited(bench)
    with pytest.raises(CallStateError):
        bench.agent.invite(OUT, SDP, 0.0)


@pytest.mark.parametrize(
    "headers",
    [
        (("X-A", "b\r\nInjected: c"),),
        (("X A", "b"),),
        (("Via", "x"),),
        (("content-length", "0"),),
        (("", "b"),),
    ],
)
def test_headers_of_the_application_cannot_break_a_message(headers: tuple[tuple[str, str], ...]) -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    with pytest.raises(SipSyntaxError):
        bench.agent.accept(bench.incoming(), SDP, 0.0, headers=headers)
    assert bench.out() == []
    assert bench.agent.calls == (bench.incoming(),)


@pytest.mark.parametrize("uri", ["sip:a@h>\r\nX: y", "sip:a b@h", "nothing", "sip:a@h\r\n"])
def test_an_unusable_uri_is_refused_before_anything_is_sent(uri: str) -> None:
    bench = Bench()
    with pytest.raises(SipSyntaxError):
        bench.agent.invite(OutgoingCall(uri, "sip:u@x", UDP), SDP, 0.0)
    assert bench.out() == []
    assert bench.agent.is_idle()
