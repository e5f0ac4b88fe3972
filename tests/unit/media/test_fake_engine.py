"""The fake engine as far end, application and clock of a test."""

import asyncio
import math
import struct

import pytest

from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake import FakeEngine
from offhook.edge.media.fake_audio import decode_g711, encode_g711, parse_rtp
from tests.fakes.media_worlds import stream_arguments

pytestmark = pytest.mark.unit

CONNECT = {
    "codec": "PCMU",
    "payload_type": 0,
    "clock_rate_hz": 8000,
    "ptime_ms": 20,
    "dtmf_payload_type": 101,
    "remote_rtp": "127.0.0.1:9",
    "remote_rtcp": "127.0.0.1:9",
    "rtcp_mux": True,
}


def tone(ms: int) -> bytes:
    return struct.pack(f"<{ms * 8}h", *(round(9000 * math.sin(n / 3)) for n in range(ms * 8)))


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.open_leg(1, rtcp_mux=True)
    engine.connect_leg(1, **CONNECT, media_timeout_ms=1000)
    return engine


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
def test_g711_codes_survive_decoding_and_encoding(codec: str) -> None:
    codes = bytes(range(256))
    back = encode_g711(codec, decode_g711(codec, codes))
    assert decode_g711(codec, back) == decode_g711(codec, codes)


def test_g711_has_the_values_of_the_recommendation() -> None:
    samples = struct.unpack("<4h", decode_g711("PCMU", b"\x00\x80\xff\x7f"))
    assert samples == (-32124, 32124, 0, 0)
    assert struct.unpack("<2h", decode_g711("PCMA", b"\x2a\xd5")) == (-32256, 8)


def test_what_is_fed_reaches_streams_forks_and_recognisers(engine: FakeEngine) -> None:
    engine.add_stream(1, 2, **stream_arguments())
    engine.add_fork(1, 3, rx="127.0.0.1:9", tx=None)
    engine.add_speech(1, 4, track="rx", sample_rate_hz=8000, chunk_ms=100)
    stream, fork = engine.stream(1, 2), engine.fork(1, 3)
    pcm = tone(200)
    engine.feed_pcm(1, pcm[:320])
    assert [frame["event"] for frame in stream.frames] == ["connected"]
    engine.begin_stream(1, 2)
    engine.feed_pcm(1, pcm[320:])
    engine.press(1, "7")
    engine.remove_tap(1, 2, reason="command")
    kinds = [frame["event"] for frame in stream.frames]
    assert kinds == ["connected", "start", *["media"] * 10, "dtmf", "stop"]
    assert [frame["sequence_number"] for frame in stream.frames[1:]] == [str(n) for n in range(1, 14)]
    assert stream.frames[-1]["stop"] == {"call_control_id": "c", "reason": "command"}
    payloads = b"".join(packet.payload for packet in map(parse_rtp, fork.rx_packets) if packet)
    chunks = [event.pcm for event in engine.poll() if isinstance(event, events.AudioChunk)]
    assert b"".join(chunks) == decode_g711("PCMU", payloads)
    assert payloads == encode_g711("PCMU", pcm)


def test_played_audio_leaves_at_real_time(engine: FakeEngine) -> None:
    engine.add_fork(1, 3, rx=None, tx="127.0.0.1:9")
    engine.play(1, 5, pcm=tone(100), sample_rate_hz=8000)
    engine.advance(60)
    assert len(engine.legs[1].sent_packets) == 3
    engine.advance(60)
    assert len(engine.legs[1].sent_packets) == 5
    assert engine.fork(1, 3).tx_packets == engine.legs[1].sent_packets
    assert engine.poll() == [events.PlayStarted(1, 5), events.PlayEnded(1, 5, 100, True)]
    engine.play(1, 6, pcm=tone(100), sample_rate_hz=16000)
    engine.advance(20)
    engine.stop_play(1, 6)
    assert engine.poll() == [events.PlayStarted(1, 6), events.PlayEnded(1, 6, 20, False)]


def test_silence_is_told_once(engine: FakeEngine) -> None:
    engine.feed_pcm(1, tone(20))
    for _ in range(5):
        engine.advance(500)
    engine.feed_pcm(1, tone(20))
    for _ in range(5):
        engine.advance(500)
    assert sum(isinstance(event, events.MediaTimedOut) for event in engine.poll()) == 2


def test_a_failed_leg_ends_all_its_taps_and_its_calls_are_void(engine: FakeEngine) -> None:
    engine.add_stream(1, 2, **stream_arguments())
    engine.add_fork(1, 3, rx="127.0.0.1:9", tx=None)
    engine.play(1, 4, pcm=tone(100), sample_rate_hz=8000)
    engine.fail_leg(1)
    engine.remove_tap(1, 3, reason="x")
    engine.stop_play(1, 4)
    kinds = [type(event) for event in engine.poll()]
    assert kinds == [
        events.StreamConnected,
        events.LegFailed,
        events.PlayEnded,
        events.StreamFailed,
        events.TapClosed,
        events.LegClosed,
    ]
    with pytest.raises(MediaError, match="does not exist"):
        engine.stop_play(1, 4)
    engine.assert_no_leaks()


def test_a_forgotten_tap_is_a_leak(engine: FakeEngine) -> None:
    engine.add_fork(1, 3, rx="127.0.0.1:9", tx=None)
    with pytest.raises(AssertionError, match="left behind"):
        engine.assert_no_leaks()


async def test_events_never_come_from_within_the_call_that_caused_them() -> None:
    engine = FakeEngine()
    told: list[events.MediaEvent] = []
    engine.attach(asyncio.get_running_loop(), told.append)
    engine.open_leg(1, rtcp_mux=True)
    engine.close_leg(1)
    assert told == []
    await asyncio.sleep(0)
    assert [type(event) for event in told] == [events.LegClosed]
