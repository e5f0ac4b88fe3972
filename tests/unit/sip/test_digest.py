"""Challenges and what answers them, with the examples of the RFCs and a proxy that asks."""

import pytest

from offhook.proto.sip import (
    CallAccepted,
    CallEnded,
    CallRejected,
    Credentials,
    OutgoingCall,
    Request,
    Response,
    parse_message,
)
from offhook.proto.sip.digest import Authorizer, Challenge, answer, challenges_of
from tests.unit.sip.wire import SDP, UDP, Bench

pytestmark = pytest.mark.unit

MUFASA = Credentials("Mufasa", "Circle of Life")
OUT = OutgoingCall(
    "sip:carol@198.51.100.7:5062", "sip:us@example.com", UDP, credentials=Credentials("us", "secret")
)
ASKED = 'Digest realm="trunk", nonce="n1", algorithm=MD5, qop="auth"'
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def challenge(value: str) -> Challenge:
    found = Challenge.parse(value, proxy=False)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_come_out(algorithm: str, response: str) -> None:
    told = answer(
        challenge(RFC_7616.format(algorithm)),
        MUFASA,
        method="GET",
        uri="/dir/index.html",
        cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        count=1,
    )
    assert f'response="{response}"' in told
    assert "nc=00000001" in told
    assert "qop=auth," in told
    assert 'opaque="FQhe/' in told


def test_a_challenge_without_qop_is_answered_as_in_rfc_2069() -> None:
    asked = challenge('Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"')
    told = answer(
        asked, Credentials("Mufasa", "CircleOfLife"), method="GET", uri="/dir/index.html", cnonce="x", count=1
    )
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in told
    assert "cnonce" not in told
    assert "nc=" not in told


def test_a_session_algorithm_binds_the_nonces_into_the_secret() -> None:
    plain = challenge('Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth"')
    session = challenge('Digest realm="r", nonce="n", algorithm=SHA-256-sess, qop="auth"')
    told = [answer(c, MUFASA, method="INVITE", uri="sip:a@b", cnonce="c", count=1) for c in (plain, session)]
    assert told[0] != told[1]
    assert "algorithm=SHA-256-sess" in told[1]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic realm=x",
        'Digest realm="r"',
        'Digest realm="r", nonce="n", algorithm=ROT13',
        'Digest realm="r", nonce="n", qop="auth-int"',
        "Digest garbage",
        'Digest realm="r", nonce="' + "n" * 5000 + '"',
    ],
)
def test_what_cannot_be_answered_is_no_challenge(value: str) -> None:
    assert Challenge.parse(value, proxy=False) is None


def response(*lines: str, status: int = 401) -> Response:
    message = parse_message(
        (
            f"SIP/2.0 {status} Words\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
            "To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
            + "".join(f"{x}\r\n" for x in lines)
            + "\r\n"
        ).encode()
    )
    assert isinstance(message, Response)
    return message


def test_the_strongest_algorithm_of_a_realm_is_taken() -> None:
    asked = response(
        *(f'WWW-Authenticate: Digest realm="r", nonce="n", algorithm={a}' for a in ("MD5", "SHA-256"))
    )
    assert [found.algorithm for found in challenges_of(asked)] == ["SHA-256"]


def test_nonces_count_and_a_stale_one_is_replaced() -> None:
    authorizer = Authorizer(MUFASA, "c")
    assert authorizer.learn(response(f"WWW-Authenticate: {ASKED}"))
    assert "nc=00000001" in authorizer.headers("INVITE", "sip:a@b")[0][1]
    assert "nc=00000002" in authorizer.headers("BYE", "sip:a@b")[0][1]
    assert not authorizer.learn(response(f"WWW-Authenticate: {ASKED}")), "refused for good"
    assert authorizer.learn(response("WWW-Authenticate: " + ASKED.replace("n1", "n2") + ", stale=true"))
    assert 'nonce="n2"' in authorizer.headers("BYE", "sip:a@b")[0][1]
    assert "nc=00000001" not in authorizer.headers("BYE", "sip:a@b")[0][1]


def test_a_far_end_whose_nonces_are_always_stale_is_given_up() -> None:
    authorizer = Authorizer(MUFASA, "c")
    answers = [
        authorizer.learn(response(f'WWW-Authenticate: Digest realm="r", nonce="n{number}", stale=true'))
        for number in range(20)
    ]
    assert answers[0]
    assert answers.count(True) <= 4


def test_a_password_is_in_no_representation() -> None:
    assert "Circle" not in repr(MUFASA)
    assert "secret" not in repr(OUT)


# A whole call


def reply(request: Request, status: int, extra: str = "", body: bytes = b"") -> str:
    content = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"SIP/2.0 {status} Words\r\nVia: {request.get('via')}\r\nFrom: {request.get('from')}\r\n"
        f"To: {(request.get('to') or '').partition(';tag')[0]};tag=r1\r\nCall-ID: {request.call_id}\r\n"
        f"CSeq: {request.cseq.number} {request.cseq.method}\r\n"
        f"Contact: <sip:carol@198.51.100.7:5070>\r\n{extra}{content}\r\n{body.decode()}"
    )


def requests(messages: list[Request | Response]) -> list[Request]:
    return [message for message in messages if isinstance(message, Request)]


@pytest.mark.parametrize(
    ("status", "asks", "answers"),
    [
        (401, "WWW-Authenticate", "authorization"),
        (407, "Proxy-Authenticate", "proxy-authorization"),
    ],
)
def test_a_challenged_invite_is_sent_again_with_its_answer(status: int, asks: str, answers: str) -> None:
    bench = Bench()
    bench.agent.invite(OUT, SDP, bench.now)
    (first,) = requests(bench.out())
    ack, second = requests(bench.send(reply(first, status, f"{asks}: {ASKED}\r\n")))
    assert (ack.method, second.method) == ("ACK", "INVITE")
    assert 'username="us"' in (second.get(answers) or "")
    assert second.call_id == first.call_id
    assert second.sender.tag == first.sender.tag
    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    assert second.body == first.body
    assert bench.names() == [], "nobody is told of it"
    (ack,) = requests(bench.send(reply(second, 200, body=SDP)))
    assert ack.cseq.number == second.cseq.number
    assert ack.get(answers) == second.get(answers), "13.2.2.4: the ACK carries the same credentials"
    assert [type(event) for event in bench.told] == [CallAccepted]


def test_wrong_credentials_are_refused_once_and_told() -> None:
    bench = Bench()
    bench.agent.invite(OUT, SDP, bench.now)
    (first,) = requests(bench.out())
    _, second = requests(bench.send(reply(first, 401, f"WWW-Authenticate: {ASKED}\r\n")))
    third = requests(bench.send(reply(second, 401, f"WWW-Authenticate: {ASKED.replace('n1', 'n2')}\r\n")))
    assert [message.method for message in third] == ["ACK"]
    (told,) = bench.told
    assert isinstance(told, CallRejected)
    assert told.status == 401
    bench.wait(60)
    assert bench.agent.is_idle()


def test_a_call_without_credentials_is_told_of_the_challenge() -> None:
    bench = Bench()
    bench.agent.invite(OutgoingCall(OUT.uri, OUT.from_uri, UDP), SDP, bench.now)
    (first,) = requests(bench.out())
    bench.send(reply(first, 407, f"Proxy-Authenticate: {ASKED}\r\n"))
    (told,) = bench.told
    assert isinstance(told, CallRejected)
    assert told.status == 407


def test_a_call_given_up_is_not_asked_again() -> None:
    bench = Bench()
    call = bench.agent.invite(OUT, SDP, bench.now)
    (first,) = requests(bench.out())
    bench.send(reply(first, 100))
    bench.agent.cancel(call, bench.now)
    bench.out()
    messages = requests(bench.send(reply(first, 401, f"WWW-Authenticate: {ASKED}\r\n")))
    assert [message.method for message in messages] == ["ACK"]


def test_a_cancel_goes_to_the_invite_that_was_sent_again() -> None:
    bench = Bench()
    call = bench.agent.invite(OUT, SDP, bench.now)
    (first,) = requests(bench.out())
    _, second = requests(bench.send(reply(first, 401, f"WWW-Authenticate: {ASKED}\r\n")))
    bench.agent.cancel(call, bench.now)
    assert bench.out() == [], "9.1: not before a provisional answer to this INVITE"
    (cancel,) = requests(bench.send(reply(second, 180)))
    assert (cancel.method, cancel.via.branch) == ("CANCEL", second.via.branch)


def test_a_challenged_bye_is_sent_again() -> None:
    bench = Bench()
    call = bench.agent.invite(OUT, SDP, bench.now)
    (invite,) = requests(bench.out())
    bench.send(reply(invite, 200, body=SDP))
    bench.agent.hangup(call, bench.now)
    (bye,) = requests(bench.out())
    (again,) = requests(bench.send(reply(bye, 407, f"Proxy-Authenticate: {ASKED}\r\n")))
    assert (again.method, again.cseq.number) == ("BYE", bye.cseq.number + 1)
    assert 'uri="sip:carol@198.51.100.7:5070"' in (again.get("proxy-authorization") or "")
    bench.send(reply(again, 200))
    assert isinstance(bench.told[-1], CallEnded)
    bench.wait(60)
    assert bench.agent.is_idle()
