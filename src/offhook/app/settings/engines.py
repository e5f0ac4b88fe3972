"""Sections of live transcription and of the engines that need few settings."""

from typing import Any, Literal

from pydantic import Field

from offhook.app.settings.sections import Section
from offhook.base import limits


class SpeechSettings(Section):
    """Live transcription."""

    default_engine: str = Field(
        "local", description='Engine that serves every name not listed in "engines"; "reject" refuses them.'
    )
    engines: dict[str, str] = Field(
        default_factory=dict,
        description='Engine by the name the app uses, for example { Google = "local", Deepgram = "reject" }.',
    )
    workers: int = Field(1, ge=1, le=64, description="Speech worker processes.")
    tracks_per_worker_max: int = Field(
        limits.SPEECH_TRACKS_PER_WORKER_MAX,
        ge=1,
        le=1000,
        description='Tracks that one worker takes; a transcription of "both" needs two, and what does not fit is '
        "refused at its start.",
    )
    fallback: str = Field(
        "",
        description="Engine that goes on with a transcription whose own engine breaks off or cannot be had, for "
        'example "local". Empty: such a transcription ends.',
    )
    warm_up: bool = Field(
        True,
        description="Load the model with the first call, so that the first transcription need not wait for it.",
    )
    echo_gate: bool = Field(
        False,
        description="Leave out of outbound transcriptions what applications themselves play and say, "
        "so that only the other party of a bridge is transcribed.",
    )
    model_dir: str = Field(
        "", description="Folder with the local engine's model files. Empty: the installed package."
    )
    script: str = Field(
        "", description="JSON file that the scripted engine plays, for tests without a model."
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings of engines of other packages, by the engine's name."
    )


class VendorSettings(Section):
    """An account at a speech service. Naming the service in `speech.engines` puts it to use."""

    api_key: str = Field("", repr=False, description="Key of the account.")
    api_key_file: str = Field("", description="File that holds the key instead.")
    url: str = Field(
        "", description="Where the service is, instead of its public address: a private deployment, a test."
    )
    model: str = Field(
        "",
        description="Model where the app names none of the service's own. Empty: the newest that was tried.",
    )
    sessions_max: int = Field(
        100, ge=1, le=10_000, description="Tracks at a time; the service's own limit is usually near."
    )


class _ModelSettings(Section):
    model_dir: str = Field("", description="Folder of the model.")
    languages: tuple[str, ...] = Field(
        (),
        description='What the model knows, for example ["de"]; anything else is refused. Empty: not checked.',
    )


class SherpaSettings(_ModelSettings):
    """A model on this machine for the engine `sherpa-onnx` (extra `sherpa`)."""

    kind: str = Field("", description="What kind of model it is. Empty: told by the names of its files.")


class WhisperSettings(_ModelSettings):
    """A Whisper model on this machine for the engine `faster-whisper` (extra `whisper`)."""

    compute_type: Literal["int8", "int8_float32", "int16", "float32"] = Field(
        "int8", description="How the model calculates; int8 is the quickest."
    )
    partials: bool = Field(
        False, description="Make interim results too; each costs as much as a final of any length."
    )


class VoskSettings(_ModelSettings):
    """A Vosk model on this machine for the engine `vosk` (extra `vosk`)."""
