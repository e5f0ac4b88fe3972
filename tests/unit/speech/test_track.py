"""A track's clock: where utterances lie, and what holes do."""

import pytest

from offhook.edge.speech.segmenter import SegmenterSettings
from offhook.edge.speech.track import Track, Utterance, UtteranceStarted
from tests.fakes.speech_engine import FakeDetector, silence, tone

pytestmark = pytest.mark.unit


def make_track(rate_hz: int = 8000, first: int = 0) -> Track:
    return Track(FakeDetector(rate_hz), SegmenterSettings(), sample_rate_hz=rate_hz, first_utterance_id=first)


def feed(track: Track, pcm: bytes, at_ms: int, chunk_ms: int = 100) -> list[UtteranceStarted | Utterance]:
    result: list[UtteranceStarted | Utterance] = []
    step = chunk_ms * 16
    for at in range(0, len(pcm), step):
        result += track.push(pcm[at : at + step], at_ms + at // 16)
    return result


def test_utterances_lie_on_the_clock_of_the_leg() -> None:
    started, utterance = feed(make_track(), silence(1000) + tone(5, 1000) + silence(1000), 60_000)
    assert isinstance(started, UtteranceStarted)
    assert isinstance(utterance, Utterance)
    assert 61_000 - 400 <= started.at_ms <= 61_000
    assert utterance.start_ms == started.at_ms
    assert 62_000 <= utterance.end_ms <= 62_000 + 250
    assert len(utterance.pcm) == (utterance.end_ms - utterance.start_ms) * 16


@pytest.mark.parametrize("chunk_ms", [1, 7, 20, 100, 200, 1000])
def test_the_size_of_the_chunks_changes_nothing(chunk_ms: int) -> None:
    pcm = silence(500) + tone(5, 700) + silence(900) + tone(6, 400) + silence(600)
    assert feed(make_track(), pcm, 0, chunk_ms) == feed(make_track(), pcm, 0)


def test_sixteen_kilohertz_gives_the_same_times() -> None:
    track = make_track(16000)
    items = track.push(silence(960, 16000) + tone(5, 960, 16000) + silence(960, 16000), 0)
    assert [type(item) for item in items] == [UtteranceStarted, Utterance]
    utterance = items[1]
    assert isinstance(utterance, Utterance)
    assert utterance.end_ms == 2080
    assert len(utterance.pcm) == (utterance.end_ms - utterance.start_ms) * 32


def test_a_short_hole_is_silence() -> None:
    track = make_track()
    items = feed(track, tone(5, 960), 0) + feed(track, tone(5, 960), 1260)
    items += track.flush()
    (utterance,) = (item for item in items if isinstance(item, Utterance))
    assert utterance.end_ms == 2240
    assert utterance.pcm.count(bytes(16)) >= 280
    assert track.holes == 1


def test_a_long_hole_ends_the_utterance_and_the_clock_goes_on_behind_it() -> None:
    track = make_track()
    feed(track, tone(5, 960), 0)
    items = feed(track, tone(6, 960), 30_000)
    assert isinstance(items[0], Utterance)
    assert items[0].end_ms == 960
    assert isinstance(items[1], UtteranceStarted)
    assert items[1].at_ms == 30_000
    assert items[1].utterance_id == items[0].utterance_id + 1


def test_a_clock_that_jumps_back_begins_anew() -> None:
    track = make_track()
    feed(track, silence(10_000), 50_000)
    started, *_ = feed(track, tone(5, 500), 100)
    assert isinstance(started, UtteranceStarted)
    assert started.at_ms == 100


def test_rounding_of_chunk_times_is_not_a_hole() -> None:
    track = make_track()
    for number in range(100):
        track.push(silence(20), number * 20 + (number % 3) * 13)
    assert track.holes == 0


def test_flush_keeps_the_last_words_even_if_they_fill_no_frame() -> None:
    track = make_track()
    feed(track, tone(5, 330), 0)
    (utterance,) = track.flush()
    assert isinstance(utterance, Utterance)
    assert utterance.end_ms >= 330
    assert utterance.pcm.startswith(tone(5, 330))


def test_half_a_sample_is_dropped() -> None:
    track = make_track()
    assert track.push(b"\x01", 0) == []
    assert track.push(tone(5, 500) + b"\x01", 0) == make_track().push(tone(5, 500), 0)


def test_numbers_of_utterances_begin_where_they_are_told() -> None:
    (started,) = make_track(first=7).push(tone(5, 200), 0)
    assert isinstance(started, UtteranceStarted)
    assert started.utterance_id == 7
