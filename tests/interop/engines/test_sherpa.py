"""sherpa-onnx with real weights of a segment model, and with a tiny streaming model of our own."""

import base64
from typing import Any

import pytest

from offhook.edge.speech.frames import Audio
from offhook.edge.speech.moonshine import read_tokens
from offhook.edge.speech.protocol import Final, Partial
from offhook.edge.speech.resample import double_rate, from_pcm
from offhook.edge.speech.sherpa import ENGINE
from offhook.edge.speech.weights import find_moonshine
from offhook.edge.speech.worker_core import WorkerCore
from offhook.kit.wer import word_error_rate
from tests.fakes import pcmu
from tests.fakes.speech_clips import PAUSE, ROOT, SAID, SENTENCE, finals, noise, read_wav, transcribe
from tests.fakes.speech_engine import FakeDetector, silence, tone
from tests.interop.engines.conftest import Start

pytest.importorskip("sherpa_onnx", reason="needs the extra offhook[sherpa]")
pytestmark = [pytest.mark.interop, pytest.mark.speech]

LOUDNESS = {"model_dir": str(ROOT / "tests/data/streaming-t-one-loudness")}
"""It says " low" at a peak of 1000 and " high" at 10000, within each 30 ms; see `make.py` beside it."""


@pytest.fixture(scope="module")
def moonshine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return options: the weights of the local engine, in the form that sherpa-onnx reads."""
    files = find_moonshine()
    folder = tmp_path_factory.mktemp("moonshine-tiny-en")
    for path in (files.encoder, files.decoder):
        (folder / path.name).symlink_to(path)
    tokens = read_tokens(files.tokenizer.read_bytes())
    lines = (f"{base64.b64encode(token).decode()} {number}\n" for number, token in enumerate(tokens))
    (folder / "tokens.txt").write_text("".join(lines))
    return {"model_dir": str(folder), "languages": ["en"]}


async def test_a_segment_model_is_understood_over_the_telephone(
    start: Start, moonshine: dict[str, Any]
) -> None:
    service = await start("sherpa-onnx", moonshine)
    events = await transcribe(service, pcmu.round_trip(read_wav(SENTENCE)) + PAUSE, begin_ms=5_000)
    assert word_error_rate(SAID[SENTENCE], finals(events)) <= 0.15
    final = next(event for event in events if isinstance(event, Final))
    assert (final.confidence, final.language) == (None, "en"), "such a model gives no probabilities"
    assert " ".join(word.text for word in final.words) == final.text
    times = [time for word in final.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert final.start_ms <= times[0]
    assert times[-1] <= final.end_ms


def test_noise_and_silence_break_no_segment_model(moonshine: dict[str, Any]) -> None:
    recognizer = ENGINE.load(moonshine)
    for pcm in (silence(2000), noise(2000, 600), silence(20)):
        recognizer.transcribe(pcm, 8000)


async def test_a_streaming_model_runs_in_a_worker_and_gives_partials_of_its_own(start: Start) -> None:
    service = await start("sherpa-onnx", LOUDNESS)
    events = await transcribe(service, pcmu.round_trip(read_wav(SENTENCE)) + PAUSE)
    told = [event for event in events if isinstance(event, Partial | Final)]
    assert isinstance(told[0], Partial)
    assert isinstance(told[-1], Final)
    assert told[-1].text.startswith("low")
    assert told[-1].text.startswith(told[0].text)
    assert [word.text for word in told[-1].words] == told[-1].text.split()


class _Tones:
    """The streaming model behind a detector that takes tones for speech."""

    def __init__(self) -> None:
        self._model: Any = ENGINE.load(LOUDNESS)
        self.begin, self.transcribe = self._model.begin, self._model.transcribe

    def detector(self, sample_rate_hz: int) -> FakeDetector:
        return FakeDetector(sample_rate_hz)


@pytest.fixture(scope="module")
def tones() -> _Tones:
    return _Tones()


def test_a_streaming_model_hears_an_utterance_bit_by_bit_with_its_own_times(tones: _Tones) -> None:
    core = WorkerCore(tones, lambda: 0.0)
    config = {
        "language": "en",
        "phrases": [],
        "interim": True,
        "sample_rate_hz": 8000,
        "endpoint_ms": 500,
        "max_segment_s": 12.0,
        "partial_ms": 500,
    }
    told = core.receive({"op": "open", "s": 1, "utterance": 0, "config": config})
    pcm = silence(1000) + tone(1, 900) + silence(300) + tone(10, 900) + silence(1000)
    for at in range(0, len(pcm), 1600):
        told += core.receive(Audio(1, 60_000 + at // 16, pcm[at : at + 1600]))
        while core.has_work:
            told += core.work()
    texts = [(message["ev"], message["text"]) for message in told if message["ev"] in ("partial", "final")]
    # Where a step of 30 ms holds the end of the silence, it is low too.
    assert texts[0] == ("partial", "low")
    assert texts[1][0] == "partial"
    assert texts[-1] in [("final", "low high"), ("final", "low low high")]
    low, *_, high = next(message["words"] for message in told if message["ev"] == "final")
    assert abs(low[1] - 61_000) <= 150
    assert abs(high[1] - 62_200) <= 150


def test_a_streaming_model_hears_the_same_at_16_khz(tones: _Tones) -> None:
    samples = double_rate(from_pcm(tone(1, 600) + silence(400) + tone(10, 600)))
    pcm = (samples * 32767).clip(-32768, 32767).astype("<i2").tobytes()
    assert tones.transcribe(pcm, 16_000).text.startswith("low high")


def test_pieces_of_any_size_say_the_same(tones: _Tones) -> None:
    pcm = tone(1, 600) + silence(400) + tone(10, 900) + silence(200) + tone(1, 400)
    for size in (160, 1602, 16_000):
        decoder = tones.begin(8000)
        for at in range(0, len(pcm), size):
            decoder.hear(pcm[at : at + size])
        assert decoder.end() == tones.transcribe(pcm, 8000)
