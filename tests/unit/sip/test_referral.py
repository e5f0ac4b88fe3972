"""REFER inside a call: what we send, what the NOTIFYs tell, and what a peer that refers us is told."""

import pytest

from offhook.proto.sip import (
    CallEnded,
    CallHandle,
    CallStateError,
    Credentials,
    ReferAnswered,
    ReferNotified,
    Request,
    Response,
    SipSyntaxError,
)
from tests.unit.sip.wire import Bench, Peer, answer

pytestmark = pytest.mark.unit

TARGET = "sip:desk@pbx.example?Replaces=a%40b"
ASKED = 'WWW-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"\r\n'


def called() -> tuple[Bench, Peer, CallHandle]:
    bench = Bench()
    peer = bench.answered_call()
    return bench, peer, bench.agent.calls[0]


def referred(bench: Bench, call: CallHandle, *, status: int | None = 202, **options: object) -> Request:
    """Send a REFER that the peer answers; return it."""
    bench.agent.refer(call, TARGET, bench.now, **options)  # type: ignore[arg-type]
    (refer,) = bench.out()
    assert isinstance(refer, Request)
    if status is not None:
        bench.send(answer(refer, status))
    return refer


def notify(
    peer: Peer,
    cseq: int,
    line: str = "SIP/2.0 200 OK",
    *,
    event: str = "refer",
    state: str = "active;expires=60",
    kind: str = "message/sipfrag;version=2.0",
) -> str:
    extra = f"Event: {event}\r\nSubscription-State: {state}\r\n"
    return peer.request("NOTIFY", cseq=cseq, body=line.encode(), extra=extra, kind=kind)


def test_a_refer_names_its_target_and_us_and_carries_the_headers_of_the_app() -> None:
    bench, _, call = called()
    refer = referred(bench, call, headers=(("X-Why", "sales"),))
    assert (refer.method, refer.uri, refer.get("refer-to")) == (
        "REFER", "sip:alice@198.51.100.7:5062", f"<{TARGET}>",
    )  # fmt: skip
    assert refer.get("referred-by") == "<sip:bob@example.com>"
    assert refer.get("x-why") == "sales"
    assert refer.get("contact") == "<sip:offhook@192.0.2.10:5060>"
    assert bench.told == [ReferAnswered(call, 202)]


def test_the_app_may_say_by_whom() -> None:
    bench, _, call = called()
    refer = referred(bench, call, headers=(("Referred-By", "<sip:boss@x>"),))
    assert refer.get_lines("referred-by") == ["<sip:boss@x>"]


def test_what_the_notifys_say_is_told_until_the_last_word() -> None:
    bench, peer, call = called()
    refer = referred(bench, call)
    number = refer.cseq.number
    assert bench.status(notify(peer, 2, "SIP/2.0 100 Trying", event=f"refer;id={number}")) == 200
    assert bench.status(notify(peer, 3, "SIP/2.0 180 Ringing\r\nX: y\r\n")) == 200
    assert bench.status(notify(peer, 4, state="terminated;reason=noresource")) == 200
    assert bench.status(notify(peer, 5, "SIP/2.0 603 Decline")) == 200
    assert bench.told[1:] == [
        ReferNotified(call, 100, over=False),
        ReferNotified(call, 180, over=False),
        ReferNotified(call, 200, over=True),
    ]


def test_a_notify_may_overtake_the_answer_to_the_refer() -> None:
    bench, peer, call = called()
    refer = referred(bench, call, status=None)
    assert bench.status(notify(peer, 2, "SIP/2.0 503 No", state="terminated")) == 200
    bench.send(answer(refer, 202))
    assert bench.told == [ReferNotified(call, 503, over=True)]


def test_a_subscription_that_ends_without_a_word_is_told() -> None:
    bench, peer, call = called()
    referred(bench, call)
    assert bench.status(notify(peer, 2, "", state="terminated;reason=timeout")) == 200
    assert bench.told[1:] == [ReferNotified(call, None, over=True)]


@pytest.mark.parametrize(
    "line", ["", "SIP/2.0 99 x", "HTTP/1.1 200 OK", "\u0661\u0660\u0660", "SIP/2.0 abc x"]
)
def test_a_notify_that_says_nothing_is_answered_and_not_told(line: str) -> None:
    bench, peer, call = called()
    referred(bench, call)
    assert bench.status(notify(peer, 2, line)) == 200
    assert bench.told == [ReferAnswered(call, 202)]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"event": "presence"}, 489),
        ({"event": ""}, 489),
        ({"event": "refer;id=77"}, 481),
        ({"kind": "text/plain"}, 415),
    ],
)
def test_a_notify_that_is_not_of_our_referral_is_refused(options: dict[str, str], status: int) -> None:
    bench, peer, call = called()
    referred(bench, call)
    (refused,) = bench.send(notify(peer, 2, **options))  # type: ignore[arg-type]
    assert isinstance(refused, Response)
    assert refused.status == status
    assert refused.get("allow-events") == ("refer" if status == 489 else None)
    assert bench.told == [ReferAnswered(call, 202)]


def test_a_notify_without_any_referral_is_refused() -> None:
    bench, peer, _ = called()
    assert bench.status(notify(peer, 2)) == 481


@pytest.mark.parametrize("status", [403, 405, 603])
def test_a_refused_referral_is_told_and_the_next_may_follow(status: int) -> None:
    bench, _, call = called()
    referred(bench, call, status=status)
    assert bench.told == [ReferAnswered(call, status)]
    referred(bench, call)
    assert bench.told[1:] == [ReferAnswered(call, 202)]


def test_there_is_one_referral_at_a_time_unless_it_is_given_up() -> None:
    bench, peer, call = called()
    first = referred(bench, call)
    with pytest.raises(CallStateError):
        bench.agent.refer(call, TARGET, bench.now)
    bench.agent.forget_referral(call)
    assert bench.status(notify(peer, 2)) == 200
    assert bench.told == [ReferAnswered(call, 202)], "what was given up is told no more"
    second = referred(bench, call)
    old = notify(peer, 3, event=f"refer;id={first.cseq.number}")
    assert bench.status(old) == 481
    assert second.cseq.number > first.cseq.number


def test_a_challenge_is_answered_with_the_credentials_given() -> None:
    bench, peer, call = called()
    first = referred(bench, call, status=None, credentials=Credentials("us", "secret"))
    (again,) = bench.send(answer(first, 401, extra=ASKED))
    assert isinstance(again, Request)
    assert 'username="us"' in (again.get("authorization") or "")
    assert again.cseq.number == first.cseq.number + 1
    assert again.get("refer-to") == f"<{TARGET}>"
    bench.send(answer(again, 202))
    assert bench.status(notify(peer, 2, event=f"refer;id={again.cseq.number}")) == 200
    assert bench.told == [ReferAnswered(call, 202), ReferNotified(call, 200, over=False)]


@pytest.mark.parametrize("credentials", [None, Credentials("us", "wrong")])
def test_a_challenge_that_cannot_be_met_is_the_answer(credentials: Credentials | None) -> None:
    bench, _, call = called()
    refer = referred(bench, call, status=None, credentials=credentials)
    out = bench.send(answer(refer, 407, extra=ASKED.replace("WWW", "Proxy")))
    for again in out:
        assert isinstance(again, Request)
        bench.send(answer(again, 407, extra=ASKED.replace("WWW", "Proxy")))
    assert bench.told == [ReferAnswered(call, 407)]


def test_silence_is_told() -> None:
    bench, _, call = called()
    referred(bench, call, status=None)
    bench.wait(33)
    assert bench.told == [ReferAnswered(call, 408)]


def test_a_peer_that_does_not_know_the_call_ends_it() -> None:
    bench, _, call = called()
    referred(bench, call, status=481)
    assert [type(event) for event in bench.told] == [ReferAnswered, CallEnded]


@pytest.mark.parametrize("target", ["desk", "sip:a>b", "sip:a b", 'sip:"x"', "sip:a\r\nX: y"])
def test_a_target_that_would_break_the_header_is_refused(target: str) -> None:
    bench, _, call = called()
    with pytest.raises(SipSyntaxError):
        bench.agent.refer(call, target, bench.now)
    with pytest.raises(SipSyntaxError):
        bench.agent.refer(call, TARGET, bench.now, headers=(("Refer-To", "<sip:x>"),))
    assert bench.out() == []


def test_a_peer_that_refers_us_is_declined_and_counted() -> None:
    bench, peer, _ = called()
    refer = peer.request("REFER", cseq=2, extra="Refer-To: <sip:x@y>\r\n")
    assert [bench.status(refer), bench.status(refer)] == [603, 603]
    assert bench.agent.counters["refers_declined"] == 1
    assert bench.told == []
