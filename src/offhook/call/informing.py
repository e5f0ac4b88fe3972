"""SIP INFO of a call in both directions: what the app sends, and what the far end sends to the app."""

from typing import Any

from offhook.base import limits
from offhook.call import payloads
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.commands import Answer, Command, Dial, SendInfo
from offhook.call.effects import SendInfo as Send
from offhook.call.errors import CommandError
from offhook.call.facts import Fact, InfoAnswered, InfoReceived


class Informing(Ability):
    """Counts the INFOs that have no answer yet. Nothing is told of the answers."""

    COMMANDS = (SendInfo,)
    FACTS = (InfoReceived, InfoAnswered)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._unanswered = 0
        self._up = False

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del command, now
        if self._unanswered >= limits.INFOS_WAITING_MAX:
            detail = f"{limits.INFOS_WAITING_MAX} INFOs wait for an answer of the far end already"
            raise CommandError("10027", detail)

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        assert isinstance(command, SendInfo)
        self._unanswered += 1
        return {}, [Send(command.content_type, command.body)]

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        if isinstance(fact, InfoAnswered):
            self._unanswered = max(0, self._unanswered - 1)
            return []
        assert isinstance(fact, InfoReceived)
        if not self._up:
            return []
        record, _ = self._leg.known()
        told = {"body": fact.body, "content_type": fact.content_type}
        return [Tell("call.sip_info.received", {**told, **payloads.parties(record)})]

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del plan, ids, now
        self._up = True
        return []

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        self._up = False
        self._unanswered = 0
        return []
