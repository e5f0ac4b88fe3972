"""Deepgram: which of its two APIs serves a request, and the engine of both."""

from typing import Final

from offhook.edge.speech.parameters import ENDPOINT
from offhook.edge.speech.protocol import EngineInfo, SpeechConfig
from offhook.edge.speech.vendors import hints
from offhook.edge.speech.vendors.deepgram_flux import FluxDialect
from offhook.edge.speech.vendors.deepgram_nova import NovaDialect
from offhook.edge.speech.vendors.dialect import Dialect
from offhook.edge.speech.vendors.engine import VendorEngine

MODEL: Final = "nova-3"
"""What is used where neither the app nor the operator says."""
_FLUX: Final = {"flux": "flux-general-en", "flux-multi": "flux-general-multi"}
_PARAMETERS: Final = (
    hints.PHRASES
    | ENDPOINT
    | {
        "smart_format",
        "numerals",
        "profanity_filter",
        "enable_speaker_diarization",
        "eot_threshold",
        "eager_eot_threshold",
        "eot_timeout_ms",
    }
)


def model_of(config: SpeechConfig) -> str:
    """Return Deepgram's name of the app's model where it names one, else the operator's, else the default."""
    vendor, _, asked = (config.model or "").partition("/")
    model = asked if vendor == "deepgram" else str(config.options.get("model") or MODEL)
    return _FLUX.get(model, model)


def make_dialect(config: SpeechConfig) -> Dialect:
    """Return a dialect for the model of a request.

    Raises:
        LanguageUnsupported: the model does not know the language.
        ParameterUnsupported: a field asks for what the model cannot do.
    """
    model = model_of(config)
    return FluxDialect(config, model) if model.startswith("flux") else NovaDialect(config, model)


ENGINE = VendorEngine(
    EngineInfo(
        name="deepgram",
        languages=(),
        sample_rates_hz=(8000, 16000),
        needs_network=True,
        word_times="measured",
        parameters=frozenset(_PARAMETERS),
    ),
    make_dialect,
)
