"""What a Dialogflow session is given and what it tells. No import of Google's libraries here."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from offhook.base.errors import OffhookError

BargeIn: TypeAlias = Literal["agent", "always", "never"]
"""Who decides whether a caller's words stop a reply: the agent's own flags, or the operator."""


class DialogflowError(OffhookError):
    """A session cannot start or go on; the text is for the app's developer and holds no secret.

    `reason` is the `failure_reason` of `streaming.failed` that it leads to.
    """

    reason = "connection_failed"


class DialogflowNotConfigured(DialogflowError):
    """There is no connection, the extra is not installed, or the account cannot be used."""

    reason = "dialogflow_not_configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Which agent of which Google project answers (contract 2.5)."""

    service_account: dict[str, Any] = field(repr=False)
    api: Literal["es", "cx"] = "es"
    conversation_profile_id: str | None = None
    location: str | None = None
    environment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """One conversation.

    Args:
        session_id: names it at Google, at most 36 characters.
        sample_rate_hz: of the audio pushed, and of the replies asked for; 8000 or 16000.
        language: BCP-47 code of what the caller speaks.
        analyze_sentiment: ask for the sentiment of each utterance.
        partial_replies: let a CX agent answer in parts.
        barge_in: whether the caller may interrupt a reply.
        welcome_event: an event that the agent answers before the caller speaks; empty: none.
    """

    session_id: str
    sample_rate_hz: int
    language: str
    analyze_sentiment: bool = False
    partial_replies: bool = False
    barge_in: BargeIn = "agent"
    welcome_event: str = ""


# What an agent's answer is read into, whichever API it came by.


@dataclass(frozen=True, slots=True)
class Heard:
    """The recogniser understood some of an utterance so far."""

    transcript: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """The caller has paused: no more audio is wanted in this turn."""


@dataclass(frozen=True, slots=True)
class Sentiment:
    """Of an utterance: -1 (negative) to 1 (positive), and how strong."""

    score: float
    magnitude: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The agent has answered an utterance or an event. `is_final` is False for a part of an answer."""

    transcript: str
    confidence: float
    is_final: bool
    messages: tuple[tuple[str, ...], ...]
    """The alternatives of each text message."""
    intent: str | None
    language: str | None
    sentiment: Sentiment | None
    ends: bool = False
    """The agent considers the conversation over, or hands it to a person."""


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """What the agent says, s16le mono.

    `interruptible`: the caller's words may stop it. `cancellable`: the next reply may.
    """

    pcm: bytes = field(repr=False)
    sample_rate_hz: int
    interruptible: bool = False
    cancellable: bool = False


Item: TypeAlias = Heard | UtteranceEnded | Answered | ReplyAudio

# What a session tells besides `Answered` and `ReplyAudio`.


@dataclass(frozen=True, slots=True)
class Connected:
    """Google takes our connection and the agent is known; audio is wanted from now on."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What is being played of the replies must stop: the caller speaks, or a newer reply replaces it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The agent has ended the conversation, and its last reply has been played."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is over. `reason` is a `failure_reason` of `streaming.failed`."""

    reason: str
    detail: str


SessionEvent: TypeAlias = Connected | Answered | ReplyAudio | Interrupted | Ended | Failed
