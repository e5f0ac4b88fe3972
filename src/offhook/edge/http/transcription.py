"""From the transcription parameters of a request to `TranscriptionOptions`.

Every form that SDKs and guides have used since 2024 is taken (contract 2.1, 2.2): the engine
outside, inside the configuration, or as `vendor/model`; models with and without the vendor;
language and interim results at the top or in the configuration.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import structlog
from pydantic import Field, ValidationError, create_model

from offhook.base import limits
from offhook.call.commands import TranscriptionOptions
from offhook.call.errors import Problem
from offhook.call.values import Track
from offhook.edge.http import languages
from offhook.edge.http.problems import Refusal, problems_of
from offhook.edge.http.schemas import Body, TranscriptionBody

log = structlog.get_logger(__name__)

TRACKS = {"inbound": (Track.RX,), "outbound": (Track.TX,), "both": (Track.RX, Track.TX)}

_FREE_LANGUAGE = re.compile(r"auto|[a-z]{2,3}(?:-[a-z0-9]{2,8})*", re.ASCII)


class _SpeechContext(Body):
    phrases: Annotated[list[str], Field(default_factory=list)]
    boost: Annotated[float, Field(ge=0, le=20)] = 1.0


_Phrases = Annotated[list[str], Field(max_length=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """What one engine's configuration may hold; `languages` None: any well-formed code."""

    models: tuple[str, ...] = ()
    model_field: str = "transcription_model"
    languages: dict[str, str] | None = None
    required: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)


_GOOGLE = _Engine(
    model_field="model",
    models=(
        "latest_long",
        "latest_short",
        "command_and_search",
        "phone_call",
        "video",
        "default",
        "medical_conversation",
        "medical_dictation",
    ),
    languages=languages.GOOGLE,
    fields={
        "hints": Annotated[list[str], Field(max_length=limits.TRANSCRIPTION_HINTS_MAX)],
        "speech_context": Annotated[list[_SpeechContext], Field(max_length=limits.TRANSCRIPTION_HINTS_MAX)],
        "use_enhanced": bool,
        "profanity_filter": bool,
        "enable_speaker_diarization": bool,
        "min_speaker_count": Annotated[int, Field(ge=1)],
        "max_speaker_count": Annotated[int, Field(ge=1)],
    },
)
_TELNYX = _Engine(models=("openai/whisper-tiny", "openai/whisper-large-v3-turbo"), languages=languages.TELNYX)

ENGINES: dict[str, _Engine] = {
    "Google": _GOOGLE,
    "A": _GOOGLE,
    "Telnyx": _TELNYX,
    "B": _TELNYX,
    "Deepgram": _Engine(
        models=(
            "deepgram/nova-2",
            "deepgram/nova-3",
            "deepgram/nova-2-medical",
            "deepgram/nova-2-phonecall",
            "deepgram/nova-3-medical",
            "deepgram/flux",
            "deepgram/flux-multi",
        ),
        languages=languages.FLUX,
        required=("transcription_model",),
        fields={
            "hints": _Phrases,
            "keyterms": _Phrases,
            "keywords_boosting": dict[str, float],
            "smart_format": bool,
            "numerals": bool,
            "utterance_end_ms": Annotated[int, Field(ge=0, le=5000)],
            "eot_threshold": Annotated[float, Field(ge=0.5, le=0.9)],
            "eager_eot_threshold": Annotated[float, Field(ge=0.3, le=0.9)],
            "eot_timeout_ms": Annotated[int, Field(ge=500, le=10_000)],
        },
    ),
    "Azure": _Engine(
        models=("azure/fast", "azure/realtime"),
        languages=languages.AZURE,
        required=("region",),
        fields={
            "region": Literal[
                "australiaeast", "centralindia", "eastus", "northcentralus", "westeurope", "westus2"
            ],
            "api_key_ref": Annotated[str, Field(max_length=255)],
        },
    ),
    "xAI": _Engine(models=("xai/grok-stt",), languages=languages.XAI),
    "AssemblyAI": _Engine(models=("assemblyai/universal-streaming", "assemblyai/universal-3-5-pro")),
    "Speechmatics": _Engine(
        models=("speechmatics/standard", "speechmatics/linden-1"), languages=languages.SPEECHMATICS
    ),
    "Soniox": _Engine(
        models=("soniox/stt-rt-v4",),
        fields={
            "enable_endpoint_detection": bool,
            "max_endpoint_delay_ms": Annotated[int, Field(ge=500, le=3000)],
        },
    ),
    "Parakeet": _Engine(models=("nvidia/parakeet-v3", "omi-health/omi-med-stt-v1")),
    "Humain": _Engine(models=("humain/realtime",), languages=languages.HUMAIN),
    "Reson8": _Engine(models=("reson8/turns",), languages=languages.RESON8),
    "Cohere": _Engine(models=("cohere/ar-stt",), languages=languages.COHERE),
}

_VENDORS = {
    model.partition("/")[0]: name
    for name, engine in reversed(ENGINES.items())  # so that openai means Telnyx, not its alias B
    for model in engine.models
    if "/" in model
}
_COMMON = ("transcription_engine", "language", "interim_results", "transcription_model", "model")


class _ConfigBase(Body):
    language: str | None = None
    interim_results: bool | None = None


def _checker(engine: _Engine) -> type[_ConfigBase]:
    fields: dict[str, Any] = {engine.model_field: (str, None)}
    fields |= {name: (kind, None) for name, kind in engine.fields.items()}
    fields |= {name: (engine.fields.get(name, str), ...) for name in engine.required}
    return create_model("EngineConfig", __base__=_ConfigBase, **fields)


_CHECKERS = {name: _checker(engine) for name, engine in ENGINES.items()}


def transcription_options(
    body: TranscriptionBody, *, prefix: str = "", refused_engines: frozenset[str] = frozenset()
) -> TranscriptionOptions:
    """Return what `body` asks for; `prefix` is the JSON pointer of `body` in the request.

    Raises:
        Refusal: a value is not one that its engine takes.
    """
    config = dict(body.transcription_engine_config or {})
    inside = f"{prefix}/transcription_engine_config"
    name = _engine_name(body, config, inside)
    if name in refused_engines:
        detail = f"This server does not offer the transcription engine {name}."
        raise Refusal(422, Problem("10032", detail, f"{prefix}/transcription_engine"))
    engine = ENGINES[name]
    options = _checked(name, config, inside)
    model = _model(engine, options.pop(engine.model_field, None), inside)
    language = options.pop("language", None)
    if language is not None:
        language = _language(engine, model, language, f"{inside}/language")
    elif body.language is not None:
        language = _language(engine, model, body.language, f"{prefix}/language")
    interim = options.pop("interim_results", body.interim_results)
    return TranscriptionOptions(
        engine=name,
        tracks=TRACKS[body.transcription_tracks],
        language=language,
        interim_results=bool(interim),
        model=model,
        options=options,
    )


def _engine_name(body: TranscriptionBody, config: dict[str, Any], inside: str) -> str:
    """Return the engine's name; the outer one wins. Puts a model named in its place into `config`."""
    inner = config.get("transcription_engine")
    if inner is None:
        return body.transcription_engine or "Google"
    pointer = f"{inside}/transcription_engine"
    if not isinstance(inner, str):
        detail = "The parameter `transcription_engine` must be a string."
        raise Refusal(422, Problem("10026", detail, pointer))
    named = inner if inner in ENGINES else _VENDORS.get(inner.partition("/")[0].lower())
    if named is None:
        detail = f"The parameter `transcription_engine` must be one of {', '.join(ENGINES)}."
        raise Refusal(422, Problem("10032", detail, pointer))
    outer = body.transcription_engine
    if outer is not None and ENGINES[outer] is not ENGINES[named]:
        log.info("transcription engines disagree", outer=outer, inner=named)
        return outer
    if named != inner:
        config.setdefault("transcription_model", inner)
    return outer or named


def _checked(name: str, config: dict[str, Any], inside: str) -> dict[str, Any]:
    if not config:  # no configuration at all: the engine's defaults, so nothing is required
        return {}
    checker = _CHECKERS[name]
    unknown = [key[:64] for key in config if key not in checker.model_fields and key not in _COMMON]
    if unknown:
        log.debug("unknown parameters ignored", engine=name, parameters=unknown[:10])
    try:
        checked = checker.model_validate(config)
    except ValidationError as error:
        raise Refusal(422, *problems_of(error, inside)) from None
    options = checked.model_dump(exclude_unset=True)
    eager, end_of_turn = options.get("eager_eot_threshold"), options.get("eot_threshold")
    if eager is not None and end_of_turn is not None and eager > end_of_turn:
        detail = "The parameter `eager_eot_threshold` must not be above `eot_threshold`."
        raise Refusal(422, Problem("10033", detail, f"{inside}/eager_eot_threshold"))
    return options


def _model(engine: _Engine, asked: str | None, inside: str) -> str | None:
    if not asked:
        return None
    for known in engine.models:
        if asked in (known, known.partition("/")[2]):
            return known
    detail = f"The parameter `{engine.model_field}` must be one of {', '.join(engine.models)}."
    raise Refusal(422, Problem("10032", detail, f"{inside}/{engine.model_field}"))


def _language(engine: _Engine, model: str | None, asked: str, pointer: str) -> str | None:
    if not asked:
        return None
    known = engine.languages
    if model is not None and model.startswith("deepgram/nova"):
        known = languages.NOVA_3 if "nova-3" in model else languages.NOVA_2
    if known is None:
        if _FREE_LANGUAGE.fullmatch(languages.normal(asked)):
            return asked
        raise Refusal(422, Problem("10032", "The parameter `language` must be a language code.", pointer))
    found = languages.find(asked, known)
    if found is None:
        detail = f"The parameter `language` must be one of {', '.join(known.values())}."
        raise Refusal(422, Problem("10032", detail, pointer))
    return found


def vendor_of(model: str) -> str | None:
    """Return the engine whose models are called like this one, as in `deepgram/nova-3`."""
    vendor, slash, _ = model.partition("/")
    return _VENDORS.get(vendor.lower()) if slash else None


def model_of(engine: str, asked: str | None) -> str | None:
    """Return the full name of a model of this engine.

    Raises:
        Refusal: it has no such model.
    """
    return _model(ENGINES[engine], asked, "")


def language_of(engine: str, model: str | None, asked: str | None) -> str | None:
    """Return a language as this engine writes it.

    Raises:
        Refusal: it does not know that language.
    """
    return _language(ENGINES[engine], model, asked or "", "/language")
