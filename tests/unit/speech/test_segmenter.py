"""Where utterances begin, end and are cut."""

import pytest

from offhook.edge.speech.segmenter import Segment, Segmenter, SegmenterSettings

pytestmark = pytest.mark.unit

LOUD, QUIET, BETWEEN = 0.9, 0.1, 0.4
PREROLL = 10  # frames of 32 ms that hold 300 ms
ENDPOINT = 16
TAIL = 5


def run(segmenter: Segmenter, probabilities: list[float]) -> list[int | Segment]:
    result: list[int | Segment] = []
    for probability in probabilities:
        frame = segmenter.heard_frames.to_bytes(4, "big")
        result += segmenter.push(frame, probability)
    return result


def frames_of(segment: Segment) -> list[int]:
    return [int.from_bytes(segment.pcm[i : i + 4], "big") for i in range(0, len(segment.pcm), 4)]


def test_silence_gives_nothing_and_keeps_nothing() -> None:
    segmenter = Segmenter()
    assert run(segmenter, [QUIET] * 10_000) == []
    assert segmenter.settled >= 10_000 - PREROLL - 3
    assert segmenter.flush() == []


def test_fewer_loud_frames_than_the_onset_are_a_click() -> None:
    assert run(Segmenter(), [QUIET] * 20 + [LOUD, LOUD] + [QUIET] * 40) == []


def test_an_utterance_has_its_preroll_and_its_tail_and_no_more() -> None:
    start, segment = run(Segmenter(), [QUIET] * 100 + [LOUD] * 50 + [QUIET] * 40)
    assert start == 100 - PREROLL
    assert isinstance(segment, Segment)
    assert (segment.start, segment.end) == (100 - PREROLL, 150 + TAIL)
    assert frames_of(segment) == list(range(segment.start, segment.end))
    assert not segment.forced


def test_the_end_is_decided_after_the_endpoint_silence() -> None:
    segmenter = Segmenter()
    assert len(run(segmenter, [LOUD] * 20 + [QUIET] * (ENDPOINT - 1))) == 1
    assert segmenter.speaking
    assert len(run(segmenter, [QUIET])) == 1
    assert not segmenter.speaking


def test_a_pause_shorter_than_the_endpoint_does_not_end_an_utterance() -> None:
    pattern = ([LOUD] * 20 + [QUIET] * (ENDPOINT - 1)) * 4
    assert len(run(Segmenter(), pattern)) == 1


def test_doubtful_frames_keep_an_utterance_but_do_not_begin_one() -> None:
    assert run(Segmenter(), [BETWEEN] * 100) == []
    segmenter = Segmenter()
    assert len(run(segmenter, [LOUD] * 5 + [BETWEEN] * 200)) == 1
    assert segmenter.speaking


def test_the_preroll_never_repeats_audio_of_the_utterance_before() -> None:
    items = run(Segmenter(), [LOUD] * 20 + [QUIET] * ENDPOINT + [LOUD] * 20 + [QUIET] * ENDPOINT)
    first, second = (item for item in items if isinstance(item, Segment))
    assert second.start >= first.end


def test_speech_without_end_is_cut_at_its_quietest_moment() -> None:
    settings = SegmenterSettings(max_ms=3200, cut_window_ms=1600)
    probabilities = [LOUD] * 70 + [0.6] + [LOUD] * 29
    _, segment = run(Segmenter(settings), probabilities)
    assert isinstance(segment, Segment)
    assert segment.forced
    assert (segment.start, segment.end) == (0, 70)


def test_a_cut_loses_nothing() -> None:
    segmenter = Segmenter(SegmenterSettings(max_ms=2000))
    items = run(segmenter, [LOUD] * 500) + segmenter.flush()
    segments = [item for item in items if isinstance(item, Segment)]
    heard = [frame for segment in segments for frame in frames_of(segment)]
    assert heard == list(range(500))
    assert all(segment.end - segment.start <= 2000 // 32 for segment in segments)


def test_flush_ends_the_utterance_and_the_next_one_starts_anew() -> None:
    segmenter = Segmenter()
    run(segmenter, [LOUD] * 10)
    (segment,) = segmenter.flush()
    assert isinstance(segment, Segment)
    assert segment.end == 10
    assert not segmenter.speaking
    assert run(segmenter, [LOUD] * 3) == [10]


def test_what_was_spoken_so_far_leaves_trailing_silence_out() -> None:
    segmenter = Segmenter()
    run(segmenter, [LOUD] * 30 + [QUIET] * 12)
    start, end, pcm = segmenter.spoken()
    assert (start, end) == (0, 30 + TAIL)
    assert len(pcm) == 4 * (30 + TAIL)
