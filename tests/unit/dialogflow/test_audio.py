"""Reply audio in every form that Google may send it."""

import io
import wave
from array import array
from enum import IntEnum

import pytest

from offhook.base.g711 import alaw_decode, mulaw_decode
from offhook.edge.dialogflow.audio import decode_reply, encoding_of
from offhook.edge.dialogflow.protocol import DialogflowError

pytestmark = pytest.mark.unit

PCM = array("h", [0, 1, -1, 32767, -32768, 500]).tobytes()


def wav(pcm: bytes, *, rate_hz: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate_hz)
        out.writeframes(pcm)
    return file.getvalue()


def header(kind: int, bits: int, rate_hz: int = 8_000) -> bytes:
    """Return a WAV header of a stream, which claims more than there is."""
    fmt = b"".join(
        value.to_bytes(size, "little")
        for value, size in ((kind, 2), (1, 2), (rate_hz, 4), (rate_hz, 4), (1, 2), (bits, 2))
    )
    endless = (0xFFFFFFFF).to_bytes(4, "little")
    return b"RIFF" + endless + b"WAVE" + b"fmt \x10\0\0\0" + fmt + b"LIST\x03\0\0\0abc\0" + b"data" + endless


def test_a_wav_header_says_better_than_the_response() -> None:
    assert decode_reply(wav(PCM), encoding="MULAW", sample_rate_hz=8_000) == (PCM, 16_000)


def test_bare_samples_are_what_the_response_says() -> None:
    assert decode_reply(PCM + b"\1", encoding="LINEAR16", sample_rate_hz=8_000) == (PCM, 8_000)


def test_g711_is_expanded_bit_exactly() -> None:
    every = bytes(range(256))
    assert decode_reply(every, encoding="MULAW", sample_rate_hz=8_000)[0] == mulaw_decode(every)
    assert decode_reply(every, encoding="ALAW", sample_rate_hz=8_000)[0] == alaw_decode(every)


def test_g711_may_come_in_a_wav_of_unknown_length() -> None:
    every = bytes(range(256))
    assert decode_reply(header(7, 8) + every, encoding="", sample_rate_hz=0) == (mulaw_decode(every), 8_000)
    assert decode_reply(header(6, 8) + every, encoding="", sample_rate_hz=0) == (alaw_decode(every), 8_000)


@pytest.mark.parametrize(
    "data",
    [
        wav(PCM, channels=2),
        wav(PCM, width=1),
        wav(PCM, rate_hz=44_100),
        wav(PCM)[:30],
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\1\0data\0\0\0\0",
        header(85, 8),
    ],
)
def test_what_cannot_be_played_is_told(data: bytes) -> None:
    with pytest.raises(DialogflowError, match="the agent's audio"):
        decode_reply(data, encoding="LINEAR16", sample_rate_hz=8_000)


@pytest.mark.parametrize("encoding", ["OGG_OPUS", "MP3", ""])
def test_compressed_audio_is_refused(encoding: str) -> None:
    with pytest.raises(DialogflowError, match="format"):
        decode_reply(b"abc", encoding=encoding, sample_rate_hz=8_000)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("LINEAR_16", "LINEAR16"),
        ("UNSPECIFIED", "LINEAR16"),
        ("MULAW", "MULAW"),
        ("ALAW", "ALAW"),
        ("MP3", "MP3"),
    ],
)
def test_both_libraries_name_an_encoding_alike(name: str, short: str) -> None:
    assert encoding_of(IntEnum("E", {f"OUTPUT_AUDIO_ENCODING_{name}": 1})(1)) == short


def test_an_encoding_newer_than_the_library_is_refused_like_any_unknown_one() -> None:
    assert encoding_of(99) == ""
