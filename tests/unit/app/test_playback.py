"""A sound reaches the media core piece by piece, a little ahead of time, and can be stopped at once."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from offhook.app.playback import AHEAD_S
from offhook.call import commands as ask
from offhook.call import facts
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.proto import sip
from tests.fakes.runners import House
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation
from tests.unit.sounds.test_wav import pcm_wav

pytestmark = pytest.mark.unit

RATE_HZ = 8_000


def sound(seconds: float, sample: bytes = b"\x01\x02") -> bytes:
    return pcm_wav(sample * int(RATE_HZ * seconds))


class Player:
    """Notes what the media core is given, and reckons how much of it waits."""

    def __init__(self, house: House, loop: VirtualTimeLoop) -> None:
        self.pcm = b""
        self.most_waiting_s = 0.0
        self.cleared = 0
        self.broken = False
        self._loop, self._empty_at = loop, loop.time()
        house.media.play = self._play  # type: ignore[method-assign]
        house.media.clear = self._clear  # type: ignore[method-assign]

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / RATE_HZ

    def _play(self, leg_id: int, *, pcm: bytes, sample_rate_hz: int) -> None:
        assert sample_rate_hz == RATE_HZ
        if self.broken:
            raise MediaError("the queue is full")
        self.pcm += pcm
        now = self._loop.time()
        self._empty_at = max(self._empty_at, now) + len(pcm) / 2 / RATE_HZ
        self.most_waiting_s = max(self.most_waiting_s, self._empty_at - now)

    def _clear(self, leg_id: int) -> None:
        self.cleared += 1


Scene = Callable[[House, Player, VirtualTimeLoop], Awaitable[None]]


def scenario(scene: Scene) -> None:
    """Play a scene in an answered call, end it, and look that nothing is left."""

    async def run() -> None:
        house = House(clock=loop)
        call = house.invite()
        house.calls.command(house.call_control_id, "answer", ask.Answer())
        await house.settle()
        house.calls.on_sip_event(sip.CallEstablished(call, None))
        await house.settle()
        runner = house.calls._runners[house.call_control_id]
        await scene(house, Player(house, loop), loop)
        runner.feed(facts.PeerHungUp())
        await house.settle()
        house.assert_nothing_left()
        assert house.services.sounds.in_use_bytes == 0

    loop = VirtualTimeLoop()
    run_simulation(run(), loop)


def play(house: House, content: bytes, **options: Any) -> None:
    playback = ask.PlaybackOptions(content=content, **options)
    house.calls.command(house.call_control_id, "playback_start", ask.StartPlayback(playback=playback))


def stop(house: House, which: ask.StopWhich = ask.StopWhich.ALL) -> None:
    house.calls.command(house.call_control_id, "playback_stop", ask.StopPlayback(stop=which))


def ends(house: House) -> list[str]:
    return [what for what in house.journal.done if what.startswith("call.playback")]


def test_a_sound_is_played_whole_in_time_and_never_far_ahead() -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, sound(5.3))
        await asyncio.sleep(3)
        assert 3 <= player.seconds <= 3 + AHEAD_S
        assert ends(house) == ["call.playback.started"]
        await asyncio.sleep(3)
        assert player.pcm == b"\x01\x02" * int(RATE_HZ * 5.3)
        assert player.most_waiting_s <= AHEAD_S + 0.001
        assert ends(house) == ["call.playback.started", "call.playback.ended"]

    scenario(scene)


@pytest.mark.parametrize("seconds", [0.001, 0.3, 0.7])
def test_a_loop_is_seamless_however_short_the_sound(seconds: float) -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        pattern = bytes(range(16)) * int(RATE_HZ * seconds / 8)
        play(house, pcm_wav(pattern), loop=7)
        await asyncio.sleep(7 * seconds + 1)
        assert player.pcm == pattern * 7
        assert len(ends(house)) == 2

    scenario(scene)


def test_an_endless_loop_ends_by_command_and_the_next_sound_follows() -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, sound(0.25), loop=None)
        play(house, sound(1, b"\x07\x00"))
        await asyncio.sleep(60)
        assert 60 <= player.seconds <= 60 + AHEAD_S
        stop(house, ask.StopWhich.CURRENT)
        await asyncio.sleep(5)
        assert player.cleared == 1
        assert player.pcm.endswith(b"\x07\x00" * RATE_HZ)
        assert ends(house) == ["call.playback.started", "call.playback.ended"] * 2

    scenario(scene)


def test_a_call_that_ends_stops_its_sound() -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, sound(5))
        await asyncio.sleep(1)

    scenario(scene)


def test_the_end_is_told_as_soon_as_the_core_has_played_everything() -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, sound(0.4))
        await asyncio.sleep(0.41)
        assert len(ends(house)) == 1
        runner = house.calls._runners[house.call_control_id]
        runner.on_media_event(media_events.PlayEnded(1, 400, completed=True))
        await house.settle()
        assert len(ends(house)) == 2

    scenario(scene)


def test_what_is_no_sound_and_what_the_core_refuses_are_told_as_failed_and_counted() -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, b"RIFF and nothing else")
        await house.settle()
        assert ends(house) == ["call.playback.ended"]
        player.broken = True
        play(house, sound(1))
        await house.settle()
        assert house.services.counters["playbacks_failed_total"] == 2
        assert player.cleared == 0

    scenario(scene)


def test_a_fault_of_ours_ends_the_sound_and_the_next_one_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(house.services.sounds, "sound", lambda **_: 1 / 0)
            play(house, sound(1))
            await house.settle()
        assert ends(house) == ["call.playback.ended"]
        play(house, sound(1))
        await asyncio.sleep(2)
        assert player.seconds == 1

    scenario(scene)


def test_a_sound_waits_while_the_far_end_holds_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(house: House, player: Player, loop: VirtualTimeLoop) -> None:
        play(house, sound(3))
        await asyncio.sleep(1)
        runner = house.calls._runners[house.call_control_id]
        monkeypatch.setattr(runner._playback, "_held", lambda: True)
        await asyncio.sleep(30)
        assert player.seconds <= 1 + AHEAD_S
        monkeypatch.setattr(runner._playback, "_held", lambda: False)
        await asyncio.sleep(4)
        assert player.seconds == 3
        assert ends(house)[-1] == "call.playback.ended"

    scenario(scene)
