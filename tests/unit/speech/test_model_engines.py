"""Engines whose model the operator brings: what they ask for, and how their results are read."""

import json
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from offhook.app.settings import Settings
from offhook.app.speech import make_speech
from offhook.edge.speech import sherpa, vosk, whisper
from offhook.edge.speech.protocol import (
    LanguageUnsupported,
    SegmentEngine,
    SpeechNotInstalled,
    SpeechUnavailable,
    Word,
)
from offhook.edge.speech.service import SpeechService, engine_names

pytestmark = pytest.mark.unit

ENGINES: dict[str, SegmentEngine] = {
    "sherpa-onnx": sherpa.ENGINE,
    "faster-whisper": whisper.ENGINE,
    "vosk": vosk.ENGINE,
}
EXTRAS = {"sherpa-onnx": "sherpa", "faster-whisper": "whisper", "vosk": "vosk"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


@pytest.mark.parametrize("name", ENGINES)
def test_a_missing_package_says_which_extra_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(SpeechNotInstalled, match=rf"pip install 'offhook\[{EXTRAS[name]}\]'"):
        ENGINES[name].check({})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ENGINES)
def test_without_a_model_the_setting_is_named(name: str, tmp_path: Path) -> None:
    section = EXTRAS[name]
    with pytest.raises(SpeechUnavailable, match=rf"set {section}\.model_dir"):
        ENGINES[name].check({"model_dir": ""})
    with pytest.raises(SpeechUnavailable, match=rf"{section}\.model_dir is not a folder"):
        ENGINES[name].check({"model_dir": str(tmp_path / "nothing")})
    with pytest.raises(SpeechUnavailable, match=rf"{section}\."):
        ENGINES[name].check({"model_dir": str(tmp_path)})


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_engine_can_do_is_told_whatever_the_folder_holds(name: str, tmp_path: Path) -> None:
    for options in ({}, {"model_dir": ""}, {"model_dir": str(tmp_path)}, {"model_dir": str(tmp_path / "no")}):
        assert ENGINES[name].info_for(options).name == name


@pytest.mark.parametrize("name", ENGINES)
def test_the_settings_say_which_languages_are_taken(name: str) -> None:
    section = EXTRAS[name]
    settings = Settings.model_validate(
        {"speech": {"default_engine": name}, section: {"model_dir": "/nowhere", "languages": ["de-DE", "pt"]}}
    )
    service: SpeechService = make_speech(settings)
    info = service._engine(name).info
    assert info.languages == ("de", "pt")
    with pytest.raises(LanguageUnsupported):
        info.language_for("en-US")
    assert name in engine_names()


def test_whisper_knows_from_its_files_whether_it_is_english_only(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"lang_ids": list(range(98))}))
    options = {"model_dir": str(tmp_path)}
    assert whisper.ENGINE.info_for(options).language_for("auto") == "en"
    config.write_text(json.dumps({"lang_ids": list(range(99))}))
    assert whisper.ENGINE.info_for(options).language_for("auto_detect") == "auto"
    assert whisper.ENGINE.info_for(options).language_for("de-AT") == "de"
    config.write_text("[")
    assert len(whisper.ENGINE.info_for(options).languages) == 100
    assert not whisper.ENGINE.info_for(options).partials
    assert whisper.ENGINE.info_for(options | {"partials": True}).partials


def test_a_streaming_model_is_told_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "sherpa-onnx-whisper-base"
    folder.mkdir()
    for name in ("base-encoder.onnx", "base-decoder.onnx", "base-tokens.txt"):
        (folder / name).touch()
    info = sherpa.ENGINE.info_for({"model_dir": str(folder)})
    assert (info.partials, info.word_times, info.detects_language) == (False, "estimated", True)
    assert not sherpa.ENGINE.info_for({"model_dir": str(folder), "languages": ["de"]}).detects_language


def said(text: str, **more: Any) -> Any:
    words = [
        SimpleNamespace(word=word, start=at, end=at + 0.5, probability=0.9)
        for at, word in enumerate(text.split("|"))
    ]
    plain = {
        "avg_logprob": log(0.8),
        "no_speech_prob": 0.1,
        "compression_ratio": 1.2,
        "tokens": [1] * len(words),
    }
    return SimpleNamespace(text=text.replace("|", ""), words=words, **(plain | more))


def test_whisper_segments_become_text_words_and_confidence() -> None:
    heard = whisper.heard([said(" cold|-hearted| man."), said(" Yes.", avg_logprob=log(0.4))], "en")
    assert heard.text == "cold-hearted man. Yes."
    assert [word.text for word in heard.words] == ["cold-hearted", "man.", "Yes."]
    assert heard.words[0] == Word("cold-hearted", 0, 1500, 0.9)
    assert heard.confidence == pytest.approx((3 * 0.8 + 0.4) / 4)
    assert heard.language == "en"


def test_whisper_s_loops_and_its_doubts_about_silence_count() -> None:
    assert whisper.heard([said(" la| la", compression_ratio=3.0)], "en").text == ""
    doubted = whisper.heard([said(" Thank| you.", no_speech_prob=0.9)], "en").confidence
    assert doubted == pytest.approx(0.08)
    assert whisper.heard([], "en").confidence == 0.0


def test_vosk_results_become_words() -> None:
    result = json.dumps(
        {
            "result": [
                {"word": "hold", "start": 0.12, "end": 0.5, "conf": 0.75},
                {"word": "on", "start": 0.5, "end": 0.7, "conf": 1.0},
            ],
            "text": "hold on",
        }
    )
    heard = vosk.heard(vosk.read_words(result))
    assert (heard.text, heard.confidence) == ("hold on", 0.875)
    assert heard.words[0] == Word("hold", 120, 500, 0.75)
    assert vosk.read_words('{"partial": ""}') == []
    assert vosk.heard([]).text == ""


def test_sherpa_results_become_words_where_there_are_times() -> None:
    result = SimpleNamespace(
        text=" Hold on ",
        tokens=["\u2581Ho", "ld", " on"],
        timestamps=[0.1, 0.3, 0.6],
        durations=[],
        lang="<|en|>",
    )
    heard = sherpa.read_result(result, [log(0.5), log(0.7), log(0.9)], 1_000)
    assert (heard.text, heard.confidence, heard.language) == ("Hold on", 0.7, "en")
    assert heard.words == (Word("Hold", 100, 600, 0.6), Word("on", 600, 1000, 0.9))
    result.timestamps = []
    assert sherpa.read_result(result, [], 1_000).words == ()
    assert sherpa.read_result(result, [], 1_000).confidence is None


def test_half_a_character_is_no_text() -> None:
    class Broken:
        text = ""

        @property
        def tokens(self) -> list[str]:
            return [b"\xe2".decode()]

    assert sherpa.read_result(Broken(), [], 1_000).text == ""
