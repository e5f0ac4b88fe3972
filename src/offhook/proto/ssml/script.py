"""Words and pauses in the order in which they are heard."""

from dataclasses import dataclass, field

RATE_MIN, RATE_MAX = 0.5, 2.0
GAIN_DB_MIN, GAIN_DB_MAX = -40.0, 6.0


@dataclass(frozen=True, slots=True)
class Words:
    """Text to be spoken as it stands.

    Args:
        text: the words; never in a repr, so that what callers are told reaches no log.
        rate: how fast, 1.0 as the voice does by itself.
        gain_db: how loud against the voice by itself.
    """

    text: str = field(repr=False)
    rate: float = 1.0
    gain_db: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence between words."""

    duration_ms: int


Script = tuple[Words | Pause, ...]


def script_of_text(text: str, *, rate: float = 1.0) -> Script:
    """Return what plain text asks for; markup in it is text like any other."""
    return (Words(text, rate),) if text.strip() else ()
