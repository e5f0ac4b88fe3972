"""What every media engine promises about recordings, held against the native one and the fake."""

import asyncio
import struct
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake_audio import encode_g711
from tests.fakes.media_worlds import FakeWorld, World, connect, fake_world, native_world, packet

pytestmark = pytest.mark.unit

LOUD = encode_g711("PCMU", struct.pack("<160h", *([8000] * 160)))


@pytest.fixture(params=["fake", "native"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with fake_world() if request.param == "fake" else native_world() as world:
        yield world


def record(world: World, path: Path, leg_id: int = 1, tap_id: int = 5, **changes: Any) -> None:
    arguments: dict[str, Any] = {"rx": True, "tx": True, "dual": True, "sample_rate_hz": 8000}
    world.engine.add_recording(leg_id, tap_id, path=path, **(arguments | changes))


async def let_pass(world: World, ms: int) -> None:
    if isinstance(world, FakeWorld):
        for step_ms in [20] * (ms // 20) + [ms % 20]:
            world.engine.advance(step_ms)
    else:
        await asyncio.sleep(ms / 1000)


async def say(world: World, packets: range) -> None:
    for number in packets:
        await world.hear(1, packet(number, LOUD))
        await let_pass(world, 20)


async def closed(world: World) -> events.RecordingClosed:
    def ended() -> list[events.RecordingClosed]:
        return [event for event in world.events if isinstance(event, events.RecordingClosed)]

    await world.until(lambda _: bool(ended()))
    (event,) = ended()
    return event


def read(path: Path) -> tuple[int, int, list[int]]:
    with wave.open(str(path)) as file:
        pcm = file.readframes(file.getnframes())
        return file.getnchannels(), file.getframerate(), list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


async def test_each_track_has_its_channel(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav")
    await say(world, range(10))
    world.engine.play(1, 1, pcm=struct.pack("<1600h", *([-8000] * 1600)), sample_rate_hz=8000)
    await let_pass(world, 300)
    world.engine.remove_tap(1, 5, reason="command")
    event = await closed(world)
    assert (event.tap_id, event.reason, event.detail) == (5, "command", "")
    assert event.size_bytes == (tmp_path / "a.wav").stat().st_size
    channels, rate_hz, samples = read(tmp_path / "a.wav")
    assert (channels, rate_hz, len(samples) // 16) == (2, 8000, event.duration_ms)
    rx, tx = samples[::2], samples[1::2]
    # A late wake-up of a busy machine is a gap that is concealed; its edges are softer.
    assert sum(sample > 7000 for sample in rx) == pytest.approx(1600, abs=80)
    assert sum(sample < -7000 for sample in tx) == pytest.approx(1600, abs=80)
    assert min(rx) == max(tx) == 0
    first_rx = next(n for n, sample in enumerate(rx) if sample > 7000)
    first_tx = next(n for n, sample in enumerate(tx) if sample < -7000)
    # A busy machine may be later, never sooner.
    assert first_tx - first_rx >= 1500, "one came 200 ms after the other"
    world.engine.close_leg(1)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_a_pause_is_left_out(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav", dual=False, sample_rate_hz=16000)
    await let_pass(world, 100)
    world.engine.pause_recording(1, 5)
    await let_pass(world, 2000)
    world.engine.resume_recording(1, 5)
    await let_pass(world, 100)
    world.engine.close_leg(1)
    event = await closed(world)
    assert event.reason == "call_ended"
    assert 180 <= event.duration_ms < 1900
    channels, rate_hz, samples = read(tmp_path / "a.wav")
    assert (channels, rate_hz, len(samples) // 16) == (1, 16000, event.duration_ms)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_it_ends_by_itself_when_it_is_long_enough(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav", max_ms=200)
    for _ in range(30):
        await let_pass(world, 50)
    event = await closed(world)
    assert (event.reason, event.duration_ms) == ("max_length", 200)
    assert len(read(tmp_path / "a.wav")[2]) == 3200
    world.engine.close_leg(1)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_silence_after_speech_ends_it(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav", silence_timeout_ms=300, trim_silence=True)
    await say(world, range(10))
    for _ in range(40):
        await let_pass(world, 50)
    event = await closed(world)
    assert event.reason == "silence"
    assert 200 <= event.duration_ms <= 400, "what is silent at the end is cut off"
    world.engine.close_leg(1)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_a_file_that_cannot_be_made_is_told_with_the_reason(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "none" / "a.wav")
    event = await closed(world)
    assert event.reason == "failed"
    assert "No such file" in event.detail
    world.engine.close_leg(1)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_a_recording_becomes_mp3(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav")
    await let_pass(world, 100)
    world.engine.close_leg(1)
    await closed(world)
    size = world.engine.wav_to_mp3(tmp_path / "a.wav", tmp_path / "a.mp3")
    assert size == (tmp_path / "a.mp3").stat().st_size > 0
    with pytest.raises(MediaError):
        world.engine.wav_to_mp3(tmp_path / "none.wav", tmp_path / "b.mp3")
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_what_cannot_be_recorded_is_refused_at_once(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    for wrong, name in (
        ({"rx": False, "tx": False}, "tracks"),
        ({"sample_rate_hz": 11025}, "sample_rate_hz"),
        ({"max_ms": 43_200_001}, "max_ms"),
        ({"silence_timeout_ms": 43_200_001}, "silence_timeout_ms"),
    ):
        with pytest.raises(MediaError, match=f"{name} is out of range"):
            record(world, tmp_path / "a.wav", **wrong)
    for call in (world.engine.pause_recording, world.engine.resume_recording):
        with pytest.raises(MediaError, match="leg 1 has no tap 5"):
            call(1, 5)
    world.engine.close_leg(1)
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))


async def test_a_recording_is_counted(world: World, tmp_path: Path) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    record(world, tmp_path / "a.wav")
    assert world.engine.stats(1)["taps"][5]["kind"] == "recording"
    world.engine.close_leg(1)
    event = await closed(world)
    assert event.stats["kind"] == "recording"
    await world.until(lambda told: any(isinstance(event, events.LegClosed) for event in told))
