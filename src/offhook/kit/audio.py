"""Audio for small tools: WAV files, G.711 and levels, with the standard library alone.

The server's audio runs in the native core; this is for the phone, the stream server and checks,
and an independent second opinion on the core's codec.
"""

import math
import sys
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offhook.base.errors import ConfigError

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


def mulaw_decode(payload: bytes) -> bytes:
    """Expand PCMU to s16le."""
    return _to_bytes(array("h", map(_MULAW.__getitem__, payload)))


def alaw_decode(payload: bytes) -> bytes:
    """Expand PCMA to s16le."""
    return _to_bytes(array("h", map(_ALAW.__getitem__, payload)))


def mulaw_encode(pcm: bytes) -> bytes:
    """Compress s16le to PCMU."""
    return bytes(map(_mulaw_byte, _from_bytes(pcm)))


def alaw_encode(pcm: bytes) -> bytes:
    """Compress s16le to PCMA."""
    return bytes(map(_alaw_byte, _from_bytes(pcm)))


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
    samples = _from_bytes(pcm)
    power = sum(sample * sample for sample in samples) / max(len(samples), 1)
    return 10 * math.log10(power / 32_768**2) if power else None


def samples_of(pcm: bytes) -> "array[int]":
    """Return s16le as an array of numbers."""
    return _from_bytes(pcm)


def _mulaw_sample(byte: int) -> int:
    # G.711 table 2: the byte is sent inverted; 3 bits of segment, 4 of step, bias 132.
    byte ^= 0xFF
    magnitude = (((byte & 0x0F) * 8 + 132) << (byte >> 4 & 7)) - 132
    return -magnitude if byte & 0x80 else magnitude


def _alaw_sample(byte: int) -> int:
    # G.711 table 1: even bits are sent inverted.
    byte ^= 0x55
    segment, step = byte >> 4 & 7, (byte & 0x0F) * 16 + 8
    magnitude = step if segment == 0 else (step + 256) << (segment - 1)
    return magnitude if byte & 0x80 else -magnitude


_MULAW: Final = tuple(map(_mulaw_sample, range(256)))
_ALAW: Final = tuple(map(_alaw_sample, range(256)))


def _mulaw_byte(sample: int) -> int:
    # One's complement for negative samples, 14 bits, as the ITU's own tools do it (G.191).
    magnitude = min((sample if sample >= 0 else ~sample) // 4 + 33, 0x1FFF)
    segment = magnitude.bit_length() - 6
    byte = segment << 4 | (magnitude >> (segment + 1) & 0x0F)
    return (byte if sample < 0 else byte | 0x80) ^ 0x7F


def _alaw_byte(sample: int) -> int:
    magnitude = (sample if sample >= 0 else ~sample) // 16
    segment = max(magnitude.bit_length() - 4, 0)
    step = magnitude >> max(segment - 1, 0) & 0x0F
    return (segment << 4 | step | (0x80 if sample >= 0 else 0)) ^ 0x55


def _mix(stereo: bytes) -> bytes:
    samples = _from_bytes(stereo)
    pairs = zip(samples[::2], samples[1::2], strict=True)
    return _to_bytes(array("h", [(left + right) // 2 for left, right in pairs]))


def _from_bytes(pcm: bytes) -> "array[int]":
    samples = array("h")
    samples.frombytes(pcm[: len(pcm) & ~1])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _to_bytes(samples: "array[int]") -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
