"""WAV files of every kind that is played, and of those that are not."""

import io
import struct
import wave
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.sounds.sound import SoundError
from offhook.edge.sounds.wav import decode_wav
from offhook.kit.audio import alaw_decode, mulaw_decode

pytestmark = pytest.mark.unit


def pcm_wav(frames: bytes, *, rate_hz: int = 8_000, channels: int = 1, width: int = 2) -> bytes:
    """Return what the standard library writes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        writer.writeframes(frames)
    return file.getvalue()


def riff(tag: int, bits: int, data: bytes, *, rate_hz: int = 8_000, channels: int = 1) -> bytes:
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, 0, 0, bits)
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # an odd chunk has a byte of padding
    chunks += b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def samples(file: bytes) -> list[int]:
    return list(array("h", decode_wav(file).pcm))


def refused(file: bytes) -> str:
    with pytest.raises(SoundError) as error:
        decode_wav(file)
    assert error.value.status == "failed"
    return str(error.value)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_sixteen_bits_at_a_rate_of_the_core_are_left_alone(rate_hz: int) -> None:
    pcm = array("h", range(-500, 500)).tobytes()
    sound = decode_wav(pcm_wav(pcm, rate_hz=rate_hz))
    assert (sound.pcm, sound.sample_rate_hz) == (pcm, rate_hz)
    assert sound.duration_s == 1000 / rate_hz


def test_other_widths_become_sixteen_bits() -> None:
    assert samples(pcm_wav(bytes([0, 128, 255]), width=1)) == [-32768, 0, 127 << 8]
    wide = b"\xff\x34\x12" + b"\x00\x00\x80"
    assert samples(pcm_wav(wide, width=3)) == [0x1234, -32768]
    assert samples(pcm_wav(struct.pack("<ii", 0x12345678, -1 << 31), width=4)) == [0x1234, -32768]


@pytest.mark.parametrize(("tag", "decode"), [(6, alaw_decode), (7, mulaw_decode)])
def test_g711_is_decoded_as_the_phone_decodes_it(tag: int, decode: "object") -> None:
    every = bytes(range(256))
    assert decode_wav(riff(tag, 8, every)).pcm == decode(every)  # type: ignore[operator]


def test_channels_are_mixed() -> None:
    stereo = array("h", [100, 300, -100, -300]).tobytes()
    assert samples(pcm_wav(stereo, channels=2)) == [200, -200]


@pytest.mark.parametrize(
    ("rate_hz", "played_hz"),
    [(32_000, 16_000), (44_100, 22_050), (96_000, 48_000), (11_025, 22_050), (12_000, 24_000)],
)
def test_rates_next_to_those_of_the_core_keep_length_and_level(rate_hz: int, played_hz: int) -> None:
    sound = decode_wav(pcm_wav(array("h", [1000] * 441).tobytes(), rate_hz=rate_hz))
    assert sound.sample_rate_hz == played_hz
    assert sound.duration_s == pytest.approx(441 / rate_hz, abs=1.01 / rate_hz)
    assert set(array("h", sound.pcm)) == {1000}


def test_a_file_cut_off_in_its_data_is_played_as_far_as_it_goes() -> None:
    whole = pcm_wav(array("h", [1, 2, 3]).tobytes())
    assert samples(whole[:-3]) == [1]


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"", "not a wav file"),
        (b"ID3\x04" + bytes(50), "not a wav file"),
        (b"RIFF\0\0\0\0WAVE", "no data"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "format before"),
        (b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcd", "cut off"),
        (pcm_wav(b""), "empty"),
        (riff(3, 32, bytes(8)), "neither PCM nor"),
        (riff(1, 12, bytes(8)), "neither PCM nor"),
        (riff(1, 16, bytes(8), channels=0), "0 channels"),
        (riff(1, 16, bytes(8), channels=9), "9 channels"),
        (riff(1, 16, bytes(8), rate_hz=7_999), "7999 Hz"),
    ],
)
def test_what_cannot_be_played_says_why(file: bytes, why: str) -> None:
    assert why in refused(file)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_do_more_than_be_refused(noise: bytes, cut: int) -> None:
    for file in (noise, b"RIFF\0\0\0\0WAVE" + noise, riff(1, 16, noise)[:-cut] if cut else riff(7, 8, noise)):
        try:
            sound = decode_wav(file)
        except SoundError:
            continue
        assert len(sound.pcm) % 2 == 0
        assert sound.pcm
