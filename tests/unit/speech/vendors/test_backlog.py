"""What waits for a vendor, what may be heard again, and where a connection's audio lies on the leg's clock."""

import array

import pytest

from offhook.base.limits import SPEECH_QUEUED_MS, SPEECH_REPLAY_MS
from offhook.edge.speech.vendors.backlog import Backlog, Piece, Timeline, is_loud, peak

pytestmark = pytest.mark.unit

RATE_HZ = 8000


def loud(ms: int, level: int = 5_000) -> bytes:
    return array.array("h", [level] * (ms * 8)).tobytes()


def backlog(chunk_ms: int = 100) -> Backlog:
    return Backlog(RATE_HZ, chunk_ms=chunk_ms)


def taken(of: Backlog) -> list[tuple[int, int]]:
    """Take all; return (start in ms, length in ms)."""
    result = []
    while (piece := of.take()) is not None:
        result.append((piece.at // 8, piece.samples // 8))
    return result


def test_pushes_of_any_length_become_pieces_of_one_length() -> None:
    queue = backlog()
    for at_ms in range(0, 250, 10):
        queue.push(loud(10), at_ms)
    assert taken(queue) == [(0, 100), (100, 100)]
    assert queue.collecting
    queue.cut()
    assert taken(queue) == [(200, 50)]
    queue.push(loud(1_000), 250)
    assert taken(queue) == [(250 + 100 * number, 100) for number in range(10)]


def test_half_a_sample_is_dropped() -> None:
    queue = backlog()
    queue.push(loud(100) + b"x", 0)
    assert taken(queue) == [(0, 100)]
    assert not queue.collecting


def test_rounding_of_times_is_no_hole() -> None:
    queue = backlog()
    for number in range(10):
        queue.push(loud(20), 20 * number + (number % 2) * 30)
    assert taken(queue) == [(0, 100), (100, 100)]


def test_a_short_hole_is_filled_and_a_long_one_or_a_step_back_ends_the_utterance() -> None:
    queue = backlog()
    queue.push(loud(100), 0)
    queue.push(loud(100), 300)
    assert taken(queue) == [(0, 100), (100, 100), (200, 100), (300, 100)]
    queue.push(loud(100), 9_000)
    assert taken(queue) == [(400, 0), (9_000, 100)]
    queue.push(loud(100), 100)
    assert taken(queue) == [(9_100, 0), (100, 100)]


def test_flushes_in_a_row_are_one() -> None:
    queue = backlog()
    queue.push(loud(50), 0)
    queue.flush()
    queue.flush()
    assert taken(queue) == [(0, 50), (50, 0)]


def test_what_is_settled_is_not_heard_again() -> None:
    queue = backlog()
    queue.push(loud(500), 0)
    assert len(taken(queue)) == 5
    queue.settle(250)
    assert queue.pieces()[0] == (250, loud(50))
    assert queue.rewind()
    assert taken(queue) == [(250, 50), (300, 100), (400, 100)]
    queue.settle(10_000)
    assert queue.pieces() == []
    assert not queue.rewind()


def test_what_waits_comes_after_what_is_heard_again() -> None:
    queue = backlog()
    queue.push(loud(200), 0)
    queue.take()
    queue.push(loud(130), 200)
    queue.rewind()
    assert [(at_ms, len(pcm) // 16) for at_ms, pcm in queue.pieces()] == [
        (0, 100),
        (100, 100),
        (200, 100),
        (300, 30),
    ]
    assert taken(queue) == [(0, 100), (100, 100), (200, 100)]


def test_quiet_audio_before_speech_is_heard_again_for_half_a_second_only() -> None:
    queue = backlog()
    queue.push(bytes(16 * 5_000) + loud(200), 0)
    taken(queue)
    assert queue.rewind()
    assert taken(queue)[0] == (4_500, 100)
    queue.settle(10_000)
    queue.push(bytes(16 * 5_000), 5_200)
    taken(queue)
    assert not queue.rewind()
    assert taken(queue)[0] == (9_700, 100)


def test_all_that_is_kept_is_bounded_and_the_oldest_that_waits_is_dropped() -> None:
    queue = backlog()
    bound_ms = SPEECH_QUEUED_MS + SPEECH_REPLAY_MS
    for at_ms in range(0, bound_ms + 5_000, 100):
        queue.push(loud(100), at_ms)
        if at_ms < SPEECH_REPLAY_MS + 3_000:
            queue.take()
    kept = sum(len(pcm) for _, pcm in queue.pieces()) // 16
    assert kept <= bound_ms
    assert queue.pieces()[0][0] == 3_000, "of what was taken, the newest is kept"
    assert queue.dropped_samples // 8 == 5_000 - 3_000
    assert queue.rewind()


def test_a_thousand_flushes_are_bounded_as_well() -> None:
    queue = backlog(chunk_ms=20)
    for number in range(100_000):
        queue.push(b"\x00\x10", number * 2_000)
    assert len(queue.pieces()) <= SPEECH_QUEUED_MS + SPEECH_REPLAY_MS


def test_loudness_tells_speech_from_quiet() -> None:
    assert peak(b"") == 0
    assert peak(array.array("h", [5, -32_768, 7]).tobytes()) == 32_768
    assert is_loud(loud(10))
    assert not is_loud(loud(10, level=100))


def piece(at_ms: int, ms: int) -> Piece:
    return Piece(at_ms * 8, bytes(ms * 16))


def test_times_of_a_connection_are_put_on_the_legs_clock() -> None:
    line = Timeline(RATE_HZ)
    assert line.leg_ms(500) == 0
    line.add(piece(10_000, 1_000))
    line.add(piece(11_000, 1_000))
    line.add(piece(60_000, 1_000))
    assert line.leg_ms(0) == 10_000
    assert line.leg_ms(1_500) == 11_500
    # A moment where one stretch ends and another begins belongs to both.
    assert line.leg_ms(2_000, end=True) == 12_000
    assert line.leg_ms(2_000) == 60_000
    assert line.leg_ms(2_500) == 60_500
    # No vendor knows of audio that it was not sent.
    assert line.leg_ms(99_000, end=True) == 61_000


def test_silence_that_keeps_a_connection_is_on_nobodys_clock() -> None:
    line = Timeline(RATE_HZ)
    line.pad(80 * 8)
    line.add(piece(0, 1_000))
    line.pad(80 * 8)
    line.pad(80 * 8)
    line.add(piece(1_000, 1_000))
    assert line.leg_ms(580) == 500
    assert line.leg_ms(1_100) == 1_000
    assert line.leg_ms(1_240) == 1_000
    assert line.leg_ms(1_740) == 1_500


def test_a_clock_with_countless_holes_is_bounded() -> None:
    line = Timeline(RATE_HZ)
    for number in range(Timeline.SPANS_MAX * 2):
        line.add(piece(number * 5_000, 20))
    assert line.leg_ms(20 * (Timeline.SPANS_MAX * 2 - 1)) == (Timeline.SPANS_MAX * 2 - 1) * 5_000
