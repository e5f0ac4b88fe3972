"""What a voice is and how it can fail. Knows none and starts nothing."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from offhook.base.errors import OffhookError


class VoiceError(OffhookError):
    """Root of what can go wrong in this room; the text is one sentence for a person."""


class VoiceUnavailable(VoiceError):
    """The voice cannot speak here; the text says what to install or change."""


class VoiceNotInstalled(VoiceUnavailable):
    """The extra that the voice needs was never installed: a choice, where damage is a mistake."""


class LanguageUnsupported(VoiceUnavailable):
    """The voice does not speak the language that was asked for."""


class VoiceRejected(VoiceError):
    """The operator does not offer a voice of that name."""


class VoiceFailed(VoiceError):
    """The voice began and could not go on."""


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """What a voice can do, so that the caller need not try."""

    name: str
    languages: tuple[str, ...]
    """Primary language tags ("en")."""
    sample_rate_hz: int

    def check_language(self, asked: str) -> None:
        """Raise LanguageUnsupported unless the voice speaks `asked`; regions are ignored."""
        primary = asked.replace("_", "-").partition("-")[0].lower()
        if primary not in self.languages:
            known = ", ".join(self.languages)
            raise LanguageUnsupported(f"the {self.name} voice speaks {known} and no other language")


class Speaker(Protocol):
    """A loaded voice: lives in a worker process, is used by one thread."""

    def say(self, text: str, rate: float, gain_db: float) -> Iterator[bytes]:
        """Yield the audio (s16le, mono, at the voice's rate) of one utterance, in pieces or one."""
        ...


class VoiceEngine(ABC):
    """Turns text into audio and is run by the worker processes."""

    info: VoiceInfo

    @abstractmethod
    def check(self, options: Mapping[str, Any]) -> None:
        """Raise VoiceUnavailable if `load` could not work here. May read files; loads no model."""

    @abstractmethod
    def load(self, options: Mapping[str, Any]) -> Speaker:
        """Load the model. Called once, in a worker process."""
