"""INFO inside a call in both directions, and the keys that come by it."""

import pytest

from offhook.base import limits
from offhook.proto.sip import (
    CallEnded,
    CallStateError,
    InfoAnswered,
    InfoReceived,
    Request,
    Response,
    SipSyntaxError,
    carries_key,
    key_of_info,
)
from tests.unit.sip.wire import SDP, UDP, Bench, Peer, answer, request

pytestmark = pytest.mark.unit


def test_an_info_is_answered_and_told_once() -> None:
    bench = Bench()
    peer = bench.answered_call()
    info = peer.request("INFO", cseq=2, body=b"Signal=5", kind="Application/DTMF-relay; x=y")
    assert bench.status(info) == 200
    assert bench.status(info) == 200
    (event,) = bench.told
    assert isinstance(event, InfoReceived)
    assert (event.content_type, event.body) == ("application/dtmf-relay", b"Signal=5")


@pytest.mark.parametrize(
    ("extra", "body", "status", "told"),
    [
        ("Info-Package: foo\r\n", b"x", 469, ("recv-info", "")),
        ("Content-Encoding: gzip\r\n", b"x", 415, ("accept-encoding", "identity")),
        ("", b"\0\1", 415, ("accept", "application/dtmf-relay, application/dtmf, text/*")),
        ("", b"x" * (limits.INFO_BODY_BYTES_MAX + 1), 413, ("accept", None)),
    ],
)
def test_an_info_that_nobody_could_read_is_refused_as_the_rfc_says(
    extra: str, body: bytes, status: int, told: tuple[str, str | None]
) -> None:
    bench = Bench()
    peer = bench.answered_call()
    (refused,) = bench.send(peer.request("INFO", cseq=2, body=body, extra=extra, kind="text/plain"))
    assert isinstance(refused, Response)
    assert (refused.status, refused.get(told[0])) == (status, told[1])
    assert bench.told == []
    assert bench.status(peer.request("INFO", cseq=3)) == 200, "the call goes on"


def test_an_info_before_the_answer_is_counted_and_not_told() -> None:
    bench = Bench()
    (trying,) = bench.send(request("INVITE", body=SDP))
    bench.agent.ring(bench.incoming(), bench.now)
    tag = bench.out()[-1].to.tag
    bench.told.clear()
    assert trying.to.tag in ("", tag)
    assert bench.status(Peer("c1", tag).request("INFO", cseq=2)) == 200
    assert bench.told == []
    assert bench.agent.counters["infos_too_early"] == 1


def test_a_flood_of_infos_is_held_back_for_the_rest_of_the_second() -> None:
    bench = Bench()
    peer = bench.answered_call()
    answers = [bench.status(peer.request("INFO", cseq=number)) for number in range(2, 42)]
    assert answers == [200] * limits.INFOS_RECEIVED_PER_S_MAX + [503] * (40 - limits.INFOS_RECEIVED_PER_S_MAX)
    bench.now += 1.0
    assert bench.status(peer.request("INFO", cseq=50)) == 200


def test_infos_of_ours_wait_for_one_another_and_arrive_in_order() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    for body in (b"one", b"two", b""):
        bench.agent.info(call, "text/plain;charset=utf-8", body, bench.now)
    seen = []
    for status in (200, 415, 408):
        (info,) = bench.out()
        assert isinstance(info, Request)
        seen.append((info.method, info.get("content-type"), info.body, info.cseq.number))
        bench.send(answer(info, 100))
        bench.agent.receive(answer(info, status).encode(), UDP, bench.now)
        bench.told.extend(bench.agent.events())
    kind = "text/plain;charset=utf-8"
    assert seen == [("INFO", kind, b"one", 1), ("INFO", kind, b"two", 2), ("INFO", kind, b"", 3)]
    assert bench.told == [InfoAnswered(call, 200), InfoAnswered(call, 415), InfoAnswered(call, 408)]
    assert bench.out() == []


def test_silence_is_told_and_the_next_one_goes_out() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    bench.agent.info(call, "text/plain", b"one", bench.now)
    bench.agent.info(call, "text/plain", b"two", bench.now)
    bodies = [message.body for message in [*bench.out(), *bench.wait(33)]]
    assert bodies == sorted(bodies)
    assert {b"one", b"two"} == set(bodies)
    assert bench.told == [InfoAnswered(call, 408)]


def test_a_peer_that_does_not_know_the_call_ends_it() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    for _ in range(2):
        bench.agent.info(call, "text/plain", b"x", bench.now)
    (info,) = bench.out()
    assert isinstance(info, Request)
    (bye,) = bench.send(answer(info, 481))
    assert isinstance(bye, Request)
    assert bye.method == "BYE"
    assert [type(event) for event in bench.told] == [InfoAnswered, CallEnded]
    bench.send(answer(bye, 481))
    bench.wait(40)
    assert bench.agent.is_idle()


def test_more_infos_than_the_bound_are_refused_and_a_bad_type_too() -> None:
    bench = Bench()
    bench.answered_call()
    (call,) = bench.agent.calls
    with pytest.raises(SipSyntaxError):
        bench.agent.info(call, "text/plain\r\nX: y", b"", bench.now)
    for _ in range(limits.INFOS_WAITING_MAX + 1):
        bench.agent.info(call, "text/plain", b"x", bench.now)
    with pytest.raises(CallStateError):
        bench.agent.info(call, "text/plain", b"x", bench.now)


def test_a_call_that_rings_takes_no_info_of_ours() -> None:
    bench = Bench()
    bench.send(request("INVITE", body=SDP))
    with pytest.raises(CallStateError):
        bench.agent.info(bench.incoming(), "text/plain", b"x", bench.now)


@pytest.mark.parametrize(
    ("content_type", "body", "key"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "5"),
        ("application/dtmf-relay", b"Signal= *\nDuration= 250", "*"),
        ("application/dtmf-relay", b"Duration=160\r\nsignal = 11\r\n", "#"),
        ("application/dtmf-relay", b"Signal=d", "D"),
        ("application/dtmf-relay", b"5", None),
        ("application/dtmf-relay", b"Signal=16", None),
        ("application/dtmf-relay", b"Signal=hf\r\nSignal=5", None),
        ("application/dtmf", b"5", "5"),
        ("application/dtmf", b" 10\r\n", "*"),
        ("APPLICATION/DTMF ; a=b", b"15", "D"),
        ("application/dtmf", b"55", None),
        ("application/dtmf", b"", None),
        ("application/dtmf", b"\xff", None),
        ("application/dtmf", "\u0665".encode(), None),
    ],
)
def test_the_key_of_an_info_is_read_in_both_forms(content_type: str, body: bytes, key: str | None) -> None:
    assert carries_key(content_type)
    assert key_of_info(content_type, body) == key


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/dtmf-relays", "application/json"])
def test_other_infos_are_no_keys(content_type: str) -> None:
    assert not carries_key(content_type)
