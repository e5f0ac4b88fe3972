"""A recording of the fake engine: a file that is written when it ends."""

import wave
from dataclasses import dataclass, field
from pathlib import Path

from offhook.edge.media import events
from offhook.edge.media.events import TapStats
from offhook.edge.media.fake_audio import add, resample
from offhook.edge.media.fake_stats import empty_tap_stats

__all__ = ["FakeRecording"]

_LOUD = 1000
_MARGIN_MS = 100


@dataclass(slots=True)
class FakeRecording:
    """Both tracks of a leg at 8 kHz, on the clock of the test."""

    tap_id: int
    path: Path
    rx: bool
    tx: bool
    dual: bool
    sample_rate_hz: int
    _from_ms: int
    max_ms: int = 0
    silence_timeout_ms: int = 0
    trim_silence: bool = False
    stats: TapStats = field(default_factory=lambda: empty_tap_stats("recording"))
    _tracks: dict[str, bytearray] = field(default_factory=lambda: {"rx": bytearray(), "tx": bytearray()})
    _paused_at_ms: int | None = None
    _left_out_ms: int = 0
    _heard_ms: int | None = None
    """Up to where something was heard, in the file."""

    def length_ms(self, now_ms: int) -> int:
        """Return how long the recording is now."""
        end_ms = now_ms if self._paused_at_ms is None else self._paused_at_ms
        return end_ms - self._from_ms - self._left_out_ms

    def take(self, track: str, pcm: bytes, now_ms: int) -> None:
        """Put 8 kHz audio behind what there is of the track, or where now is if that is later."""
        if self._paused_at_ms is not None or not (self.rx if track == "rx" else self.tx):
            return
        kept = self._tracks[track]
        kept.extend(bytes(max(0, 16 * self.length_ms(now_ms) - len(kept))))
        kept += pcm
        samples = memoryview(pcm[: len(pcm) // 2 * 2]).cast("h")
        if any(abs(sample) > _LOUD for sample in samples):
            self._heard_ms = len(kept) // 16

    def pause(self, now_ms: int) -> None:
        """Take nothing more."""
        if self._paused_at_ms is None:
            self._paused_at_ms = now_ms

    def resume(self, now_ms: int) -> None:
        """Go on."""
        if self._paused_at_ms is not None:
            self._left_out_ms += now_ms - self._paused_at_ms
            self._paused_at_ms = None

    def over(self, now_ms: int) -> str | None:
        """Return why the recording has ended by itself, if it has."""
        length_ms = self.length_ms(now_ms)
        if self.max_ms and length_ms >= self.max_ms:
            return "max_length"
        heard_ms = self._heard_ms
        silent = heard_ms is not None and length_ms - heard_ms >= self.silence_timeout_ms
        return "silence" if self.silence_timeout_ms and silent else None

    def close(self, leg_id: int, reason: str, now_ms: int) -> events.RecordingClosed:
        """Write the file and tell the end."""
        size = 16 * (min(self.length_ms(now_ms), self.max_ms) if self.max_ms else self.length_ms(now_ms))
        rx, tx = (bytes(self._tracks[track][:size]).ljust(size, b"\0") for track in ("rx", "tx"))
        if self.trim_silence:
            end = 0 if self._heard_ms is None else 16 * (self._heard_ms + _MARGIN_MS)
            rx, tx = rx[:end], tx[:end]
        duration_ms = len(rx) // 16
        self.stats["audio_ms"] = duration_ms
        rx, tx = (resample(track, 8000, self.sample_rate_hz) for track in (rx, tx))
        pcm = _beside(rx, tx) if self.dual else add(rx, tx)
        detail = ""
        try:
            with self.path.open("xb") as opened, wave.open(opened, "wb") as file:
                file.setnchannels(2 if self.dual else 1)
                file.setsampwidth(2)
                file.setframerate(self.sample_rate_hz)
                file.writeframes(pcm)
            size_bytes = 44 + len(pcm)
        except OSError as error:
            reason, detail, duration_ms, size_bytes = "failed", str(error), 0, 44
        return events.RecordingClosed(
            leg_id, self.tap_id, reason, detail, duration_ms, size_bytes, self.stats
        )


def _beside(left: bytes, right: bytes) -> bytes:
    pairs = zip(memoryview(left).cast("h"), memoryview(right).cast("h"), strict=True)
    return b"".join(sample.to_bytes(2, "little", signed=True) for pair in pairs for sample in pair)
