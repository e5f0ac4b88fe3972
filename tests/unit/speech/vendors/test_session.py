"""A session outlives its connections, tells every word once, and knows when to give up."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from offhook.base.limits import (
    SPEECH_QUEUED_MS,
    SPEECH_REPLAY_MS,
    VENDOR_OPEN_TIMEOUT_S,
    VENDOR_RETRY_AFTER_S_MAX,
    VENDOR_RETRY_S,
    VENDOR_SILENT_S,
    VENDOR_WRITE_TIMEOUT_S,
)
from offhook.base.tasks import TaskSet
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    Partial,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from offhook.edge.speech.vendors.dialect import ConnectionRefused, Done, Said, Settled, Speaking, Trouble
from offhook.edge.speech.vendors.session import VendorSession
from tests.fakes.vendors.memory import MemoryDialect, MemoryVendor, word_second
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation

pytestmark = pytest.mark.unit

FRAME_MS = 20
FRAME_BYTES = 320
SILENCE = bytes(16_000)


class Room:
    """A session at a vendor in memory, on simulated time."""

    def __init__(self, dialect: type[MemoryDialect] = MemoryDialect, *, interim: bool = False) -> None:
        self.vendor = MemoryVendor()
        self.events: list[SpeechEvent] = []
        self.told_at_s: list[float] = []
        self.counters: Counter[str] = Counter()
        self.tasks = TaskSet()
        self.loop = asyncio.get_running_loop()
        self.began_s = self.loop.time()
        self.at_ms = 0
        self.session = VendorSession(
            SpeechConfig(interim=interim),
            dialect,
            self.vendor,
            self._on_event,
            tasks=self.tasks,
            counters=self.counters,
        )

    def _on_event(self, event: SpeechEvent) -> None:
        self.events.append(event)
        self.told_at_s.append(self.loop.time() - self.began_s)

    async def hear(self, pcm: bytes) -> None:
        """Push audio in real time."""
        for at in range(0, len(pcm), FRAME_BYTES):
            await asyncio.sleep(FRAME_MS / 1000)
            self.session.push(pcm[at : at + FRAME_BYTES], self.at_ms)
            self.at_ms += FRAME_MS

    async def words(self, *numbers: int) -> None:
        """Say these words."""
        for number in numbers:
            await self.hear(word_second(number))

    def finals(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Final)]

    def errors(self) -> list[Error]:
        return [event for event in self.events if isinstance(event, Error)]


def simulate(
    play: Callable[[Room], Awaitable[None]],
    dialect: type[MemoryDialect] = MemoryDialect,
    *,
    interim: bool = False,
) -> Room:
    """Play a scene to its end; `Closed` must have been the last thing told, once, and nothing is left over."""

    async def main() -> Room:
        room = Room(dialect, interim=interim)
        await play(room)
        await room.session.close()
        await room.session.close()
        assert [type(event) for event in room.events].count(Closed) == 1
        assert isinstance(room.events[-1], Closed)
        await room.tasks.wait(timeout_s=2)
        assert len(room.tasks) == 0, "tasks are left over"
        assert all(connection.closed for connection in room.vendor.connections)
        return room

    loop = VirtualTimeLoop()
    return run_simulation(main(), loop)


def test_words_come_with_their_times_on_the_legs_clock() -> None:
    async def play(room: Room) -> None:
        room.at_ms = 5_000
        await room.words(0, 1)
        await room.hear(SILENCE)

    room = simulate(play)
    finals = [event for event in room.events if isinstance(event, Final)]
    assert [(f.text, f.start_ms, f.end_ms, f.utterance_id) for f in finals] == [
        ("w0", 5_000, 6_000, 0),
        ("w1", 6_000, 7_000, 1),
    ]
    assert [(w.text, w.start_ms, w.end_ms) for w in finals[1].words] == [("w1", 6_000, 7_000)]
    assert [type(event) for event in room.events[:3]] == [SpeechStarted, SpeechEnded, Final]
    assert room.session.stats().audio_ms == 3_000
    assert room.session.stats().finals == 2


def test_audio_is_sent_in_pieces_of_the_length_that_the_vendor_likes() -> None:
    async def play(room: Room) -> None:
        await room.words(0)

    room = simulate(play)
    assert [len(m) for m in room.vendor.last.sent if isinstance(m, bytes)] == [1_600] * 10
    assert room.vendor.last.sent[0] == "hello"
    assert room.vendor.last.sent[-1] == "finish"


def test_close_delivers_the_last_final() -> None:
    async def play(room: Room) -> None:
        room.vendor.lag_ms = 60_000
        await room.words(0, 1, 2)
        assert room.finals() == []

    assert simulate(play).finals() == ["w0", "w1", "w2"]


def test_close_waits_two_seconds_and_no_longer() -> None:
    async def play(room: Room) -> None:
        await room.words(0)
        room.vendor.deaf = True
        await room.words(1)
        room.closing_at_s = room.loop.time() - room.began_s

    room = simulate(play)
    assert room.told_at_s[-1] - room.closing_at_s == pytest.approx(2, abs=0.01)


def test_what_waits_is_told_until_it_has_been_heard() -> None:
    async def play(room: Room) -> None:
        room.session.push(word_second(0), 0)
        assert room.session.waiting_ms() == 1_000
        room.at_ms = 1_000
        await room.hear(SILENCE)
        await asyncio.sleep(0.1)
        assert room.session.waiting_ms() == 0

    simulate(play)


@pytest.mark.parametrize("interim", [True, False])
def test_partials_are_told_only_when_they_are_wanted(interim: bool) -> None:
    async def play(room: Room) -> None:
        await room.hear(SILENCE)
        room.vendor.last.say(Said("so far", False, 0, 400))
        await asyncio.sleep(0.1)

    room = simulate(play, interim=interim)
    assert any(isinstance(event, Partial) for event in room.events) is interim
    assert room.session.stats().partials == int(interim)


def test_pieces_of_one_utterance_share_its_number_and_an_empty_final_ends_it() -> None:
    async def play(room: Room) -> None:
        await room.hear(SILENCE * 4)
        for said in (
            Said("one", True, 0, 400, utterance_end=False),
            Said("two", True, 400, 900, utterance_end=False),
            Said("", True, 900, 1000),
            Said("three", True, 1200, 1500),
        ):
            room.vendor.last.say(said)
        await asyncio.sleep(0.1)

    room = simulate(play)
    shown = [
        (type(event).__name__, event.utterance_id)
        for event in room.events
        if isinstance(event, (SpeechStarted, SpeechEnded, Final))
    ]
    assert shown == [
        ("SpeechStarted", 0),
        ("Final", 0),
        ("Final", 0),
        ("SpeechEnded", 0),
        ("SpeechStarted", 1),
        ("SpeechEnded", 1),
        ("Final", 1),
    ]
    assert [e.utterance_end for e in room.events if isinstance(e, Final)] == [False, False, True]


def test_a_short_hole_becomes_silence_and_a_long_one_moves_the_clock() -> None:
    async def play(room: Room) -> None:
        await room.words(0)
        room.at_ms += 500
        await room.words(1)
        room.at_ms += 60_000
        await room.words(2)
        await room.hear(SILENCE)

    room = simulate(play)
    finals = [(f.text, f.start_ms, f.end_ms) for f in room.events if isinstance(f, Final)]
    assert finals == [("w0", 0, 1_000), ("w1", 1_500, 2_500), ("w2", 62_500, 63_500)]
    assert room.vendor.last.audio_samples == 8_000 * 4.5
    assert room.vendor.last.sent.count("flush") == 1


def test_audio_that_stops_in_mid_utterance_ends_it_once() -> None:
    async def play(room: Room) -> None:
        await room.hear(SILENCE)
        room.vendor.last.say(Speaking(100))
        await asyncio.sleep(30)

    assert simulate(play).vendor.last.sent.count("flush") == 1


def test_audio_that_stops_before_the_vendor_tells_of_speech_ends_the_utterance_as_well() -> None:
    async def play(room: Room) -> None:
        await room.hear(SILENCE)
        room.vendor.mute = True
        await room.words(0)
        await asyncio.sleep(0.5)
        room.vendor.last.say(Speaking(100))
        await asyncio.sleep(30)

    assert simulate(play).vendor.last.sent.count("flush") == 1


def test_keep_alives_go_only_while_no_audio_goes() -> None:
    class Dialect(MemoryDialect):
        keep_alive_s = 4.0

    async def play(room: Room) -> None:
        await room.words(*range(10))
        assert "keep alive" not in room.vendor.last.sent
        await asyncio.sleep(13)

    assert simulate(play, Dialect).vendor.last.sent.count("keep alive") == 3


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


def test_audio_that_no_vendor_takes_is_bounded_and_counted() -> None:
    async def play(room: Room) -> None:
        room.vendor.unreachable = True
        for number in range(40):
            for at in range(0, 16_000, FRAME_BYTES):
                room.session.push(word_second(number)[at : at + FRAME_BYTES], room.at_ms)
                room.at_ms += FRAME_MS

    room = simulate(play)
    assert room.session.stats().dropped_ms == 40_000 - SPEECH_QUEUED_MS - SPEECH_REPLAY_MS
    assert room.counters["dropped_ms"] == room.session.stats().dropped_ms


@pytest.mark.parametrize(("pcm", "at_ms"), [(bytes(1 << 20), 0), (bytes(320), -1), (bytes(320), 1 << 60)])
def test_impossible_audio_is_dropped_and_counted(pcm: bytes, at_ms: int) -> None:
    async def play(room: Room) -> None:
        room.session.push(pcm, at_ms)

    room = simulate(play)
    assert room.session.stats().dropped_ms == len(pcm) // 16


def test_settled_audio_is_not_kept() -> None:
    async def play(room: Room) -> None:
        await room.hear(word_second(0)[:8_000])
        room.vendor.last.say(Settled(400))
        await asyncio.sleep(0.01)
        assert room.session.unfinished()[0][0] == 400

    simulate(play)


def test_a_listener_that_fails_does_not_end_the_session() -> None:
    async def play(room: Room) -> None:
        told = room._on_event

        def fail(event: SpeechEvent) -> None:
            told(event)
            raise RuntimeError("its bug")

        room.session._on_event = fail
        await room.words(0, 1)
        await room.hear(SILENCE)

    assert simulate(play).finals() == ["w0", "w1"]
