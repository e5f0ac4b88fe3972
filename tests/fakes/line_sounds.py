"""Everything a telephone line carries that is not speech: thirty minutes of it. Needs numpy.

Each sound is made, never recorded, from a seed: the same bytes every time. 8 kHz, s16le.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.fakes import pcmu
from tests.fakes.instruments import band, chiptune, drums, piano, strings, whistle

RATE_HZ = 8000
Samples = NDArray[np.float64]

_KEYS = {
    key: (low, high)
    for row, low in zip(("123A", "456B", "789C", "*0#D"), (697, 770, 852, 941), strict=True)
    for key, high in zip(row, (1209, 1336, 1477, 1633), strict=True)
}


def tone(*frequencies_hz: float, s: float, level: float = 0.25) -> Samples:
    """Return a sum of sines that swells and fades within 5 ms; `level` is the peak of the sum."""
    t = np.arange(int(s * RATE_HZ)) / RATE_HZ
    wave = np.sum([np.sin(2 * np.pi * hz * t) for hz in frequencies_hz], axis=0) / max(1, len(frequencies_hz))
    edge = np.minimum(1.0, np.minimum(t, t[::-1]) / 0.005) if len(t) else t
    result: Samples = level * wave * edge
    return result


def quiet(s: float) -> Samples:
    return np.zeros(int(s * RATE_HZ))


def cadence(*steps: tuple[tuple[float, ...], float], s: float, level: float = 0.25) -> Samples:
    """Repeat steps of (frequencies, seconds); no frequency is a pause."""
    once = np.concatenate([tone(*hz, s=long, level=level) if hz else quiet(long) for hz, long in steps])
    return np.resize(once, int(s * RATE_HZ))


def noise(seed: int, s: float, level: float, slope: float = 0.0) -> Samples:
    """Return noise of rms `level` whose amplitude falls with frequency to the power `slope` (0 is white)."""
    count = int(s * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    hz = np.maximum(np.fft.rfftfreq(count, 1 / RATE_HZ), 20.0)
    shaped = np.fft.irfft(spectrum / hz**slope, count)
    result: Samples = level * shaped / np.sqrt(np.mean(shaped**2))
    return result


def _gated(seed: int, wave: Samples, per_s: float, long_s: float) -> Samples:
    """Let `wave` through in swells of about `long_s`, at random moments."""
    random = np.random.default_rng(seed)
    gate = np.zeros(len(wave))
    for at in random.integers(0, len(wave), int(per_s * len(wave) / RATE_HZ)):
        swell = np.hanning(int(long_s * RATE_HZ * random.uniform(0.6, 1.4)))[: len(wave) - at]
        gate[at : at + len(swell)] = np.maximum(gate[at : at + len(swell)], swell)
    return wave * gate


def _clicks(seed: int, s: float, per_s: float) -> Samples:
    random = np.random.default_rng(seed)
    wave = np.zeros(int(s * RATE_HZ))
    for at in random.integers(0, len(wave) - 80, int(per_s * s)):
        wave[at : at + 40] += random.uniform(0.1, 0.8) * random.choice([-1, 1]) * np.exp(-np.arange(40) / 6)
    return wave


def _echoed(wave: Samples) -> Samples:
    result = wave.copy()
    for delay_s, gain in ((0.11, 0.5), (0.24, 0.3), (0.37, 0.15)):
        late = int(delay_s * RATE_HZ)
        result[late:] += gain * wave[:-late]
    return result


def _keys(s: float, on_s: float, off_s: float, level: float) -> Samples:
    return cadence(
        *(step for pair in _KEYS.values() for step in ((pair, on_s), ((), off_s))), s=s, level=level
    )


def _frequency_shift_keyed(seed: int, s: float, baud: int, mark_hz: float, space_hz: float) -> Samples:
    bits = np.random.default_rng(seed).integers(0, 2, int(s * baud) + 1)
    at = (np.arange(int(s * RATE_HZ)) * baud // RATE_HZ).astype(int)
    hz = np.where(bits[at] == 1, mark_hz, space_hz)
    return 0.2 * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)


def _modem(seed: int, s: float) -> Samples:
    """2400 symbols a second of four-by-four phases and amplitudes on 1800 Hz, as data modems and fax pages."""
    random = np.random.default_rng(seed)
    count = int(s * RATE_HZ)
    at = (np.arange(count) * 2400 // RATE_HZ).astype(int)
    symbols = random.choice([-3, -1, 1, 3], at[-1] + 1) + 1j * random.choice([-3, -1, 1, 3], at[-1] + 1)
    carrier = np.exp(2j * np.pi * 1800 * np.arange(count) / RATE_HZ)
    return 0.06 * band((symbols[at] * carrier).real, 600, 3000)


def _answer_tone(s: float) -> Samples:
    """2100 Hz that turns its phase every 450 ms, with the 15 Hz swell of newer modems."""
    t = np.arange(int(s * RATE_HZ)) / RATE_HZ
    turned = np.where((t // 0.45).astype(int) % 2 == 0, 1.0, -1.0)
    return 0.2 * turned * np.sin(2 * np.pi * 2100 * t) * (1 + 0.2 * np.sin(2 * np.pi * 15 * t)) / 1.2


def _phone_buzz(s: float) -> Samples:
    """What a mobile phone near the line does to it: pulses at 217 Hz in bursts."""
    t = np.arange(int(s * RATE_HZ)) / RATE_HZ
    pulses = (t * 217 % 1 < 0.125).astype(float) - 0.125
    bursts = ((t % 3 < 1.2) & (t * 4.6 % 1 < 0.6)).astype(float)
    result: Samples = 0.35 * pulses * bursts
    return result


def _sweep(s: float) -> Samples:
    """From 200 to 3400 Hz in 5 s, again and again."""
    hz = 200 + 3200 * (np.arange(int(s * RATE_HZ)) / RATE_HZ % 5) / 5
    return 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)


def _wind(seed: int, s: float) -> Samples:
    swell = np.abs(band(noise(seed, s, 1.0), 0.2, 1.5))
    result: Samples = 0.15 * noise(seed + 1, s, 1.0, 1.0) * swell / swell.max()
    return result


def _engine_running(seed: int, s: float) -> Samples:
    t = np.arange(int(s * RATE_HZ)) / RATE_HZ
    turns = np.cumsum(70 + 20 * np.sin(2 * np.pi * t / 7)) / RATE_HZ
    return sum(0.08 / n * np.sin(2 * np.pi * n * turns) for n in range(1, 12)) + noise(seed, s, 0.02, 0.5)


def _lossy(seed: int, wave: Samples) -> Samples:
    """Take away one packet of 20 ms in five."""
    kept = np.random.default_rng(seed).random(len(wave) // 160 + 1) > 0.2
    return wave * np.repeat(kept, 160)[: len(wave)]


SOUNDS: dict[str, Callable[[], Samples]] = {
    "ringback US": lambda: cadence(((440, 480), 2), ((), 4), s=60),
    "ringback UK": lambda: cadence(((400, 450), 0.4), ((), 0.2), ((400, 450), 0.4), ((), 2), s=60),
    "ringback EU": lambda: cadence(((425,), 1), ((), 4), s=60),
    "busy US": lambda: cadence(((480, 620), 0.5), ((), 0.5), s=30),
    "busy EU, loud": lambda: cadence(((425,), 0.5), ((), 0.5), s=30, level=0.9),
    "congestion": lambda: cadence(((480, 620), 0.25), ((), 0.25), s=30),
    "dial tone US": lambda: tone(350, 440, s=30),
    "dial tone EU, faint": lambda: tone(425, s=30, level=0.02),
    "special information": lambda: cadence(((950,), 0.33), ((1400,), 0.33), ((1800,), 0.33), ((), 1), s=40),
    "call waiting": lambda: cadence(((440,), 0.3), ((), 4), s=30),
    "beeps": lambda: cadence(((1000,), 0.3), ((), 1.2), s=30),
    "test tone": lambda: tone(1004, s=20, level=0.5),
    "sweep": lambda: _sweep(20),
    "all keys": lambda: _keys(60, 0.12, 0.12, 0.4),
    "all keys, fast": lambda: _keys(30, 0.05, 0.05, 0.4),
    "all keys, long and loud": lambda: _keys(60, 1.2, 0.4, 0.9),
    "fax calling": lambda: cadence(((1100,), 0.5), ((), 3), s=40),
    "fax answering": lambda: _answer_tone(20),
    "fax negotiating": lambda: _frequency_shift_keyed(1, 30, 300, 1650, 1850),
    "caller identification": lambda: _gated(2, _frequency_shift_keyed(2, 30, 1200, 1200, 2200), 0.3, 1.0),
    "modem": lambda: _modem(3, 40),
    "hold music, strings": lambda: strings(4, 120),
    "hold music, piano": lambda: piano(5, 120),
    "hold music, flute": lambda: whistle(6, 60),
    "hold music, chiptune": lambda: chiptune(7, 100),
    "hold music, drums": lambda: drums(8, 60),
    "hold music, band": lambda: 0.5 * (strings(9, 120) + piano(10, 120) + drums(11, 120)),
    "white noise, faint": lambda: noise(12, 30, 0.001),
    "white noise": lambda: noise(13, 40, 0.01),
    "white noise, loud": lambda: noise(14, 40, 0.1),
    "pink noise": lambda: noise(15, 40, 0.03, 0.5),
    "pink noise, loud": lambda: noise(16, 40, 0.15, 0.5),
    "brown noise": lambda: noise(17, 40, 0.1, 1.0),
    "comfort noise": lambda: np.concatenate([noise(18 + n, 5, 0.002 * (1 + n % 4)) for n in range(12)]),
    "idle line": lambda: noise(31, 40, 0.0004),
    "silence": lambda: quiet(20),
    "hum 50 Hz": lambda: sum((tone(50 * n, s=30, level=0.2 / n) for n in range(1, 10)), quiet(30)),
    "hum 60 Hz": lambda: sum((tone(60 * n, s=30, level=0.1 / n) for n in (1, 2, 3, 5, 7)), quiet(30)),
    "breath": lambda: _gated(32, band(noise(32, 60, 0.06, 0.5), 300, 2500), 0.3, 1.2),
    "wind": lambda: _wind(33, 40),
    "clicks": lambda: _clicks(34, 30, 3),
    "clicks and their echo": lambda: _echoed(_clicks(35, 30, 2)),
    "keyboard": lambda: _echoed(_gated(36, band(noise(36, 30, 0.2), 1500, 3400), 6, 0.03)),
    "phone buzz": lambda: _phone_buzz(40),
    "engine": lambda: _engine_running(37, 40),
    "noise with lost packets": lambda: _lossy(38, noise(39, 30, 0.05, 0.5)),
    "ringback with lost packets": lambda: _lossy(40, cadence(((440, 480), 2), ((), 4), s=36)),
    "knocks": lambda: _echoed(_gated(41, band(noise(41, 30, 0.5), 80, 400), 1.5, 0.08)),
}
"""By name; together thirty minutes."""


def over_the_line(wave: Samples) -> bytes:
    """Return the samples as s16le after a trip through PCMU."""
    # One byte for each of the 65536 samples there are.
    heard = np.frombuffer(pcmu.round_trip(np.arange(65536).astype("<u2").tobytes()), dtype="<i2")
    result: bytes = heard[(np.clip(wave, -1.0, 1.0) * 32767).astype("<i2").view("<u2")].tobytes()
    return result
