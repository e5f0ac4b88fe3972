"""The voices as the settings want them, and whether they can do what they promise."""

import structlog

from offhook.app.settings import VoiceSettings
from offhook.base.errors import ConfigError, LimitReached
from offhook.call.commands import Command, Gather, Speak, SpeakOptions
from offhook.call.errors import CommandError
from offhook.edge.voice.protocol import (
    LanguageUnsupported,
    VoiceError,
    VoiceNotInstalled,
    VoiceRejected,
    VoiceUnavailable,
)
from offhook.edge.voice.service import VoiceService

log = structlog.get_logger(__name__)


def make_voice(settings: VoiceSettings) -> VoiceService:
    """Return the service; nothing is started or read yet."""
    return VoiceService(
        workers=settings.workers, routes=settings.voices, default_voice=settings.default_voice
    )


async def inspect_voice(voice: VoiceService) -> None:
    """Make sure that every voice which was chosen can speak.

    One whose extra was never installed is no mistake: commands that ask for it are refused.

    Raises:
        ConfigError: a voice is unknown, or its model is missing or damaged.
    """
    for name, error in (await voice.inspect()).items():
        if not isinstance(error, VoiceNotInstalled):
            raise ConfigError(voice_problem(error))
        log.info("texts cannot be spoken", voice=name, reason=str(error))


async def warm_up_voice(voice: VoiceService) -> None:
    """Load the voices while the first call still rings."""
    try:
        await voice.warm_up()
    except VoiceError as error:
        log.warning("texts may not be spoken", reason=str(error))


def check_voice(voice: VoiceService, speak: SpeakOptions) -> None:
    """Refuse a text that no voice here can say, while the app is still listening.

    Raises:
        CommandError: it would not be heard.
    """
    try:
        voice.check(speak.voice, speak.language)
    except VoiceRejected as error:
        raise CommandError("90012", f"{_sentence(error)}.", "/voice") from None
    except LanguageUnsupported as error:
        raise CommandError("10038", f"{_sentence(error)}.", "/language") from None
    except VoiceUnavailable as error:
        raise CommandError("10038", f"{_sentence(error)}.", "/voice") from None
    except LimitReached as error:
        raise CommandError("10027", f"{_sentence(error)}.") from None


def texts_of(command: Command) -> list[SpeakOptions]:
    """Return what a command wants a voice to say."""
    match command:
        case Speak():
            return [command.speak]
        case Gather():
            texts = (command.prompt, command.invalid_prompt)
            return [text for text in texts if isinstance(text, SpeakOptions)]
        case _:
            return []


def voice_problem(error: Exception) -> str:
    """Return one sentence for a person."""
    return f"Texts will not be spoken: {str(error).rstrip('.')}."


def _sentence(error: Exception) -> str:
    text = str(error).rstrip(".")
    return text[:1].upper() + text[1:]
