"""Makes the model beside it: `python make.py`, with the package `onnx`. Ours; no speech was used."""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

RATE_HZ, CHUNK_MS, STEPS, STATE = 8000, 300, 10, 4
SAMPLES = RATE_HZ * CHUNK_MS // 1000
TOKENS = ["\u2581low", "\u2581high", "<blk>"]
"""Loudness of 30 ms: about 1000 is low, about 10000 is high, silence is the blank of CTC."""
CENTRES = [math.log(1000), math.log(10_000), math.log(10)]


def make() -> onnx.ModelProto:
    def constant(name: str, values: object, kind: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, kind), name)

    nodes = [
        helper.make_node("Cast", ["signal"], ["samples"], to=TensorProto.FLOAT),
        helper.make_node("Abs", ["samples"], ["levels"]),
        helper.make_node("Reshape", ["levels", "shape"], ["steps"]),
        helper.make_node("ReduceMean", ["steps"], ["means"], axes=[2], keepdims=1),
        helper.make_node("Add", ["means", "one"], ["positive"]),
        helper.make_node("Log", ["positive"], ["loudness"]),
        helper.make_node("Sub", ["loudness", "centres"], ["apart"]),
        helper.make_node("Abs", ["apart"], ["distance"]),
        helper.make_node("Mul", ["distance", "sharpness"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["logprobs"], axis=2),
        helper.make_node("Identity", ["state"], ["state_next"]),
    ]
    graph = helper.make_graph(
        nodes,
        "loudness",
        [
            helper.make_tensor_value_info("signal", TensorProto.INT32, ["batch", SAMPLES, 1]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT16, ["batch", STATE]),
        ],
        [
            helper.make_tensor_value_info("logprobs", TensorProto.FLOAT, ["batch", STEPS, len(TOKENS)]),
            helper.make_tensor_value_info("state_next", TensorProto.FLOAT16, ["batch", STATE]),
        ],
        [
            constant("shape", [-1, STEPS, SAMPLES // STEPS], np.int64),
            constant("one", [1.0], np.float32),
            constant("centres", [[CENTRES]], np.float32),
            constant("sharpness", [-6.0], np.float32),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    helper.set_model_props(
        model,
        {"frame_length_ms": str(CHUNK_MS), "state_dim": str(STATE), "sample_rate": str(RATE_HZ)},
    )
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    folder = Path(__file__).parent
    made = make()
    quiet = np.zeros((1, SAMPLES, 1), np.int32)
    state = np.zeros((1, STATE), np.float16)
    log_probabilities = ReferenceEvaluator(made).run(None, {"signal": quiet, "state": state})[0]
    assert (log_probabilities.argmax(axis=2) == len(TOKENS) - 1).all()
    onnx.save(made, folder / "model.onnx")
    (folder / "tokens.txt").write_text(
        "".join(f"{token} {number}\n" for number, token in enumerate(TOKENS)), "utf-8"
    )
