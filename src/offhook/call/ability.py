"""What an answered leg can do beside lasting: stream, play, press keys. Each ability keeps its own book.

The leg asks its abilities the same questions in the same order, so that a new one is a new file and
a line in `abilities.ABILITIES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from offhook.call.codecs import CodecPolicy
from offhook.call.commands import Answer, Command, Dial, PlaybackOptions, SpeakOptions
from offhook.call.effects import Effect
from offhook.call.facts import Fact, Payload
from offhook.call.payloads import CallRecord
from offhook.call.values import LegIdentity, WebhookRoute
from offhook.proto.sdp import NegotiatedMedia


@dataclass(frozen=True, slots=True)
class Compat:
    """Places where the literal Telnyx behaviour may be asked for instead of the kinder one."""

    strict_transcription_stop: bool = False
    """Refuse `transcription_stop` when nothing is being transcribed."""
    single_stream: bool = False
    """A call has room for one stream or fork; the next one takes the place of the last."""
    only_telnyx_events: bool = False
    """Tell nothing by an event that Telnyx does not have."""
    strict_target_legs: bool = False
    """An app that speaks to the opposite leg of a call without one is heard by nobody."""


@dataclass(frozen=True, slots=True)
class Tell:
    """A webhook, less what every webhook of the leg says.

    With a `route` of its own it is a callback: it says the payload and when, and nothing else.
    """

    event_type: str
    payload: Payload
    route: WebhookRoute | None = None


Decision = Effect | Tell


class Player(Protocol):
    """What the ability that plays does for the others."""

    def check_room(self) -> None:
        """Raise `CommandError` when the call cannot be played to, or has too much to play."""

    def play(self, options: PlaybackOptions | SpeakOptions) -> tuple[str, Decision]:
        """Play after what waits; return the id, whose `PlaybackEnded` everybody is told, and the effect."""

    def cancel(self, playback_ids: Sequence[str]) -> list[Decision]:
        """Stop these, whether they are heard or wait."""


@dataclass(slots=True)
class LegContext:
    """What a leg and its abilities know in common. Only the leg writes it."""

    identity: LegIdentity
    user_id: str
    codecs: CodecPolicy
    new_id: Callable[[], str]
    compat: Compat
    client_state: str | None = None
    record: CallRecord | None = None
    media: NegotiatedMedia | None = None
    player: Player | None = None

    def known(self) -> tuple[CallRecord, NegotiatedMedia]:
        """Return the call and its audio, of a leg that is answered."""
        assert self.record is not None, "a leg that is up has a call"
        assert self.media is not None, "a leg that is answered has media"
        return self.record, self.media


class Ability(ABC):
    """One thing an answered leg can do. `COMMANDS` and `FACTS` are the kinds it is asked and told of."""

    COMMANDS: ClassVar[tuple[type[Command], ...]]
    FACTS: ClassVar[tuple[type[Fact], ...]]

    def __init__(self, leg: LegContext) -> None:
        self._leg = leg

    @abstractmethod
    def __len__(self) -> int:
        """Return how much has yet to report its end; `call.hangup` waits for it."""

    @abstractmethod
    def check(self, command: Command, now: float) -> None:
        """Raise `CommandError` when the answered leg cannot carry out the command; changes nothing."""

    @abstractmethod
    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], Sequence[Decision]]:
        """Carry out a checked command: what its answer says beside `result`, and what follows."""

    @abstractmethod
    def handle(self, fact: Fact, now: float) -> Sequence[Decision]:
        """Take a fact, and say what follows from it. Late and repeated facts are ignored."""

    def check_plan(self, plan: Answer | Dial, media: NegotiatedMedia) -> None:
        """Raise `CommandError` when what is to begin with the answer cannot be done in such a call."""
        del plan, media

    def reserve(self, plan: Answer | Dial) -> dict[str, str]:
        """Return the ids of what begins with the answer, as the reply to the answer or the dial tells them."""
        del plan
        return {}

    def prepare(self, plan: Dial, ids: dict[str, str], codecs: Sequence[str]) -> Sequence[Decision]:
        """Begin what has to be ready before a call of ours is placed; `codecs` is what it offers."""
        del plan, ids, codecs
        return ()

    def preparing(self) -> bool:
        """Return whether the call of ours should not be placed yet."""
        return False

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> Sequence[Decision]:
        """Begin what was to begin with the answer; `ids` holds what every ability has reserved."""
        del plan, ids, now
        return ()

    def close(self, hangup_cause: str, now: float) -> Sequence[Decision]:
        """End everything because the call has ended."""
        del hangup_cause, now
        return ()

    def abandon(self) -> Sequence[Decision]:
        """Forget what did not report its end in time, and tell the ends that are owed."""
        return ()

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called next."""
        return None

    def handle_timeout(self, now: float) -> Sequence[Decision]:
        """Let time pass. Safe to call early, late, or twice."""
        del now
        return ()
