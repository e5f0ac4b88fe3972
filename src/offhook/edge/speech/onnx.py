"""Loads ONNX models on onnxruntime, and the voice detector that all engines share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from offhook.edge.speech.protocol import SpeechUnavailable, VoiceDetector
from offhook.edge.speech.vad import SileroDetector
from offhook.edge.speech.weights import find_silero

if TYPE_CHECKING:
    import onnxruntime


def open_model(path: Path) -> "onnxruntime.InferenceSession":
    """Return the model, on one thread: many tracks share the machine, and the workers are the parallelism.

    Raises:
        SpeechUnavailable: onnxruntime does not take it.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    settings: Any = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise SpeechUnavailable(f"onnxruntime cannot load the speech model ({type(err).__name__})") from err


class Detectors:
    """The shipped voice detector, loaded; gives each track one of its own."""

    def __init__(self) -> None:
        self._silero = open_model(find_silero())

    def detector(self, sample_rate_hz: int) -> VoiceDetector:
        """Return a voice detector for one track."""
        return SileroDetector(self._silero, sample_rate_hz)
