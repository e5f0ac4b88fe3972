"""The audio of one session that a vendor has still to hear, or to settle. Pure; counts in samples.

Audio is cut into pieces as long as the vendor wants its messages. A piece that was taken stays here
until it is settled, so that another connection can hear it again.
"""

import array
import sys
from collections import deque
from dataclasses import dataclass, field

from offhook.base.limits import SPEECH_QUEUED_MS, SPEECH_REPLAY_MS

_SLACK_MS = 40
"""Rounding of times, not a hole."""
_FILLED_HOLE_MS = 1_000
"""Longer holes are not told to the vendor as silence."""
_PREROLL_MS = 500
"""Quiet audio before speech that is heard again with it."""
_QUIET_PEAK = 200
"""-44 dBFS: below it there is nothing to be heard again."""
_LOUD_PEAK = 2_000
"""-24 dBFS: somebody speaks, most likely."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio that begins at sample `at` of the leg's clock; without audio, the wish to end the utterance."""

    at: int
    pcm: bytes = field(repr=False)

    @property
    def samples(self) -> int:
        """How long it is."""
        return len(self.pcm) // 2

    @property
    def end(self) -> int:
        """The sample after it."""
        return self.at + self.samples


class Backlog:
    """Keeps what was pushed in order, bounded: the oldest that waits is dropped and counted."""

    def __init__(self, sample_rate_hz: int, *, chunk_ms: int) -> None:
        self._per_ms = sample_rate_hz // 1000
        self._chunk_bytes = max(1, chunk_ms) * self._per_ms * 2
        self._tail = bytearray()
        self._next = 0
        """The sample after all that was pushed."""
        self._begun = False
        self._unsent: deque[Piece] = deque()
        self._unsettled: deque[Piece] = deque()
        self._unsent_samples = 0
        self._unsettled_samples = 0
        self.dropped_samples = 0

    @property
    def waiting(self) -> bool:
        """True when `take` has something."""
        return bool(self._unsent)

    @property
    def waiting_ms(self) -> int:
        """How much `take` would give in all."""
        return self._unsent_samples // self._per_ms

    @property
    def collecting(self) -> bool:
        """True while audio waits that is shorter than a piece."""
        return bool(self._tail)

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take audio that begins at `at_ms`. Short holes become silence; a long one ends the utterance."""
        pcm = pcm[: len(pcm) & ~1]
        at = at_ms * self._per_ms
        hole = at - self._next
        if not self._begun:
            self._begun = True
            self._next = at
        elif _SLACK_MS * self._per_ms < hole <= _FILLED_HOLE_MS * self._per_ms:
            self._append(bytes(hole * 2))
        elif abs(hole) > _SLACK_MS * self._per_ms:
            self.flush()
            self._next = at
        self._append(pcm)
        self._trim_unsent()

    def flush(self) -> None:
        """Ask for the end of the utterance after what was pushed so far."""
        self.cut()
        if not self._unsent or self._unsent[-1].pcm:
            self._queue(Piece(self._next, b""))

    def cut(self) -> None:
        """Let go of audio that is shorter than a piece."""
        if self._tail:
            self._queue(Piece(self._next - len(self._tail) // 2, bytes(self._tail)))
            self._tail.clear()

    def take(self) -> Piece | None:
        """Return the next piece for the vendor; it is unsettled from now on."""
        if not self._unsent:
            return None
        piece = self._unsent.popleft()
        self._unsent_samples -= self._weight(piece)
        self._unsettled.append(piece)
        self._unsettled_samples += self._weight(piece)
        while self._unsettled_samples > SPEECH_REPLAY_MS * self._per_ms:
            self._unsettled_samples -= self._weight(self._unsettled.popleft())
        return piece

    def settle(self, until_ms: int) -> None:
        """Forget what was taken and lies before `until_ms`."""
        until = until_ms * self._per_ms
        while self._unsettled:
            piece = self._unsettled[0]
            if piece.end > until:
                break
            self._unsettled_samples -= self._weight(self._unsettled.popleft())
        if self._unsettled and (piece := self._unsettled[0]).at < until:
            rest = Piece(until, piece.pcm[(until - piece.at) * 2 :])
            self._unsettled_samples += self._weight(rest) - self._weight(piece)
            self._unsettled[0] = rest

    def rewind(self) -> bool:
        """Prepare to be heard again: all that is not settled waits again, without quiet audio before it.

        Returns:
            Whether there is anything but quiet.
        """
        self._unsent.extendleft(reversed(self._unsettled))
        self._unsent_samples += self._unsettled_samples
        self._unsettled.clear()
        self._unsettled_samples = 0
        quiet: deque[Piece] = deque()
        quiet_samples = 0
        while self._unsent and peak(self._unsent[0].pcm) < _QUIET_PEAK:
            piece = self._unsent.popleft()
            self._unsent_samples -= self._weight(piece)
            quiet.append(piece)
            quiet_samples += piece.samples
            while quiet_samples > _PREROLL_MS * self._per_ms:
                quiet_samples -= quiet.popleft().samples
        speech = bool(self._unsent)
        for piece in reversed(quiet):
            if piece.pcm:
                self._unsent.appendleft(piece)
                self._unsent_samples += self._weight(piece)
        return speech

    def pieces(self) -> list[tuple[int, bytes]]:
        """Return all that is not settled, as (start in ms, s16le), oldest first."""
        result = [(p.at // self._per_ms, p.pcm) for p in (*self._unsettled, *self._unsent) if p.pcm]
        if self._tail:
            result.append(((self._next - len(self._tail) // 2) // self._per_ms, bytes(self._tail)))
        return result

    def _append(self, pcm: bytes) -> None:
        at = 0
        while at < len(pcm):
            part = pcm[at : at + self._chunk_bytes - len(self._tail)]
            self._tail += part
            self._next += len(part) // 2
            at += len(part)
            if len(self._tail) == self._chunk_bytes:
                self.cut()

    def _queue(self, piece: Piece) -> None:
        self._unsent.append(piece)
        self._unsent_samples += self._weight(piece)

    def _trim_unsent(self) -> None:
        # After a rewind the audio that is heard again waits as well.
        bound = (SPEECH_QUEUED_MS + SPEECH_REPLAY_MS) * self._per_ms
        while self._unsent_samples + self._unsettled_samples > bound:
            dropped = self._unsent.popleft()
            self._unsent_samples -= self._weight(dropped)
            self.dropped_samples += dropped.samples

    def _weight(self, piece: Piece) -> int:
        # Even a wish without audio weighs something, or a queue of them would have no bound.
        return max(self._per_ms, piece.samples)


class Timeline:
    """Where the audio of one connection lies on the leg's clock."""

    SPANS_MAX = 1_000

    def __init__(self, sample_rate_hz: int) -> None:
        self._per_ms = sample_rate_hz // 1000
        self._spans: deque[tuple[int, int, bool]] = deque(maxlen=self.SPANS_MAX)
        """(sample of the connection, sample of the leg, is it the leg's), where each unbroken span begins."""
        self._leg_end = 0
        self._sent = 0

    def add(self, piece: Piece) -> None:
        """Note that `piece` is sent next."""
        if not self._spans or not self._spans[-1][2] or self._leg_end != piece.at:
            self._spans.append((self._sent, piece.at, True))
        self._sent += piece.samples
        self._leg_end = piece.end

    def pad(self, samples: int) -> None:
        """Note that audio is sent next which is not the leg's: its clock stands still."""
        if not self._spans or self._spans[-1][2]:
            self._spans.append((self._sent, self._leg_end, False))
        self._sent += samples

    def leg_ms(self, at_ms: int, *, end: bool = False) -> int:
        """Return where `at_ms` of the connection's audio lies; `end`: it ends something.

        What a vendor says is never trusted further than the audio it was sent.
        """
        at = min(max(0, at_ms * self._per_ms), self._sent)
        begin, leg, is_leg = self._spans[0] if self._spans else (0, 0, False)
        for span in reversed(self._spans):
            if span[0] < at or (span[0] == at and not end):
                begin, leg, is_leg = span
                break
        return (leg + (max(0, at - begin) if is_leg else 0)) // self._per_ms


def peak(pcm: bytes) -> int:
    """Return the largest sample of s16le audio; 0 when there is none."""
    samples = array.array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    highest, lowest = (max(samples), min(samples)) if samples else (0, 0)
    return max(highest, -lowest)


def is_loud(pcm: bytes) -> bool:
    """Return whether somebody seems to speak."""
    return peak(pcm) >= _LOUD_PEAK
