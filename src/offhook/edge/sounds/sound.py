"""A decoded sound, and why there is none."""

from dataclasses import dataclass

from offhook.base.errors import OffhookError


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono audio in memory: signed 16-bit little-endian samples."""

    pcm: bytes
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Return its length."""
        return len(self.pcm) / 2 / self.sample_rate_hz


class SoundError(OffhookError):
    """A sound cannot be had; `status` is that of `call.playback.ended`, the text says why."""

    def __init__(self, detail: str, status: str = "failed") -> None:
        super().__init__(detail)
        self.status = status
