"""Offer and answer for one audio stream, by the clauses of RFC 3264, 8866, 3605 and 5761."""

import dataclasses

import pytest

from offhook.base.limits import SDP_LINES_MAX, SDP_MEDIA_MAX
from offhook.proto.sdp import (
    SdpError,
    SessionDescription,
    make_answer,
    make_offer,
    negotiate,
    offered_codecs,
    read_answer,
)

pytestmark = pytest.mark.unit

OURS = ("PCMU", "PCMA")
ANSWERING = {"address": "192.0.2.10", "rtp_port": 20000, "rtcp_port": 20001, "session_id": 42}


def _offer(
    audio: str = "", *, formats: str = "8 0 101", port: int = 4000, head: str = "", proto: str = "RTP/AVP"
) -> str:
    return (
        "v=0\r\no=alice 1 2 IN IP4 198.51.100.7\r\ns=call\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n"
        f"{head}m=audio {port} {proto} {formats}\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n{audio}"
    )


def _parse(text: str) -> SessionDescription:
    return SessionDescription.parse(text.encode())


def _lines(body: bytes) -> list[str]:
    return body.decode().splitlines()


def test_6_1_the_offers_order_decides_unless_ours_is_asked_for() -> None:
    media = negotiate(_parse(_offer()), OURS)
    assert media is not None
    assert (media.codec_name, media.payload_type, media.clock_rate_hz) == ("PCMA", 8, 8000)
    assert media.dtmf_payload_type == 101
    media = negotiate(_parse(_offer()), OURS, ours_first=True)
    assert media is not None
    assert media.codec_name == "PCMU"


def test_static_payload_types_need_no_rtpmap_and_dynamic_ones_are_read_by_name() -> None:
    media = negotiate(_parse(_offer("a=rtpmap:96 pcmu/8000\r\n", formats="96 18")), OURS)
    assert media is not None
    assert (media.codec_name, media.payload_type, media.dtmf_payload_type) == ("PCMU", 96, None)


@pytest.mark.parametrize("codec", ["PCMU/16000", "PCMA/48000", "PCMU/8000/2"])
def test_g711_at_another_rate_or_in_stereo_is_another_codec(codec: str) -> None:
    assert negotiate(_parse(_offer(f"a=rtpmap:96 {codec}\r\n", formats="96")), OURS) is None
    media = negotiate(_parse(_offer(f"a=rtpmap:96 {codec}\r\n", formats="96 8")), OURS)
    assert media is not None
    assert (media.codec_name, media.payload_type) == ("PCMA", 8)


def test_nothing_in_common_is_none() -> None:
    assert negotiate(_parse(_offer(formats="18 101")), OURS) is None
    assert negotiate(_parse(_offer(port=0)), OURS) is None
    assert negotiate(_parse(_offer(proto="RTP/SAVP")), OURS) is None
    assert negotiate(_parse("v=0\r\n"), OURS) is None
    assert negotiate(_parse(_offer("a=rtpmap:0 PCMU/8000/2\r\n", formats="0")), OURS) is None
    # A telephone-event alone is no audio, whatever somebody asks for.
    assert negotiate(_parse(_offer(formats="101")), ("telephone-event",)) is None


@pytest.mark.parametrize(
    ("text", "ptime_ms"),
    [
        ("", 20), ("a=ptime:20\r\n", 20), ("a=ptime:30\r\n", 30), ("a=ptime:5\r\n", 10), ("a=ptime:200\r\n", 60),
        ("a=ptime:25\r\n", 20), ("a=ptime:x\r\n", 20), ("a=ptime:20.5\r\n", 20),
        ("a=ptime:40\r\na=maxptime:30\r\n", 30),
        ("a=ptime:-20\r\n", 20), ("a=ptime:99999999999\r\n", 20),
    ],
)  # fmt: skip
def test_ptime_is_what_was_asked_for_within_10_to_60_ms(text: str, ptime_ms: int) -> None:
    media = negotiate(_parse(_offer(text)), OURS)
    assert media is not None
    assert media.ptime_ms == ptime_ms


@pytest.mark.parametrize(
    ("text", "rtcp", "mux"),
    [
        ("", ("198.51.100.7", 4001), False),
        ("a=rtcp:4005\r\n", ("198.51.100.7", 4005), False),
        ("a=rtcp:4005 IN IP4 198.51.100.8\r\n", ("198.51.100.8", 4005), False),
        ("a=rtcp:4005 IN IP4 some.name\r\n", ("198.51.100.7", 4005), False),
        ("a=rtcp:0\r\n", ("198.51.100.7", 4001), False),
        ("a=rtcp:x\r\n", ("198.51.100.7", 4001), False),
        ("a=rtcp-mux\r\n", ("198.51.100.7", 4000), True),
    ],
)
def test_rfc3605_and_rfc5761_where_rtcp_goes(text: str, rtcp: tuple[str, int], mux: bool) -> None:
    media = negotiate(_parse(_offer(text)), OURS)
    assert media is not None
    assert media.remote_rtp == ("198.51.100.7", 4000)
    assert (media.remote_rtcp, media.rtcp_mux) == (rtcp, mux)


@pytest.mark.parametrize(
    ("text", "head", "sending", "receiving", "answer"),
    [
        ("", "", True, True, "sendrecv"),
        ("a=sendonly\r\n", "", False, True, "recvonly"),
        ("a=recvonly\r\n", "", True, False, "sendonly"),
        ("a=inactive\r\n", "", False, False, "inactive"),
        ("", "a=sendonly\r\n", False, True, "recvonly"),
        ("a=sendrecv\r\n", "a=inactive\r\n", True, True, "sendrecv"),
        ("c=IN IP4 0.0.0.0\r\n", "", False, True, "recvonly"),
    ],
)
def test_8_4_directions_and_hold(text: str, head: str, sending: bool, receiving: bool, answer: str) -> None:
    offer = _parse(_offer(text, head=head))
    media = negotiate(offer, OURS)
    assert media is not None
    assert (media.sending, media.receiving) == (sending, receiving)
    assert media.held is not sending
    assert f"a={answer}" in _lines(make_answer(offer, media, **ANSWERING))


def test_6_the_answer_has_every_line_of_the_offer_and_refuses_the_others() -> None:
    offer = _parse(
        _offer(
            "a=ptime:30\r\na=rtcp-mux\r\na=mid:a\r\n",
            head="m=video 6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n",
        )
        + "m=audio 7000 RTP/AVP 0\r\nm=application 9 UDP/BFCP *\r\n"
    )
    media = negotiate(offer, OURS)
    assert media is not None
    assert media.media_index == 1
    lines = _lines(make_answer(offer, media, **ANSWERING, version=3))
    assert [line for line in lines if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 96",
        "m=audio 20000 RTP/AVP 8 101",
        "m=audio 0 RTP/AVP 0",
        "m=application 0 UDP/BFCP *",
    ]
    assert lines[:5] == ["v=0", "o=- 42 3 IN IP4 192.0.2.10", "s=offhook", "c=IN IP4 192.0.2.10", "t=0 0"]
    for line in ("a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=ptime:30",
                 "a=sendrecv", "a=rtcp-mux", "a=mid:a"):  # fmt: skip
        assert line in lines
    assert not any(line.startswith("a=rtcp:") for line in lines)


def test_without_mux_the_answer_tells_the_rtcp_port() -> None:
    offer = _parse(_offer())
    media = negotiate(offer, OURS)
    assert media is not None
    assert "a=rtcp:20001" in _lines(make_answer(offer, media, **ANSWERING))


def test_an_offer_of_ours_and_its_answer_agree() -> None:
    ours = SessionDescription.parse(
        make_offer(("PCMU", "PCMA"), address="192.0.2.10", rtp_port=20000, rtcp_port=20001, session_id=1)
    )
    theirs = negotiate(ours, ("PCMA",))
    assert theirs is not None
    assert theirs.remote_rtp == ("192.0.2.10", 20000)
    assert (theirs.codec_name, theirs.dtmf_payload_type, theirs.ptime_ms) == ("PCMA", 101, 20)
    answer = make_answer(ours, theirs, address="198.51.100.7", rtp_port=5000, rtcp_port=5000, session_id=2)
    agreed = read_answer(ours, SessionDescription.parse(answer))
    assert agreed is not None
    assert agreed.remote_rtp == agreed.remote_rtcp == ("198.51.100.7", 5000)
    assert (agreed.codec_name, agreed.rtcp_mux, agreed.sending, agreed.receiving) == (
        "PCMA",
        True,
        True,
        True,
    )


def test_an_offer_of_rtcp_mux_still_names_the_rtcp_port() -> None:
    lines = _lines(make_offer(OURS, address="192.0.2.10", rtp_port=20000, rtcp_port=20001, session_id=1))
    assert "a=rtcp:20001" in lines
    assert "a=rtcp-mux" in lines
    lines = _lines(
        make_offer(
            ("PCMA",), address="::1", rtp_port=2, rtcp_port=3, session_id=1, rtcp_mux=False, receiving=False
        )
    )
    assert "c=IN IP6 ::1" in lines
    assert "a=sendonly" in lines
    assert "a=rtcp-mux" not in lines
    assert "m=audio 2 RTP/AVP 8 101" in lines


def test_what_we_did_not_offer_cannot_be_agreed_on() -> None:
    ours = _parse(_offer("a=sendonly\r\n", formats="0 101"))
    agreed = read_answer(ours, _parse(_offer("a=rtcp-mux\r\n", formats="0")))
    assert agreed is not None
    assert (agreed.rtcp_mux, agreed.dtmf_payload_type) == (False, None)
    assert (agreed.sending, agreed.receiving) == (True, False)
    assert read_answer(ours, _parse(_offer(port=0, formats="0"))) is None
    for wrong in (_offer(formats="8"), "v=0\r\n", _offer(head="m=video 1 RTP/AVP 96\r\n", formats="0")):
        with pytest.raises(SdpError):
            read_answer(ours, _parse(wrong))
    no_audio = _parse("v=0\r\nm=video 1 RTP/AVP 96\r\n")
    assert read_answer(no_audio, no_audio) is None


def test_3_4_offered_codecs_in_the_comma_text_of_telnyx() -> None:
    offer = _parse(
        _offer(
            "a=rtpmap:100 AMR-WB/16000\r\na=fmtp:100 octet-align=0; mode-set=0\r\na=rtpmap:13 CN/8000\r\n",
            formats="100 0 8 13 101",
        )
    )
    assert ",".join(offered_codecs(offer)) == "AMR-WB~OCTET-ALIGN=0; MODE-SET=0,16000H,PCMU,PCMA"


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", "m=audio\r\n", "v=0\r\nm=audio x RTP/AVP 0\r\n", "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4\r\n", "v=0\r\nc=ATM X y\r\n", "v=0\r\n" + "m=audio 1 RTP/AVP 0\r\n" * (SDP_MEDIA_MAX + 1),
        "a=x\r\n" * (2 * SDP_LINES_MAX + 1), "v" * 70_000,
    ],
)  # fmt: skip
def test_an_unusable_description_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        _parse(text)


@pytest.mark.parametrize("address", ["some.name", "224.0.0.1", "255.255.255.255", "ff02::1"])
def test_audio_is_never_sent_to_a_name_or_a_group(address: str) -> None:
    family = "IP6" if ":" in address else "IP4"
    with pytest.raises(SdpError):
        negotiate(_parse(_offer(f"c=IN {family} {address}\r\n")), OURS)
    with pytest.raises(SdpError):
        negotiate(_parse("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), OURS)


def test_sloppy_descriptions_are_read() -> None:
    text = (
        "v=0\no=x\nS=ignored\n\nnonsense\nc=IN IP4 198.51.100.7/127\n"
        "m=audio 4000/2 rtp/avp 0 0 x 300\nc=IN IP4 198.51.100.9\nc=IN IP4 1.2.3.4\n a=ptime: 20 \n"
    )
    media = negotiate(_parse(text), OURS)
    assert media is not None
    assert media.remote_rtp == ("198.51.100.9", 4000)
    latin = SessionDescription.parse(b"v=0\r\ns=caf\xe9\r\n")
    assert latin.name == "caf\u00e9"
    assert SessionDescription.parse(b"v=0\r\ns=\r\n").name == "-"


def test_a_static_type_with_a_broken_rtpmap_is_still_what_it_is() -> None:
    media = negotiate(_parse(_offer("a=rtpmap:0 PCMU\r\n", formats="0")), OURS)
    assert media is not None
    assert media.clock_rate_hz == 8000
    assert dataclasses.replace(media, rtcp_mux=True).rtcp_mux
