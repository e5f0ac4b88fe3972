"""Referring the far end to somebody else: one referral at a time, from REFER to the last NOTIFY.

| referral | by | told |
| --- | --- | --- |
| asked | a 2xx to the REFER, or a NOTIFY that overtook it | call.refer.started |
| | any other answer | call.refer.failed |
| started | NOTIFY of a 2xx | call.refer.completed |
| | NOTIFY of a failure, or the last one; time | call.refer.failed |
| asked, started | the end of the call | call.refer.failed |

`sip_notify_response` is the last status that the far end told of the call it makes: 100 until it does.
"""

from typing import Any

from offhook.base import limits
from offhook.call import payloads
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.commands import Command, Refer
from offhook.call.effects import ForgetReferral, ReferCall
from offhook.call.errors import CommandError
from offhook.call.facts import Fact, Payload, ReferAnswered, ReferNotified

TRYING = 100
NOBODY_TOLD = 408


class Referring(Ability):
    """The referral that is under way, if any. The call goes on whatever becomes of it."""

    COMMANDS = (Refer,)
    FACTS = (ReferAnswered, ReferNotified)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._until: float | None = None
        self._started = False
        self._status = TRYING

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del command, now
        if self._until is not None:
            raise CommandError("10027", "the call is being referred already")

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        assert isinstance(command, Refer)
        self._until = now + limits.REFERRAL_TIMEOUT_S
        self._started = False
        self._status = TRYING
        return {}, [ReferCall(command.target, command.headers, command.username, command.password)]

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        if self._until is None:
            return []
        if isinstance(fact, ReferAnswered):
            if fact.status < 300:
                return self._start()
            self._status = fact.status
            return self._end()
        assert isinstance(fact, ReferNotified)
        decided = self._start()
        self._status = fact.status or self._status
        return [*decided, *self._end()] if fact.over or self._status >= 200 else decided

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return [] if self._until is None else self._end()

    def poll_timeout(self) -> float | None:
        """See `Ability`."""
        return self._until

    def handle_timeout(self, now: float) -> list[Decision]:
        """See `Ability`."""
        if self._until is None or now < self._until:
            return []
        self._status = NOBODY_TOLD
        return [ForgetReferral(), *self._end()]

    def _start(self) -> list[Decision]:
        if self._started:
            return []
        self._started = True
        return [Tell("call.refer.started", self._told())]

    def _end(self) -> list[Decision]:
        self._until = None
        if 200 <= self._status < 300:
            return [Tell("call.refer.completed", self._told())]
        return [Tell("call.refer.failed", self._told())]

    def _told(self) -> Payload:
        record, _ = self._leg.known()
        return {"sip_notify_response": self._status, **payloads.parties(record)}
