"""Sounds reach the far end in their order, whole, and each end is told once, whatever a sound was doing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from offhook.call import commands as ask
from offhook.call import facts
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake_audio import decode_g711, parse_rtp
from offhook.edge.sounds import Sound
from offhook.proto import sip
from tests.fakes.runners import House
from tests.fakes.sounds import pcm_wav

pytestmark = pytest.mark.unit

LOUD, SOFT, BELL = 16_764, 988, 3_900
"""Samples that PCMU has."""

Scene = Callable[[House], Awaitable[None]]


def scenario(scene: Scene) -> None:
    """Play a scene in an answered call, end it, and look that nothing is left."""

    async def run() -> None:
        house = House()
        call = house.invite()
        house.calls.command(house.call_control_id, "answer", ask.Answer())
        await house.settle()
        house.calls.on_sip_event(sip.CallEstablished(call, None))
        await house.settle()
        runner = house.calls._runners[house.call_control_id]
        await scene(house)
        runner.feed(facts.PeerHungUp())
        await house.settle()
        house.assert_nothing_left()
        assert house.journal.done[-1] == "call.hangup"
        assert house.services.sounds.in_use_bytes == len(house.services.plays) == 0

    asyncio.run(run())


def sound(ms: int, sample: int = LOUD) -> bytes:
    return pcm_wav(sample.to_bytes(2, "little", signed=True) * (8 * ms))


def play(house: House, content: bytes = b"", stop: ask.StopWhich | None = None, **options: Any) -> None:
    playback = ask.PlaybackOptions(content=content, **options)
    command = ask.StartPlayback(playback=playback, stop=stop)
    house.calls.command(house.call_control_id, "playback_start", command)


def stop(house: House, which: ask.StopWhich = ask.StopWhich.ALL, *, overlay: bool = False) -> None:
    command = ask.StopPlayback(stop=which, overlay=overlay)
    house.calls.command(house.call_control_id, "playback_stop", command)


async def pass_time(house: House, ms: int) -> None:
    for _ in range(ms // 20):
        await house.settle()
        house.media.advance(20)
    await house.settle()


def heard(house: House) -> list[int]:
    """Return the level of each packet that was sent, in its middle."""
    packets = map(parse_rtp, house.media.legs[1].sent_packets)
    middles = [decode_g711("PCMU", packet.payload)[160:162] for packet in packets if packet is not None]
    return [int.from_bytes(middle, "little", signed=True) for middle in middles]


def told(house: House) -> list[str]:
    """Return what was told of playbacks: started, or the status of the end."""
    said = []
    for events in house.outbox.by_leg.values():
        for event_type, payload in events:
            if event_type.startswith("call.playback"):
                said.append(payload.get("status", "started"))
    return said


def test_sounds_follow_one_another_without_a_gap() -> None:
    async def scene(house: House) -> None:
        play(house, sound(60))
        play(house, sound(40, SOFT), loop=2)
        play(house, sound(20, BELL))
        await pass_time(house, 400)
        assert heard(house) == [LOUD] * 3 + [SOFT] * 4 + [BELL]
        assert told(house) == ["started", "completed"] * 3

    scenario(scene)


def test_an_endless_sound_ends_by_command_and_the_next_follows() -> None:
    async def scene(house: House) -> None:
        play(house, sound(20), loop=None)
        play(house, sound(40, SOFT))
        await pass_time(house, 2_000)
        assert heard(house) == [LOUD] * 100
        stop(house, ask.StopWhich.CURRENT)
        await pass_time(house, 200)
        assert heard(house)[100:] == [SOFT] * 2
        assert told(house) == ["started", "cancelled", "started", "completed"]

    scenario(scene)


def test_an_overlay_is_mixed_over_what_is_played_and_stopped_by_itself() -> None:
    async def scene(house: House) -> None:
        play(house, sound(20, SOFT), loop=None)
        play(house, sound(40, BELL), overlay=True)
        play(house, sound(20, BELL), overlay=True, loop=None)
        await pass_time(house, 100)
        assert max(heard(house)) > BELL
        stop(house, overlay=True)
        await pass_time(house, 100)
        assert heard(house)[-4:] == [SOFT] * 4
        assert told(house) == ["started", "started", "completed", "started", "cancelled"]
        stop(house)
        await pass_time(house, 100)
        assert told(house)[-1] == "cancelled"

    scenario(scene)


class SlowLibrary:
    """Gives a second of sound when the test says so, and knows how many are asked for and held."""

    def __init__(self) -> None:
        self.come = asyncio.Event()
        self.asked = self.held = self.most_held = 0

    @asynccontextmanager
    async def sound(self, **_: Any) -> AsyncIterator[Sound]:
        self.asked += 1
        await self.come.wait()
        self.held += 1
        self.most_held = max(self.held, self.most_held)
        try:
            yield Sound(bytes(16_000), 8_000)
        finally:
            self.held -= 1


def test_one_sound_is_heard_and_one_more_is_got_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(house: House) -> None:
        library = SlowLibrary()
        monkeypatch.setattr(house.services.sounds, "sound", library.sound)
        for _ in range(4):
            play(house)
        await pass_time(house, 100)
        assert library.asked == 1
        library.come.set()
        await pass_time(house, 500)
        assert (library.asked, told(house)) == (2, ["started"])
        await pass_time(house, 4_000)
        assert (library.asked, library.most_held, library.held) == (4, 2, 0)
        assert told(house) == ["started", "completed"] * 4

    scenario(scene)


def test_a_sound_that_is_stopped_while_it_is_fetched_was_never_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(house: House) -> None:
        library = SlowLibrary()
        monkeypatch.setattr(house.services.sounds, "sound", library.sound)
        play(house)
        play(house)
        await pass_time(house, 40)
        stop(house)
        await pass_time(house, 40)
        assert told(house) == ["cancelled"] * 2
        library.come.set()
        play(house)
        await pass_time(house, 1_100)
        assert told(house)[2:] == ["started", "completed"]
        play(house, stop=ask.StopWhich.ALL)

    scenario(scene)


def test_a_call_that_ends_stops_what_is_heard_what_waits_and_what_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(house: House) -> None:
        for _ in range(3):
            play(house, sound(5_000))
        play(house, sound(5_000), overlay=True)
        await pass_time(house, 1_000)
        monkeypatch.setattr(house.services.sounds, "sound", SlowLibrary().sound)
        play(house, overlay=True)
        await house.settle()
        house.calls._runners[house.call_control_id].feed(facts.PeerHungUp())
        await house.settle()
        assert told(house)[2:] == ["call_hangup"] * 5

    scenario(scene)


def test_a_media_leg_that_fails_ends_its_sounds() -> None:
    async def scene(house: House) -> None:
        play(house, sound(5_000))
        await pass_time(house, 100)
        house.media.fail_leg(1)
        await house.settle()
        assert told(house) == ["started", "call_hangup"]

    scenario(scene)


def test_what_is_no_sound_and_what_the_core_refuses_are_told_as_failed_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(house: House) -> None:
        play(house, b"RIFF and nothing else")
        play(house, sound(100))
        await pass_time(house, 200)
        assert told(house) == ["failed", "started", "completed"]

        def refuse(*_: Any, **__: Any) -> None:
            raise MediaError("too much")

        with monkeypatch.context() as broken:
            broken.setattr(house.media, "play", refuse)
            play(house, sound(100))
            await house.settle()
        assert told(house)[3:] == ["failed"]
        assert house.services.counters["playbacks_failed_total"] == 2

    scenario(scene)


def test_a_fault_of_ours_ends_the_sound_and_the_next_one_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(house: House) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(house.services.sounds, "sound", lambda **_: 1 / 0)
            play(house, sound(100))
            await house.settle()
        play(house, sound(100))
        await pass_time(house, 200)
        assert told(house) == ["failed", "started", "completed"]

    scenario(scene)


def test_a_sound_waits_while_the_far_end_holds_the_call() -> None:
    async def scene(house: House) -> None:
        play(house, sound(200))
        await pass_time(house, 100)
        house.media.legs[1].sending = False
        await pass_time(house, 1_000)
        assert len(heard(house)) == 5
        house.media.legs[1].sending = True
        await pass_time(house, 400)
        assert len(heard(house)) == 10
        assert told(house) == ["started", "completed"]

    scenario(scene)
