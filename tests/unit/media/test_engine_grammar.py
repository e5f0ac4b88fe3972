"""What every media engine promises about its events, held against the native one and the fake."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.events import MediaEvent
from offhook.edge.media.fake_audio import RtpFields, build_rtp, decode_g711, encode_g711, resample
from tests.fakes.media_worlds import PORTS, World, connect, fake_world, native_world, packet
from tests.fakes.sounds import pcm_wav

pytestmark = pytest.mark.unit

MP3 = (Path(__file__).parents[2] / "data/mp3/tone-24000-mono.mp3").read_bytes()
"""One second."""
SECOND = bytes(range(250)) * 64
"""Of audio at 8 kHz."""
ENDS = (events.TapClosed, events.StreamClosed, events.StreamFailed)


@pytest.fixture(params=["fake", "native"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with fake_world() if request.param == "fake" else native_world() as world:
        yield world


def has(kind: type[MediaEvent], count: int = 1) -> Callable[[list[MediaEvent]], bool]:
    return lambda told: sum(isinstance(event, kind) for event in told) >= count


def of_tap(world: World, tap_id: int) -> list[MediaEvent]:
    return [event for event in world.events if getattr(event, "tap_id", 0) == tap_id]


async def test_every_open_leg_is_answered_by_one_leg_closed(world: World) -> None:
    for leg_id in (1, 2, 3):
        rtp, rtcp = world.engine.open_leg(leg_id, rtcp_mux=leg_id == 2)
        assert PORTS[0] <= rtp <= PORTS[1]
        assert rtcp == (rtp if leg_id == 2 else rtp + 1)
        world.engine.close_leg(leg_id)
    await world.until(has(events.LegClosed, 3))
    assert sorted(event.leg_id for event in world.events) == [1, 2, 3]


async def test_every_tap_is_answered_by_one_end_and_the_leg_ends_last(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.add_fork(1, 10, rx="127.0.0.1:9", tx=None)
    world.engine.add_speech(1, 11, track="rx", sample_rate_hz=8000, chunk_ms=20)
    world.add_stream(1, 12)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 12)
    await world.hear(1, packet(0))
    await world.until(has(events.AudioChunk))
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    ends = [event for event in world.events if isinstance(event, ENDS)]
    assert sorted(event.tap_id for event in ends) == [10, 11, 12]
    assert isinstance(world.events[-1], events.LegClosed)
    assert next(event for event in ends if event.tap_id == 12).reason == "call_ended"
    assert world.events[-1].stats["packets_received"] == 1


async def test_a_removed_stream_ends_with_the_reason_given(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 5)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 5)
    world.engine.remove_tap(1, 5, reason="command")
    await world.until(has(events.StreamClosed))
    connected, closed = of_tap(world, 5)
    assert isinstance(connected, events.StreamConnected)
    assert isinstance(closed, events.StreamClosed)
    assert (closed.reason, closed.stats["kind"]) == ("command", "stream")
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    assert len(of_tap(world, 5)) == 2


async def test_a_stream_removed_at_once_still_has_one_end(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 5)
    world.engine.remove_tap(1, 5, reason="command")
    await world.until(has(events.StreamClosed))
    assert [type(event) for event in of_tap(world, 5) if isinstance(event, ENDS)] == [events.StreamClosed]


async def test_a_refused_stream_fails_with_the_status(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_refused_stream(1, 5)
    await world.until(has(events.StreamFailed))
    assert of_tap(world, 5) == [events.StreamFailed(1, 5, "connection_failed", "HTTP 403")]
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    assert len(of_tap(world, 5)) == 1


async def test_the_app_may_end_a_stream(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 5)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 5)
    await world.app_closes(1, 5)
    await world.until(has(events.StreamClosed))
    assert of_tap(world, 5)[-1].reason == "app_closed"


async def test_media_starts_once_and_audio_follows_the_clock_of_rtp(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.add_speech(1, 3, track="rx", sample_rate_hz=8000, chunk_ms=40)
    for number in range(6):
        await world.hear(1, packet(number))
    await world.until(has(events.AudioChunk, 3))
    assert sum(isinstance(event, events.MediaStarted) for event in world.events) == 1
    chunks = [event for event in world.events if isinstance(event, events.AudioChunk)]
    assert [chunk.at_ms - chunks[0].at_ms for chunk in chunks] == [0, 40, 80]
    assert {len(chunk.pcm) for chunk in chunks} == {640}


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
async def test_recognisers_and_streams_tell_time_by_one_clock(world: World, rate_hz: int) -> None:
    loud, quiet = b"\x90" * 160, b"\xff" * 160
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    for number in range(7):
        await world.hear(1, packet(number))
    world.add_stream(1, 5)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 5)
    for number in range(7, 11):
        await world.hear(1, packet(number))
    world.engine.add_speech(1, 6, track="rx", sample_rate_hz=rate_hz, chunk_ms=100)
    for number in range(11, 40):
        await world.hear(1, packet(number, loud if number in (17, 29) else quiet))
    frames = [frame["media"] for frame in await world.frames("media", 33)]
    streamed = [int(media["timestamp"]) for media in frames if loud == base64.b64decode(media["payload"])]
    await world.until(has(events.AudioChunk, 2))
    chunks = [event for event in world.events if isinstance(event, events.AudioChunk)]
    while chunks[-1].at_ms < 600 - 100:
        await world.until(has(events.AudioChunk, len(chunks) + 1))
        chunks = [event for event in world.events if isinstance(event, events.AudioChunk)]
    samples = [
        (chunk.at_ms + 1000 * index / rate_hz, abs(value) > 1000)
        for chunk in chunks
        for index, value in enumerate(memoryview(chunk.pcm).cast("h"))
    ]
    heard = [at_ms for at_ms, is_loud in samples if is_loud]
    starts = [heard[0], next(at_ms for at_ms in heard if at_ms > heard[0] + 100)]
    # A stream counts from its own start, the recogniser from the call's: that is all the difference.
    assert starts == [pytest.approx(340, abs=2), pytest.approx(580, abs=2)]
    assert starts[1] - starts[0] == pytest.approx(streamed[1] - streamed[0], abs=1)


async def test_a_digit_is_told_once(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    for number in range(4):
        await world.hear(1, packet(number))
    for number, (end, duration) in enumerate([(0, 160), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480)], 4):
        body = bytes([5, end | 10]) + duration.to_bytes(2)
        await world.hear(1, packet(4, body, 101)[:2] + number.to_bytes(2) + packet(4, body, 101)[4:])
    await world.until(has(events.DigitReceived))
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    digits = [event for event in world.events if isinstance(event, events.DigitReceived)]
    assert [(digit.digit, digit.duration_ms) for digit in digits] == [("5", 60)]


async def test_calls_about_nothing_are_refused_in_one_sentence(world: World) -> None:
    engine = world.engine
    calls = [
        lambda: engine.close_leg(9),
        lambda: engine.stop_play(9, 1),
        lambda: engine.stats(9),
        lambda: engine.begin_stream(9, 1),
        lambda: engine.remove_tap(9, 1, reason="x"),
        lambda: engine.play(9, 1, pcm=b"", sample_rate_hz=8000),
        lambda: engine.add_fork(9, 1, rx="127.0.0.1:9", tx=None),
        lambda: engine.add_speech(9, 1, track="rx", sample_rate_hz=8000, chunk_ms=20),
        lambda: world.add_stream(9, 1),
        lambda: connect(world, 9),
    ]
    for call in calls:
        with pytest.raises(MediaError, match="leg 9 does not exist"):
            call()
    engine.open_leg(1, rtcp_mux=False)
    with pytest.raises(MediaError, match="leg 1 exists already"):
        engine.open_leg(1, rtcp_mux=False)
    with pytest.raises(MediaError, match="leg 1 has no tap 4"):
        engine.remove_tap(1, 4, reason="x")
    engine.add_fork(1, 4, rx="127.0.0.1:9", tx=None)
    with pytest.raises(MediaError, match="leg 1 has a tap 4 already"):
        engine.add_speech(1, 4, track="rx", sample_rate_hz=8000, chunk_ms=20)
    with pytest.raises(MediaError, match="needs a target"):
        engine.add_fork(1, 6, rx=None, tx=None)
    with pytest.raises(MediaError, match="not an address"):
        engine.add_fork(1, 6, rx="example.org:9", tx=None)
    with pytest.raises(MediaError, match="codec"):
        connect(world, 1, codec="GSM")
    connect(world, 1, dtmf_payload_type=None)
    with pytest.raises(MediaError, match="telephone-event"):
        engine.send_digits(1, digits="1", duration_ms=100, gap_ms=50)


@pytest.mark.parametrize(
    ("codec", "clock_rate_hz", "payload"),
    [
        ("G722", 8000, bytes(range(160))),
        ("OPUS", 48000, b"\x08one packet of 20 ms"),
        ("AMR-WB", 16000, b"\xf0\x04" + bytes(17)),
    ],
)
async def test_what_a_leg_speaks_passes_through_untouched(
    world: World, codec: str, clock_rate_hz: int, payload: bytes
) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, codec=codec, clock_rate_hz=clock_rate_hz, octet_align=True, payload_type=96)
    rate_hz = 16000 if codec == "AMR-WB" else 8000
    world.add_stream(1, 2, codec=codec, sample_rate_hz=rate_hz, rx=True, tx=False)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 2)
    for number in range(3):
        fields = RtpFields(96, number, number * clock_rate_hz // 50, 7, payload)
        await world.hear(1, build_rtp(fields))
    frames = await world.frames("media", 3)
    got = [(frame["media"]["timestamp"], frame["media"]["payload"]) for frame in frames]
    first = int(got[0][0])
    expected = base64.b64encode(payload).decode()
    assert got == [(str(first + number * 20), expected) for number in range(3)]


async def test_amr_wb_is_transcoded_only_where_that_can_be(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, codec="AMR-WB", clock_rate_hz=16000, payload_type=96)
    world.add_stream(1, 2, codec="AMR-WB", sample_rate_hz=16000)
    assert all(world.engine.transcodable(codec) for codec in ("PCMU", "PCMA", "G722", "OPUS", "L16"))
    assert not world.engine.transcodable("GSM")
    if world.engine.transcodable("AMR-WB"):
        world.add_stream(1, 3, codec="PCMU", app_codec="PCMU")
    else:
        with pytest.raises(MediaError, match="opencore-amrwb and vo-amrwbenc are not installed"):
            world.add_stream(1, 3, codec="PCMU", app_codec="PCMU")


async def test_no_port_is_said_in_one_sentence_and_changes_nothing(world: World) -> None:
    pairs = (PORTS[1] - PORTS[0] + 1) // 2
    sentence = f"no RTP port is free between {PORTS[0]} and {PORTS[1]}; widen \\[media\\] rtp_ports"

    def open_all() -> None:
        for leg_id in range(pairs + 1):
            world.engine.open_leg(leg_id, rtcp_mux=False)

    with pytest.raises(MediaError, match=sentence):
        open_all()
    # Another program may have a port of the range: then there is room for fewer legs.
    count = world.engine.counters()["legs_open"]
    assert 0 < count <= pairs
    world.engine.close_leg(0)
    await world.until(has(events.LegClosed))
    world.engine.open_leg(count, rtcp_mux=False)


async def test_a_leg_is_known_until_its_end_was_told(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    world.engine.close_leg(1)
    world.engine.close_leg(1)
    with pytest.raises(MediaError, match="leg 1 is closing"):
        world.engine.play(1, 1, pcm=SECOND, sample_rate_hz=8000)
    await world.until(has(events.LegClosed))
    with pytest.raises(MediaError, match="leg 1 does not exist"):
        world.engine.close_leg(1)
    world.engine.open_leg(1, rtcp_mux=False)


def plays(world: World) -> list[tuple[int, int | None, bool | None]]:
    """Return what began and ended to be played; an end with its length and whether it was all."""
    told: list[tuple[int, int | None, bool | None]] = []
    for event in world.events:
        if isinstance(event, events.PlayStarted):
            told.append((event.play_id, None, None))
        elif isinstance(event, events.PlayEnded):
            told.append((event.play_id, event.played_ms, event.completed))
    return told


async def test_plays_wait_for_one_another_repeat_and_end_once(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.play(1, 1, pcm=SECOND[:640], sample_rate_hz=8000, loops=3)
    world.engine.play(1, 2, pcm=SECOND, sample_rate_hz=44100)
    world.engine.play(1, 3, pcm=SECOND[:3200], sample_rate_hz=16000)
    world.engine.stop_play(1, 2)
    await world.until_played(has(events.PlayEnded, 3))
    begun_and_ended = [told for told in plays(world) if told[0] != 2]
    assert begun_and_ended == [(1, None, None), (1, 120, True), (3, None, None), (3, 100, True)]
    assert [told for told in plays(world) if told[0] == 2] == [(2, 0, False)]
    with pytest.raises(MediaError, match="the leg has no such play"):
        world.engine.stop_play(1, 3)
    assert world.engine.stats(1)["queued_ms"] == 0


async def test_an_overlay_goes_with_what_is_played_and_all_end_with_the_leg(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.play(1, 1, pcm=SECOND, sample_rate_hz=8000, loops=0)
    world.engine.play(1, 2, pcm=SECOND[:1600], sample_rate_hz=8000, overlay=True)
    world.engine.play(1, 3, pcm=SECOND, sample_rate_hz=8000)
    world.engine.play(1, 4, pcm=SECOND, sample_rate_hz=8000, overlay=True)
    await world.until_played(lambda told: (2, 100, True) in plays(world))
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    assert isinstance(world.events[-1], events.LegClosed)
    ends = [told for told in plays(world) if told[1] is not None]
    assert [(play_id, completed) for play_id, _, completed in ends] == [
        (2, True),
        (1, False),
        (3, False),
        (4, False),
    ]
    assert [play_id for play_id, played_ms, _ in ends if played_ms == 0] in ([3], [3, 4])


async def test_plays_are_bounded_by_number_and_by_bytes(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    for play_id in range(64):
        world.engine.play(1, play_id, pcm=b"\0\0", sample_rate_hz=8000)
    with pytest.raises(MediaError, match="too many sounds"):
        world.engine.play(1, 64, pcm=b"\0\0", sample_rate_hz=8000, overlay=True)
    world.engine.stop_play(1, 0)
    await world.until(has(events.PlayEnded))
    with pytest.raises(MediaError, match="too many sounds"):
        world.engine.play(1, 64, pcm=bytes(32 * 1024 * 1024), sample_rate_hz=8000)
    with pytest.raises(MediaError, match="this play id is already in use"):
        world.engine.play(1, 63, pcm=b"\0\0", sample_rate_hz=8000)
    with pytest.raises(MediaError, match="sample_rate_hz is out of range"):
        world.engine.play(1, 64, pcm=b"\0\0", sample_rate_hz=44_000)
    with pytest.raises(MediaError, match="pcm is out of range"):
        world.engine.play(1, 64, pcm=b"", sample_rate_hz=8000)
    with pytest.raises(MediaError, match="even number"):
        world.engine.play(1, 64, pcm=b"\0", sample_rate_hz=8000)


async def test_a_file_is_decoded_or_refused_in_a_sentence(world: World) -> None:
    engine = world.engine
    assert engine.decode_sound(pcm_wav(SECOND, rate_hz=44_100), max_samples=8000) == (SECOND, 44_100)
    pcm, _ = engine.decode_sound(MP3, max_samples=100_000)
    assert len(pcm) > 10_000
    for data, sentence in (
        (b"", "neither a wav nor an mp3"),
        (b"<!doctype html>", "neither a wav nor an mp3"),
        (b"RIFF\0\0\0\0WAVE", "damaged"),
        (pcm_wav(b""), "no audio"),
        (pcm_wav(SECOND + b"\0\0"), "too long"),
    ):
        with pytest.raises(MediaError, match=sentence):
            engine.decode_sound(data, max_samples=8000)


async def test_a_fork_counts_what_it_copied(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.add_fork(1, 2, rx="127.0.0.1:9", tx=None)
    world.engine.add_speech(1, 3, track="rx", sample_rate_hz=8000, chunk_ms=20)
    for number in range(5):
        await world.hear(1, packet(number))
    await world.until(has(events.AudioChunk, 5))
    assert world.engine.stats(1)["taps"][2]["rx_packets"] == 5
    world.engine.remove_tap(1, 2, reason="command")
    await world.until(has(events.TapClosed))
    closed = of_tap(world, 2)[-1]
    assert isinstance(closed, events.TapClosed)
    assert (closed.stats["kind"], closed.stats["rx_packets"]) == ("fork", 5)


async def test_stats_have_the_keys_of_their_types(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    world.engine.add_fork(1, 2, rx="127.0.0.1:9", tx=None)
    stats = world.engine.stats(1)
    assert set(stats) == set(events.LegStats.__annotations__)
    assert set(stats["taps"][2]) == set(events.TapStats.__annotations__)
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    closed = world.events[-1]
    assert isinstance(closed, events.LegClosed)
    assert set(closed.stats) == set(stats)


async def test_parameters_a_leg_cannot_use_are_refused_at_once(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    for name, value in [
        ("ptime_ms", 0),
        ("ptime_ms", 201),
        ("payload_type", 128),
        ("clock_rate_hz", 16000),
        ("dtmf_payload_type", 0),
    ]:
        with pytest.raises(MediaError, match=f"{name} is out of range"):
            connect(world, 1, **{name: value})
    for name, value in [
        ("frame_ms", 10),
        ("sample_rate_hz", 16000),
        ("buffer_ms", 60_000),
        ("start_json", "[]"),
        ("stop_json", "nonsense"),
    ]:
        with pytest.raises(MediaError, match=f"{name} is out of range"):
            world.add_stream(1, 2, **{name: value})
    for name, value in [("sample_rate_hz", 44100), ("chunk_ms", 5)]:
        arguments = {"track": "rx", "sample_rate_hz": 8000, "chunk_ms": 20, name: value}
        with pytest.raises(MediaError, match=f"{name} is out of range"):
            world.engine.add_speech(1, 2, **arguments)
    with pytest.raises(MediaError, match="inband_dtmf is auto, on or off"):
        connect(world, 1, inband_dtmf="sometimes")
    for tap_id in range(32):
        world.engine.add_fork(1, tap_id, rx="127.0.0.1:9", tx=None)
    with pytest.raises(MediaError, match="32 taps, which is the most there may be"):
        world.engine.add_fork(1, 99, rx="127.0.0.1:9", tx=None)


# Reconnect

TRIES_MS = [50, 50, 50]


async def losing(world: World, **changes: object) -> None:
    """Open a leg and a begun stream, let it hear two packets, and let its socket break."""
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, keepalive_ms=0)
    world.add_stream(1, 5, **changes)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 5)
    for number in range(2):
        await world.hear(1, packet(number))
    await world.frames("media", 2)
    await world.app_dies(1, 5)


async def test_a_lost_socket_is_replaced_and_the_stream_begun_anew(world: World) -> None:
    await losing(world, reconnect_ms=TRIES_MS)
    await world.until(has(events.StreamReconnecting))
    await world.app_is_back(1, 5)
    await world.until(has(events.StreamReconnected))
    await world.hear(1, packet(2))
    (start,) = [frame for frame in await world.frames("start", 1) if "reconnect" in frame["start"]]
    assert start["start"] == {"call_control_id": "c", "reconnect": 1}
    assert (start["sequence_number"], start["stream_id"]) == ("1", "s-1")
    lost, back = [event for event in of_tap(world, 5) if not isinstance(event, events.StreamConnected)]
    assert isinstance(lost, events.StreamReconnecting)
    assert lost.detail
    assert isinstance(back, events.StreamReconnected)
    assert back.tries == 1
    assert world.engine.stats(1)["taps"][5]["reconnects"] == 1
    assert world.engine.counters()["streams_reconnected_total"] == 1
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    assert sum(isinstance(event, ENDS) for event in world.events) == 1


async def test_a_stream_that_may_not_reconnect_fails_with_its_socket(world: World) -> None:
    await losing(world)
    await world.until(has(events.StreamFailed))
    connected, failed = of_tap(world, 5)
    assert isinstance(connected, events.StreamConnected)
    assert isinstance(failed, events.StreamFailed)
    assert failed.reason == "connection_lost"
    world.engine.close_leg(1)
    await world.until(has(events.LegClosed))
    assert len(of_tap(world, 5)) == 2


@pytest.mark.parametrize("close_leg", [False, True])
async def test_a_stream_that_seeks_a_socket_ends_when_asked_to(world: World, close_leg: bool) -> None:
    await losing(world, reconnect_ms=[5000])
    await world.until(has(events.StreamReconnecting))
    if close_leg:
        world.engine.close_leg(1)
    else:
        world.engine.remove_tap(1, 5, reason="command")
    await world.until(has(events.StreamClosed))
    closed = of_tap(world, 5)[-1]
    assert isinstance(closed, events.StreamClosed)
    assert closed.reason == ("call_ended" if close_leg else "command")


async def test_more_tries_than_there_may_be_are_refused(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    for arguments in ({"reconnect_ms": [1] * 17}, {"reconnect_total_ms": 60_001}):
        with pytest.raises(MediaError, match="16 times within 60 s"):
            world.add_stream(1, 2, **arguments)


# Two ways


def media(payload: bytes) -> str:
    return json.dumps({"event": "media", "media": {"payload": base64.b64encode(payload).decode()}})


def mark(name: str) -> str:
    return json.dumps({"event": "mark", "mark": {"name": name}})


CLEAR = json.dumps({"event": "clear"})


async def talking(world: World, codec: str | None = "PCMU", rate_hz: int = 8000, **changes: object) -> None:
    """Open a leg and a stream whose app may speak; what the phone hears comes back as outbound track."""
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, keepalive_ms=0)
    world.add_stream(1, 2, rx=False, tx=True, app_codec=codec, app_sample_rate_hz=rate_hz, **changes)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 2)


async def heard(world: World, packets: int) -> bytes:
    frames = await world.frames("media", packets)
    return b"".join(base64.b64decode(frame["media"]["payload"]) for frame in frames)


async def test_what_the_app_says_is_heard_in_order_and_its_mark_comes_behind(world: World) -> None:
    await talking(world)
    said = [
        bytes(0x80 + (number + at) % 100 for at in range(length))
        for number, length in enumerate((160, 100, 380))
    ]
    await world.app_says(1, 2, *map(media, said), mark("end"))
    assert await heard(world, 4) == b"".join(said)
    (end,) = await world.frames("mark", 1)
    media_frames = await world.frames("media", 4)
    assert end["mark"] == {"name": "end"}
    assert int(end["sequence_number"]) == int(media_frames[3]["sequence_number"]) + 1
    stats = world.engine.stats(1)["taps"][2]
    assert (stats["played_ms"], stats["queued_ms"], stats["app_frames"]) == (80, 0, 4)


async def test_the_rest_of_less_than_a_packet_is_padded(world: World) -> None:
    await talking(world)
    await world.app_says(1, 2, media(b"\x80" * 200), mark("end"))
    await world.frames("mark", 1)
    sound = await heard(world, 2)
    # The pause before the rest is silence in the outbound track, of as long as it took.
    assert b"\x80" * 160 in sound
    assert sound.replace(b"\xff", b"") == b"\x80" * 200


async def test_clear_drops_what_waits_and_returns_its_marks(world: World) -> None:
    await talking(world)
    await world.app_says(1, 2, media(b"\x80" * 8000), mark("a"), mark("b"), CLEAR, mark("c"))
    marks = await world.frames("mark", 3)
    assert [frame["mark"]["name"] for frame in marks] == ["a", "b", "c"]
    stats = world.engine.stats(1)["taps"][2]
    assert stats["queued_ms"] == 0
    assert stats["played_ms"] + stats["discarded_ms"] == 1000
    assert stats["discarded_ms"] >= 900


@pytest.mark.parametrize(
    ("codec", "rate_hz", "payload"),
    [
        ("PCMA", 8000, encode_g711("PCMA", b"\x10\x20" * 320)),
        ("L16", 8000, b"\x10\x20" * 320),
        ("L16", 16000, b"\x10\x20" * 1600),
        ("L16", 22050, b"\x10\x20" * 2205),
        ("L16", 48000, b"\x10\x20" * 4800),
    ],
)
async def test_what_the_app_says_is_brought_to_the_codec_of_the_leg(
    world: World, codec: str, rate_hz: int, payload: bytes
) -> None:
    await talking(world, codec, rate_hz)
    await world.app_says(1, 2, media(payload))
    sound = decode_g711("PCMU", await heard(world, 2))
    middle = sound[320:480]  # a filter needs a moment to begin
    assert all(
        abs(int.from_bytes(middle[at : at + 2], "little") - 0x2010) < 300 for at in range(0, len(middle), 2)
    )


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 48000])
async def test_what_the_phone_says_may_be_had_as_linear_audio(world: World, rate_hz: int) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 2, codec="L16", sample_rate_hz=rate_hz)
    await world.until(has(events.StreamConnected))
    world.engine.begin_stream(1, 2)
    payload = encode_g711("PCMU", b"\x10\x20" * 160)
    for number in range(3):
        await world.hear(1, packet(number, payload))
    frames = [base64.b64decode(frame["media"]["payload"]) for frame in await world.frames("media", 3)]
    expected = decode_g711("PCMU", payload)
    expected = resample(expected, 8000, rate_hz)
    assert [len(frame) for frame in frames] == [len(expected)] * 3
    assert frames[2][-2:] == expected[-2:]


async def test_an_app_that_may_not_speak_is_told_how(world: World) -> None:
    await talking(world, None)
    await world.app_says(1, 2, media(b"\x80" * 160), mark("at once"), CLEAR)
    (error,) = await world.frames("error", 1)
    assert error["payload"]["code"] == 100004
    assert "stream_bidirectional_mode" in error["payload"]["detail"]
    await world.frames("mark", 1)


async def test_what_cannot_be_played_is_answered_by_its_code(world: World) -> None:
    await talking(world)
    await world.app_says(
        1,
        2,
        '{"event":"media","media":{"payload":"no base64"}}',
        media(b"\x80" * 240_001),
        '{"event":"sing"}',
        media(b"\x80" * 240_000),
        media(b"\x80" * 238_000),
        media(b"\x80" * 8000),
    )
    errors = await world.frames("error", 4)
    told = [(error["payload"]["code"], error["payload"]["title"]) for error in errors]
    assert told == [
        (100004, "invalid_media"),
        (100004, "invalid_media"),
        (100003, "malformed_frame"),
        (100005, "rate_limit_reached"),
    ]
    assert world.engine.stats(1)["taps"][2]["overflow_ms"] == 1000
    world.engine.remove_tap(1, 2, reason="command")
    await world.until(has(events.StreamClosed))
    closed = of_tap(world, 2)[-1]
    assert isinstance(closed, events.StreamClosed)
    assert closed.stats["played_ms"] + closed.stats["discarded_ms"] == 59_750


async def test_formats_that_no_stream_has_are_refused(world: World) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    for name, arguments in [
        ("app_sample_rate_hz", {"app_codec": "PCMU", "app_sample_rate_hz": 16000}),
        ("app_sample_rate_hz", {"app_codec": "L16", "app_sample_rate_hz": 11025}),
        ("sample_rate_hz", {"codec": "L16", "sample_rate_hz": 44100}),
    ]:
        with pytest.raises(MediaError, match=f"{name} is out of range"):
            world.add_stream(1, 2, **arguments)
    with pytest.raises(MediaError, match="does not speak codec"):
        world.add_stream(1, 2, app_codec="MP2")


# mp3


async def test_an_mp3_file_is_heard_for_its_time_and_its_mark_comes_behind(world: World) -> None:
    await talking(world, "MP3")
    await world.app_says(1, 2, media(MP3), mark("end"))
    await world.frames("mark", 1)
    stats = world.engine.stats(1)["taps"][2]
    assert 1000 <= stats["played_ms"] <= 1060
    assert (stats["queued_ms"], stats["app_frames_refused"]) == (0, 0)


async def test_clear_ends_an_mp3_file(world: World) -> None:
    await talking(world, "MP3")
    await world.app_says(1, 2, media(MP3), mark("end"), CLEAR)
    await world.frames("mark", 1)
    stats = world.engine.stats(1)["taps"][2]
    assert stats["queued_ms"] == 0
    assert stats["discarded_ms"] >= 900


async def test_raw_audio_in_mp3_mode_and_too_many_files_are_answered_by_their_codes(world: World) -> None:
    await talking(world, "MP3")
    await world.app_says(1, 2, media(b"\xff" * 160), media(MP3), media(MP3))
    raw, often = await world.frames("error", 2)
    assert (raw["payload"]["code"], often["payload"]["code"]) == (100004, 100005)
    assert "stream_bidirectional_mode" in raw["payload"]["detail"]
    assert world.engine.stats(1)["taps"][2]["app_frames_refused"] == 2


async def test_binary_messages_are_audio_where_that_was_agreed_on(world: World) -> None:
    await talking(world, binary_media=True)
    await world.app_says(1, 2, b"\x80" * 320, mark("end"))
    await world.frames("mark", 1)
    assert await heard(world, 2) == b"\x80" * 320


async def test_binary_messages_are_refused_where_it_was_not(world: World) -> None:
    await talking(world)
    await world.app_says(1, 2, b"\x80" * 320)
    (error,) = await world.frames("error", 1)
    assert error["payload"]["code"] == 100003


async def test_an_app_that_nobody_is_to_hear_is_counted_as_discarded(world: World) -> None:
    await talking(world, app_heard="opposite_only")
    await world.app_says(1, 2, media(b"\x80" * 1600), mark("end"))
    await world.frames("mark", 1)
    stats = world.engine.stats(1)["taps"][2]
    assert (stats["discarded_ms"], stats["played_ms"], stats["tx_frames"]) == (200, 0, 0)


async def test_it_is_told_what_waits_for_the_app_and_for_its_marks(world: World) -> None:
    await talking(world)
    await world.app_says(1, 2, media(b"\x80" * 8000), mark("a"), mark("b"))
    await heard(world, 1)
    assert world.engine.stats(1)["taps"][2]["marks_waiting"] == 2
    await world.app_says(1, 2, CLEAR)
    await world.frames("mark", 2)
    stats = world.engine.stats(1)["taps"][2]
    assert (stats["marks_waiting"], stats["buffered_ms"]) == (0, 0)
    world.add_stream(1, 3)
    await world.until(lambda seen: sum(isinstance(event, events.StreamConnected) for event in seen) == 2)
    for number in range(5):
        await world.hear(1, packet(number))
    async with asyncio.timeout(30):
        while world.engine.stats(1)["taps"][3]["buffered_ms"] < 100:  # the stream has not begun
            await asyncio.sleep(0)


async def two_legs(world: World, **changes: object) -> None:
    for leg_id in (1, 2):
        world.engine.open_leg(leg_id, rtcp_mux=False)
        connect(world, leg_id, keepalive_ms=0, **(changes if leg_id == 2 else {}))


def audio_of(world: World, tap_id: int) -> bytes:
    return b"".join(event.pcm for event in of_tap(world, tap_id) if isinstance(event, events.AudioChunk))


async def test_what_one_leg_hears_goes_out_of_the_one_bridged_to_it(world: World) -> None:
    await two_legs(world)
    world.engine.bridge(1, 2)
    world.engine.add_speech(2, 7, track="tx", sample_rate_hz=8000, chunk_ms=20)
    assert world.engine.stats(2)["packets_sent"] == 0
    for number in range(3):
        await world.hear(1, packet(number, b"\x80" * 160))
    await world.until(lambda _: len(audio_of(world, 7)) == 3 * 320)
    assert audio_of(world, 7) == decode_g711("PCMU", b"\x80" * 480)
    assert world.engine.stats(2)["packets_passed"] == 3
    world.engine.unbridge(2)
    world.engine.unbridge(2)
    world.engine.add_speech(1, 8, track="rx", sample_rate_hz=8000, chunk_ms=20)
    await world.hear(1, packet(3, b"\x80" * 160))
    await world.until(lambda _: len(audio_of(world, 8)) > 0)
    assert world.engine.stats(2)["packets_sent"] == 3


async def test_a_recogniser_may_leave_out_what_is_played(world: World) -> None:
    await two_legs(world)
    world.engine.add_speech(2, 7, track="tx", sample_rate_hz=8000, chunk_ms=20, skip_own=True)
    world.engine.add_speech(2, 8, track="tx", sample_rate_hz=8000, chunk_ms=20)
    world.engine.play(2, 1, pcm=b"\x00\x10" * 800, sample_rate_hz=8000)
    await world.until_played(lambda _: len(audio_of(world, 8)) >= 1600)
    assert audio_of(world, 7) == b""
    world.engine.bridge(1, 2)
    for number in range(30):
        await world.hear(1, packet(number, b"\x80" * 160))
    heard = decode_g711("PCMU", b"\x80" * 160)
    await world.until_played(lambda _: heard in audio_of(world, 7))


async def test_a_leg_on_hold_gets_nothing_of_the_other(world: World) -> None:
    await two_legs(world, sending=False)
    world.engine.bridge(1, 2)
    world.engine.add_speech(1, 8, track="rx", sample_rate_hz=8000, chunk_ms=20)
    assert world.engine.stats(2)["packets_not_passed"] == 0
    await world.hear(1, packet(0))
    await world.until(lambda _: len(audio_of(world, 8)) > 0)
    stats = world.engine.stats(2)
    assert (stats["packets_sent"], stats["packets_not_passed"]) == (0, 1)


async def test_the_end_of_one_leg_leaves_the_other_for_the_next(world: World) -> None:
    await two_legs(world)
    world.engine.bridge(1, 2)
    world.engine.close_leg(2)
    await world.until(has(events.LegClosed))
    with pytest.raises(MediaError, match="2"):
        world.engine.bridge(1, 2)
    with pytest.raises(MediaError, match="itself"):
        world.engine.bridge(1, 1)
    world.engine.unbridge(1)
    world.engine.open_leg(3, rtcp_mux=False)
    connect(world, 3, keepalive_ms=0)
    world.engine.bridge(3, 1)
    world.engine.add_speech(3, 7, track="tx", sample_rate_hz=8000, chunk_ms=20)
    assert world.engine.stats(3)["packets_sent"] == 0
    await world.hear(1, packet(0))
    await world.until(lambda _: len(audio_of(world, 7)) == 320)


@pytest.mark.parametrize(
    ("app_heard", "alone", "bridged"),
    [
        ("self", (1, 0), (1, 0)),
        ("opposite", (1, 0), (0, 1)),
        ("opposite_only", (0, 0), (0, 1)),
        ("both", (1, 0), (1, 1)),
    ],
)
async def test_an_app_is_heard_by_whom_its_stream_names(
    world: World, app_heard: str, alone: tuple[int, int], bridged: tuple[int, int]
) -> None:
    await talking(world, app_heard=app_heard)
    world.engine.open_leg(2, rtcp_mux=False)
    connect(world, 2, keepalive_ms=0)
    sent = []
    for marks in (1, 2):
        await world.app_says(1, 2, media(b"\x80" * 160), mark("end"))
        await world.frames("mark", marks)
        async with asyncio.timeout(30):
            wanted = (alone, bridged)[marks - 1][1]
            while world.engine.stats(2)["packets_sent"] < wanted:
                await asyncio.sleep(0)
        sent.append(tuple(world.engine.stats(leg_id)["packets_sent"] for leg_id in (1, 2)))
        world.engine.bridge(1, 2)
    assert sent[0] == alone
    assert (sent[1][0] - sent[0][0], sent[1][1] - sent[0][1]) == bridged
