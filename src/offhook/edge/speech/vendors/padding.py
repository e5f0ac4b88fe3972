"""Silence that we say between the audio of a connection, and the way back from the vendor's clock. Pure.

Some services know neither a message that ends an utterance nor one that keeps the connection open:
silence does both. It is not audio of the call, so times after it are put back.
"""

from collections import deque


class Padding:
    """Counts the audio and the silence of one connection."""

    SPANS_MAX = 1_000
    """Beyond it the oldest are merged: what lies there was settled long ago."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._per_ms = sample_rate_hz // 1000
        self._samples = 0
        self._merged_ms = 0
        self._spans: deque[tuple[int, int]] = deque()
        """(ms of audio before it, ms of silence)."""

    def heard(self, pcm: bytes) -> None:
        """Note that audio of the call is sent."""
        self._samples += len(pcm) // 2

    def silence(self, duration_ms: int) -> bytes:
        """Return s16le silence to be sent now."""
        at_ms = self._samples // self._per_ms
        if self._spans and self._spans[-1][0] == at_ms:
            duration_before_ms = self._spans.pop()[1]
        else:
            duration_before_ms = 0
        self._spans.append((at_ms, duration_before_ms + duration_ms))
        if len(self._spans) > self.SPANS_MAX:
            self._merged_ms += self._spans.popleft()[1]
        return bytes(duration_ms * self._per_ms * 2)

    def audio_ms(self, at_ms: int) -> int:
        """Return where `at_ms` of all that was sent lies in the audio of the call."""
        silent_ms = self._merged_ms
        for begin_ms, duration_ms in self._spans:
            over_ms = at_ms - silent_ms - begin_ms
            if over_ms <= 0:
                break
            silent_ms += min(over_ms, duration_ms)
        return max(0, at_ms - silent_ms)
