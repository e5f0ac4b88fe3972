"""Codecs with parameters in offers and answers: RFC 7587 (Opus), RFC 4867 (AMR-WB), RFC 3551 (L16)."""

import pytest

from offhook.proto.sdp import (
    CODECS,
    CodecParameters,
    NegotiatedMedia,
    SessionDescription,
    is_codec,
    make_answer,
    make_offer,
    negotiate,
    offered_codecs,
    read_answer,
)

pytestmark = pytest.mark.unit

HERE = {"address": "192.0.2.10", "rtp_port": 20000, "rtcp_port": 20001, "session_id": 42}

LINPHONE = """\
m=audio 7078 RTP/AVP 96 97 98 0 8 101 99 100
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:97 speex/16000
a=fmtp:97 vbr=on
a=rtpmap:98 speex/8000
a=fmtp:98 vbr=on
a=rtpmap:101 telephone-event/48000
a=rtpmap:99 telephone-event/16000
a=rtpmap:100 telephone-event/8000
a=rtcp-fb:* trr-int 5000
"""
ZOIPER = """\
m=audio 8000 RTP/AVP 3 101 110 97 8 0 9
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=rtpmap:110 speex/8000
a=rtpmap:97 iLBC/8000
a=fmtp:97 mode=20
a=sendrecv
"""
ASTERISK = """\
m=audio 11830 RTP/AVP 107 9 0 8 101
a=rtpmap:107 opus/48000/2
a=fmtp:107 useinbandfec=1
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=maxptime:60
a=sendrecv
"""
FREESWITCH = """\
m=audio 27466 RTP/AVP 102 9 0 8 103 101
a=rtpmap:102 opus/48000/2
a=fmtp:102 useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=16000; ptime=20; minptime=10; maxptime=40
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:103 telephone-event/48000
a=fmtp:103 0-16
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
"""
WEBRTC_GATEWAY = """\
m=audio 55242 RTP/AVP 111 63 9 0 8 13 110 126
a=rtcp:9 IN IP4 0.0.0.0
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1;stereo=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=mid:0
a=rtcp-mux
"""
IMS = """\
m=audio 49120 RTP/AVP 104 110 102 108 105 100
b=AS:49
a=rtpmap:104 AMR-WB/16000
a=fmtp:104 mode-set=0,1,2; mode-change-capability=2; max-red=0
a=rtpmap:110 AMR-WB/16000/1
a=fmtp:110 octet-align=1; mode-change-capability=2; max-red=0
a=rtpmap:102 AMR/8000
a=fmtp:102 mode-change-capability=2; max-red=0
a=rtpmap:108 AMR/8000
a=fmtp:108 octet-align=1; mode-change-capability=2; max-red=0
a=rtpmap:105 telephone-event/16000
a=fmtp:105 0-15
a=rtpmap:100 telephone-event/8000
a=fmtp:100 0-15
a=ptime:20
a=maxptime:240
"""


def _parse(media: str) -> SessionDescription:
    head = "v=0\no=- 1 2 IN IP4 198.51.100.7\ns=-\nc=IN IP4 198.51.100.7\nt=0 0\n"
    return SessionDescription.parse((head + media).replace("\n", "\r\n").encode())


def _audio(*attributes: str, formats: str = "96") -> SessionDescription:
    return _parse(f"m=audio 4000 RTP/AVP {formats}\n" + "".join(f"a={each}\n" for each in attributes))


def _agreed(offer: SessionDescription, *supported: str, ours_first: bool = False) -> NegotiatedMedia:
    media = negotiate(offer, supported or CODECS, ours_first=ours_first)
    assert media is not None
    return media


def _answer(offer: SessionDescription, media: NegotiatedMedia) -> list[str]:
    return make_answer(offer, media, **HERE).decode().splitlines()


@pytest.mark.parametrize(
    ("offer", "name", "payload_type", "dtmf"),
    [
        (LINPHONE, "OPUS", 96, (101, 48_000)),
        (ZOIPER, "PCMA", 8, (101, 8000)),
        (ASTERISK, "OPUS", 107, (101, 8000)),
        (FREESWITCH, "OPUS", 102, (103, 48_000)),
        (WEBRTC_GATEWAY, "OPUS", 111, (110, 48_000)),
        (IMS, "AMR-WB", 104, (105, 16_000)),
    ],
    ids=["linphone", "zoiper", "asterisk", "freeswitch", "webrtc gateway", "ims"],
)
def test_what_phones_and_trunks_prefer_is_taken_with_its_dtmf(
    offer: str, name: str, payload_type: int, dtmf: tuple[int, int]
) -> None:
    media = _agreed(_parse(offer))
    assert (media.codec_name, media.payload_type) == (name, payload_type)
    assert (media.dtmf_payload_type, media.dtmf_clock_rate_hz) == dtmf
    assert media.ptime_ms == 20


@pytest.mark.parametrize("offer", [LINPHONE, ASTERISK, FREESWITCH, WEBRTC_GATEWAY])
def test_those_who_want_g711_get_it_from_the_same_offers(offer: str) -> None:
    media = _agreed(_parse(offer), "PCMU", "PCMA")
    assert (media.codec_name, media.clock_rate_hz, media.sample_rate_hz) == ("PCMU", 8000, 8000)
    assert media.dtmf_clock_rate_hz == 8000


def test_opus_is_answered_as_48000_with_2_channels_and_its_dtmf_clock() -> None:
    offer = _parse(FREESWITCH)
    lines = _answer(offer, _agreed(offer))
    assert "m=audio 20000 RTP/AVP 102 103" in lines
    assert "a=rtpmap:102 opus/48000/2" in lines
    assert "a=fmtp:102 useinbandfec=1" in lines
    assert "a=rtpmap:103 telephone-event/48000" in lines


def test_a_dtmf_clock_of_its_own_is_answered_as_offered() -> None:
    offer = _parse(ASTERISK)
    lines = _answer(offer, _agreed(offer))
    assert "a=rtpmap:107 opus/48000/2" in lines
    assert "a=rtpmap:101 telephone-event/8000" in lines


def test_an_event_clock_that_nobody_has_is_no_dtmf() -> None:
    offer = _audio("rtpmap:96 opus/48000/2", "rtpmap:97 telephone-event/90000", formats="96 97")
    assert _agreed(offer).dtmf_payload_type is None
    assert not [line for line in _answer(offer, _agreed(offer)) if "telephone-event" in line]


def test_rfc7587_6_1_the_peers_wishes_are_read() -> None:
    media = _agreed(_parse(FREESWITCH))
    assert media.parameters == CodecParameters(
        in_band_fec=True, max_bitrate=30_000, max_playback_rate_hz=16_000
    )
    assert (media.clock_rate_hz, media.sample_rate_hz) == (48_000, 16_000)
    gateway = _agreed(_parse(WEBRTC_GATEWAY)).parameters
    assert gateway == CodecParameters(in_band_fec=True, dtx=True, stereo=True)


@pytest.mark.parametrize(
    ("fmtp", "expected"),
    [
        ("maxaveragebitrate=5999", CodecParameters()),
        ("maxaveragebitrate=99999999999999999999", CodecParameters()),
        ("maxplaybackrate=7999;cbr=1", CodecParameters(cbr=True)),
        ("MaxPlaybackRate=8000 ; ; =1; x", CodecParameters(max_playback_rate_hz=8000)),
        ("useinbandfec=2;usedtx=true;stereo", CodecParameters()),
        ("useinbandfec=0;useinbandfec=1", CodecParameters()),
    ],
)
def test_opus_parameters_out_of_range_say_nothing(fmtp: str, expected: CodecParameters) -> None:
    assert _agreed(_audio("rtpmap:96 OPUS/48000/2", f"fmtp:96 {fmtp}")).parameters == expected


@pytest.mark.parametrize(
    ("most_hz", "rate_hz"),
    [(8000, 8000), (12_000, 8000), (16_000, 16_000), (32_000, 24_000), (48_000, 48_000)],
)
def test_opus_is_coded_at_the_best_rate_that_the_peer_can_play(most_hz: int, rate_hz: int) -> None:
    media = _agreed(_audio("rtpmap:96 opus/48000/2", f"fmtp:96 maxplaybackrate={most_hz}"))
    assert (media.sample_rate_hz, media.clock_rate_hz) == (rate_hz, 48_000)


def test_opus_whose_rtpmap_forgot_the_channels_is_answered_in_the_same_words() -> None:
    offer = _audio("rtpmap:96 opus/48000")
    assert "a=rtpmap:96 opus/48000" in _answer(offer, _agreed(offer))
    assert negotiate(_audio("rtpmap:96 opus/48000/3"), CODECS) is None
    assert negotiate(_audio("rtpmap:96 opus/16000/2"), CODECS) is None


def test_rfc4867_8_3_1_packing_and_modes_are_answered_as_offered() -> None:
    offer = _parse(IMS)
    media = _agreed(offer)
    assert media.parameters == CodecParameters(mode_set=(0, 1, 2))
    lines = _answer(offer, media)
    assert "a=rtpmap:104 AMR-WB/16000" in lines
    assert "a=fmtp:104 mode-set=0,1,2; mode-change-capability=2" in lines
    assert "a=rtpmap:105 telephone-event/16000" in lines
    aligned = _parse(IMS.replace(" 104 110 ", " 110 104 "))
    media = _agreed(aligned)
    assert (media.payload_type, media.parameters.octet_align) == (110, True)
    assert "a=fmtp:110 octet-align=1; mode-change-capability=2" in _answer(aligned, media)


@pytest.mark.parametrize(
    "fmtp",
    [
        "octet-align=1; interleaving=30", "octet-align=1; crc=1", "octet-align=1; robust-sorting=1", "octet-align=2",
        "mode-set=9", "mode-set=0,x", "mode-set=-1",
    ],
)  # fmt: skip
def test_amr_wb_that_we_could_not_read_or_write_is_passed_over(fmtp: str) -> None:
    offer = _audio("rtpmap:96 AMR-WB/16000", f"fmtp:96 {fmtp}", formats="96 8")
    assert _agreed(offer).codec_name == "PCMA"


@pytest.mark.parametrize(
    ("fmtp", "expected"),
    [
        ("", CodecParameters()),
        ("octet-align=1; crc=0; robust-sorting=0", CodecParameters(octet_align=True)),
        ("mode-set=8,2,2,0", CodecParameters(mode_set=(0, 2, 8))),
        ("mode-set=; mode-change-period=2; mode-change-neighbor=1; max-red=220", CodecParameters()),
    ],
)
def test_amr_wb_parameters_are_read(fmtp: str, expected: CodecParameters) -> None:
    assert _agreed(_audio("rtpmap:96 AMR-WB/16000", f"fmtp:96 {fmtp}")).parameters == expected


def test_amr_wb_in_two_channels_or_at_another_rate_is_another_codec() -> None:
    for codec in ("AMR-WB/16000/2", "AMR-WB/8000", "AMR/8000", "AMR-WB+/72000"):
        assert negotiate(_audio(f"rtpmap:96 {codec}"), CODECS) is None


def test_g722_is_8000_by_its_clock_and_16000_by_its_audio() -> None:
    media = _agreed(_parse(ASTERISK), "G722")
    assert (media.payload_type, media.clock_rate_hz, media.sample_rate_hz) == (9, 8000, 16_000)
    assert "a=rtpmap:9 G722/8000" in _answer(_parse(ASTERISK), media)
    assert negotiate(_audio("rtpmap:96 G722/16000"), CODECS) is None


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 24_000, 48_000])
def test_l16_has_the_rates_of_streams(rate_hz: int) -> None:
    offer = _audio(f"rtpmap:96 L16/{rate_hz}")
    media = _agreed(offer)
    assert (media.codec_name, media.clock_rate_hz, media.sample_rate_hz) == ("L16", rate_hz, rate_hz)
    assert f"a=rtpmap:96 L16/{rate_hz}" in _answer(offer, media)
    # A payload must fit into one datagram, and hold a whole number of samples.
    assert media.ptime_ms * rate_hz % 1000 == 0
    assert media.ptime_ms * rate_hz * 2 / 1000 <= 1400


def test_rfc3551_l16_with_a_static_payload_type_is_44100_and_never_ours() -> None:
    assert negotiate(_audio(formats="11"), CODECS) is None
    assert negotiate(_audio(formats="10"), CODECS) is None
    assert negotiate(_audio("rtpmap:96 L16/44100"), CODECS) is None
    assert negotiate(_audio("rtpmap:96 L16/16000/2"), CODECS) is None


def test_a_rate_may_be_asked_for_with_l16() -> None:
    offer = _audio("rtpmap:96 L16/8000", "rtpmap:97 L16/24000", formats="96 97")
    assert _agreed(offer, "L16").payload_type == 96
    assert _agreed(offer, "L16/24000").payload_type == 97
    assert _agreed(offer, "L16/24000", "L16/8000", ours_first=True).payload_type == 97
    assert negotiate(offer, ("L16/48000",)) is None
    assert is_codec("l16/24000")
    assert not any(map(is_codec, ("L16/44100", "L16/x", "L16/", "G729", "", "PCMU/16000")))


@pytest.mark.parametrize(
    ("ptime", "codec", "ptime_ms"),
    [
        ("10", "opus/48000/2", 20), ("30", "opus/48000/2", 20), ("50", "opus/48000/2", 40), ("60", "opus/48000/2", 60),
        ("30", "AMR-WB/16000", 20), ("40", "AMR-WB/16000", 40), ("30", "L16/22050", 20), ("60", "L16/8000", 60),
        ("60", "L16/16000", 40), ("20", "L16/48000", 10), ("30", "G722/8000", 30),
    ],
)  # fmt: skip
def test_a_packet_holds_what_its_codec_can_make(ptime: str, codec: str, ptime_ms: int) -> None:
    assert _agreed(_audio(f"rtpmap:96 {codec}", f"ptime:{ptime}")).ptime_ms == ptime_ms


def test_our_offer_numbers_every_codec_and_dtmf_at_each_clock() -> None:
    offer = make_offer(("OPUS", "G722", "AMR-WB", "L16/24000"), **HERE).decode()
    lines = offer.splitlines()
    assert "m=audio 20000 RTP/AVP 96 9 97 98 99 101 100 102 103" in lines
    for line in (
        "a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1", "a=rtpmap:9 G722/8000", "a=rtpmap:97 AMR-WB/16000",
        "a=fmtp:97 octet-align=1; mode-change-capability=2", "a=rtpmap:98 AMR-WB/16000",
        "a=fmtp:98 mode-change-capability=2", "a=rtpmap:99 L16/24000", "a=rtpmap:101 telephone-event/8000",
        "a=rtpmap:100 telephone-event/48000", "a=rtpmap:102 telephone-event/16000",
    ):  # fmt: skip
        assert line in lines
    assert offered_codecs(SessionDescription.parse(offer.encode()))[:2] == [
        "OPUS~USEINBANDFEC=1,48000H",
        "G722",
    ]


@pytest.mark.parametrize("offer", [LINPHONE, ASTERISK, FREESWITCH, WEBRTC_GATEWAY, IMS])
def test_rfc3264_8_3_2_what_is_offered_again_keeps_its_payload_types(offer: str) -> None:
    theirs = _parse(offer)
    media = _agreed(theirs)
    again = SessionDescription.parse(make_offer(media, **HERE))
    before = {line for line in _answer(theirs, media) if line.startswith(("a=rtpmap", "a=fmtp", "m="))}
    assert before == {line for line in make_offer(media, **HERE).decode().splitlines() if line in before}
    assert again.media[0].formats == [str(media.payload_type), str(media.dtmf_payload_type)]


def test_rfc3264_8_a_new_offer_keeps_every_media_line_in_its_place() -> None:
    theirs = _parse("m=video 5000 RTP/AVP 31\n" + ASTERISK + "m=audio 6000 RTP/AVP 0\n")
    media = _agreed(theirs)
    again = SessionDescription.parse(make_offer(media, **HERE, beside=theirs))
    assert [(line.kind, line.port) for line in again.media] == [("video", 0), ("audio", 20_000), ("audio", 0)]
    answer = make_answer(again, _agreed(again), address="192.0.2.1", rtp_port=4, rtcp_port=5, session_id=1)
    agreed = read_answer(again, SessionDescription.parse(answer))
    assert agreed is not None
    assert (agreed.media_index, agreed.payload_type) == (1, 107)


@pytest.mark.parametrize("name", ["G729", "L16/44100", "PCMU/16000", ""])
def test_an_offer_of_what_we_do_not_speak_is_our_own_mistake(name: str) -> None:
    with pytest.raises(ValueError, match=r"rate|offered"):
        make_offer((name,), **HERE)


def test_an_answer_that_leaves_out_the_packing_means_the_one_offered() -> None:
    offer = SessionDescription.parse(make_offer(("AMR-WB",), **HERE))
    for number, octet_align in ((96, True), (97, False)):
        media = read_answer(offer, _audio(f"rtpmap:{number} AMR-WB/16000", formats=str(number)))
        assert media is not None
        assert media.parameters.octet_align is octet_align
    media = read_answer(offer, _audio("rtpmap:96 AMR-WB/16000", "fmtp:96 octet-align=1; mode-set=2"))
    assert media is not None
    assert media.parameters == CodecParameters(octet_align=True, mode_set=(2,))
