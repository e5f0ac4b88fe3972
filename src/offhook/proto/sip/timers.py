"""Deadlines in a heap: the next one is known in O(1), starting one costs O(log n)."""

import heapq
from collections.abc import Callable

Action = Callable[[float], None]

_COMPACT_FROM = 1_024


class Timer:
    """One deadline and what is to be done then. Stopping it twice is harmless."""

    __slots__ = ("_timers", "action")

    def __init__(self, timers: "Timers", action: Action) -> None:
        self._timers = timers
        self.action: Action | None = action

    def stop(self) -> None:
        """Never fire."""
        if self.action is not None:
            self.action = None
            self._timers.stopped()


class Timers:
    """All deadlines of one user agent."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._started = 0
        self._dead = 0

    def __len__(self) -> int:
        """Return how many timers will still fire."""
        return len(self._heap) - self._dead

    def start(self, at: float, action: Action) -> Timer:
        """Call `action(now)` once `at` has come."""
        timer = Timer(self, action)
        self._started += 1
        heapq.heappush(self._heap, (at, self._started, timer))
        return timer

    def next(self) -> float | None:
        """Return the earliest deadline."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
            self._dead -= 1
        return heap[0][0] if heap else None

    def expire(self, now: float) -> None:
        """Fire what is due, in the order of the deadlines."""
        # `_heap` is read anew each round: an action may stop timers, which may sweep it.
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.action is None:
                self._dead -= 1
            else:
                action, timer.action = timer.action, None
                action(now)

    def stopped(self) -> None:
        """Note that one timer in the heap is dead; sweep when most of them are."""
        self._dead += 1
        if self._dead > _COMPACT_FROM and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._dead = 0
