"""Which kind of sherpa-onnx model a folder holds, told by the names in it. Pure.

Published models follow a few habits of naming; where two kinds are named alike the folder's own name
decides, and where nothing does the operator has to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offhook.edge.speech.protocol import SpeechUnavailable, WordTimes


@dataclass(frozen=True, slots=True)
class Kind:
    """How models of one kind are loaded."""

    streaming: bool
    """Gives partials while it hears; any other kind decodes segments."""
    factory: str
    """The constructor of sherpa-onnx's `OnlineRecognizer` or `OfflineRecognizer`."""
    files: tuple[tuple[str, str], ...]
    """(parameter of the constructor, what the file's name holds)"""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    word_times: WordTimes = "measured"
    partials: bool = True
    asks_language: bool = False
    """Finds the language out unless it is told at the start."""
    sample_rate_hz: int = 16_000


_TRANSDUCER = (("encoder", "encoder"), ("decoder", "decoder"), ("joiner", "joiner"))
_ENCODER_DECODER = (("encoder", "encoder"), ("decoder", "decoder"))
_ONE = (("model", ""),)

KINDS: Mapping[str, Kind] = {
    # A temperature flattens the probabilities that confidence is made of.
    "streaming-transducer": Kind(True, "from_transducer", _TRANSDUCER, {"temperature_scale": 1.0}),
    "streaming-paraformer": Kind(True, "from_paraformer", _ENCODER_DECODER, word_times="none"),
    "streaming-zipformer2-ctc": Kind(True, "from_zipformer2_ctc", _ONE),
    "streaming-nemo-ctc": Kind(True, "from_nemo_ctc", _ONE),
    "streaming-wenet-ctc": Kind(True, "from_wenet_ctc", _ONE),
    "streaming-t-one-ctc": Kind(True, "from_t_one_ctc", _ONE, sample_rate_hz=8_000),
    "transducer": Kind(False, "from_transducer", _TRANSDUCER),
    "nemo-transducer": Kind(False, "from_transducer", _TRANSDUCER, {"model_type": "nemo_transducer"}),
    "nemo-ctc": Kind(False, "from_nemo_ctc", _ONE),
    "zipformer-ctc": Kind(False, "from_zipformer_ctc", _ONE),
    "wenet-ctc": Kind(False, "from_wenet_ctc", _ONE),
    "paraformer": Kind(False, "from_paraformer", (("paraformer", ""),)),
    "sense-voice": Kind(False, "from_sense_voice", _ONE, {"use_itn": True}, asks_language=True),
    "whisper": Kind(
        False, "from_whisper", _ENCODER_DECODER, word_times="estimated", partials=False, asks_language=True
    ),
    "moonshine": Kind(
        False,
        "from_moonshine_v2",
        (("encoder", "encoder_model"), ("decoder", "decoder_model_merged")),
        word_times="estimated",
    ),
}


@dataclass(frozen=True, slots=True)
class Model:
    """What a folder holds: the kind, and the constructor's parameters with their file names."""

    name: str
    kind: Kind
    files: Mapping[str, str]


def find_model(folder: str, names: Sequence[str], wanted: str = "") -> Model:
    """Return the model in a folder of that name with those files; `wanted` names its kind, empty finds it.

    Raises:
        SpeechUnavailable: it cannot be told, or a file is missing.
    """
    name = wanted or _kind_of(folder, names)
    if name not in KINDS:
        raise SpeechUnavailable(
            f"sherpa.model_dir holds a model of a kind that cannot be told by its files: set sherpa.kind to one of "
            f"{', '.join(KINDS)}"
            if not name
            else f"sherpa.kind must be one of {', '.join(KINDS)}"
        )
    kind = KINDS[name]
    weights = sorted(name for name in names if name.endswith((".onnx", ".ort")))
    files = {parameter: _pick(weights, part, kind) for parameter, part in kind.files}
    files["tokens"] = _first(sorted(name for name in names if name.endswith("tokens.txt")), "tokens.txt")
    return Model(name, kind, files)


def _kind_of(folder: str, names: Sequence[str]) -> str:
    said = " ".join([folder, *names]).lower()

    def has(*words: str) -> bool:
        return any(word in said for word in words)

    streaming = has("streaming", "chunk-")
    if has("decoder_model_merged"):
        return "moonshine"
    if has("joiner"):
        if streaming:
            return "streaming-transducer"
        return "nemo-transducer" if has("nemo", "parakeet") else "transducer"
    if has("encoder") and has("decoder"):
        if has("paraformer"):
            return "streaming-paraformer"
        return "whisper" if has("whisper", "-tokens.txt") else ""
    return _ctc_kind(has, streaming=streaming)


def _ctc_kind(has: Any, *, streaming: bool) -> str:
    if has("sense-voice", "sensevoice"):
        return "sense-voice"
    if has("t-one"):
        return "streaming-t-one-ctc"
    if has("paraformer"):
        return "paraformer"
    if has("nemo", "parakeet", "giga-am"):
        return "streaming-nemo-ctc" if streaming else "nemo-ctc"
    if has("wenet"):
        return "streaming-wenet-ctc" if streaming else "wenet-ctc"
    if has("zipformer", "ctc"):
        return "streaming-zipformer2-ctc" if streaming else "zipformer-ctc"
    return ""


def _pick(weights: Sequence[str], part: str, kind: Kind) -> str:
    """Return the file of one part: eight bits where there is a choice, but not for a transducer's small decoder."""
    fitting = [name for name in weights if part in name.lower()]
    small = part == "decoder" and kind.files == _TRANSDUCER
    fitting.sort(key=lambda name: ("int8" in name.lower()) == small)
    return _first(fitting, f"{part or 'model'}*.onnx")


def _first(names: Sequence[str], what: str) -> str:
    if not names:
        raise SpeechUnavailable(f"sherpa.model_dir holds no {what}")
    return names[0]
