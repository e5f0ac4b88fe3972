"""The engine `faster-whisper`: Whisper models in CTranslate2's format (MIT), about a hundred languages.

Importing this module needs nothing; `check` and `load` need the extra `offhook[whisper]` and a model's folder.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

from offhook.edge.speech import extras
from offhook.edge.speech.onnx import Detectors
from offhook.edge.speech.phrases import PHRASE_FIELDS
from offhook.edge.speech.pieces import Piece, join_pieces
from offhook.edge.speech.protocol import (
    PLAIN,
    EngineInfo,
    Heard,
    SegmentConfig,
    SegmentEngine,
    SegmentRecognizer,
    SpeechUnavailable,
)
from offhook.edge.speech.resample import to_model_rate

LANGUAGES = tuple(
    """
    en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur
    hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si
    km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha
    ba jw su yue
    """.split()  # noqa: SIM905 - a hundred quoted strings are not easier to read
)
_FILES = ("model.bin", "config.json", "tokenizer.json")
_MULTILINGUAL_LANGUAGES_MIN = 99
"""Models for English alone list fewer in their configuration."""
_LOOP_COMPRESSION = 2.4
_NO_SPEECH = 0.6
"""Whisper's own bounds: text that packs better is a loop; silence is surer than this."""


class WhisperEngine(SegmentEngine):
    """A Whisper model. Finals only unless `partials` is set: a decode costs the same for any length.

    Options: `model_dir`, the model's folder; `compute_type`; `languages` (empty: all that it knows);
    `partials`.
    """

    info = EngineInfo(
        name="faster-whisper",
        languages=LANGUAGES,
        detects_language=True,
        sample_rates_hz=(8000, 16000),
        partials=False,
        word_times="measured",
        parameters=PHRASE_FIELDS,
    )

    def info_for(self, options: Mapping[str, Any]) -> EngineInfo:
        """Return what the model knows, as its configuration and the operator have it."""
        languages = extras.languages(options) or _languages_of(options)
        return replace(
            self.info,
            languages=languages,
            detects_language=len(languages) > 1,
            partials=bool(options.get("partials")),
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable unless the library and a model are there."""
        extras.require("faster-whisper", "whisper", "faster_whisper", "onnxruntime", "numpy")
        folder = extras.model_folder("whisper", options)
        for name in _FILES:
            # Without the tokenizer the library would go and download one.
            if not (folder / name).is_file():
                raise SpeechUnavailable(f"whisper.model_dir holds no CTranslate2 model: {name} is missing")

    def load(self, options: Mapping[str, Any]) -> SegmentRecognizer:
        """Load the model: a second and 170 MB for `base`."""
        self.check(options)
        return Whisper(extras.model_folder("whisper", options), str(options.get("compute_type") or "int8"))


ENGINE = WhisperEngine()


class Whisper(Detectors):
    """The loaded model. Not for more than one thread."""

    def __init__(self, folder: Path, compute_type: str) -> None:
        super().__init__()
        from faster_whisper import WhisperModel

        try:
            self._model: Any = WhisperModel(
                str(folder), device="cpu", compute_type=compute_type, cpu_threads=1, local_files_only=True
            )
        except Exception as err:
            raise SpeechUnavailable(
                f"faster-whisper cannot load the model in {folder} as {compute_type} ({type(err).__name__})"
            ) from err

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment, in the language asked for or the one it sounds like."""
        segments, info = self._model.transcribe(
            to_model_rate(pcm, sample_rate_hz),
            language=None if config.language == "auto" else config.language,
            hotwords=", ".join(config.phrases) or None,
            beam_size=1,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        return heard(segments, info.language)


def heard(segments: Iterable[Any], language: str) -> Heard:
    """Return what the library's segments say, without loops and without what is rather silence."""
    kept = [
        segment
        for segment in segments
        if segment.compression_ratio <= _LOOP_COMPRESSION and segment.text.strip()
    ]
    words = join_pieces(
        Piece(word.word, round(word.start * 1000), round(word.end * 1000), round(float(word.probability), 4))
        for segment in kept
        for word in segment.words or ()
    )
    weights = [max(1, len(segment.tokens)) for segment in kept]
    sure = sum(_sureness(segment) * weight for segment, weight in zip(kept, weights, strict=True))
    text = "".join(segment.text for segment in kept).strip()
    return Heard(text, round(sure / sum(weights), 4) if kept else 0.0, words, language)


def _sureness(segment: Any) -> float:
    mean_probability = exp(min(0.0, segment.avg_logprob))
    doubt: float = segment.no_speech_prob if segment.no_speech_prob > _NO_SPEECH else 0.0
    return mean_probability * (1.0 - doubt)


def _languages_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        path = Path(str(options.get("model_dir") or "")) / "config.json"
        known = json.loads(path.read_text("utf-8")).get("lang_ids")
    except (OSError, ValueError, AttributeError):
        return LANGUAGES
    return ("en",) if isinstance(known, list) and len(known) < _MULTILINGUAL_LANGUAGES_MIN else LANGUAGES
