"""What a user agent answers to requests it does not serve, and that such answers cost no state."""

import pytest

from offhook.base.limits import SIP_HEADERS_MAX
from offhook.proto.sip import StreamFramer, UserAgentConfig
from offhook.proto.sip.framing import Oversized
from tests.unit.sip.wire import SDP, TCP, UDP, Bench, request

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (request("REGISTER"), 405),
        (request("SUBSCRIBE"), 405),
        (request("REFER"), 405),
        (request("NOTIFY"), 481),
        (request("FROBNICATE"), 501),
        (request("BYE"), 481),
        (request("BYE", to_tag="unknown"), 481),
        (request("INFO", to_tag="unknown"), 481),
        (request("INVITE", to_tag="unknown"), 481),
        (request("CANCEL"), 481),
        (request("INVITE", extra="Require: 100rel, x-y\r\n"), 420),
        (request("OPTIONS", extra="Require: 100rel\r\n"), 420),
        (request("INVITE", uri="soap.beep://x/y"), 416),
        (request("INVITE", uri="sip:bob@"), 400),
        (request("INVITE", contact=""), 400),
        (request("INVITE", contact="Contact: *\r\n"), 400),
        (request("INVITE", body=b"<x/>", kind="application/xml"), 415),
        (request("INVITE", extra="Content-Encoding: gzip\r\n", body=SDP), 415),
        (request("INVITE", cseq_method="BYE"), 400),
        (request("INVITE", extra="CSeq: 9 INVITE\r\n"), 400),
        (request("INVITE", extra="Call-ID: other\r\n"), 400),
        (request("INVITE", cseq=2**31), 400),
        (request("INVITE").replace("From:", "X-From:"), 400),
        (request("INVITE").replace("To:", "X-To:"), 400),
        (request("INVITE").replace("Call-ID:", "X:"), 400),
        (request("INVITE").replace("CSeq:", "X:"), 400),
        (request("INVITE").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), 505),
        (request("INVITE").replace("Max-Forwards: 70", "Max-Forwards: 0"), 483),
        (request("INVITE", extra="X: y\r\n" * SIP_HEADERS_MAX), 513),
        (request("INVITE").replace("Content-Length: 0", "Content-Length: 9"), 400),
        (request("INVITE").replace('"Alice" <sip:alice', '"Alice <sip:alice'), 400),
    ],
)
def test_each_unusable_request_has_its_status_and_leaves_nothing(text: str, status: int) -> None:
    bench = Bench()
    assert bench.status(text) == status
    assert bench.status(text) == status
    assert bench.told == []
    assert bench.agent.is_idle()


@pytest.mark.parametrize(
    "text",
    [
        "", "\r\n\r\n", "\0\0", "hello", "INVITE", request("ACK"), request("ACK", to_tag="x"),
        request("INVITE").replace("Via:", "X-Via:"), "SIP/2.0 200 OK\r\n\r\n", request("ACK").replace("To:", "X:"),
        request("ACK", extra="X: y\r\n" * SIP_HEADERS_MAX),
    ],
)  # fmt: skip
def test_what_cannot_or_must_not_be_answered_costs_a_counter(text: str) -> None:
    bench = Bench()
    assert bench.send(text) == []
    assert bench.told == []
    assert bench.agent.is_idle()
    assert sum(bench.agent.counters.values()) >= 1


def test_8_2_1_a_refused_method_is_told_what_is_allowed() -> None:
    (answer,) = Bench().send(request("REFER"))
    assert answer.get("allow") == "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY"


def test_8_2_2_3_a_refused_extension_is_named() -> None:
    (answer,) = Bench().send(request("INVITE", extra="Require: 100rel\r\nRequire: x-y\r\n"))
    assert answer.get("unsupported") == "100rel, x-y"


def test_8_2_6_2_repeats_of_a_refused_request_get_the_same_to_tag() -> None:
    bench = Bench()
    first, second = (bench.send(request("INVITE", contact=""))[0] for _ in range(2))
    other = bench.send(request("INVITE", contact="", branch="b2"))[0]
    assert first.to.tag == second.to.tag != ""
    assert other.to.tag != first.to.tag


def test_11_options_tells_what_we_take_and_keeps_no_state() -> None:
    bench = Bench()
    (answer,) = bench.send(request("OPTIONS"))
    assert answer.get("allow")
    assert answer.get("accept") == "application/sdp"
    assert answer.get("contact") == "<sip:offhook@192.0.2.10:5060>"
    assert bench.agent.is_idle()


def test_8_2_2_2_the_same_invite_on_another_path_is_482() -> None:
    bench = Bench()
    bench.send(request("INVITE", branch="one"))
    assert bench.status(request("INVITE", branch="two")) == 482
    assert bench.names() == ["IncomingCall"]


def test_21_5_4_no_more_calls_than_the_bound_and_none_when_draining() -> None:
    bench = Bench(UserAgentConfig(max_calls=1, retry_after_s=9))
    bench.send(request("INVITE"))
    (refusal,) = bench.send(request("INVITE", call_id="c2", branch="b2"))
    assert (getattr(refusal, "status", None), refusal.get("retry-after")) == (503, "9")
    bench = Bench()
    bench.agent.accepting = False
    assert bench.status(request("INVITE")) == 503
    assert bench.status(request("OPTIONS")) == 200


def test_no_more_transactions_than_the_bound() -> None:
    bench = Bench(UserAgentConfig(max_transactions=1))
    bench.send(request("INVITE"))
    assert bench.status(request("INVITE", call_id="c2", branch="b2")) == 503


def test_18_3_a_stream_message_over_the_bound_is_513() -> None:
    bench = Bench()
    head = request("INVITE").replace("Content-Length: 0", "Content-Length: 70000")
    (item,) = StreamFramer().feed(head.encode())
    assert isinstance(item, Oversized)
    bench.agent.receive_oversized(item, TCP)
    assert [getattr(message, "status", None) for message in bench.out()] == [513]
    bench.agent.receive_oversized(Oversized(b"junk\r\n\r\n"), TCP)
    assert bench.out() == []


@pytest.mark.parametrize(
    ("via", "remote", "top"),
    [
        ("SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKa", 5062, "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKa"),
        (
            "SIP/2.0/UDP 198.51.100.7:5999;branch=z9hG4bKa;rport", 5062,
            "SIP/2.0/UDP 198.51.100.7:5999;branch=z9hG4bKa;rport=5062;received=198.51.100.7",
        ),
        ("SIP/2.0/UDP 198.51.100.7:5999;branch=z9hG4bKa", 5999, "SIP/2.0/UDP 198.51.100.7:5999;branch=z9hG4bKa"),
        ("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa", 5060, "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa"),
        (
            "SIP/2.0/UDP proxy.example.com:5999;branch=z9hG4bKa", 5999,
            "SIP/2.0/UDP proxy.example.com:5999;branch=z9hG4bKa;received=198.51.100.7",
        ),
        (
            "SIP/2.0/UDP 10.0.0.1:5999;branch=z9hG4bKa", 5062,
            "SIP/2.0/UDP 10.0.0.1:5999;branch=z9hG4bKa;received=198.51.100.7",
        ),
    ],
)  # fmt: skip
def test_18_2_and_rfc3581_where_answers_go_and_what_via_says(via: str, remote: int, top: str) -> None:
    bench = Bench()
    bench.agent.receive(request("OPTIONS", via=via).encode(), UDP, 0.0)
    (transmit,) = bench.agent.transmits()
    assert transmit.flow.remote == ("198.51.100.7", remote)
    assert f"Via: {top}\r\n" in transmit.data.decode()


def test_every_via_goes_back_in_order() -> None:
    bench = Bench()
    via = "SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKa, SIP/2.0/TCP b;branch=z9hG4bKb\r\nVia: SIP/2.0/UDP c;branch=1"
    (answer,) = bench.send(request("OPTIONS", via=via))
    assert [value.split()[1][0] for value in answer.get_values("via")] == ["1", "b", "c"]
