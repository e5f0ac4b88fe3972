"""What each engine has done, in numbers. Knows no engine and no metrics library."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

LATENCY_BOUNDS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(slots=True)
class LatencyMeter:
    """How long after the end of speech finals were told: how many within each bound, and the sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one final; what was told ahead of the last audio counts as at once."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield each bound, "+Inf" last, and how many finals were within it."""
        total = 0
        bounds = (*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf")
        for bound, count in zip(bounds, self.counts, strict=True):
            total += count
            yield bound, total


@dataclass(slots=True)
class EngineMeter:
    """The counters of one engine; they only rise."""

    totals: Counter[str] = field(default_factory=Counter)
    """sessions, audio_ms, dropped_ms, partials, finals, recoveries, failures, refusals and
    fallbacks (tracks that it handed on)."""
    latency: LatencyMeter = field(default_factory=LatencyMeter)
