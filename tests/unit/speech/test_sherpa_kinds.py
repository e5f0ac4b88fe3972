"""What a folder of sherpa-onnx files holds."""

import pytest

from offhook.edge.speech.protocol import SpeechUnavailable
from offhook.edge.speech.sherpa_kinds import KINDS, find_model

pytestmark = pytest.mark.unit

TRANSDUCER = ("encoder-epoch-99-avg-1", "decoder-epoch-99-avg-1", "joiner-epoch-99-avg-1")


def both(*stems: str) -> list[str]:
    return [f"{stem}{kind}.onnx" for stem in stems for kind in ("", ".int8")]


@pytest.mark.parametrize(
    ("folder", "names", "kind"),
    [
        ("sherpa-onnx-streaming-zipformer-en-2023-06-26", both(*TRANSDUCER), "streaming-transducer"),
        ("mine", both("encoder-epoch-99-avg-1-chunk-16-left-128", *TRANSDUCER[1:]), "streaming-transducer"),
        ("sherpa-onnx-zipformer-gigaspeech-2023-12-12", both(*TRANSDUCER), "transducer"),
        (
            "sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8",
            ["encoder.int8.onnx", "decoder.int8.onnx", "joiner.int8.onnx"],
            "nemo-transducer",
        ),
        (
            "sherpa-onnx-streaming-paraformer-bilingual-zh-en",
            both("encoder", "decoder"),
            "streaming-paraformer",
        ),
        ("sherpa-onnx-whisper-tiny.en", both("tiny.en-encoder", "tiny.en-decoder"), "whisper"),
        ("sherpa-onnx-moonshine-tiny-en", ["encoder_model.ort", "decoder_model_merged.ort"], "moonshine"),
        ("sherpa-onnx-sense-voice-zh-en-ja-ko-yue", ["model.int8.onnx"], "sense-voice"),
        ("sherpa-onnx-paraformer-zh", ["model.int8.onnx"], "paraformer"),
        ("sherpa-onnx-nemo-ctc-en-conformer-small", ["model.onnx"], "nemo-ctc"),
        ("sherpa-onnx-nemo-streaming-fast-conformer-ctc-en-80ms", ["model.onnx"], "streaming-nemo-ctc"),
        (
            "sherpa-onnx-streaming-zipformer-ctc-small-2024-03-18",
            ["ctc-epoch-30-avg-3-chunk-16-left-128.int8.onnx"],
            "streaming-zipformer2-ctc",
        ),
        ("sherpa-onnx-zipformer-ctc-small-zh", ["model.int8.onnx"], "zipformer-ctc"),
        ("sherpa-onnx-zh-wenet-wenetspeech", ["model.onnx", "model-streaming.onnx"], "streaming-wenet-ctc"),
        ("sherpa-onnx-streaming-t-one-russian-2025-09-08", ["model.onnx"], "streaming-t-one-ctc"),
    ],
)
def test_published_names_tell_the_kind(folder: str, names: list[str], kind: str) -> None:
    model = find_model(folder, [*names, "tokens.txt", "README.md"])
    assert model.name == kind
    assert set(model.files) == {parameter for parameter, _ in KINDS[kind].files} | {"tokens"}
    assert set(model.files.values()) <= {*names, "tokens.txt"}


def test_eight_bits_are_taken_where_there_is_a_choice_but_not_for_a_small_decoder() -> None:
    files = find_model("streaming", [*both(*TRANSDUCER), "tokens.txt"]).files
    assert files["encoder"] == "encoder-epoch-99-avg-1.int8.onnx"
    assert files["decoder"] == "decoder-epoch-99-avg-1.onnx"
    assert files["joiner"] == "joiner-epoch-99-avg-1.int8.onnx"


def test_tokens_of_a_prefixed_model_are_found() -> None:
    names = ["tiny-encoder.onnx", "tiny-decoder.onnx", "tiny-tokens.txt"]
    assert find_model("x", names).files["tokens"] == "tiny-tokens.txt"


def test_what_the_operator_says_wins() -> None:
    assert find_model("x", ["model.onnx", "tokens.txt"], "nemo-ctc").name == "nemo-ctc"


@pytest.mark.parametrize(
    ("names", "wanted", "why"),
    [
        (["model.onnx", "tokens.txt"], "", "set sherpa.kind to one of"),
        (["encoder.onnx", "decoder.onnx", "tokens.txt"], "", "set sherpa.kind to one of"),
        ([], "", "set sherpa.kind to one of"),
        (["model.onnx", "tokens.txt"], "hmm", "sherpa.kind must be one of"),
        (["model.onnx"], "nemo-ctc", "holds no tokens.txt"),
        (["encoder.onnx", "decoder.onnx", "tokens.txt"], "transducer", r"holds no joiner\*.onnx"),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_do(names: list[str], wanted: str, why: str) -> None:
    with pytest.raises(SpeechUnavailable, match=why):
        find_model("x", names, wanted)
