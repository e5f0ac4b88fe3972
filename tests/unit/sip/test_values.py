import pytest

from offhook.proto.sip.values import (
    Address,
    CSeq,
    SipSyntaxError,
    SipUri,
    Via,
    is_token,
    parse_host_port,
    parse_parameters,
    quote,
    readable,
    split_values,
    unquote,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:alice@atlanta.com", ("sip", "alice", "atlanta.com", None, {})),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", ("sip", "ALICE", "AtLanTa.CoM", None, {"transport": "udp"})),
        ("sips:1212@gateway.com:5061", ("sips", "1212", "gateway.com", 5061, {})),
        ("sip:user:secret@h", ("sip", "user", "h", None, {})),
        ("sip:h;lr", ("sip", "", "h", None, {"lr": ""})),
        ("sip:a@[2001:db8::1]:5070", ("sip", "a", "[2001:db8::1]", 5070, {})),
        ("sip:1;phone-context=x@h?Subject=a", ("sip", "1;phone-context=x", "h", None, {})),
        ("tel:+1-212-555-0100;ext=7", ("tel", "+1-212-555-0100", "", None, {"ext": "7"})),
    ],
)
def test_19_1_uris_are_read(text: str, expected: tuple[object, ...]) -> None:
    uri = SipUri.parse(text)
    assert (uri.scheme, uri.user, uri.host, uri.port, uri.parameters) == expected


@pytest.mark.parametrize(
    "text",
    ["", "sip:", "sip", "http://x", "sip:a@", "sip:a@h:0", "sip:a@h:65536", "sip:a@h:x", "sip:a@h h", "tel:",
     "sip:a@[::1", "sip:a@[::1]x", "sip:a b@h", "tel:1 2"],
)  # fmt: skip
def test_unusable_uris_are_refused(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        SipUri.parse(text)


@pytest.mark.parametrize(
    ("text", "display", "uri", "tag"),
    [
        ('"Bob \\"the\\" \\\\ B" <sip:b@h>;tag=1', 'Bob "the" \\ B', "sip:b@h", "1"),
        ("Bob B <sip:b@h;lr>;tag=2;x=y", "Bob B", "sip:b@h;lr", "2"),
        ("<sip:b@h>", "", "sip:b@h", ""),
        ("sip:b@h;tag=3", "", "sip:b@h", "3"),
        ('"a,;<>b"<sip:b@h> ; Tag = 4', "a,;<>b", "sip:b@h", "4"),
        ("<tel:+1>;tag=5", "", "tel:+1", "5"),
        ('"" <sip:b@h>;tag=6;tag=7', "", "sip:b@h", "6"),
    ],
)
def test_20_10_addresses_are_read(text: str, display: str, uri: str, tag: str) -> None:
    address = Address.parse(text)
    assert (address.display, address.uri, address.tag) == (display, uri, tag)


@pytest.mark.parametrize(
    "text", ["", '"open <sip:b@h>', '"x" sip:b@h', "<sip:b@h", "<sip:b@h>x", "nothing", "<sip:a b@h>", '"\\"']
)
def test_unusable_addresses_are_refused(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        Address.parse(text)


def test_20_42_the_top_via_is_read_and_written_with_received() -> None:
    via = Via.parse(
        "SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;branch=z9hG4bKa7, SIP/2.0/TCP b;branch=2"
    )
    assert (via.transport, via.host, via.port, via.branch) == ("UDP", "first.example.com", 4000, "z9hG4bKa7")
    assert via.sent_by == "first.example.com:4000"
    written = via.format({"received": "192.0.2.9", "rport": "7"})
    assert written == (
        "SIP/2.0/UDP first.example.com:4000;ttl=16;branch=z9hG4bKa7;received=192.0.2.9;rport=7, SIP/2.0/TCP b;branch=2"
    )
    assert Via.parse("SIP/2.0/TLS [::1];branch=x").sent_by == "[::1]:5060"


@pytest.mark.parametrize(
    "text", ["", "UDP h", "SIP/2.0", "HTTP/1/UDP h", "SIP/2.0/UDP", "SIP/2.0/UDP h:x", ","]
)
def test_unusable_vias_are_refused(text: str) -> None:
    with pytest.raises(SipSyntaxError):
        Via.parse(text)


def test_20_16_cseq() -> None:
    assert CSeq.parse("  0009 \t INVITE ") == CSeq(9, "INVITE")
    for wrong in (
        "",
        "1",
        "INVITE 1",
        "-1 INVITE",
        "2147483648 INVITE",
        "36893488147419103232 REGISTER",
        "1 IN,V",
    ):
        with pytest.raises(SipSyntaxError):
            CSeq.parse(wrong)


def test_parameters_and_lists_respect_quotes_and_brackets() -> None:
    assert parse_parameters(' a=1;B="x;y" ; c;;a=2') == {"a": "1", "b": "x;y", "c": ""}
    assert split_values('"a, b" <sip:x,y>;p=1 , <sip:z>,,') == ['"a, b" <sip:x,y>;p=1', "<sip:z>"]
    assert split_values('"a \\", b", c') == ['"a \\", b"', "c"]
    assert split_values("") == []


def test_hosts_with_ports() -> None:
    assert parse_host_port("h") == ("h", None)
    assert parse_host_port("[::1]:9") == ("[::1]", 9)
    with pytest.raises(SipSyntaxError):
        parse_host_port("a b")


def test_quoting_is_undone_by_unquoting() -> None:
    text = 'a "b" \\ c'
    assert unquote(quote(text)) == text
    assert quote("a\r\nb\x7f") == '"ab"'
    assert unquote("plain") == "plain"


def test_bytes_that_are_not_utf8_become_latin1_text() -> None:
    raw = b"caf\xe9"
    assert readable(raw.decode("utf-8", "surrogateescape")) == "café"
    assert readable("caf\u00e9") == "café"
    assert readable("plain") == "plain"


def test_tokens() -> None:
    assert is_token("INVITE-2")
    assert not is_token("")
    assert not is_token("a b")
