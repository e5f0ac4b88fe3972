"""Which codec a call gets, and what streams of it say (contract 2.3, 4.4)."""

import pytest

from offhook.call import commands as ask
from offhook.call.codecs import STREAM_RATES_HZ, CodecPolicy, codec_to_app, in_use, stream_rate_hz
from offhook.call.effects import OpenMedia, OpenStream
from offhook.call.errors import CommandError
from offhook.call.facts import AckReceived
from offhook.call.values import LegState
from offhook.proto.sdp import CODECS, NegotiatedMedia, SessionDescription, make_offer, negotiate
from tests.fakes.legs import URL, Desk, incoming, start_stream, start_transcription

pytestmark = pytest.mark.unit

OPAQUE = frozenset({"AMR-WB"})


def offer(*codecs: str) -> SessionDescription:
    return SessionDescription.parse(
        make_offer(codecs, address="198.51.100.7", rtp_port=4000, rtcp_port=4001, session_id=1)
    )


def agreed(*codecs: str) -> NegotiatedMedia:
    media = negotiate(offer(*codecs), CODECS)
    assert media is not None
    return media


def on_a_call(codec: str, *, opaque: frozenset[str] = frozenset()) -> Desk:
    """Return a leg that is answered in `codec`."""
    desk = Desk(codecs=CodecPolicy(opaque=opaque))
    desk.tell(incoming(offer=offer(codec)))
    desk.command(ask.Answer())
    desk.tell(AckReceived())
    return desk


def opened(desk: Desk) -> OpenStream:
    return next(effect for effect in reversed(desk.done) if isinstance(effect, OpenStream))


def refused(desk: Desk, command: ask.Command) -> tuple[str, str | None]:
    with pytest.raises(CommandError) as caught:
        desk.command(command)
    assert "opencore-amrwb" in caught.value.problem.detail
    return caught.value.problem.code, caught.value.problem.pointer


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_may_be_the_only_one_offered(codec: str) -> None:
    desk = Desk(codecs=CodecPolicy())
    desk.tell(incoming(offer=offer(codec)))
    effects = desk.command(ask.Answer())
    assert isinstance(effects[0], OpenMedia)
    assert effects[0].media is not None
    assert effects[0].media.codec_name == codec


@pytest.mark.parametrize(
    ("preferred", "codec"),
    [
        ((), "OPUS"),
        (("G722",), "G722"),
        (("G729", "AMR-WB", "PCMU"), "AMR-WB"),
        (("VP8", "L16", "H264"), "L16"),
        (("PCMA", "pcmu"), "PCMU"),
        (("G729",), "OPUS"),
    ],
)
def test_the_first_preferred_codec_that_is_offered_wins_else_the_offers_order(
    preferred: tuple[str, ...], codec: str
) -> None:
    media = CodecPolicy().choose(offer("OPUS", "PCMU", "G722", "AMR-WB", "L16/24000"), preferred)
    assert media is not None
    assert media.codec_name == codec


def test_our_order_decides_where_it_is_told_to() -> None:
    policy = CodecPolicy(("G722", "PCMU", "OPUS"), ours_first=True)
    media = policy.choose(offer("OPUS", "PCMU", "G722"))
    assert media is not None
    assert media.codec_name == "G722"


def test_what_is_not_spoken_cannot_be_preferred() -> None:
    policy = CodecPolicy(("PCMU", "L16/16000"))
    media = policy.choose(offer("OPUS", "L16/24000", "PCMU"), ("OPUS", "L16"))
    assert media is not None
    assert media.codec_name == "PCMU"
    media = policy.choose(offer("PCMU", "L16/16000"), ("L16",))
    assert media is not None
    assert media.codec_name == "L16"


def test_an_opaque_codec_is_taken_when_it_is_asked_for_or_alone() -> None:
    policy = CodecPolicy(opaque=OPAQUE)
    trunk = offer("AMR-WB", "PCMA")
    for preferred, codec in (((), "PCMA"), (("AMR-WB",), "AMR-WB")):
        media = policy.choose(trunk, preferred)
        assert media is not None
        assert media.codec_name == codec
    alone = policy.choose(offer("AMR-WB"))
    assert alone is not None
    assert alone.codec_name == "AMR-WB"


def test_a_new_offer_keeps_the_codec_in_use_with_its_rate() -> None:
    policy = CodecPolicy()
    media = policy.keep(offer("PCMU", "L16/8000", "L16/24000"), agreed("L16/24000"))
    assert media is not None
    assert in_use(media) == ("L16/24000",)
    media = policy.keep(offer("PCMU"), agreed("OPUS"))
    assert media is not None
    assert media.codec_name == "PCMU"


def test_an_offer_of_ours_begins_with_what_the_app_prefers() -> None:
    policy = CodecPolicy(("PCMU", "PCMA", "OPUS", "L16/16000"))
    assert policy.offered(("G729", "OPUS", "L16")) == ("OPUS", "L16/16000", "PCMU", "PCMA")
    assert policy.offered() == policy.spoken


@pytest.mark.parametrize("leg", ["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16/24000"])
@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"])
@pytest.mark.parametrize("rate_hz", [None, 8000, 16_000, 24_000])
def test_media_format_tells_the_codec_and_a_rate_it_has(leg: str, codec: str, rate_hz: int | None) -> None:
    desk = on_a_call(leg)
    desk.command(start_stream(codec=codec, sample_rate_hz=rate_hz))
    effect = opened(desk)
    told = effect.start["start"]["media_format"] if "start" in effect.start else effect.start["media_format"]
    assert (told["encoding"], told["channels"]) == (codec, 1)
    assert told["sample_rate"] == effect.sample_rate_hz
    assert effect.codec == codec
    assert effect.sample_rate_hz in STREAM_RATES_HZ[codec]
    if codec in ("OPUS", "L16") and rate_hz is not None:
        assert effect.sample_rate_hz == rate_hz
    assert told.get("octet_align") is (True if codec == "AMR-WB" else None)


@pytest.mark.parametrize(
    ("leg", "announced"),
    [
        ("PCMU", ("PCMU", 8000)), ("G722", ("G722", 8000)), ("OPUS", ("OPUS", 48_000)), ("AMR-WB", ("AMR-WB", 16_000)),
        ("L16/8000", ("L16", 8000)), ("L16/22050", ("L16", 22_050)), ("L16/48000", ("L16", 48_000)),
    ],
)  # fmt: skip
def test_a_stream_that_asks_for_nothing_is_in_the_codec_and_rate_of_the_call(
    leg: str, announced: tuple[str, int]
) -> None:
    media, options = agreed(leg), ask.StreamOptions(url=URL)
    codec = codec_to_app(options, media)
    assert (codec, stream_rate_hz(codec, options, media)) == announced


@pytest.mark.parametrize(
    ("leg", "codec", "app_codec", "rate_hz", "to_app"),
    [
        ("PCMU", None, "G722", None, ("G722", 8000)),
        ("PCMU", None, "OPUS", None, ("OPUS", 16_000)),
        ("PCMU", None, "OPUS", 24_000, ("OPUS", 24_000)),
        ("OPUS", None, "OPUS", None, ("OPUS", 48_000)),
        ("OPUS", None, "PCMU", None, ("OPUS", 48_000)),
        ("OPUS", "L16", None, None, ("L16", 8000)),
        ("L16/16000", None, "L16", None, ("L16", 8000)),
        ("L16/16000", None, "L16", 16_000, ("L16", 16_000)),
        ("PCMA", None, "PCMU", None, ("PCMA", 8000)),
        ("PCMA", "AMR-WB", "L16", 24_000, ("AMR-WB", 16_000)),
        ("PCMU", None, None, 16_000, ("PCMU", 8000)),
    ],
)
def test_the_rule_of_what_an_app_is_sent(
    leg: str, codec: str | None, app_codec: str | None, rate_hz: int | None, to_app: tuple[str, int]
) -> None:
    media = agreed(leg)
    options = ask.StreamOptions(url=URL, codec=codec, app_codec=app_codec, sample_rate_hz=rate_hz)
    sent = codec_to_app(options, media)
    assert (sent, stream_rate_hz(sent, options, media)) == to_app


def test_a_call_that_cannot_be_decoded_is_streamed_as_it_is_and_no_other_way() -> None:
    desk = on_a_call("AMR-WB", opaque=OPAQUE)
    desk.command(start_stream())
    assert opened(desk).codec == "AMR-WB"
    desk.command(start_stream(codec="AMR-WB"))
    assert refused(desk, start_stream(codec="PCMU")) == ("10038", "/stream_codec")
    assert refused(desk, start_stream(codec="AMR-WB", app_codec="AMR-WB")) == (
        "10038",
        "/stream_bidirectional_codec",
    )
    assert refused(desk, start_stream(app_codec="PCMU")) == ("10038", "/stream_bidirectional_codec")
    assert refused(desk, start_stream(app_codec="L16")) == ("10038", "/stream_bidirectional_codec")
    assert refused(desk, start_transcription()) == ("10038", None)
    desk.command(start_stream(app_codec="MP3"))
    assert opened(desk).app_codec is None


def test_no_stream_of_another_call_is_in_a_codec_that_cannot_be_made() -> None:
    desk = on_a_call("PCMU", opaque=OPAQUE)
    assert refused(desk, start_stream(codec="AMR-WB")) == ("10038", "/stream_codec")
    assert refused(desk, start_stream(app_codec="AMR-WB")) == ("10038", "/stream_bidirectional_codec")
    desk.command(start_transcription())
    desk.command(start_stream(codec="OPUS", app_codec="G722"))


def test_an_answer_is_refused_before_it_opens_what_cannot_work() -> None:
    desk = Desk(codecs=CodecPolicy(opaque=OPAQUE))
    desk.tell(incoming(offer=offer("AMR-WB")))
    options = ask.TranscriptionOptions()
    assert refused(desk, ask.Answer(transcription=options)) == ("10038", None)
    stream = ask.StreamOptions(url=URL, codec="L16")
    assert refused(desk, ask.Answer(stream=stream)) == ("10038", "/stream_codec")
    assert desk.leg.state is LegState.PARKED
    desk.command(ask.Answer(stream=ask.StreamOptions(url=URL)))
