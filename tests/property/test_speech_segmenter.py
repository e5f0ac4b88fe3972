"""Promises of the segmenter and the framing over generated input."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.frames import Audio, FrameError, FrameReader, pack_audio, pack_message
from offhook.edge.speech.gates import collapse_loops
from offhook.edge.speech.segmenter import Segment, Segmenter, SegmenterSettings

pytestmark = pytest.mark.property

# Runs of one probability are nearer to speech than independent frames.
runs = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.36, 0.5, 0.95]), st.integers(1, 60)), max_size=30)
settings_st = st.builds(
    SegmenterSettings,
    onset_frames=st.integers(1, 5),
    endpoint_ms=st.integers(1, 1500),
    preroll_ms=st.integers(0, 600),
    tail_ms=st.integers(0, 600),
    max_ms=st.integers(1500, 4000),
    cut_window_ms=st.integers(32, 3000),
)


@given(runs, settings_st, st.sets(st.integers(0, 1000), max_size=5))
def test_segments_are_the_speech_in_order_and_nothing_twice(
    pattern: list[tuple[float, int]], settings: SegmenterSettings, flushes: set[int]
) -> None:
    probabilities = [probability for probability, count in pattern for _ in range(count)]
    segmenter = Segmenter(settings)
    items: list[int | Segment] = []
    must_hear: set[int] = set()
    run: list[int] = []
    for number, probability in enumerate(probabilities):
        items += segmenter.push(number.to_bytes(4, "big"), probability)
        run = [*run, number] if probability >= settings.on else []
        if len(run) >= settings.onset_frames:
            must_hear.update(run)
        if number in flushes:
            items += segmenter.flush()
            run = []
        assert segmenter.settled <= segmenter.heard_frames
        kept = segmenter.heard_frames - segmenter.settled
        assert kept <= settings.max_ms // settings.frame_ms, "memory has a bound"
    items += segmenter.flush()
    segments = [item for item in items if isinstance(item, Segment)]
    heard: list[int] = []
    for segment in segments:
        frames = [int.from_bytes(segment.pcm[at : at + 4], "big") for at in range(0, len(segment.pcm), 4)]
        assert frames == list(range(segment.start, segment.end)), "audio and position agree"
        assert 0 < len(frames) <= settings.max_ms // settings.frame_ms
        assert segment.voice == max(probabilities[segment.start : segment.end])
        heard += frames
    assert heard == sorted(set(heard)), "in order, nothing twice"
    assert must_hear <= set(heard), "no speech is lost"
    starts = [item for item in items if isinstance(item, int)]
    assert len(starts) == sum(not segment.forced for segment in segments), "each start has one end"


@given(
    st.lists(
        st.one_of(
            st.builds(
                Audio, st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50)
            ),
            st.dictionaries(
                st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9), st.none()), max_size=3
            ),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_frames_survive_any_cutting(frames: list[Audio | dict[str, object]], cuts: list[int]) -> None:
    data = b"".join(
        pack_audio(frame) if isinstance(frame, Audio) else pack_message(frame) for frame in frames
    )
    reader = FrameReader()
    result: list[object] = []
    at = 0
    for turn in range(len(data)):
        size = cuts[turn % len(cuts)]
        result += reader.feed(data[at : at + size])
        at += size
        if at >= len(data):
            break
    assert result == frames


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_otherwise_than_by_its_error(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        list(FrameReader().feed(data))


@given(st.lists(st.sampled_from(["so", "we", "five", "2", "go."]), max_size=40), st.booleans())
def test_collapsing_loops_adds_no_word_and_ends(words: list[str], final: bool) -> None:
    text = " ".join(words)
    shorter = collapse_loops(text, final=final).split()
    remaining = iter(words)
    assert all(word in remaining for word in shorter), "what is left is in order"
    assert bool(shorter) == bool(words)
