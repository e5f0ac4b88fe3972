"""A session outlives its connections, and knows when to give up."""

import asyncio

import pytest

from offhook.base.limits import (
    VENDOR_OPEN_TIMEOUT_S,
    VENDOR_RETRY_AFTER_S_MAX,
    VENDOR_RETRY_S,
    VENDOR_SILENT_S,
    VENDOR_WRITE_TIMEOUT_S,
)
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
)
from offhook.edge.speech.vendors.dialect import ConnectionRefused, Done, Said, Speaking, Trouble
from tests.fakes.vendors.memory import MemoryDialect, word_second
from tests.fakes.vendors.room import SILENCE, Room, simulate

pytestmark = pytest.mark.unit


def test_a_lost_connection_is_replaced_and_no_word_is_lost_or_told_twice() -> None:
    async def play(room: Room) -> None:
        room.vendor.lag_ms = 700
        await room.words(0, 1)
        await room.hear(word_second(2)[:8_000])
        room.vendor.last.lose()
        await room.hear(word_second(2)[8_000:])
        await room.words(3)

    room = simulate(play)
    assert room.finals() == ["w0", "w1", "w2", "w3"]
    assert room.errors() == [Error("closed with 1006", recovering=True)]
    assert room.counters["reconnects"] == 1
    assert room.session.stats().crashes == 1


def test_a_replay_is_no_faster_than_twice_as_spoken_where_the_vendor_minds() -> None:
    class Dialect(MemoryDialect):
        realtime = True

    async def play(room: Room) -> None:
        room.vendor.lag_ms = 60_000
        await room.words(*range(10))
        room.vendor.last.lose()
        room.lost_at_s = room.loop.time()
        while len(room.vendor.connections) < 2 or room.vendor.last.audio_samples < 80_000:
            await asyncio.sleep(0.05)
        room.took_s = room.loop.time() - room.vendor.last.opened_at_s

    room = simulate(play, Dialect)
    assert 4 < room.took_s < 5.2
    assert room.finals() == [f"w{number}" for number in range(10)]


def test_quiet_before_the_words_is_not_heard_again() -> None:
    async def play(room: Room) -> None:
        await room.hear(SILENCE * 10)
        await room.words(0)
        room.vendor.last.lose()
        await asyncio.sleep(1)
        room.again = room.vendor.last.audio_samples

    room = simulate(play)
    assert room.again == 8_000 + 4_000
    assert room.finals() == ["w0"]
    assert next(e.start_ms for e in room.events if isinstance(e, Final)) == 10_000


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_not_tried_again(status: int) -> None:
    async def play(room: Room) -> None:
        room.vendor.refusals.append(ConnectionRefused(status))
        await room.words(0, 1)

    room = simulate(play)
    assert room.events == [
        Error(f"refused with {status}", recovering=False),
        Closed(room.session.stats()),
    ]
    assert len(room.vendor.dialled_at_s) == 1


def test_what_was_not_heard_is_there_after_the_end() -> None:
    async def play(room: Room) -> None:
        await room.words(0)
        await room.hear(word_second(1)[:8_000])
        room.vendor.last.say(Trouble("no money left", retry=False))
        await asyncio.sleep(0.1)
        assert room.session.ended

    room = simulate(play)
    unfinished = room.session.unfinished()
    assert unfinished[0][0] == 1_000
    assert b"".join(pcm for _, pcm in unfinished) == word_second(1)[:8_000]


def test_tries_have_pauses_and_an_end() -> None:
    async def play(room: Room) -> None:
        room.vendor.refusals.extend(ConnectionRefused(503) for _ in range(20))
        await room.words(*range(10))

    room = simulate(play)
    pauses = [b - a for a, b in zip(room.vendor.dialled_at_s, room.vendor.dialled_at_s[1:], strict=False)]
    assert pauses == pytest.approx(VENDOR_RETRY_S)
    assert room.errors() == [
        Error("refused with 503", recovering=True),
        Error("refused with 503", recovering=False),
    ]
    assert room.counters["given_up"] == 1


@pytest.mark.parametrize(("asked_s", "pause_s"), [(3.0, 3.0), (3_600.0, VENDOR_RETRY_AFTER_S_MAX)])
def test_a_vendor_may_ask_for_a_pause_within_bounds(asked_s: float, pause_s: float) -> None:
    async def play(room: Room) -> None:
        room.vendor.refusals.append(ConnectionRefused(429, retry_after_s=asked_s))
        await asyncio.sleep(20)

    first, second = simulate(play).vendor.dialled_at_s
    assert second - first == pytest.approx(pause_s)


def test_losses_between_words_are_never_too_many() -> None:
    async def play(room: Room) -> None:
        for number in range(20):
            await room.words(number)
            await room.hear(SILENCE)
            room.vendor.last.lose()
            await asyncio.sleep(1)

    room = simulate(play)
    assert room.finals() == [f"w{number}" for number in range(20)]
    assert room.counters["given_up"] == 0


def test_partials_are_no_words_to_a_vendor_that_dies_of_them() -> None:
    async def play(room: Room) -> None:
        room.vendor.lag_ms = 60_000
        for _ in range(10):
            await room.hear(word_second(0)[:4_000])
            if room.session.ended:
                break
            room.vendor.last.say(Said("so", False, 0, 100))
            await asyncio.sleep(0.01)
            room.vendor.last.lose()
            await asyncio.sleep(5)

    assert simulate(play).errors()[-1] == Error("closed with 1006", recovering=False)


def test_a_vendor_that_never_answers_is_noticed() -> None:
    async def play(room: Room) -> None:
        room.vendor.unreachable = True
        await asyncio.sleep(VENDOR_OPEN_TIMEOUT_S + 0.1)
        assert room.errors() == [Error("the service does not answer", recovering=True)]
        room.vendor.unreachable = False
        await room.words(0)
        await room.hear(SILENCE)

    assert simulate(play).finals() == ["w0"]


def test_a_vendor_that_never_gets_ready_is_noticed_and_left() -> None:
    async def play(room: Room) -> None:
        room.vendor.mute = True
        await asyncio.sleep((VENDOR_OPEN_TIMEOUT_S + 4) * (len(VENDOR_RETRY_S) + 1))

    room = simulate(play)
    assert room.errors()[-1] == Error("the service does not answer", recovering=False)
    assert len(room.vendor.connections) == len(VENDOR_RETRY_S) + 1


def test_a_vendor_that_takes_no_audio_is_noticed() -> None:
    async def play(room: Room) -> None:
        await room.words(0)
        room.vendor.deaf = True
        await room.words(1)
        await asyncio.sleep(VENDOR_WRITE_TIMEOUT_S - 1.1)
        room.vendor.deaf = False
        await asyncio.sleep(1)

    room = simulate(play)
    assert room.errors() == [Error("the service takes no audio", recovering=True)]
    assert room.finals() == ["w0", "w1"]


def test_a_vendor_that_hears_speech_and_says_nothing_is_noticed_where_it_always_answers() -> None:
    class Dialect(MemoryDialect):
        answers = True

    async def play(room: Room) -> None:
        await asyncio.sleep(0.1)
        room.vendor.mute = True
        await room.words(*range(int(VENDOR_SILENT_S) + 2))

    assert simulate(play, Dialect).errors()[0].reason == "the service hears speech and says nothing"
    assert simulate(play).errors() == []


def test_speech_that_is_heard_at_once_is_no_silence_of_the_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.edge.speech.vendors.link.VENDOR_SILENT_S", 10.0)

    class Dialect(MemoryDialect):
        answers = True

    async def play(room: Room) -> None:
        room.vendor.unreachable = True
        await room.words(*range(9))
        room.vendor.unreachable = False
        room.vendor.lag_ms = 60_000
        for number in range(9, 34):
            room.session.push(word_second(number), room.at_ms)
            room.at_ms += 1_000
        await asyncio.sleep(5)

    assert simulate(play, Dialect).errors() == [Error("the service does not answer", recovering=True)]


def test_hours_of_silence_are_no_fault() -> None:
    class Dialect(MemoryDialect):
        answers = True

    async def play(room: Room) -> None:
        await asyncio.sleep(0.1)
        room.vendor.mute = True
        await room.hear(SILENCE * 200)

    assert simulate(play, Dialect).errors() == []


def test_a_flood_of_messages_is_left() -> None:
    async def play(room: Room) -> None:
        await asyncio.sleep(0.1)
        for _ in range(5_000):
            room.vendor.last.say("nonsense")
        await room.words(0)
        await room.hear(SILENCE)

    room = simulate(play)
    assert room.errors() == [Error("the service sends far too many messages", recovering=True)]
    assert room.finals() == ["w0"]


def test_messages_that_cannot_be_read_are_counted_and_forgotten() -> None:
    async def play(room: Room) -> None:
        await asyncio.sleep(0.1)
        room.vendor.last.say("nonsense")
        room.vendor.last.say(ValueError("secret words"))
        await room.words(0)
        await room.hear(SILENCE)

    room = simulate(play)
    assert room.counters["messages_unreadable"] == 2
    assert room.finals() == ["w0"]
    assert room.errors() == []


def test_a_vendor_that_ends_the_session_early_is_asked_again() -> None:
    async def play(room: Room) -> None:
        await room.words(0)
        room.vendor.last.say(Done())
        await room.words(1)
        await room.hear(SILENCE)

    room = simulate(play)
    assert room.finals() == ["w0", "w1"]
    assert len(room.vendor.connections) == 2


class Rotating(MemoryDialect):
    session_max_s = 100.0


def test_a_connection_is_replaced_in_a_pause_before_the_vendor_ends_it() -> None:
    async def play(room: Room) -> None:
        room.vendor.lag_ms = 300
        for number in range(110):
            await room.words(number)
            await room.hear(SILENCE)

    room = simulate(play, Rotating)
    assert room.finals() == [f"w{number}" for number in range(110)]
    assert room.errors() == []
    assert room.counters["rotations"] == 2
    ages = [
        b.opened_at_s - a.opened_at_s
        for a, b in zip(room.vendor.connections, room.vendor.connections[1:], strict=False)
    ]
    assert all(80 <= age <= 95 for age in ages)


def test_speech_without_a_pause_is_cut_by_the_rotation_and_no_word_is_lost() -> None:
    async def play(room: Room) -> None:
        room.vendor.lag_ms = 400
        for number in range(130):
            await room.words(number)
            if number % 3 == 0:
                room.vendor.last.say(Speaking(room.at_ms))

    room = simulate(play, Rotating)
    assert room.finals() == [f"w{number}" for number in range(130)]
    assert room.counters["rotations"] == 1


def test_a_rotation_that_fails_leaves_the_old_connection_at_work() -> None:
    async def play(room: Room) -> None:
        await room.words(*range(79))
        room.vendor.refusals.extend(ConnectionRefused(503) for _ in range(2))
        await room.words(*range(79, 100))
        await room.hear(SILENCE)

    room = simulate(play, Rotating)
    assert room.finals() == [f"w{number}" for number in range(100)]
    assert room.errors() == []
    assert len(room.vendor.dialled_at_s) == 4
