"""The speech service as the settings want it, and whether it can do what they promise."""

import json
from pathlib import Path
from typing import Any

import structlog

from offhook.app.settings import AzureSettings, GoogleSettings, Settings, VendorSettings
from offhook.base.errors import ConfigError
from offhook.call.commands import TranscriptionOptions
from offhook.call.values import Track
from offhook.edge.speech.engine_map import canonical_name
from offhook.edge.speech.protocol import SpeechConfig, SpeechNotInstalled
from offhook.edge.speech.service import SpeechService

log = structlog.get_logger(__name__)


SPEECH_RATE_HZ = 8000


def speech_config(
    options: TranscriptionOptions, track: Track = Track.RX, sample_rate_hz: int = SPEECH_RATE_HZ
) -> SpeechConfig:
    """Return how one track is to be transcribed."""
    return SpeechConfig(
        language=options.language or "en",
        interim=options.interim_results,
        api_name=canonical_name(options.engine) or options.engine,
        model=options.model,
        parameters=options.options,
        track=track.value,
        sample_rate_hz=sample_rate_hz,
    )


def make_speech(settings: Settings) -> SpeechService:
    """Return the service; nothing is started or read yet.

    Raises:
        ConfigError: the settings name an engine that the API does not know.
    """
    speech = settings.speech
    try:
        return SpeechService(
            workers=speech.workers,
            routes=speech.engines,
            default_engine=speech.default_engine,
            tracks_per_worker_max=speech.tracks_per_worker_max,
            ignore_unsupported=settings.compat.ignore_unsupported,
            fallback=speech.fallback,
            options={
                "local": {"model_dir": speech.model_dir},
                "scripted": {"script_file": speech.script},
                "deepgram": _vendor("deepgram", settings.deepgram),
                "assemblyai": _vendor("assemblyai", settings.assemblyai),
                "openai": _vendor("openai", settings.openai),
                "azure": azure_options(settings.azure),
                "google": google_options(settings.google),
                "sherpa-onnx": settings.sherpa.model_dump(mode="json"),
                "faster-whisper": settings.whisper.model_dump(mode="json"),
                "vosk": settings.vosk.model_dump(mode="json"),
                **speech.options,
            },
        )
    except ValueError as error:
        raise ConfigError(f"The setting speech.engines is wrong: {error}.") from None


async def inspect_speech(speech: SpeechService) -> None:
    """Make sure that every engine which was chosen can run.

    An engine whose extra was never installed is no mistake: calls go on without transcription, and
    commands that ask for it are refused.

    Raises:
        ConfigError: an engine is unknown, or its model or script is missing or damaged.
    """
    for engine, error in (await speech.inspect()).items():
        if not isinstance(error, SpeechNotInstalled):
            raise ConfigError(speech_problem(error))
        log.warning("transcription is not available", engine=engine, reason=str(error))


def speech_problem(error: Exception) -> str:
    """Return one sentence for a person."""
    return f"Transcription will not work: {str(error).rstrip('.')}."


def _vendor(name: str, settings: VendorSettings) -> dict[str, Any]:
    """Return the options of a vendor's engine; `api_key` is the key itself, from wherever it came."""
    key = settings.api_key
    if settings.api_key_file:
        key = _read(f"{name}.api_key_file", settings.api_key_file)
    return {**settings.model_dump(exclude={"api_key_file"}), "api_key": key}


def azure_options(settings: AzureSettings) -> dict[str, Any]:
    """Return Azure's options; `keys` are all keys that requests may name."""
    files = {name: _read("azure.key_files", path) for name, path in settings.key_files.items()}
    options = _vendor("azure", settings)
    del options["key_files"]
    return {**options, "keys": {**settings.keys, **files}}


def google_options(settings: GoogleSettings) -> dict[str, Any]:
    """Return Google's options; `service_account` is what the credentials file holds, None without one."""
    options = settings.model_dump(exclude={"credentials_file"})
    if not settings.credentials_file:
        return {**options, "service_account": None}
    try:
        account = json.loads(_read("google.credentials_file", settings.credentials_file))
    except ValueError:
        account = None
    if not isinstance(account, dict) or "private_key" not in account:
        raise ConfigError(
            f"The setting google.credentials_file is wrong: {settings.credentials_file} is no service account."
        )
    project = settings.project or str(account.get("project_id", ""))
    return {**options, "project": project, "service_account": account}


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The setting {setting} is wrong: {path} cannot be read.") from None
