"""Keys that come twice: a phone may send each both within its media and by SIP INFO."""

from collections import deque
from dataclasses import dataclass, field

SAME_KEY_S = 2.0
"""How long the same key may be on its way by the other way. Waits for a lost INFO are shorter."""
KEYS_KEPT_MAX = 64


@dataclass(slots=True)
class Keypresses:
    """The last keys that have no counterpart yet: when, which, and whether by INFO."""

    _alone: deque[tuple[float, str, bool]] = field(default_factory=lambda: deque(maxlen=KEYS_KEPT_MAX))

    def is_new(self, digit: str, *, by_info: bool, now: float) -> bool:
        """Take a key and say whether it is one more, and not one that is known by the other way."""
        while self._alone and now >= self._alone[0][0] + SAME_KEY_S:
            self._alone.popleft()
        for known in self._alone:
            if known[1:] == (digit, not by_info):
                self._alone.remove(known)
                return False
        self._alone.append((now, digit, by_info))
        return True
