"""A text reaches the media core a sentence ahead, in its turn among the sounds, and can be stopped at once."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from offhook.app.speaking import PIECES_AHEAD, spoken_pieces
from offhook.call import commands as ask
from offhook.call import facts
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.voice.local import SAMPLE_RATE_HZ
from offhook.proto import sip
from offhook.proto.ssml import Pause, Script, Words
from tests.fakes.runners import House
from tests.fakes.sounds import pcm_wav
from tests.fakes.voice import VoiceInMemory, spoken

pytestmark = pytest.mark.unit

SOUND = pcm_wav(b"\x01\x02" * 800)


class Core:
    """Keeps what the media core is given; the test lets each play begin and end."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.waiting: dict[int, bytes] = {}
        self.legs: dict[int, int] = {}
        self.given: list[bytes] = []
        self.most = 0
        self.full = False
        house.media.play = self._play  # type: ignore[method-assign]
        house.media.stop_play = self._stop  # type: ignore[method-assign]

    def _play(self, leg_id: int, play_id: int, *, pcm: bytes, sample_rate_hz: int, **options: Any) -> None:
        if self.full:
            raise MediaError("too much waits to be played")
        assert sample_rate_hz in (SAMPLE_RATE_HZ, 8_000)
        self.waiting[play_id] = pcm
        self.legs[play_id] = leg_id
        self.given.append(pcm)
        self.most = max(self.most, len(self.waiting))

    def _stop(self, leg_id: int, play_id: int) -> None:
        self._end(play_id, completed=False)

    async def hear(self, count: int = 1) -> list[bytes]:
        """Let so many plays be heard, one after the other; return what they were."""
        heard = []
        for _ in range(count):
            play_id = next(iter(self.waiting))
            begun = media_events.PlayStarted(self.legs[play_id], play_id)
            self._house.services.plays.on_media_event(begun)
            heard.append(self.waiting[play_id])
            self._end(play_id, completed=True)
            await self._house.settle()
        return heard

    def _end(self, play_id: int, *, completed: bool) -> None:
        if self.waiting.pop(play_id, None) is not None:
            event = media_events.PlayEnded(self.legs[play_id], play_id, 500, completed)
            self._house.services.plays.on_media_event(event)

    def hang_up(self, leg_id: int) -> None:
        """End what one leg still plays, as its end does."""
        for play_id in [each for each in self.waiting if self.legs[each] == leg_id]:
            self._end(play_id, completed=False)


Scene = Callable[[House, Core, VoiceInMemory], Awaitable[None]]


async def play(scene: Scene, *, hang_up: bool = True) -> House:
    """Play a scene in an answered call, end it, and look that nothing is left."""
    voice = VoiceInMemory()
    house = House(voice=voice)
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    runner = house.calls._runners[house.call_control_id]
    core = Core(house)
    await scene(house, core, voice)
    if hang_up:
        runner.feed(facts.PeerHungUp())
    await house.settle()
    house.assert_nothing_left()
    assert voice.open == 0
    return house


async def speak(house: House, text: str | Script, loop: int | None = 1) -> None:
    script = (Words(text),) if isinstance(text, str) else text
    options = ask.SpeakOptions(script=script, voice="female", loop=loop)
    house.calls.command(house.call_control_id, "speak", ask.Speak(speak=options))
    await house.settle()


async def stop(house: House, which: ask.StopWhich = ask.StopWhich.ALL) -> None:
    house.calls.command(house.call_control_id, "playback_stop", ask.StopPlayback(stop=which))
    await house.settle()


def told(house: House) -> list[str]:
    return [what for what in house.journal.done if what.startswith(("call.speak", "call.playback"))]


def last(house: House) -> dict[str, Any]:
    [events] = house.outbox.by_leg.values()
    return [payload for event_type, payload in events if event_type == "call.speak.ended"][-1]


async def test_a_text_is_made_a_sentence_ahead_and_heard_in_order() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, (Words("one three"), Pause(500), Words("seven eleven four")))
        assert core.given == [spoken("one"), spoken("three")]
        assert voice.made <= PIECES_AHEAD + 1
        assert told(house) == []
        assert await core.hear() == [spoken("one")]
        assert told(house) == ["call.speak.started"]
        heard = await core.hear(5)
        assert heard == [spoken("three"), bytes(SAMPLE_RATE_HZ), *map(spoken, ("seven", "eleven", "four"))]
        assert core.most == PIECES_AHEAD
        assert told(house) == ["call.speak.started", "call.speak.ended"]

    await play(scene)


async def test_a_loop_says_it_again_and_stopping_ends_it_at_once() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, "one three", loop=2)
        assert await core.hear(4) == [spoken("one"), spoken("three")] * 2
        assert told(house) == ["call.speak.started", "call.speak.ended"]
        await speak(house, "one", loop=None)
        await core.hear(50)
        await stop(house)
        assert core.waiting == {}
        assert told(house) == ["call.speak.started", "call.speak.ended"] * 2

    await play(scene)


async def test_texts_and_sounds_take_turns_in_the_order_asked_for() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, "a bb ccc")
        sound = ask.PlaybackOptions(content=SOUND)
        house.calls.command(house.call_control_id, "playback_start", ask.StartPlayback(playback=sound))
        await speak(house, "dddd")
        heard = await core.hear(5)
        assert [heard[at] for at in (0, 1, 2, 4)] == [
            spoken("a"),
            spoken("bb"),
            spoken("ccc"),
            spoken("dddd"),
        ]
        assert told(house) == [
            *("call.speak.started", "call.speak.ended"),
            *("call.playback.started", "call.playback.ended"),
            *("call.speak.started", "call.speak.ended"),
        ]

    await play(scene)


async def test_stopping_the_current_text_begins_the_next() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, "a bb ccc")
        await speak(house, "dddd")
        await core.hear(1)
        await stop(house, ask.StopWhich.CURRENT)
        assert await core.hear(1) == [spoken("dddd")]
        assert told(house) == ["call.speak.started", "call.speak.ended"] * 2

    await play(scene)


async def test_a_text_stopped_before_a_word_was_made_was_never_heard() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        voice.ready.clear()
        await speak(house, "one")
        await stop(house)
        voice.ready.set()
        await house.settle()
        assert core.given == []
        assert told(house) == ["call.speak.ended"]

    await play(scene)


async def test_a_voice_that_breaks_off_is_told_after_what_was_heard() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        voice.fails_at = 1
        await speak(house, "one three")
        await core.hear(1)
        assert told(house)[-1] == "call.speak.ended"
        assert last(house)["status"] == "failed"
        assert last(house)["status_detail"] == "the voice worker ended or kept silent"
        assert house.services.counters["playbacks_failed_total"] == 1

    await play(scene)


async def test_a_core_that_refuses_fails_the_text() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        core.full = True
        await speak(house, "one")
        assert told(house) == ["call.speak.ended"]
        assert last(house)["status"] == "failed"

    await play(scene)


async def test_a_text_without_words_is_over_at_once_even_without_end() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, (), loop=None)
        assert told(house) == ["call.speak.started", "call.speak.ended"]
        assert last(house)["status"] == "completed"

    await play(scene)


async def test_the_end_of_the_call_ends_the_text_in_the_middle() -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        await speak(house, "one three", loop=None)
        await core.hear(3)

    house = await play(scene)
    assert told(house) == ["call.speak.started", "call.speak.ended"]
    assert last(house)["status"] == "call_hangup"


@pytest.mark.parametrize(("gone", "status", "heard"), [((77,), "completed", 6), ((77, 1), "call_hangup", 4)])
async def test_a_text_for_two_is_heard_by_who_stays(gone: tuple[int, ...], status: str, heard: int) -> None:
    async def scene(house: House, core: Core, voice: VoiceInMemory) -> None:
        runner = house.calls._runners[house.call_control_id]
        assert runner.media_leg_id == 1
        runner._playback._targets = lambda effect: (1, 77)
        await speak(house, "a bb ccc dddd")
        assert core.given == [spoken("a"), spoken("a"), spoken("bb"), spoken("bb")]
        for leg_id in gone:
            core.hang_up(leg_id)
        await house.settle()
        while core.waiting:
            await core.hear()
        assert len(core.given) == heard
        assert told(house)[-1] == "call.speak.ended"
        assert last(house)["status"] == status

    await play(scene)


async def test_a_text_is_made_again_for_each_round() -> None:
    voice = VoiceInMemory()
    options = ask.SpeakOptions(script=(Words("one"),), voice="female", loop=3)
    assert [pcm async for pcm in spoken_pieces(voice, options)] == [spoken("one")] * 3
    assert voice.made == 3
