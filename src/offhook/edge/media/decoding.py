"""Sound that comes in pieces: any format and rate in, s16le at one rate out. The work is the core's."""

from typing import Literal

from offhook.edge.media.engine import MediaError
from offhook.edge.media.native import load_core

__all__ = ["SoundDecoder", "SoundFormat"]

SoundFormat = Literal["file", "wav", "mp3", "linear16", "linear32", "mulaw", "alaw"]
"""What sound is written as; "file" is wav or mp3, told apart by how it begins."""


class SoundDecoder:
    """Decodes one sound.

    Args:
        kind: what it is written as.
        to_hz: the rate of what comes out, 8000 to 48000.
        sample_rate_hz: the rate of bare samples; wav and mp3 tell theirs.
        mix: make all channels one.

    Raises:
        ConfigError: the core is not built.
        MediaError: such a rate cannot be changed to the one that is wanted.
    """

    def __init__(self, kind: SoundFormat, *, to_hz: int, sample_rate_hz: int = 0, mix: bool = True) -> None:
        self._core = load_core()
        try:
            self._decoder = self._core.SoundDecoder(kind, to_hz=to_hz, sample_rate_hz=sample_rate_hz, mix=mix)
        except (self._core.MediaError, OverflowError) as error:
            raise MediaError(str(error)) from None

    @property
    def sample_rate_hz(self) -> int | None:
        """The rate of what comes in, once that is known."""
        rate_hz: int | None = self._decoder.sample_rate_hz
        return rate_hz

    def push(self, data: bytes) -> list[bytes]:
        """Return what `data` completes, for each channel; nothing while their number is not known.

        Raises:
            MediaError: it is not such sound; nothing sensible follows.
        """
        try:
            channels: list[bytes] = self._decoder.push(data)
        except self._core.MediaError as error:
            raise MediaError(str(error)) from None
        return channels

    def finish(self) -> list[bytes]:
        """Return what waited for more, now that nothing more comes.

        Raises:
            MediaError: the sound ended before its audio began.
        """
        try:
            channels: list[bytes] = self._decoder.finish()
        except self._core.MediaError as error:
            raise MediaError(str(error)) from None
        return channels
