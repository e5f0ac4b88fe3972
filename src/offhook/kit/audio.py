"""Audio for small tools: WAV files and levels, with the standard library alone.

The server's audio runs in the native core; this is for the phone, the stream server and checks.
"""

import math
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offhook.base.errors import ConfigError
from offhook.base.g711 import alaw_decode, mulaw_decode, to_pcm, to_samples

SAMPLE_RATES_HZ: Final = (8_000, 16_000, 22_050, 24_000, 48_000)
WAV_DURATION_S_MAX: Final = 3_600
"""Longer files are refused: they would be held in memory whole."""


class AudioFileError(ConfigError):
    """A WAV file cannot be used; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono audio in memory: signed 16-bit little-endian samples."""

    pcm: bytes
    sample_rate_hz: int

    @property
    def duration_ms(self) -> int:
        """Return its length, rounded down."""
        return len(self.pcm) // 2 * 1_000 // self.sample_rate_hz


def read_wav(path: Path) -> Sound:
    """Read a 16-bit PCM file of one of `SAMPLE_RATES_HZ`; the two channels of a stereo file are averaged.

    Raises:
        AudioFileError: it cannot be read, is no such file, or is longer than an hour.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            if width != 2 or channels not in (1, 2) or rate not in SAMPLE_RATES_HZ:
                raise AudioFileError(
                    f"{path} has {channels} channel(s) of {width * 8} bits at {rate} Hz; "
                    "16-bit PCM, mono or stereo, of 8000, 16000, 22050, 24000 or 48000 Hz is needed."
                )
            if file.getnframes() > WAV_DURATION_S_MAX * rate:
                raise AudioFileError(f"{path} is longer than {WAV_DURATION_S_MAX} s.")
            pcm = file.readframes(file.getnframes())
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read: {error.strerror}.") from None
    except (wave.Error, EOFError) as error:
        raise AudioFileError(f"{path} is not a PCM WAV file: {str(error) or 'it ends too early'}.") from None
    whole = len(pcm) - len(pcm) % (2 * channels)
    return Sound(pcm[:whole] if channels == 1 else _mix(pcm[:whole]), rate)


class WavWriter:
    """Writes 16-bit PCM to a WAV file as it comes; `close` makes the header right."""

    def __init__(self, path: Path, *, sample_rate_hz: int, channels: int = 1) -> None:
        try:
            self._raw = path.open("wb")
        except OSError as error:
            raise AudioFileError(f"{path} cannot be written: {error.strerror}.") from None
        self._file = wave.open(self._raw, "wb")  # noqa: SIM115 -- `close` closes it
        self._file.setnchannels(channels)
        self._file.setsampwidth(2)
        self._file.setframerate(sample_rate_hz)
        self._file.writeframes(b"")  # a header now, so that a file without audio is a file as well

    def write(self, pcm: bytes) -> None:
        """Append samples."""
        self._file.writeframesraw(pcm)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._raw.close()


def write_wav(path: Path, pcm: bytes, *, sample_rate_hz: int, channels: int = 1) -> None:
    """Write a whole file."""
    writer = WavWriter(path, sample_rate_hz=sample_rate_hz, channels=channels)
    writer.write(pcm)
    writer.close()


def decode(encoding: str, payload: bytes, byte_order: str = "little") -> bytes | None:
    """Return s16le for the encodings we can read (PCMU, PCMA, L16 in `byte_order`), else None."""
    match encoding:
        case "PCMU":
            return mulaw_decode(payload)
        case "PCMA":
            return alaw_decode(payload)
        case "L16":
            samples = array("h", payload[: len(payload) & ~1])
            if byte_order == "big":
                samples.byteswap()
            return samples.tobytes()
        case _:
            return None


def level_dbfs(pcm: bytes) -> float | None:
    """Return the RMS level of s16le in dB below full scale, or None for digital silence."""
    samples = to_samples(pcm)
    power = sum(sample * sample for sample in samples) / max(len(samples), 1)
    return 10 * math.log10(power / 32_768**2) if power else None


def samples_of(pcm: bytes) -> "array[int]":
    """Return s16le as an array of numbers."""
    return to_samples(pcm)


def _mix(stereo: bytes) -> bytes:
    samples = to_samples(stereo)
    pairs = zip(samples[::2], samples[1::2], strict=True)
    return to_pcm(array("h", [(left + right) // 2 for left, right in pairs]))
