"""WAV files and levels of the kit."""

import wave
from pathlib import Path

import pytest

from offhook.kit.audio import AudioFileError, WavWriter, decode, level_dbfs, read_wav, samples_of, write_wav

pytestmark = pytest.mark.unit

EVERY_SAMPLE = b"".join(n.to_bytes(2, "little", signed=True) for n in range(-32_768, 32_768))


def test_a_wav_file_comes_back_as_written(tmp_path: Path) -> None:
    pcm = EVERY_SAMPLE[:6_400]
    write_wav(tmp_path / "a.wav", pcm, sample_rate_hz=16_000)
    sound = read_wav(tmp_path / "a.wav")
    assert (sound.pcm, sound.sample_rate_hz, sound.duration_ms) == (pcm, 16_000, 200)


def test_a_stereo_file_is_averaged(tmp_path: Path) -> None:
    pair = (100).to_bytes(2, "little", signed=True) + (-300).to_bytes(2, "little", signed=True)
    write_wav(tmp_path / "a.wav", pair * 8, sample_rate_hz=8_000, channels=2)
    assert list(samples_of(read_wav(tmp_path / "a.wav").pcm)) == [-100] * 8


def test_a_writer_that_got_no_audio_leaves_a_valid_file(tmp_path: Path) -> None:
    WavWriter(tmp_path / "a.wav", sample_rate_hz=8_000).close()
    assert read_wav(tmp_path / "a.wav").pcm == b""


@pytest.mark.parametrize(("width", "rate", "channels"), [(1, 8_000, 1), (2, 44_100, 1), (2, 8_000, 3)])
def test_other_formats_are_refused_by_name(tmp_path: Path, width: int, rate: int, channels: int) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setsampwidth(width)
        file.setframerate(rate)
        file.setnchannels(channels)
        file.writeframes(bytes(width * channels * 10))
    with pytest.raises(AudioFileError, match="16-bit PCM, mono or stereo"):
        read_wav(tmp_path / "a.wav")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 10, b"RIFF\xff\xff\xff\xffWAVEfmt "])
def test_what_is_no_wav_file_is_a_sentence_and_no_crash(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioFileError, match=r"a\.wav is not a PCM WAV file"):
        read_wav(tmp_path / "a.wav")


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match=r"a\.wav cannot be read: No such file"):
        read_wav(tmp_path / "a.wav")
    with pytest.raises(AudioFileError, match="cannot be written"):
        WavWriter(tmp_path / "no" / "a.wav", sample_rate_hz=8_000)


def test_levels_are_decibels_below_full_scale() -> None:
    assert level_dbfs(b"\x00\x00" * 100) is None
    assert level_dbfs(b"") is None
    half = level_dbfs((16_384).to_bytes(2, "little") * 100)
    assert half is not None
    assert abs(half - -6.02) < 0.01


def test_only_encodings_we_can_read_are_decoded() -> None:
    assert decode("PCMU", b"\xff") == b"\0\0"
    assert decode("PCMA", b"\xd5") == b"\x08\0"
    assert decode("L16", b"\1\2\3") == b"\1\2"
    assert decode("OPUS", b"\1") is None
