"""What an SDK's own retry of a request is answered with.

The SDKs send a request again after a lost connection and count that in a header. A command that
was accepted before its answer got lost must not run twice, so the answer is kept for a while.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from offhook.base import limits

RETRY_COUNT_HEADER = "x-stainless-retry-count"


def is_retry(headers: Mapping[str, str]) -> bool:
    """Tell whether the SDK says that it sends this request again."""
    count = headers.get(RETRY_COUNT_HEADER, "0")
    return count.isascii() and count.isdigit() and count.strip("0") != ""


def request_key(call_control_id: str, action: str, body: bytes) -> bytes:
    """Return what makes two requests the same command."""
    digest = hashlib.sha256(body)
    digest.update(f"\0{action}\0{call_control_id}".encode("utf-8", "replace"))
    return digest.digest()


class RetryMemory:
    """Replies of accepted commands, for `RETRIED_COMMANDS_KEPT_S`; the oldest go first when full."""

    def __init__(self) -> None:
        self._replies: OrderedDict[bytes, tuple[float, dict[str, Any]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replies)

    def remember(self, key: bytes, data: dict[str, Any], now: float) -> None:
        """Keep the reply to an accepted command."""
        self._replies[key] = (now + limits.RETRIED_COMMANDS_KEPT_S, data)
        self._replies.move_to_end(key)
        while len(self._replies) > limits.RETRIED_COMMANDS_KEPT_MAX:
            self._replies.popitem(last=False)
        self._forget_old(now)

    def reply_to(self, key: bytes, now: float) -> dict[str, Any] | None:
        """Return the reply that the same command got within the time kept, or None."""
        self._forget_old(now)
        kept = self._replies.get(key)
        return None if kept is None else kept[1]

    def _forget_old(self, now: float) -> None:
        while self._replies:
            oldest = next(iter(self._replies))
            if self._replies[oldest][0] > now:
                return
            del self._replies[oldest]
