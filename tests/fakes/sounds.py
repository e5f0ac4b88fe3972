"""Sound files for tests."""

import io
import wave


def pcm_wav(frames: bytes, *, rate_hz: int = 8_000, channels: int = 1, width: int = 2) -> bytes:
    """Return what the standard library writes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        writer.writeframes(frames)
    return file.getvalue()
