"""Messages of our own making for the cases of RFC 4475, under its headings."""

import time

import pytest

from offhook.proto.sip import IncomingCall, Response, parse_message
from tests.unit.sip.wire import Bench

pytestmark = pytest.mark.unit

TORTUOUS = (
    "INVITE sip:vivekg@192.0.2.10;unknownparam SIP/2.0\r\n"
    "TO :\r\n sip:vivekg@192.0.2.10 ;   tag    =\r\n\r\n"
)  # an empty line inside ends the head: what is left lacks its headers

INVITE_3_1_1_1 = (
    "INVITE sip:vivekg@192.0.2.10;unknownparam SIP/2.0\r\n"
    "TO :\r\n sip:vivekg@192.0.2.10\r\n"
    'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
    "MaX-fOrWaRdS: 0068\r\n"
    "Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
    "Content-Length   : 6\r\n"
    "cseq: 0009\r\n  INVITE\r\n"
    "Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n"
    "s :\r\n"
    "NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
    "UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
    "Content-Type: application/sdp\r\n"
    "Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
    "v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
    " SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
    'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
    "  secondparam ; q = 0.33\r\n"
    "\r\nv=0\r\no"
)


def _message(first: str, *, drop: str = "", add: str = "", body: str = "", branch: str = "z9hG4bKt") -> str:
    fields = {
        "Via": f"SIP/2.0/UDP 198.51.100.7:5062;branch={branch}",
        "From": "<sip:caller@example.net>;tag=3",
        "To": "<sip:user@example.com>",
        "Call-ID": "torture",
        "CSeq": "8 INVITE",
        "Max-Forwards": "70",
        "Contact": "<sip:caller@198.51.100.7>",
    }
    lines = [f"{name}: {value}\r\n" for name, value in fields.items() if name != drop]
    return f"{first}\r\n{''.join(lines)}{add}\r\n{body}"


def _of(method: str, uri: str, *, add: str = "", branch: str = "z9hG4bKt") -> str:
    return _message(f"{method} {uri} SIP/2.0", add=add, branch=branch).replace("8 INVITE", f"8 {method}")


def _statuses(text: str | bytes) -> list[int]:
    return [message.status for message in Bench().send(text) if isinstance(message, Response)]


VALID = "INVITE sip:user@example.com SIP/2.0"


def test_3_1_1_1_a_short_tortuous_invite() -> None:
    bench = Bench()
    out = bench.send(INVITE_3_1_1_1)
    assert [getattr(message, "status", None) for message in out] == [100]
    (event,) = bench.told
    assert isinstance(event, IncomingCall)
    assert event.from_display == 'J Rosenberg \\"'
    assert event.from_uri == "sip:jdrosen@example.com"
    assert event.to_uri == "sip:vivekg@192.0.2.10"
    assert event.sdp == b"v=0\r\no"
    assert out[0].sender.tag == "98asjd8"
    assert len(out[0].get_values("via")) == 3
    assert _statuses(TORTUOUS) == []


def test_3_1_1_2_wide_range_of_characters() -> None:
    user = "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d"
    assert _statuses(_of("!interesting-Method0123456789_*+`.%indeed'~", f"sip:{user}@example.com")) == [501]


@pytest.mark.parametrize(
    ("heading", "text", "statuses"),
    [
        (
            "3.1.1.3 valid use of the % escaping mechanism",
            _message("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0"),
            [100],
        ),
        ("3.1.1.4 escaped nulls in URIs", _of("REGISTER", "sip:example.com"), [405]),
        ("3.1.1.5 use of % when it is not an escape", _of("RE%47IST%45R", "sip:x"), [501]),
        (
            "3.1.1.6 no LWS between display name and <",
            _message(VALID).replace("<sip:caller", "caller<sip:caller", 1),
            [100],
        ),
        (
            "3.1.1.7 long values in header fields",
            _message(VALID, add=f"Unknown-{'long' * 20}: {'value' * 1000}\r\n"),
            [100],
        ),
        (
            "3.1.1.8 extra trailing octets in a UDP datagram",
            _message(VALID, add="Content-Length: 0\r\n", body="INVITE again"),
            [100],
        ),
        (
            "3.1.1.9 semicolon-separated parameters in URI user part",
            _of("OPTIONS", "sip:user;par=u%40example.net@example.com"),
            [200],
        ),
        (
            "3.1.1.12 unusual reason phrases do not matter to requests",
            _message(VALID, add="Subject: \u043d\u0435\r\n"),
            [100],
        ),
        (
            "3.1.2.1 extraneous header field separators",
            _message(VALID).replace("branch=z9hG4bKt", ";;,;,branch=z9hG4bKt"),
            [100],
        ),
        (
            "3.1.2.2 Content-Length larger than message",
            _message(VALID, add="Content-Length: 9999\r\n", body="v=0"),
            [400],
        ),
        (
            "3.1.2.3 negative Content-Length",
            _message(VALID, add="Content-Length: -999\r\n", body="v=0"),
            [400],
        ),
        (
            "3.1.2.4 overlarge values in a request",
            _message(VALID).replace("8 INVITE", "36893488147419103232 INVITE"),
            [400],
        ),
        (
            "3.1.2.6 unterminated quoted string in display name",
            _message(VALID).replace("<sip:user", '"Mr. J. User <sip:user', 1),
            [400],
        ),
        ("3.1.2.7 <> enclosing Request-URI", _message("INVITE <sip:user@example.com> SIP/2.0"), [400]),
        (
            "3.1.2.8 malformed Request-URI: embedded LWS",
            _message("INVITE sip:user@example.com; lr SIP/2.0"),
            [400],
        ),
        (
            "3.1.2.9 multiple SP separating Request-Line elements",
            _message("INVITE  sip:user@example.com  SIP/2.0"),
            [400],
        ),
        ("3.1.2.10 SP characters at end of Request-Line", _message(f"{VALID}  "), [400]),
        (
            "3.1.2.13 malformed date is of no concern",
            _message(VALID, add="Date: Fri, 01 Jan 2010 16:00:00 EST\r\n"),
            [100],
        ),
        ("3.1.2.16 unknown protocol version", _message("INVITE sip:user@example.com SIP/7.0"), [505]),
        (
            "3.1.2.17 start line and CSeq method mismatch",
            _message("OPTIONS sip:user@example.com SIP/2.0"),
            [400],
        ),
        (
            "3.1.2.18 unknown method with CSeq method mismatch",
            _message("NEWMETHOD sip:user@example.com SIP/2.0"),
            [400],
        ),
        ("3.2.1 missing transaction identifier", _of("OPTIONS", "sip:x@y", branch="z9hG4bK"), [200]),
        ("3.3.1 missing required header fields", _message(VALID, drop="From"), [400]),
        ("3.3.2 Request-URI with unknown scheme", _of("OPTIONS", "nobodyKnowsThisScheme:total"), [416]),
        (
            "3.3.5 unknown Content-Type",
            _message(VALID, add="Content-Type: application/unknownformat\r\n", body="<x>"),
            [415],
        ),
        (
            "3.3.7 unknown authorization scheme is of no concern",
            _message(VALID, add="Authorization: Nobody opaque-data=here\r\n"),
            [100],
        ),
        (
            "3.3.8 multiple values in single value required fields",
            _message(VALID, add="Call-ID: 2\r\nTo: <sip:o@p>\r\n"),
            [400],
        ),
        (
            "3.3.9 multiple Content-Length values",
            _message(VALID, add="Content-Length: 5\r\nContent-Length: 3\r\n", body="v=0\r\n"),
            [400],
        ),
        ("3.3.13 REGISTER with a contact with an escaped header", _of("REGISTER", "sip:x"), [405]),
        (
            "3.3.15 unacceptable Accept offering",
            _of("OPTIONS", "sip:x@y", add="Accept: text/nobodyKnowsThis\r\n"),
            [200],
        ),
        ("3.4.1 INVITE with RFC 2543 syntax", _message(VALID, branch="1").replace(";branch=1", ""), [100]),
    ],
    ids=lambda value: value.split(" ")[0] if isinstance(value, str) and value.startswith("3.") else "",
)
def test_the_case_gets_its_answer(heading: str, text: str, statuses: list[int]) -> None:
    assert _statuses(text) == statuses, heading


def test_3_1_1_13_an_empty_reason_phrase_and_3_1_2_19_an_overlarge_response_code() -> None:
    tail = _message("x").partition("\r\n")[2]
    response = parse_message(f"SIP/2.0 100 \r\n{tail}".encode())
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (100, "")
    bench = Bench()
    assert bench.send(f"SIP/2.0 4294967301 better not break the receiver\r\n{tail}") == []
    assert bench.agent.counters["malformed_status"] == 1


def test_3_1_1_11_a_multipart_body_is_415_until_somebody_reads_it() -> None:
    kind = "Content-Type: multipart/mixed;boundary=7a9cbec02ceef655\r\n"
    text = _message(VALID, add=kind, body="--7a\r\n\r\n\0\xff")
    assert _statuses(text.encode("latin-1")) == [415]


def test_a_response_without_a_place_costs_a_counter() -> None:
    bench = Bench()
    tail = _message("x", add="Content-Length: 99\r\n").partition("\r\n")[2]
    bench.send(f"SIP/2.0 200 OK\r\n{tail}")
    bench.send(f"SIP/2.0 200 OK\r\n{_message('x').partition(chr(10))[2]}")
    assert bench.agent.counters["malformed_response"] == 1
    assert bench.agent.counters["responses_unmatched"] == 1


@pytest.mark.parametrize(
    "unit",
    ['"', "\\", '\\"', "<", ",", ";", ";a=", '";', "a\r\n ", "\r\n ", "X:\r\n", "\n", ":", " ", "\t\r\n", '<">,', "%",
     "\0"],
)  # fmt: skip
def test_hostile_repetition_costs_linear_time(unit: str) -> None:
    # The longest line, and the longest message, read within milliseconds; the bound allows for slow machines.
    for size in (8_000, 64_000):
        text = unit * (size // len(unit))
        for name in ("Via", "From", "To", "Contact", "CSeq", "Call-ID", "Require", "Record-Route"):
            data = _message(VALID, drop=name, add=f"{name}: {text}\r\n").encode()
            started = time.perf_counter()
            Bench().send(data[:65_000])
            assert time.perf_counter() - started < 0.5
