"""Finds model files and proves that they are the ones we know. Loads nothing.

The English weights of Moonshine tiny come inside the wheel `moonshine-voice==0.1.0` (MIT). The
wheel is looked up, never imported: its own code is not used.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from offhook.edge.speech.protocol import SpeechNotInstalled, SpeechUnavailable

INSTALL = "pip install 'offhook[speech]'"
_REINSTALL = f"{INSTALL} --force-reinstall"

_PACKAGE = "moonshine_voice"
_SHA256 = {
    "encoder_model.ort": "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
    "decoder_model_merged.ort": "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
    "tokenizer.bin": "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
}
_VAD_SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"


@dataclass(frozen=True, slots=True)
class MoonshineFiles:
    """Where the three files of the model are; each has been verified."""

    encoder: Path
    decoder: Path
    tokenizer: Path


def find_moonshine(model_dir: str | None = None) -> MoonshineFiles:
    """Return the verified files from `model_dir`, else from the installed wheel.

    Raises:
        SpeechUnavailable: nothing is there, or it is not the model we know.
    """
    folder = Path(model_dir) if model_dir else _wheel_folder()
    mend = f"set [speech] model_dir to a folder with {', '.join(_SHA256)}" if model_dir else _REINSTALL
    for name, sha256 in _SHA256.items():
        _verify(folder / name, sha256, mend)
    return MoonshineFiles(
        encoder=folder / "encoder_model.ort",
        decoder=folder / "decoder_model_merged.ort",
        tokenizer=folder / "tokenizer.bin",
    )


def find_silero() -> Path:
    """Return the verified voice detector that ships with Offhook."""
    with resources.as_file(resources.files("offhook.edge.speech") / "models" / "silero_vad.onnx") as path:
        _verify(path, _VAD_SHA256, _REINSTALL)
        return path


def require_runtime() -> None:
    """Raise SpeechNotInstalled unless onnxruntime and numpy are installed."""
    for module in ("onnxruntime", "numpy"):
        if importlib.util.find_spec(module) is None:
            raise SpeechNotInstalled(f"the local speech engine needs {module}: {INSTALL}")


def _wheel_folder() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SpeechNotInstalled(f"the speech model is not installed: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "assets" / "tiny-en"


def _verify(path: Path, sha256: str, mend: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise SpeechUnavailable(f"the speech model file {path.name} cannot be read: {mend}") from None
    if found != sha256:
        raise SpeechUnavailable(f"the speech model file {path.name} is not the expected version: {mend}")
