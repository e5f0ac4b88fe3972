"""The engine `sherpa-onnx`: streaming and segment models of many families (runtime: Apache-2.0).

Importing this module needs nothing; `check` and `load` need the extra `offhook[sherpa]` and a model's folder.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

from offhook.edge.speech import extras
from offhook.edge.speech.onnx import Detectors
from offhook.edge.speech.pieces import join_pieces, timed_pieces
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
from offhook.edge.speech.resample import MODEL_RATE_HZ, RateDoubler, from_pcm, to_model_rate
from offhook.edge.speech.sherpa_kinds import Model, find_model
from offhook.edge.speech.word_times import loudness_db, spread_words

_TAIL_S = 0.66
"""Silence that makes a streaming model say what it has kept back."""


class SherpaEngine(SegmentEngine):
    """Whatever model is in the folder.

    Options: `model_dir`; `kind` (empty: told by the files); `languages`, what it knows (empty: any is
    accepted; one: the models that ask are told).
    """

    info = EngineInfo(name="sherpa-onnx", languages=(), sample_rates_hz=(8000, 16000))

    def info_for(self, options: Mapping[str, Any]) -> EngineInfo:
        """Return what the model can do, as far as its files tell."""
        languages = extras.languages(options)
        info = replace(self.info, languages=languages)
        try:
            kind = _find(options).kind
        except SpeechUnavailable:
            return info
        return replace(
            info,
            partials=kind.partials,
            word_times=kind.word_times,
            detects_language=kind.asks_language and len(languages) != 1,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable unless the library and a model are there."""
        extras.require("sherpa-onnx", "sherpa", "sherpa_onnx", "onnxruntime", "numpy")
        _find(options)

    def load(self, options: Mapping[str, Any]) -> SegmentRecognizer:
        """Load the model."""
        self.check(options)
        model = _find(options)
        folder = extras.model_folder("sherpa", options)
        languages = extras.languages(options)
        language = languages[0] if len(languages) == 1 else ""
        make = _Streaming if model.kind.streaming else _Segments
        return make(model, _load(model, folder, language))


ENGINE = SherpaEngine()


def _find(options: Mapping[str, Any]) -> Model:
    folder = extras.model_folder("sherpa", options)
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        raise SpeechUnavailable(f"sherpa.model_dir cannot be read: {folder}") from None
    return find_model(folder.resolve().name, names, str(options.get("kind") or ""))


def _load(model: Model, folder: Path, language: str) -> Any:
    import sherpa_onnx

    recognizer = sherpa_onnx.OnlineRecognizer if model.kind.streaming else sherpa_onnx.OfflineRecognizer
    files = {parameter: str(folder / name) for parameter, name in model.files.items()}
    told = {"language": language} if model.kind.asks_language else {}
    try:
        return getattr(recognizer, model.kind.factory)(**files, **model.kind.arguments, **told, num_threads=1)
    except Exception as err:
        raise SpeechUnavailable(
            f"sherpa-onnx cannot load the model in {folder} as {model.name} ({type(err).__name__})"
        ) from err


class _Segments(Detectors):
    """A loaded model that decodes a segment at once."""

    def __init__(self, model: Model, recognizer: Any) -> None:
        super().__init__()
        self._kind = model.kind
        self._recognizer = recognizer

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment."""
        del config
        samples = to_model_rate(pcm, sample_rate_hz)
        stream = self._recognizer.create_stream()
        stream.accept_waveform(MODEL_RATE_HZ, samples)
        self._recognizer.decode_stream(stream)
        result = stream.result
        heard = read_result(result, result.ys_log_probs, len(samples) * 1000 // MODEL_RATE_HZ)
        if heard.words or self._kind.word_times != "estimated":
            return heard
        texts = heard.text.split()
        times = spread_words(texts, loudness_db(samples, MODEL_RATE_HZ))
        return replace(heard, words=tuple(Word(text, *span) for text, span in zip(texts, times, strict=True)))


class _Streaming(Detectors):
    """A loaded model that hears bit by bit."""

    def __init__(self, model: Model, recognizer: Any) -> None:
        super().__init__()
        self._kind = model.kind
        self._recognizer = recognizer

    def begin(self, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> "_StreamingDecoder":
        """Return a decoder for one segment."""
        del config
        return _StreamingDecoder(self._recognizer, sample_rate_hz, self._kind.sample_rate_hz)

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment."""
        decoder = self.begin(sample_rate_hz, config)
        decoder.hear(pcm)
        return decoder.end()


class _StreamingDecoder:
    def __init__(self, recognizer: Any, rate_hz: int, model_rate_hz: int) -> None:
        self._recognizer = recognizer
        self._stream: Any = recognizer.create_stream()
        # The library would do it too, and print a line for each utterance.
        self._doubler = RateDoubler() if rate_hz * 2 == model_rate_hz else None
        self._rate_hz = rate_hz if self._doubler is None else model_rate_hz
        self._taken_bytes = 0
        self._bytes_per_ms = rate_hz * 2 // 1000

    def hear(self, pcm: bytes) -> Heard:
        """Take more samples and return the words so far."""
        self._taken_bytes += len(pcm)
        samples = from_pcm(pcm)
        self._feed(samples if self._doubler is None else self._doubler.push(samples))
        return self._decode()

    def end(self) -> Heard:
        """Return the words of all that was taken."""
        import numpy as np

        if self._doubler is not None:
            self._feed(self._doubler.end())
        self._feed(np.zeros(int(_TAIL_S * self._rate_hz), np.float32))
        self._stream.input_finished()
        return self._decode()

    def _feed(self, samples: Any) -> None:
        if len(samples):
            self._stream.accept_waveform(self._rate_hz, samples)

    def _decode(self) -> Heard:
        while self._recognizer.is_ready(self._stream):
            self._recognizer.decode_stream(self._stream)
        result = self._recognizer.get_result_all(self._stream)
        return read_result(result, result.ys_probs, self._taken_bytes // self._bytes_per_ms)


def read_result(result: Any, log_probabilities: list[float], duration_ms: int) -> Heard:
    """Return what a result of the library says; words as far as it gives times."""
    sure = [exp(min(0.0, value)) for value in log_probabilities]
    try:
        text, tokens = result.text.strip(), [token.replace("\u2581", " ") for token in result.tokens]
    except UnicodeDecodeError:
        # A token may be part of a character: such models write signs for music and the like, not words.
        return Heard("", None)
    durations = getattr(result, "durations", ())
    words = join_pieces(timed_pieces(tokens, result.timestamps, durations, sure, duration_ms))
    language = getattr(result, "lang", "").strip("<|>")
    return Heard(text, round(sum(sure) / len(sure), 4) if sure else None, words, language or None)
