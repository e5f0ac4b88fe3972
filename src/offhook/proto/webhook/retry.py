"""When a webhook is tried again, and where: one pure function over a schedule that is data.

The fast part is contract 3.3: three attempts at the primary URL (at 0, 1 and 3 s when each fails at
once), then three at the failover URL. Deviation: the contract gives up there. We go on with a slow
part, a round over all URLs after 15, 60, 300, 900 s and then each hour, up to a day after the event,
so that a receiver that is down for an hour loses nothing. An empty `slow_waits_s` restores the
literal reading.
"""

import math
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum


class Verdict(Enum):
    """What the answer to one attempt means for the next."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    """This URL will not take this event, however often it is asked."""


def judge_status(status: int) -> Verdict:
    """Judge the final HTTP status of an attempt (contract 3.3).

    A 3xx that was not followed is retried: it is more often a receiver in trouble than a wish.
    """
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if 400 <= status < 500 and status not in (408, 429):
        return Verdict.REFUSED
    return Verdict.RETRY


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The waits between attempts, as data.

    Args:
        fast_waits_s: waits after the end of the first, second... attempt at each URL.
        slow_waits_s: wait before each round over all URLs once the fast part failed; the last
            repeats. Empty: give up after the fast part.
        give_up_after_s: no attempt starts later than this after the event was taken.
        retry_after_max_s: the longest `Retry-After` that is believed.
    """

    fast_waits_s: tuple[float, ...] = (1.0, 2.0)
    slow_waits_s: tuple[float, ...] = (15.0, 60.0, 300.0, 900.0, 3600.0)
    give_up_after_s: float = 24 * 3600.0
    retry_after_max_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Which attempt is next. Small and plain, so that it survives a restart in a database row."""

    attempts: int = 0
    """Attempts made so far, over all URLs."""
    url_index: int = 0
    """The URL of the next attempt: 0 is the primary, 1 the failover."""
    url_attempts: int = 0
    """Attempts made at that URL within the fast part."""
    round: int = 0
    """0 in the fast part, then the number of the slow round."""
    refused: int = 0
    """Bit n is set when URL n has refused the event for good."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Again:
    """Make the attempt that `progress` names, at `at` or later."""

    progress: Progress
    at: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """No further attempt is made; `reason` is `refused`, `exhausted` or `expired`."""

    progress: Progress
    reason: str


NextStep = Delivered | Again | GivenUp


def after_attempt(
    schedule: RetrySchedule,
    progress: Progress,
    verdict: Verdict,
    *,
    urls: int,
    now: float,
    expires_at: float,
    retry_after_s: float | None = None,
) -> NextStep:
    """Return what follows the attempt that `progress` named and that ended at `now` with `verdict`."""
    assert 0 <= progress.url_index < urls, "progress names a URL that exists"
    made = progress.attempts + 1
    here = progress.url_index
    if verdict is Verdict.DELIVERED:
        return Delivered(Progress(made, here, 0, progress.round, progress.refused))

    refused = progress.refused | (1 << here if verdict is Verdict.REFUSED else 0)
    asked_wait_s = min(max(retry_after_s or 0.0, 0.0), schedule.retry_after_max_s)
    fast = progress.round == 0 and progress.url_attempts < len(schedule.fast_waits_s)
    if verdict is Verdict.RETRY and fast:
        wait_s = max(schedule.fast_waits_s[progress.url_attempts], asked_wait_s)
        return _again(Progress(made, here, progress.url_attempts + 1, 0, refused), now + wait_s, expires_at)

    willing = [index for index in range(urls) if not refused >> index & 1]
    if not willing:
        return GivenUp(Progress(made, here, 0, progress.round, refused), "refused")
    later = [index for index in willing if index > here]
    if later:
        return _again(Progress(made, later[0], 0, progress.round, refused), now, expires_at)
    if not schedule.slow_waits_s:
        return GivenUp(Progress(made, here, 0, progress.round, refused), "exhausted")
    following = progress.round + 1
    slow_s = schedule.slow_waits_s[min(following, len(schedule.slow_waits_s)) - 1]
    # With two willing URLs the one that asked for patience is not the next one to be asked.
    wait_s = max(slow_s, asked_wait_s) if willing[0] == here else slow_s
    return _again(Progress(made, willing[0], 0, following, refused), now + wait_s, expires_at)


def _again(progress: Progress, at: float, expires_at: float) -> NextStep:
    if at > expires_at:
        return GivenUp(progress, "expired")
    return Again(progress, at)


def read_retry_after(value: str | None, *, unix_time: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, None when it says nothing usable.

    Both forms of RFC 9110 section 10.2.3 are read; a date in the past asks for no wait.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        asked = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, asked - unix_time) if math.isfinite(asked) else None
