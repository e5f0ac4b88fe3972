"""The speech service as the settings want it, and whether it can do what they promise."""

import structlog

from offhook.app.settings import SpeechSettings
from offhook.base.errors import ConfigError
from offhook.edge.speech.protocol import SpeechNotInstalled
from offhook.edge.speech.service import SpeechService

log = structlog.get_logger(__name__)


def make_speech(settings: SpeechSettings) -> SpeechService:
    """Return the service; nothing is started or read yet.

    Raises:
        ConfigError: the settings name an engine that the API does not know.
    """
    try:
        return SpeechService(
            workers=settings.workers,
            routes=settings.engines,
            default_engine=settings.default_engine,
            options={
                "local": {"model_dir": settings.model_dir},
                "scripted": {"script_file": settings.script},
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
