"""Hold music from a seed: chords, melodies, drums. Needs numpy; 8 kHz samples in [-1, 1]."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
_RATE_HZ = 8000
_CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
_SCALE = (0, 2, 4, 7, 9, 12, 14, 16)


def band(wave: Samples, low_hz: float, high_hz: float) -> Samples:
    """Return what of `wave` lies between two frequencies."""
    spectrum = np.fft.rfft(wave)
    hz = np.fft.rfftfreq(len(wave), 1 / _RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return np.fft.irfft(spectrum, len(wave))


def strings(seed: int, s: float) -> Samples:
    """Slow chords of bowed strings with vibrato under a melody."""
    return _score(seed, s, 0.5, _bowed, chord_beats=8, melody_beats=2)


def piano(seed: int, s: float) -> Samples:
    """Broken chords that die away, and a melody."""
    return _score(seed, s, 0.25, _struck, chord_beats=4, melody_beats=1)


def chiptune(seed: int, s: float) -> Samples:
    """Square waves in quick arpeggios."""
    return _score(seed, s, 0.12, _square, chord_beats=2, melody_beats=1)


def whistle(seed: int, s: float) -> Samples:
    """One flute alone, an octave up, with breath and vibrato."""
    return _score(seed, s, 0.4, _blown, chord_beats=0, melody_beats=1)


def drums(seed: int, s: float) -> Samples:
    """Bass drum, snare and cymbal at 110 beats a minute."""
    random = np.random.default_rng(seed)
    t = np.arange(int(0.3 * _RATE_HZ)) / _RATE_HZ
    kick = np.sin(2 * np.pi * (50 * t + 8 * (1 - np.exp(-t * 30)))) * np.exp(-t * 12)
    snare = random.standard_normal(len(t)) * np.exp(-t * 18) * 0.5
    hat = np.diff(random.standard_normal(len(t) + 1)) * np.exp(-t * 60) * 0.3
    wave = np.zeros(int(s * _RATE_HZ) + len(t))
    for beat in range(int(s / 0.2727)):
        for hit, every, offset in ((kick, 4, 0), (snare, 4, 2), (hat, 1, 0)):
            if beat % every == offset:
                at = int(beat * 0.2727 * _RATE_HZ)
                wave[at : at + len(t)] += hit
    return 0.3 * wave[: int(s * _RATE_HZ)]


def _score(
    seed: int,
    s: float,
    beat_s: float,
    play: Callable[[float, float], Samples],
    *,
    chord_beats: int,
    melody_beats: int,
) -> Samples:
    wave = np.zeros(int(s * _RATE_HZ))
    for start_s, long_s, semitones, gain in _notes(seed, s, beat_s, chord_beats, melody_beats):
        note = gain * play(261.63 * 2 ** (semitones / 12), long_s)
        at = int(start_s * _RATE_HZ)
        wave[at : at + len(note)] += note[: len(wave) - at]
    result: Samples = 0.4 * wave / np.abs(wave).max()
    return result


def _notes(
    seed: int, s: float, beat_s: float, chord_beats: int, melody_beats: int
) -> Iterator[tuple[float, float, int, float]]:
    """Yield (start, length, semitones above middle C, gain)."""
    random = np.random.default_rng(seed)
    step = 3
    for beat in range(int(s / beat_s)):
        chord = _CHORDS[beat // max(1, chord_beats) % 4]
        if chord_beats and beat % chord_beats == 0:
            for tone in chord:
                yield beat * beat_s, chord_beats * beat_s, tone - 12, 0.4
        # A rest now and then, or the tune is a siren.
        if beat % melody_beats == 0 and random.random() < 0.85:
            step = int(np.clip(step + random.integers(-2, 3), 0, len(_SCALE) - 1))
            lift = 12 if not chord_beats else 0
            yield beat * beat_s, melody_beats * beat_s * random.uniform(0.7, 1.2), _SCALE[step] + lift, 0.7


def _time(s: float) -> Samples:
    return np.arange(int(s * _RATE_HZ)) / _RATE_HZ


def _harmonics(phase: Samples, hz: float, gains: tuple[float, ...]) -> Samples:
    parts = [g * np.sin(2 * np.pi * n * phase) for n, g in enumerate(gains, start=1) if n * hz < 3600]
    result: Samples = np.sum(parts, axis=0)
    return result


def _bowed(hz: float, s: float) -> Samples:
    t = _time(s)
    phase = np.cumsum(hz * (1 + 0.006 * np.sin(2 * np.pi * 5.5 * t))) / _RATE_HZ
    swell = np.minimum(1.0, np.minimum(t / 0.15, (s - t) / 0.2))
    return swell * _harmonics(phase, hz, (1, 0.7, 0.5, 0.45, 0.3, 0.25, 0.15, 0.1))


def _struck(hz: float, s: float) -> Samples:
    t = _time(s + 0.8)
    fade = np.exp(-3.0 * t) * np.minimum(1.0, t / 0.004)
    return fade * _harmonics(hz * t, hz, (1, 0.5, 0.3, 0.2, 0.1, 0.07))


def _square(hz: float, s: float) -> Samples:
    t = _time(s)
    return 0.5 * np.sign(np.sin(2 * np.pi * hz * t)) * np.minimum(1.0, (s - t) / 0.01)


def _blown(hz: float, s: float) -> Samples:
    t = _time(s)
    phase = np.cumsum(hz * (1 + 0.004 * np.sin(2 * np.pi * 5 * t))) / _RATE_HZ
    swell = np.minimum(1.0, np.minimum(t / 0.06, (s - t) / 0.08))
    breath = 0.03 * np.random.default_rng(int(hz)).standard_normal(len(t))
    return swell * (_harmonics(phase, hz, (1, 0.25, 0.08)) + breath)
