"""What engines with a model of the operator's own need: their packages and a folder. Loads nothing."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from offhook.edge.speech.protocol import SpeechNotInstalled, SpeechUnavailable


def require(engine: str, extra: str, *modules: str) -> None:
    """Raise SpeechNotInstalled unless all `modules` are installed."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise SpeechNotInstalled(f"the {engine} engine needs {module}: pip install 'offhook[{extra}]'")


def model_folder(section: str, options: Mapping[str, Any]) -> Path:
    """Return the folder that `model_dir` names.

    Raises:
        SpeechUnavailable: it is not set or not there.
    """
    value = options.get("model_dir")
    if not value:
        raise SpeechUnavailable(f"set {section}.model_dir to the folder of a model")
    folder = Path(str(value))
    if not folder.is_dir():
        raise SpeechUnavailable(f"{section}.model_dir is not a folder: {folder}")
    return folder


def languages(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the primary tags of the setting `languages`."""
    return tuple(
        str(language).replace("_", "-").split("-")[0].lower() for language in options.get("languages") or ()
    )
