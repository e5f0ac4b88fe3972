"""The keys that a leg gathers: an entry begins with a command and ends with `call.gather.ended`, once.

| entry | by | status |
| --- | --- | --- |
| runs | the last key there is room for, the terminating key, time after a key | valid, invalid |
| | time without any key | timeout |
| | StopGather, another Gather | cancelled |
| | the end of the call | call_hangup |

An entry is valid when it has enough keys and all of them are asked for. A key that is not asked for
counts like any other, so that the app sees what was pressed; the terminating key is no part of it.
"""

from dataclasses import dataclass
from typing import Any

from offhook.call import payloads
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.commands import Command, Gather, StopGather
from offhook.call.facts import DigitReceived, Fact


@dataclass(slots=True)
class _Entry:
    """What has been pressed so far, and until when the next key and the last one are waited for."""

    gather_id: str
    wanted: Gather
    next_until: float
    whole_until: float
    digits: str = ""

    def press(self, digit: str, now: float) -> bool:
        """Take a key and return whether it was the last one."""
        if digit == self.wanted.terminating_digit:
            return True
        self.digits += digit
        self.next_until = now + self.wanted.inter_digit_timeout_s
        return len(self.digits) >= self.wanted.maximum_digits

    @property
    def deadline(self) -> float:
        return min(self.next_until, self.whole_until)

    @property
    def verdict(self) -> str:
        enough = len(self.digits) >= self.wanted.minimum_digits
        return "valid" if enough and set(self.digits) <= set(self.wanted.valid_digits) else "invalid"


class Gathering(Ability):
    """The one entry that runs, if any."""

    COMMANDS = (Gather, StopGather)
    FACTS = (DigitReceived,)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._entry: _Entry | None = None

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del command, now

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        decided = self._end("cancelled")
        if isinstance(command, Gather):
            self._entry = _Entry(
                command.gather_id or self._leg.new_id(),
                command,
                next_until=now + command.initial_timeout_s,
                whole_until=now + command.timeout_s,
            )
        return {}, decided

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        assert isinstance(fact, DigitReceived)
        if self._entry is None or not self._entry.press(fact.digit, now):
            return []
        return self._end(self._entry.verdict)

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return self._end("call_hangup")

    def poll_timeout(self) -> float | None:
        """See `Ability`."""
        return None if self._entry is None else self._entry.deadline

    def handle_timeout(self, now: float) -> list[Decision]:
        """See `Ability`."""
        if self._entry is None or now < self._entry.deadline:
            return []
        return self._end(self._entry.verdict if self._entry.digits else "timeout")

    def _end(self, status: str) -> list[Decision]:
        if self._entry is None:
            return []
        entry, self._entry = self._entry, None
        record, _ = self._leg.known()
        told = {"digits": entry.digits, "gather_id": entry.gather_id, "status": status}
        return [Tell("call.gather.ended", {**told, **payloads.parties(record)})]
