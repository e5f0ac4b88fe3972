"""An event loop whose time passes only when nothing else is left to do.

An hour of timers costs no more than the code they run. No real socket or thread may be awaited in it.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_S = 1_000_000.0
"""Small enough that a float still tells microseconds apart."""


class _TimeWarp(selectors.SelectSelector):
    """Never waits: a timeout is added to the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("the simulation is stuck: nothing is due and nothing can happen")
            self.passed_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on simulated time; also the `Clock` of the parts under test."""

    def __init__(self) -> None:
        self._warp = _TimeWarp()
        super().__init__(self._warp)
        # A timer that is due within rounding must count as due, or the loop would spin on it.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return simulated seconds."""
        return START_S + self._warp.passed_s

    def now(self) -> float:
        """Return simulated seconds, as `Clock.now` does."""
        return self.time()

    def unix_time(self) -> float:
        """Return simulated seconds, as `Clock.unix_time` does."""
        return self.time()


def run_simulation(main: Coroutine[Any, Any, T], loop: VirtualTimeLoop) -> T:
    """Run `main` to its end in simulated time and close the loop."""
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
