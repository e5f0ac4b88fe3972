"""The keys that a leg gathers: an entry begins with a command and ends with `call.gather.ended`, once.

| entry | by | status |
| --- | --- | --- |
| runs | the last key there is room for, the terminating key, time after a key | valid, invalid |
| | time without any key | timeout |
| | StopGather, another Gather | cancelled |
| | the end of the call | call_hangup |

An entry is valid when it has enough keys and all of them are asked for. A key that is not asked for
counts like any other, so that the app sees what was pressed; the terminating key is no part of it.

Where the caller is asked by a prompt, the first key ends what is being said, and while tries are left
an invalid entry, or none, leads to the next prompt instead of the end.
"""

from dataclasses import dataclass, field
from typing import Any

from offhook.call import payloads
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.commands import Command, Gather, StopGather
from offhook.call.facts import DigitReceived, Fact, PlaybackEnded

TIMEOUT = "timeout"
INVALID = "invalid"


@dataclass(slots=True)
class _Entry:
    """What has been pressed so far, what is still being said, and until when keys are waited for."""

    gather_id: str
    wanted: Gather
    tries_left: int
    digits: str = ""
    prompts: list[str] = field(default_factory=list)
    next_until: float | None = None
    whole_until: float | None = None

    def wait(self, now: float) -> None:
        """Wait for the first key from now on."""
        self.next_until = now + self.wanted.initial_timeout_s
        self.whole_until = now + self.wanted.timeout_s

    def press(self, digit: str, now: float) -> bool:
        """Take a key and return whether it was the last one."""
        if digit == self.wanted.terminating_digit:
            return True
        if self.whole_until is None:
            self.whole_until = now + self.wanted.timeout_s
        self.digits += digit
        self.next_until = now + self.wanted.inter_digit_timeout_s
        return len(self.digits) >= self.wanted.maximum_digits

    @property
    def deadline(self) -> float | None:
        return min((at for at in (self.next_until, self.whole_until) if at is not None), default=None)

    @property
    def verdict(self) -> str:
        enough = len(self.digits) >= self.wanted.minimum_digits
        return "valid" if enough and set(self.digits) <= set(self.wanted.valid_digits) else INVALID


class Gathering(Ability):
    """The one entry that runs, if any."""

    COMMANDS = (Gather, StopGather)
    FACTS = (DigitReceived, PlaybackEnded)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._entry: _Entry | None = None

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del now
        if isinstance(command, Gather) and command.prompt is not None:
            assert self._leg.player is not None, "every leg can play"
            self._leg.player.check_room()

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        decided = self._end("cancelled")
        if isinstance(command, Gather):
            entry = _Entry(command.gather_id or self._leg.new_id(), command, tries_left=command.tries)
            decided += self._try(entry, now)
        return {}, decided

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        entry = self._entry
        if entry is None:
            return []
        if isinstance(fact, PlaybackEnded):
            self._said(entry, fact.playback_id, now)
            return []
        assert isinstance(fact, DigitReceived)
        decided = self._hush(entry)
        return [*decided, *self._settle(entry.verdict, now)] if entry.press(fact.digit, now) else decided

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return self._end("call_hangup")

    def poll_timeout(self) -> float | None:
        """See `Ability`."""
        return None if self._entry is None else self._entry.deadline

    def handle_timeout(self, now: float) -> list[Decision]:
        """See `Ability`."""
        if self._entry is None or self._entry.deadline is None or now < self._entry.deadline:
            return []
        return self._settle(self._entry.verdict if self._entry.digits else TIMEOUT, now)

    def _try(self, entry: _Entry, now: float, *, again_after: str = "") -> list[Decision]:
        """Wait for an entry, after the prompts if there are any."""
        wanted = entry.wanted
        self._entry = _Entry(entry.gather_id, wanted, entry.tries_left - 1)
        prompts = [wanted.invalid_prompt if again_after == INVALID else None, wanted.prompt]
        decided: list[Decision] = []
        for prompt in prompts:
            if prompt is not None:
                assert self._leg.player is not None, "every leg can play"
                playback_id, effect = self._leg.player.play(prompt)
                self._entry.prompts.append(playback_id)
                decided.append(effect)
        if not decided:
            self._entry.wait(now)
        return decided

    def _said(self, entry: _Entry, playback_id: str, now: float) -> None:
        """Wait for keys once the last prompt is over, heard or not."""
        if playback_id in entry.prompts:
            entry.prompts.remove(playback_id)
            if not entry.prompts:
                entry.wait(now)

    def _hush(self, entry: _Entry) -> list[Decision]:
        """Let the caller press keys in silence."""
        if not entry.prompts:
            return []
        assert self._leg.player is not None, "every leg can play"
        decided = self._leg.player.cancel(entry.prompts)
        entry.prompts.clear()
        return decided

    def _settle(self, verdict: str, now: float) -> list[Decision]:
        """End the entry, or ask once more where it is not valid and there is another try."""
        entry = self._entry
        assert entry is not None, "only an entry that runs has a verdict"
        if verdict != "valid" and entry.tries_left > 0:
            return self._try(entry, now, again_after=verdict)
        return self._end(verdict)

    def _end(self, status: str) -> list[Decision]:
        if self._entry is None:
            return []
        entry, self._entry = self._entry, None
        record, _ = self._leg.known()
        told = {"digits": entry.digits, "gather_id": entry.gather_id, "status": status}
        ended = Tell("call.gather.ended", {**told, **payloads.parties(record)})
        return [*self._hush(entry), ended]
