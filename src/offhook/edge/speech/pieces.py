"""Makes words of the pieces that models give. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from offhook.edge.speech.protocol import Word

_LAST_PIECE_MS = 400
"""How long the last piece before a pause is taken to last, where the model says only when it began."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a word, or all of it; one that begins a word begins with a space."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int
    confidence: float | None = None


def join_pieces(pieces: Iterable[Piece]) -> tuple[Word, ...]:
    """Return the words, each from its first piece's start to its last one's end, surest of the mean."""
    words: list[list[Piece]] = []
    for piece in pieces:
        if not words or piece.text[:1].isspace():
            words.append([])
        words[-1].append(piece)
    return tuple(
        Word(text, parts[0].start_ms, max(part.end_ms for part in parts), _mean(parts))
        for parts in words
        if (text := "".join(part.text for part in parts).strip())
    )


def timed_pieces(
    texts: Sequence[str],
    starts_s: Sequence[float],
    durations_s: Sequence[float],
    confidences: Sequence[float],
    duration_ms: int,
) -> list[Piece]:
    """Return pieces from the lists a recogniser gives; without a duration, one lasts until the next.

    Lists of another length than `texts` are taken for absent; without starts there are no pieces.
    """
    if len(starts_s) != len(texts):
        return []
    starts_ms = [min(round(start * 1000), duration_ms) for start in starts_s]
    pieces: list[Piece] = []
    for at, text in enumerate(texts):
        following_ms = starts_ms[at + 1] if at + 1 < len(texts) else duration_ms
        lasts_ms = round(durations_s[at] * 1000) if len(durations_s) == len(texts) else _LAST_PIECE_MS
        end_ms = max(starts_ms[at], min(starts_ms[at] + lasts_ms, following_ms, duration_ms))
        sure = round(confidences[at], 4) if len(confidences) == len(texts) else None
        pieces.append(Piece(text, starts_ms[at], end_ms, sure))
    return pieces


def _mean(pieces: Sequence[Piece]) -> float | None:
    known = [piece.confidence for piece in pieces if piece.confidence is not None]
    return round(sum(known) / len(known), 4) if known else None
