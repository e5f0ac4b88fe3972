"""What OpenAI's transcription models can do, and the session that makes one do it. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from offhook.edge.speech.protocol import SpeechConfig
from offhook.edge.speech.vendors import hints

MODEL: Final = "gpt-live-transcribe"
"""What is used where the operator does not say."""
_PHRASES_MAX, _PHRASE_CHARACTERS_MAX = 100, 100
_PREFIX_MS: Final = 300
_LOGPROBS: Final = "item.input_audio_transcription.logprobs"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model can do, as far as a session must know: it refuses whole sessions else."""

    finds_pauses: bool = True
    languages: bool = False
    """Takes the languages as a list."""
    keywords: bool = False
    prompt: bool = False
    logprobs: bool = False


_TRAITS: Final = {
    "gpt-live-transcribe": Traits(finds_pauses=False, languages=True, keywords=True),
    "gpt-transcribe": Traits(languages=True, keywords=True),
    "gpt-realtime-whisper": Traits(finds_pauses=False),
    "gpt-4o-transcribe": Traits(prompt=True, logprobs=True),
    "gpt-4o-mini-transcribe": Traits(prompt=True, logprobs=True),
    "whisper-1": Traits(prompt=True),
}


def model_of(config: SpeechConfig) -> str:
    """Return the operator's model, else the default: the API names no realtime model of OpenAI."""
    return str(config.options.get("model") or MODEL)


def traits_of(model: str) -> Traits:
    """Return what a model can do, also one whose name goes on with a date."""
    names = sorted((name for name in _TRAITS if model.startswith(name)), key=len)
    return _TRAITS[names[-1]] if names else Traits()


def session_for(config: SpeechConfig, model: str, silence_ms: int) -> dict[str, Any]:
    """Return the session to ask for; what the model does not take is left out, or it would be refused."""
    traits = traits_of(model)
    transcription: dict[str, Any] = {"model": model}
    language = hints.primary_language(config)
    if language is not None:
        transcription |= {"languages": [language]} if traits.languages else {"language": language}
    phrases = hints.phrases(config, count_max=_PHRASES_MAX, characters_max=_PHRASE_CHARACTERS_MAX)
    if phrases and traits.keywords:
        transcription["keywords"] = phrases
    elif phrases and traits.prompt:
        transcription["prompt"] = ", ".join(phrases)
    detection = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": _PREFIX_MS,
        "silence_duration_ms": silence_ms,
    }
    audio = {
        "format": {"type": "audio/pcmu"},
        "transcription": transcription,
        "turn_detection": detection if traits.finds_pauses else None,
    }
    session: dict[str, Any] = {"type": "transcription", "audio": {"input": audio}}
    if traits.logprobs:
        session["include"] = [_LOGPROBS]
    return session
