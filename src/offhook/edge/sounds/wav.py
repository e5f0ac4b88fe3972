"""WAV files: PCM of 8 to 32 bits and G.711, mono or more, at the rates that are in use.

A file cut off in its data is played as far as it goes; anything else that is wrong is refused.
"""

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from offhook.edge.sounds.sound import SAMPLE_RATES_HZ, Sound, SoundError

_PCM, _ALAW, _MULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_CHANNELS_MAX = 8
_HALVED_HZ = {2 * rate_hz: rate_hz for rate_hz in SAMPLE_RATES_HZ if 2 * rate_hz not in SAMPLE_RATES_HZ}
"""Rates that are exactly twice one that can be played: 32000, 44100 and 96000."""
_DOUBLED_HZ = {11_025: 22_050, 12_000: 24_000}


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    rate_hz: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def decode_wav(data: bytes) -> Sound:
    """Return the sound in a WAV file.

    Raises:
        SoundError: it is none, or of a kind that is not played here.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise SoundError("the file is not a wav file")
    form: _Format | None = None
    for name, content in _chunks(data):
        if name == b"fmt ":
            form = _read_format(content)
        elif name == b"data":
            if form is None:
                raise SoundError("the wav file does not say its format before its data")
            return _decode(form, content)
    raise SoundError("the wav file has no data")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _read_format(content: bytes) -> _Format:
    if len(content) < 16:
        raise SoundError("the format of the wav file is cut off")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack_from("<H", content, 24)[0]
    form = _Format(tag, channels, rate_hz, bits)
    known = (tag == _PCM and bits in (8, 16, 24, 32)) or (tag in (_ALAW, _MULAW) and bits == 8)
    if not known:
        raise SoundError("the wav file is neither PCM nor G.711")
    if not 1 <= channels <= _CHANNELS_MAX:
        raise SoundError(f"the wav file has {channels} channels")
    if rate_hz not in SAMPLE_RATES_HZ and rate_hz not in _HALVED_HZ and rate_hz not in _DOUBLED_HZ:
        raise SoundError(f"a wav file of {rate_hz} Hz is not played here")
    return form


def _decode(form: _Format, content: bytes) -> Sound:
    samples = _samples(form, content[: len(content) - len(content) % form.frame_bytes])
    if form.channels > 1:
        samples = _mixed(samples, form.channels)
    rate_hz = form.rate_hz
    if rate_hz in _HALVED_HZ:
        samples, rate_hz = _halved(samples), _HALVED_HZ[rate_hz]
    elif rate_hz in _DOUBLED_HZ:
        samples, rate_hz = _doubled(samples), _DOUBLED_HZ[rate_hz]
    if not samples:
        raise SoundError("the wav file is empty")
    if sys.byteorder == "big":
        samples.byteswap()
    return Sound(samples.tobytes(), rate_hz)


def _samples(form: _Format, content: bytes) -> "array[int]":
    if form.bits == 8:
        table = _table(form.tag)
        return array("h", [table[byte] for byte in content])
    if form.bits > 16:
        width = form.bits // 8
        high = bytearray(len(content) // width * 2)  # the upper two bytes of each sample
        high[0::2], high[1::2] = content[width - 2 :: width], content[width - 1 :: width]
        content = bytes(high)
    samples = array("h", content)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


@cache
def _table(tag: int) -> tuple[int, ...]:
    decode = {_PCM: _unsigned, _ALAW: _alaw, _MULAW: _mulaw}[tag]
    return tuple(decode(byte) for byte in range(256))


def _unsigned(byte: int) -> int:
    return (byte - 128) << 8


def _mulaw(byte: int) -> int:
    byte = ~byte & 0xFF
    level = (((byte & 0x0F) << 3) + 0x84 << (byte >> 4 & 7)) - 0x84
    return -level if byte & 0x80 else level


def _alaw(byte: int) -> int:
    byte ^= 0x55
    exponent, level = byte >> 4 & 7, (byte & 0x0F) << 4 | 8
    if exponent:
        level = (level | 0x100) << exponent - 1
    return level if byte & 0x80 else -level


def _mixed(samples: "array[int]", channels: int) -> "array[int]":
    tracks = [samples[channel::channels] for channel in range(channels)]
    return array("h", [sum(frame) // channels for frame in zip(*tracks, strict=True)])


def _halved(samples: "array[int]") -> "array[int]":
    """Return every other sample, smoothed by its neighbours; the core filters again at the call's rate."""
    middle, right = samples[0::2], samples[1::2]
    if len(right) < len(middle):
        right.append(middle[-1])
    left = array("h", [samples[0] if samples else 0]) + right
    return array("h", [a + 2 * b + c >> 2 for a, b, c in zip(left, middle, right, strict=False)])


def _doubled(samples: "array[int]") -> "array[int]":
    twice = array("h", bytes(4 * len(samples)))
    twice[0::2] = samples
    twice[1::2] = array("h", [a + b >> 1 for a, b in zip(samples, samples[1:] + samples[-1:], strict=True)])
    return twice
