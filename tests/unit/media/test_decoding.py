"""Sound in pieces, by the core: what comes out is what was said, whatever it was written as."""

import io
import wave
from array import array
from pathlib import Path

import pytest

from offhook.edge.media.decoding import SoundDecoder, SoundFormat
from offhook.edge.media.engine import MediaError

pytestmark = pytest.mark.unit

SAID = array("h", [0, 100, -100, 30_000, -30_000] * 400)
MP3 = Path(__file__).parents[2] / "data/mp3/tone-16000-mono.mp3"


def wav(pcm: bytes, *, rate_hz: int, channels: int) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(pcm)
    return written.getvalue()


def heard(decoder: SoundDecoder, data: bytes, piece: int = 100) -> list[bytes]:
    channels: list[bytes] = []
    pieces = [decoder.push(data[at : at + piece]) for at in range(0, len(data), piece)]
    for found in [*pieces, decoder.finish()]:
        channels += [b""] * (len(found) - len(channels))
        channels = [before + now for before, now in zip(channels, found, strict=True)]
    return channels


def test_each_channel_of_a_file_is_heard_for_itself_or_all_as_one() -> None:
    both = array("h")
    for sample in SAID:
        both.extend([sample, -sample])
    file = wav(both.tobytes(), rate_hz=16_000, channels=2)
    decoder = SoundDecoder("file", to_hz=16_000, mix=False)
    assert decoder.sample_rate_hz is None
    left, right = heard(decoder, file)
    assert decoder.sample_rate_hz == 16_000
    assert left == SAID.tobytes()
    assert right == array("h", [-sample for sample in SAID]).tobytes()
    assert heard(SoundDecoder("wav", to_hz=16_000), file) == [bytes(len(left))]


@pytest.mark.parametrize(
    ("kind", "bytes_a_sample"), [("linear16", 2), ("linear32", 4), ("mulaw", 1), ("alaw", 1)]
)
def test_bare_samples_change_their_rate(kind: SoundFormat, bytes_a_sample: int) -> None:
    [pcm] = heard(SoundDecoder(kind, to_hz=16_000, sample_rate_hz=48_000), bytes(48_000 * bytes_a_sample))
    assert len(pcm) // 2 in range(16_000, 16_100)


def test_an_mp3_file_is_heard() -> None:
    [pcm] = heard(SoundDecoder("file", to_hz=16_000), MP3.read_bytes())
    assert max(array("h", pcm)) > 5_000


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(MediaError, match="neither a wav nor an mp3"):
        heard(SoundDecoder("file", to_hz=8_000), b"not a sound")
    with pytest.raises(MediaError, match="7000 Hz"):
        SoundDecoder("linear16", to_hz=8_000, sample_rate_hz=7_000)
    with pytest.raises(MediaError):
        SoundDecoder("linear16", to_hz=8_000, sample_rate_hz=-1)
