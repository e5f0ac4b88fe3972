"""The only place that reads a clock. Everything else takes `now` as an argument."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two readings of time, both in seconds since 1970."""

    def now(self) -> float:
        """Return steady time: never jumps, close to UTC. For durations, deadlines and event times."""
        ...

    def unix_time(self) -> float:
        """Return the wall clock of this moment, as other machines see it. For signatures."""
        ...


class SystemClock:
    """The machine's clocks; `now` follows the monotonic clock from the wall time at construction."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now(self) -> float:
        """Return steady seconds since 1970."""
        return time.monotonic() + self._offset_s

    def unix_time(self) -> float:
        """Return the wall clock in seconds since 1970."""
        return time.time()


def iso_time(seconds: float) -> str:
    """Format seconds since 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ` (contract 1.3)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
