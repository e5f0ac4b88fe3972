"""Ends of utterances by loudness alone."""

import math
from array import array

import pytest

from offhook.base.g711 import mulaw_decode, mulaw_encode
from offhook.edge.speech.vendors.endpointer import Endpointer, Span

pytestmark = pytest.mark.unit

RATE_HZ = 8_000


def square(ms: int, peak: int) -> bytes:
    """Return a tone of 200 Hz, as telephones carry it."""
    samples = array("h", [peak if n // 20 % 2 else -peak for n in range(RATE_HZ * ms // 1000)])
    return mulaw_decode(mulaw_encode(samples.tobytes()))


def voice(ms: int, peak: int) -> bytes:
    """Return sound that is louder and softer in turns, as speech is."""
    return b"".join(square(40, peak if n % 2 == 0 else peak // 2) for n in range(ms // 40)) + square(
        ms % 40, peak
    )


def ends(
    pcm: bytes, *, endpoint_ms: int = 500, max_ms: int = 12_000, step_ms: int = 60
) -> list[tuple[int, Span]]:
    """Return (when it was noticed, where it was) of every utterance."""
    endpointer = Endpointer(RATE_HZ, endpoint_ms=endpoint_ms, max_ms=max_ms)
    found = []
    step = step_ms * 16
    for at in range(0, len(pcm), step):
        if endpointer.push(pcm[at : at + step]):
            span = endpointer.end()
            if span is not None:
                found.append((at // 16 + step_ms, span))
    return found


@pytest.mark.parametrize("peak", [300, 3_000, 30_000])
def test_an_utterance_ends_after_the_silence_that_was_asked_for(peak: int) -> None:
    ((noticed_ms, span),) = ends(bytes(16 * 1_000) + voice(800, peak) + bytes(16 * 2_000))
    assert span == Span(1_000, 1_800)
    assert 2_300 <= noticed_ms <= 2_360


def test_a_shorter_pause_does_not_end_it() -> None:
    pcm = voice(500, 3_000) + bytes(16 * 400) + voice(500, 3_000) + bytes(16 * 700)
    assert [span for _, span in ends(pcm)] == [Span(0, 1_400)]
    assert len(ends(pcm, endpoint_ms=300)) == 2


def test_silence_clicks_and_an_idle_line_are_no_utterance() -> None:
    click = square(40, 20_000)
    assert ends(bytes(16 * 3_000)) == []
    assert ends((click + bytes(16 * 200)) * 10) == []
    assert ends(square(5_000, 16)) == []


def test_tones_of_the_telephone_are_no_utterance() -> None:
    def tone(ms: int, *hz: int) -> bytes:
        step = [2 * math.pi * one / RATE_HZ for one in hz]
        samples = [round(sum(6_000 * math.sin(s * n) for s in step)) for n in range(RATE_HZ * ms // 1000)]
        return mulaw_decode(mulaw_encode(array("h", samples).tobytes()))

    for hz in ((425,), (440, 480), (350, 440), (480, 620)):
        assert ends((tone(2_000, *hz) + bytes(16 * 4_000)) * 2) == []
        assert ends(tone(20_000, *hz)) == []
        spoken = ends(tone(1_000, *hz) + voice(800, 3_000) + bytes(16 * 800))
        assert [span.end_ms for _, span in spoken] == [1_800]


def test_noise_becomes_silence_after_a_while() -> None:
    found = ends(square(30_000, 400) + voice(600, 8_000) + square(1_500, 400))
    assert found[-1][1].end_ms == 30_600
    assert 30_000 - 40 <= found[-1][1].start_ms <= 30_000


def test_long_speech_is_cut_at_a_short_pause_late_in_it_or_at_the_limit() -> None:
    paused = voice(9_000, 3_000) + bytes(16 * 240) + voice(2_000, 3_000) + bytes(16 * 600)
    assert [span for _, span in ends(paused)] == [Span(0, 9_000), Span(9_240, 11_240)]
    endless = ends((voice(960, 3_000) + bytes(16 * 40)) * 30)
    assert all(span.end_ms - span.start_ms <= 12_060 for _, span in endless)
    assert len(endless) == 2


def test_what_goes_on_can_be_ended_early() -> None:
    endpointer = Endpointer(RATE_HZ, endpoint_ms=500, max_ms=12_000)
    endpointer.push(voice(300, 3_000))
    assert endpointer.span == Span(0, 300)
    assert endpointer.end() == Span(0, 300)
    assert endpointer.span is None
    assert endpointer.end() is None


def test_pieces_of_any_length_give_the_same() -> None:
    pcm = bytes(16 * 500) + voice(700, 2_000) + bytes(16 * 1_000)
    spans = {tuple(span for _, span in ends(pcm, step_ms=step)) for step in (5, 20, 33, 100, 3_000)}
    assert spans == {(Span(500, 1_200),)}
