import pytest

from offhook.base.limits import SIP_HEADERS_MAX, SIP_LINE_CHARACTERS_MAX, SIP_MESSAGE_BYTES_MAX
from offhook.proto.sip.message import Request, Response, parse_message, reason_phrase
from offhook.proto.sip.values import SipSyntaxError

pytestmark = pytest.mark.unit

HEAD = (
    "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport\r\n"
    'From: "A. Caller" <sip:a@example.com>;tag=f1\r\n'
    "To: <sip:b@example.com>\r\nCall-ID: c1\r\nCSeq: 3 INVITE\r\n"
)


def _request(extra: str = "", body: str = "") -> Request:
    message = parse_message(f"INVITE sip:b@example.com SIP/2.0\r\n{HEAD}{extra}\r\n{body}".encode())
    assert isinstance(message, Request)
    return message


def test_a_request_is_read_by_its_headers() -> None:
    request = _request("Contact: <sip:a@192.0.2.1:5062>, <sip:other@x>\r\nContent-Length: 3\r\n", "abcdef")
    assert (request.method, request.uri, request.body) == ("INVITE", "sip:b@example.com", b"abc")
    assert request.via.branch == "z9hG4bK1"
    assert (request.via.host, request.via.port) == ("192.0.2.1", 5062)
    assert (request.sender.display, request.sender.uri) == ("A. Caller", "sip:a@example.com")
    assert request.sender.tag == "f1"
    assert request.to.tag == ""
    assert (request.cseq.number, request.cseq.method) == (3, "INVITE")
    assert request.contact == "sip:a@192.0.2.1:5062"
    assert request.defect is None


def test_a_response_is_read() -> None:
    response = parse_message(f"SIP/2.0 486 Busy right now\r\n{HEAD}\r\n".encode())
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (486, "Busy right now")


def test_7_3_1_header_names_know_no_case_and_lines_fold() -> None:
    request = _request("SUBJECT  :  one\r\n two\r\n\t three\r\nx-Odd: 1\r\n")
    assert request.get("subject") == "one two three"
    assert request.get("x-odd") == "1"


def test_7_3_3_compact_names_are_written_out() -> None:
    text = (
        "OPTIONS sip:x SIP/2.0\nv: SIP/2.0/TCP h;branch=z9hG4bK9\nf: sip:a@b;tag=1\nt: sip:c@d\n"
        "i: id\nCSeq: 1 OPTIONS\nm: <sip:a@b>\nl: 0\n\n"
    )
    request = parse_message(text.encode())
    assert [name for name, _ in request.fields] == [
        "Via", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Length",
    ]  # fmt: skip
    assert request.call_id == "id"
    assert request.sender.uri == "sip:a@b"


def test_18_3_without_content_length_a_datagram_is_body_to_its_end() -> None:
    data = f"INVITE sip:b@example.com SIP/2.0\r\n{HEAD}\r\nv=0\r\n".encode()
    assert parse_message(data).body == b"v=0\r\n"
    assert parse_message(data, stream=True).body == b""


@pytest.mark.parametrize("length", ["-1", "9999", "1e3", "+3", "3_0", "", "99999999999999999999", "\u0663"])
def test_a_wrong_content_length_is_a_400(length: str) -> None:
    defect = _request(f"Content-Length: {length}\r\n", "abc").defect
    assert defect is not None
    assert defect[0] == 400


def test_lf_only_lines_and_leading_line_ends_are_taken() -> None:
    text = "\r\n\r\n" + f"INVITE sip:b@example.com SIP/2.0\r\n{HEAD}\r\nbody".replace("\r\n", "\n")
    request = parse_message(text.encode())
    assert request.call_id == "c1"
    assert request.body == b"body"


def test_a_body_that_holds_an_empty_line_is_not_cut() -> None:
    assert _request("Content-Length: 6\r\n", "a\n\nb\r\n").body == b"a\n\nb\r\n"


def test_any_byte_in_a_value_goes_back_as_it_came() -> None:
    data = f"INVITE sip:b@example.com SIP/2.0\r\n{HEAD}Subject: ".encode() + b"caf\xe9 \xc3\xa9 \xff\r\n\r\n"
    request = parse_message(data)
    assert b"Subject: caf\xe9 \xc3\xa9 \xff\r\n" in request.to_bytes()


def test_a_message_over_the_bound_is_refused() -> None:
    with pytest.raises(SipSyntaxError, match="too_large"):
        parse_message(b"x" * (SIP_MESSAGE_BYTES_MAX + 1))


@pytest.mark.parametrize(
    "extra",
    [
        "X: y\r\n" * (SIP_HEADERS_MAX + 1),
        "X: " + "y" * SIP_LINE_CHARACTERS_MAX + "\r\n",
        "X: y\r\n" + " " + "z" * 4_000 + "\r\n " + "z" * 4_000 + "\r\n " + "z" * 4_000 + "\r\n",
    ],
)
def test_what_exceeds_the_bounds_of_headers_is_a_513(extra: str) -> None:
    defect = _request(extra).defect
    assert defect is not None
    assert defect[0] == 513


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "\r\n", "SIP/2.0", "SIP/2.0 abc OK", "SIP/2.0 99 x", "SIP/2.0 700 x",
        "SIP/2.0 4294967301 x", "SIP/3.0 200 OK", "INVITE sip:x", "INVITE sip:x HTTP/1.1", "IN\x00VITE sip:x SIP/2.0",
        "GET / HTTP/1.1", "INVITE", " SIP/2.0",
    ],
)  # fmt: skip
def test_what_is_no_sip_has_nobody_to_answer(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        parse_message(text.encode())


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("INVITE sip:b@example.com SIP/7.0", 505),
        ("INVITE  sip:b@example.com SIP/2.0", 400),
        ("INVITE sip:b@ex ample.com SIP/2.0", 400),
        ("INVITE <sip:b@example.com> SIP/2.0", 400),
        ("INVITE sip:b@example.com SIP/2.0 ", 400),
    ],
)
def test_a_wrong_request_line_is_answered(line: str, status: int) -> None:
    message = parse_message(f"{line}\r\n{HEAD}\r\n".encode())
    assert message.defect is not None
    assert message.defect[0] == status


def test_8_2_a_malformed_header_that_nobody_needs_is_ignored() -> None:
    request = _request("this is no header\r\n: neither\r\nSubject: yes\r\n")
    assert request.defect is None
    assert request.get("subject") == "yes"
    assert len(request.fields) == 6


def test_the_writer_gives_the_true_content_length_and_refuses_line_breaks() -> None:
    request = Request("INFO", "sip:x", [("Content-Length", "99"), ("Subject", "a")], b"four")
    assert request.to_bytes() == b"INFO sip:x SIP/2.0\r\nSubject: a\r\nContent-Length: 4\r\n\r\nfour"
    with pytest.raises(AssertionError):
        Request("INFO", "sip:x", [("Subject", "a\r\nInjected: b")]).to_bytes()


def test_a_lone_carriage_return_cannot_break_a_line_again() -> None:
    request = _request("Subject: a\rInjected: b\r\n")
    assert b"\rInjected" not in request.to_bytes()


def test_duplicates_of_headers_that_stand_once_are_seen() -> None:
    assert _request("CSeq: 4 INVITE\r\n").duplicated()
    assert not _request("Contact: <sip:a@b>\r\nContact: <sip:c@d>\r\n").duplicated()


def test_an_unknown_status_has_the_words_of_its_class() -> None:
    assert reason_phrase(499) == "Bad Request"
    assert reason_phrase(399) == "Unknown"
    assert reason_phrase(603) == "Decline"


@pytest.mark.parametrize("name", ["via", "sender", "to", "cseq", "call_id"])
def test_a_missing_header_is_named(name: str) -> None:
    request = Request("INVITE", "sip:x", [])
    with pytest.raises(SipSyntaxError, match="missing"):
        getattr(request, name)


def test_only_an_sdp_body_is_a_session_description() -> None:
    assert _request("Content-Type: application/sdp\r\n", "v=0").sdp() == b"v=0"
    assert _request("c: Application/SDP ;charset=x\r\n", "v=0").sdp() == b"v=0"
    assert _request("Content-Type: text/plain\r\n", "v=0").sdp() is None
    assert _request("Content-Type: application/sdp\r\n").sdp() is None


def test_a_contact_that_cannot_be_used_is_none() -> None:
    assert _request("Contact: *\r\n").contact is None
    assert _request("Contact: <sip:a\r\n").contact is None
    assert _request().contact is None
