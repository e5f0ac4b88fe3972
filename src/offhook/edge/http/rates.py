"""How many requests an API key may send: a fixed number in each window of time (contract 1.2)."""

import hashlib
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key has left of its window, with the request that asked."""

    limit: int
    remaining: int
    reset_s: int
    """Whole seconds until the next window, at least 1."""
    exceeded: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers that tell it."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.reset_s),
        }


class RateLimit:
    """Counts the requests of each key. A window begins with its first request.

    Args:
        requests: how many a window has room for.
        window_s: how long it lasts.
    """

    def __init__(self, requests: int, window_s: float) -> None:
        self._requests = requests
        self._window_s = window_s
        # Only accepted keys get here, so this has as many entries as there are keys.
        self._windows: dict[bytes, tuple[float, int]] = {}

    def take(self, key: str, now: float) -> Allowance:
        """Count a request of `key`, unless its window is full."""
        digest = hashlib.sha256(key.encode("latin-1", "replace")).digest()
        began, taken = self._windows.get(digest, (now, 0))
        if now >= began + self._window_s:
            began, taken = now, 0
        reset_s = max(1, math.ceil(began + self._window_s - now))
        if taken >= self._requests:
            return Allowance(self._requests, 0, reset_s, exceeded=True)
        self._windows[digest] = (began, taken + 1)
        return Allowance(self._requests, self._requests - taken - 1, reset_s)
