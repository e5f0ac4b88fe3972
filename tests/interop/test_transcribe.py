"""`offhook transcribe` as a program, with the local engine and its real weights."""

import asyncio
import json
import sys
import wave
from array import array
from pathlib import Path

import pytest

from offhook.kit.audio import read_wav
from offhook.kit.wer import word_error_rate

pytest.importorskip("onnxruntime", reason="needs the extra offhook[speech]")
pytest.importorskip("moonshine_voice", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(120)]

CLIPS = Path(__file__).parents[1] / "data/speech"
SAID: dict[str, str] = json.loads((CLIPS / "transcripts.json").read_text("utf-8"))
ROUNDS = 5


def two_speakers() -> tuple[bytes, list[str]]:
    """Return a stereo recording at 16 kHz of all clips again and again, and what each channel says."""
    names = sorted(SAID)
    channels = []
    for order in (names, names[::-1]):
        pcm = b"".join(read_wav(CLIPS / name).pcm + bytes(16 * 900) for name in order)
        channels.append(array("h", pcm * ROUNDS))
    frames = array("h")
    for left, right in zip(*channels, strict=True):
        # Each sample twice: a recording of 16 kHz made in the simplest way.
        frames.extend([left, right, left, right])
    return frames.tobytes(), [
        " ".join(SAID[name] for name in order * ROUNDS) for order in (names, names[::-1])
    ]


async def test_minutes_of_two_speakers_are_heard_whole_and_apart(tmp_path: Path) -> None:
    pcm, said = two_speakers()
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm)
    with (tmp_path / "call.wav").open("rb") as recording:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "offhook", "transcribe", "-", "--engine", "local", "--json"),
            cwd=tmp_path,
            stdin=recording,
            stdout=asyncio.subprocess.PIPE,
        )
    out, _ = await process.communicate()
    *finals, result = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert (result["engine"], result["channels"], result["dropped_ms"]) == ("local", 2, 0)
    assert result["audio_s"] == pytest.approx(len(pcm) / 4 / 16_000, abs=0.1)
    for channel, text in enumerate(said, start=1):
        heard = [final for final in finals if final["channel"] == channel]
        assert word_error_rate(text, " ".join(final["transcript"] for final in heard)) < 0.15
        assert all(final["words"] and final["start_ms"] < final["end_ms"] for final in heard)
        assert [final["start_ms"] for final in heard] == sorted(final["start_ms"] for final in heard)
