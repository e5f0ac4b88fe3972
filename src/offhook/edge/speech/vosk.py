"""The engine `vosk`: Kaldi models for many languages, small and quick, by the Vosk library (Apache-2.0).

Importing this module needs nothing; `check` and `load` need the extra `offhook[vosk]` and a model's folder.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from offhook.edge.speech import extras
from offhook.edge.speech.onnx import Detectors
from offhook.edge.speech.protocol import (
    PLAIN,
    EngineInfo,
    Heard,
    SegmentConfig,
    SegmentEngine,
    SegmentRecognizer,
    SpeechUnavailable,
    Word,
)

_MODEL_FILES = ("am/final.mdl", "final.mdl")
"""Either is in every model, by its age."""


class VoskEngine(SegmentEngine):
    """A Vosk model. Partials, word times and confidences are its own.

    Options: `model_dir`, the model's folder; `languages`, what it knows (empty: any is accepted).
    """

    info = EngineInfo(name="vosk", languages=(), sample_rates_hz=(8000, 16000), word_times="measured")

    def info_for(self, options: Mapping[str, Any]) -> EngineInfo:
        """Return what the operator says of the model."""
        return replace(self.info, languages=extras.languages(options))

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable unless the library and a model are there."""
        extras.require("vosk", "vosk", "vosk", "onnxruntime", "numpy")
        folder = extras.model_folder("vosk", options)
        if not any((folder / name).is_file() for name in _MODEL_FILES):
            raise SpeechUnavailable(
                f"vosk.model_dir holds no Vosk model: {' or '.join(_MODEL_FILES)} is missing in {folder}"
            )

    def load(self, options: Mapping[str, Any]) -> SegmentRecognizer:
        """Load the model: seconds and hundreds of MB, by its size."""
        self.check(options)
        return VoskRecognizer(extras.model_folder("vosk", options))


ENGINE = VoskEngine()


class VoskRecognizer(Detectors):
    """The loaded model."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        import vosk

        vosk.SetLogLevel(-1)
        self._vosk: Any = vosk
        try:
            self._model: Any = vosk.Model(model_path=str(folder))
        except Exception as err:
            raise SpeechUnavailable(f"vosk cannot load the model in {folder}") from err

    def begin(self, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> "VoskDecoder":
        """Return a decoder for one segment."""
        del config
        return VoskDecoder(self._vosk.KaldiRecognizer(self._model, sample_rate_hz))

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment."""
        decoder = self.begin(sample_rate_hz, config)
        decoder.hear(pcm)
        return decoder.end()


class VoskDecoder:
    """Hears one segment. The library ends sentences by itself, so its results are collected."""

    def __init__(self, recognizer: Any) -> None:
        self._recognizer = recognizer
        recognizer.SetWords(True)
        recognizer.SetPartialWords(True)
        self._words: list[Word] = []

    def hear(self, pcm: bytes) -> Heard:
        """Take more samples and return the words so far."""
        if self._recognizer.AcceptWaveform(pcm):
            self._words += read_words(self._recognizer.Result())
            return heard(self._words)
        return heard(self._words + read_words(self._recognizer.PartialResult()))

    def end(self) -> Heard:
        """Return the words of all that was taken."""
        return heard(self._words + read_words(self._recognizer.FinalResult()))


def read_words(result: str) -> list[Word]:
    """Return the words of a result or partial result of the library."""
    body = json.loads(result)
    return [
        Word(word["word"], round(word["start"] * 1000), round(word["end"] * 1000), round(word["conf"], 4))
        for word in body.get("result") or body.get("partial_result") or ()
    ]


def heard(words: list[Word]) -> Heard:
    """Return words as text; its confidence is their mean."""
    sure = [word.confidence for word in words if word.confidence is not None]
    return Heard(
        " ".join(word.text for word in words),
        round(sum(sure) / len(sure), 4) if sure else 0.0,
        tuple(words),
    )
