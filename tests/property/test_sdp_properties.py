"""Promises of the SDP room over generated input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.proto.sdp import (
    CODECS,
    SdpError,
    SessionDescription,
    make_answer,
    make_offer,
    negotiate,
    offered_codecs,
    read_answer,
)

pytestmark = pytest.mark.property

LINES = st.sampled_from(
    [
        "v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=x", "c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0", "c=IN IP6 ::1", "c=x",
        "m=audio 4000 RTP/AVP 0 8 101", "m=audio 0 RTP/AVP 0", "m=video 4 RTP/AVP 96", "m=audio 4000 RTP/SAVP 0",
        "m=audio", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=rtpmap:x", "a=fmtp:101 0-16",
        "a=ptime:20", "a=ptime:x", "a=rtcp:1 IN IP4 y", "a=rtcp:99999", "a=rtcp-mux", "a=sendonly", "a=inactive", "a=",
        "a=maxptime:1", "=", "x", "a=mid:0", "m=audio 4000 RTP/AVP 96 97 9 11 98 101", "a=rtpmap:96 opus/48000/2",
        "a=rtpmap:97 AMR-WB/16000", "a=rtpmap:98 L16/48000", "a=rtpmap:101 telephone-event/48000", "a=ptime:30",
        "a=fmtp:97 octet-align=1; mode-set=0,8", "a=fmtp:96 maxplaybackrate=1;cbr", "a=fmtp:97 crc=1",
    ]
)  # fmt: skip
NEARLY_SDP = st.lists(LINES, max_size=25).map(lambda lines: "\r\n".join(lines).encode())


@given(st.binary(max_size=500) | NEARLY_SDP)
def test_any_body_is_read_or_refused_and_every_answer_reads_back(body: bytes) -> None:
    try:
        offer = SessionDescription.parse(body)
        media = negotiate(offer, CODECS)
    except SdpError:
        return
    offered_codecs(offer)
    if media is None:
        return
    assert media.codec_name in CODECS
    assert media.sample_rate_hz * media.ptime_ms % 1000 == 0
    assert media.ptime_ms in range(10, 61, 10)
    assert all(0 < port < 65536 for _, port in (media.remote_rtp, media.remote_rtcp))
    text = make_answer(offer, media, address="192.0.2.10", rtp_port=20000, rtcp_port=20001, session_id=1)
    answer = SessionDescription.parse(text)
    assert len(answer.media) == len(offer.media)
    assert [line.port > 0 for line in answer.media].count(True) == 1
    agreed = read_answer(offer, answer)
    assert agreed is not None
    assert (agreed.codec_name, agreed.payload_type) == (media.codec_name, media.payload_type)
    assert (agreed.clock_rate_hz, agreed.channels) == (media.clock_rate_hz, media.channels)
    assert agreed.parameters.octet_align == media.parameters.octet_align
    assert agreed.parameters.mode_set == media.parameters.mode_set
    assert agreed.dtmf_payload_type == media.dtmf_payload_type
    assert agreed.dtmf_clock_rate_hz == media.dtmf_clock_rate_hz
    assert agreed.rtcp_mux == media.rtcp_mux
    assert agreed.remote_rtp == ("192.0.2.10", 20000)


SPOKEN = ["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16/8000", "L16", "L16/22050", "L16/24000", "L16/48000"]
SOME_CODECS = st.lists(st.sampled_from(SPOKEN), min_size=1, unique=True)


@given(SOME_CODECS, SOME_CODECS, st.booleans())
def test_two_of_us_agree_on_what_both_speak_and_answer_with_a_part_of_the_offer(
    offering: list[str], answering: list[str], ours_first: bool
) -> None:
    offer = SessionDescription.parse(
        make_offer(offering, address="192.0.2.1", rtp_port=4000, rtcp_port=4001, session_id=7)
    )
    media = negotiate(offer, answering, ours_first=ours_first)
    if media is None:
        assert not {_exact(name) for name in offering} & {_exact(name) for name in answering}
        return
    text = make_answer(offer, media, address="192.0.2.2", rtp_port=9, rtcp_port=10, session_id=8)
    answer = SessionDescription.parse(text)
    offered = {(c.payload_type, c.name, c.clock_rate_hz, c.channels) for c in offer.media[0].codecs()}
    assert {
        (c.payload_type, c.name, c.clock_rate_hz, c.channels) for c in answer.media[0].codecs()
    } <= offered
    back = read_answer(offer, answer)
    assert back is not None
    assert (back.codec_name, back.payload_type, back.parameters) == (
        media.codec_name,
        media.payload_type,
        media.parameters,
    )
    assert (back.dtmf_payload_type, back.ptime_ms) == (media.dtmf_payload_type, media.ptime_ms)


def _exact(name: str) -> str:
    return "L16/16000" if name == "L16" else name


@given(
    st.permutations(["PCMU", "PCMA"]).flatmap(lambda names: st.integers(1, 2).map(lambda n: names[:n])),
    st.integers(1, 65534),
    st.booleans(),
    st.sampled_from([10, 20, 30, 40, 60]),
    st.tuples(st.booleans(), st.booleans()),
)
def test_both_sides_of_an_offer_see_the_same_media(
    names: list[str], port: int, mux: bool, ptime_ms: int, ways: tuple[bool, bool]
) -> None:
    sending, receiving = ways
    body = make_offer(
        names, address="192.0.2.1", rtp_port=port, rtcp_port=port + 1, session_id=7, ptime_ms=ptime_ms, rtcp_mux=mux,
        sending=sending, receiving=receiving,
    )  # fmt: skip
    offer = SessionDescription.parse(body)
    assert offer.format() == body
    theirs = negotiate(offer, ("PCMU", "PCMA"))
    assert theirs is not None
    assert theirs.codec_name == names[0]
    assert (theirs.sending, theirs.receiving) == (receiving, sending)
    answer = make_answer(offer, theirs, address="192.0.2.2", rtp_port=9, rtcp_port=10, session_id=8)
    ours = read_answer(offer, SessionDescription.parse(answer))
    assert ours is not None
    assert (ours.sending, ours.receiving) == (sending, receiving)
    assert ours.ptime_ms == theirs.ptime_ms == ptime_ms
    assert ours.rtcp_mux == theirs.rtcp_mux == mux
