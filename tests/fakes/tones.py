"""Tones for calls to carry, and how they are found again in what came through."""

import array
import math
import struct

TONE_HZ, TONE_DBFS = 1_000, -20.0
WINDOW_MS = 50


def tone(hz: float, ms: int, rate_hz: int = 8_000, dbfs: float = TONE_DBFS) -> bytes:
    """Return s16le."""
    peak = math.sqrt(2) * 32_768 * 10 ** (dbfs / 20)
    count = rate_hz * ms // 1000
    return array.array(
        "h", [round(peak * math.sin(2 * math.pi * hz * n / rate_hz)) for n in range(count)]
    ).tobytes()


def power_of(pcm: bytes, hz: float, rate_hz: int = 8_000) -> tuple[float, float]:
    """Return the mean power of one frequency, and of all (Goertzel)."""
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    coefficient = 2 * math.cos(2 * math.pi * hz / rate_hz)
    one = two = 0.0
    for sample in samples:
        one, two = sample + coefficient * one - two, one
    power = (one * one + two * two - coefficient * one * two) * 2 / len(samples) ** 2
    return power, sum(sample * sample for sample in samples) / len(samples)


def purity_db(pcm: bytes, hz: float, rate_hz: int = 8_000) -> float:
    """Return the power of one frequency over all else, of audio in one piece."""
    power, total = power_of(pcm, hz, rate_hz)
    return 10 * math.log10(max(power, 1e-9) / max(total - power, 1e-9))


def tone_dbfs(pcm: bytes, hz: float, rate_hz: int = 8_000) -> float:
    """Return how loud one frequency is."""
    power, _ = power_of(pcm, hz, rate_hz)
    return 10 * math.log10(max(power, 1e-9)) - 20 * math.log10(32_768)


def pure_ms(
    pcm: bytes, hz: float, rate_hz: int = 8_000, *, least_db: float = 15, dbfs: float | None = None
) -> int:
    """Return how long a tone is heard, at a level if one is given, counted in windows of `WINDOW_MS`.

    Audio that crossed real time is judged by this and never as one piece, nor at a fixed place: a packet
    that a busy machine delays is a rest, which spoils the window it is in and the phase of all behind it.
    """
    size = rate_hz * WINDOW_MS // 1000 * 2
    windows = (pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size))
    return WINDOW_MS * sum(
        any(window)
        and purity_db(window, hz, rate_hz) >= least_db
        and (dbfs is None or abs(tone_dbfs(window, hz, rate_hz) - dbfs) < 1)
        for window in windows
    )
