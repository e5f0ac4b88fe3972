"""The keys of a call reach the media core one by one, at their pace."""

import asyncio

import pytest

from offhook.call import commands as ask
from offhook.call import facts
from offhook.edge.media.engine import MediaError
from offhook.proto import sip
from offhook.proto.sdp import make_offer
from tests.fakes.runners import House
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation

pytestmark = pytest.mark.unit

OFFER = make_offer(["PCMU"], address="192.0.2.2", rtp_port=40_000, rtcp_port=40_001, session_id=1)
WITHOUT_EVENTS = OFFER.replace(b"telephone-event", b"x-unknown")


class Keys:
    """Notes which key the media core is given when."""

    def __init__(self, house: House, loop: VirtualTimeLoop) -> None:
        self.pressed: list[tuple[float, str]] = []
        self.played: list[tuple[float, int]] = []
        self.broken = False
        self._loop, self._start = loop, loop.time()
        house.media.send_digits = self._press  # type: ignore[method-assign]
        house.media.play = self._play  # type: ignore[method-assign]

    def _at(self) -> float:
        return round(self._loop.time() - self._start, 2)

    def _press(self, leg_id: int, *, digits: str, duration_ms: int, gap_ms: int) -> None:
        if self.broken:
            raise MediaError("too many digits wait")
        self.pressed.append((self._at(), digits))

    def _play(self, leg_id: int, play_id: int, *, pcm: bytes, sample_rate_hz: int, **_: object) -> None:
        self.played.append((self._at(), len(pcm) * 500 // sample_rate_hz))


def press(house: House, digits: str, duration_ms: int = 250) -> None:
    house.calls.command(
        house.call_control_id, "send_dtmf", ask.SendDigits(digits=digits, duration_ms=duration_ms)
    )


async def answered(house: House, offer: bytes = OFFER) -> sip.CallHandle:
    call = house.invite(sdp=offer)
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    return call


def test_keys_and_pauses_follow_one_another_over_several_commands() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        await answered(house)
        keys = Keys(house, loop)
        press(house, "1w2")
        press(house, "W#", 100)
        await asyncio.sleep(10)
        assert keys.pressed == [(0.0, "1"), (0.85, "2"), (2.2, "#")]
        press(house, "9")
        await asyncio.sleep(1)
        assert keys.pressed[-1] == (10.0, "9")
        await end(house)

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


def test_tones_are_played_where_telephone_event_was_not_agreed_on() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        await answered(house, WITHOUT_EVENTS)
        keys = Keys(house, loop)
        press(house, "1w2", 200)
        await asyncio.sleep(5)
        assert keys.pressed == []
        assert keys.played == [(0.0, 200), (0.8, 200)]
        await end(house)

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


def test_a_call_that_ends_presses_no_more_keys() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        await answered(house)
        keys = Keys(house, loop)
        press(house, "1W2W3")
        await asyncio.sleep(0.5)
        await end(house)
        await asyncio.sleep(10)
        assert keys.pressed == [(0.0, "1")]

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


def test_a_key_that_the_core_refuses_is_counted_and_the_next_is_tried() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        await answered(house)
        keys = Keys(house, loop)
        keys.broken = True
        press(house, "12")
        await asyncio.sleep(0.3)
        keys.broken = False
        await asyncio.sleep(1)
        assert house.services.counters["digits_dropped_total"] == 1
        assert [key for _, key in keys.pressed] == ["2"]
        await end(house)

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


async def end(house: House) -> None:
    runner = house.calls._runners[house.call_control_id]
    runner.feed(facts.PeerHungUp())
    await house.settle()
    house.assert_nothing_left()
