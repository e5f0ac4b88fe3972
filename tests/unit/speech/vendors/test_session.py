"""A session tells every word once, at its time on the leg's clock, and keeps within its bounds."""

import asyncio

import pytest

from offhook.base.limits import (
    SPEECH_QUEUED_MS,
    SPEECH_REPLAY_MS,
)
from offhook.edge.speech.protocol import (
    Final,
    Partial,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from offhook.edge.speech.vendors.dialect import Said, Settled, Speaking
from tests.fakes.vendors.memory import MemoryDialect, word_second
from tests.fakes.vendors.room import FRAME_BYTES, FRAME_MS, SILENCE, Room, simulate

pytestmark = pytest.mark.unit


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
