"""The keys a leg presses: how long they take, and by which way they go."""

from typing import Any

from offhook.base import limits
from offhook.call.ability import Ability, Decision, LegContext
from offhook.call.codecs import why_opaque
from offhook.call.commands import Answer, Command, Dial, SendDigits
from offhook.call.effects import SendDigits as Press
from offhook.call.errors import CommandError
from offhook.call.facts import Fact

KEYS = frozenset("0123456789ABCD*#")
PAUSES_S = {"w": 0.5, "W": 1.0}
BETWEEN_KEYS_S = 0.1
"""Silence after each key; receivers need 40 ms at least (ITU-T Q.24)."""


def seconds_of(digits: str, duration_ms: int) -> float:
    """Return how long keys and pauses take."""
    each_s = duration_ms / 1000 + BETWEEN_KEYS_S
    return sum(PAUSES_S.get(key, each_s) for key in digits)


class Dialpad(Ability):
    """Knows until when the keys asked for so far are being sent. Sends nothing itself."""

    COMMANDS = (SendDigits,)
    FACTS = ()

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._busy_until = 0.0

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        assert isinstance(command, SendDigits)
        ends = max(now, self._busy_until) + seconds_of(command.digits, command.duration_ms)
        if ends > now + limits.DIGITS_WAITING_S_MAX:
            detail = f"the keys that wait would take longer than {limits.DIGITS_WAITING_S_MAX:.0f} s"
            raise CommandError("90014", detail, "/digits")
        _, media = self._leg.known()
        if media.dtmf_payload_type is None and media.codec_name in self._leg.codecs.opaque:
            detail = f"the far end takes no telephone-event: {why_opaque(media.codec_name)}"
            raise CommandError("10038", detail)

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        assert isinstance(command, SendDigits)
        return {}, [self._press(command, now)]

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del fact, now
        return []

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del ids
        digits = plan.digits if isinstance(plan, Dial) else ""
        return [self._press(SendDigits(digits=digits), now)] if digits else []

    def _press(self, command: SendDigits, now: float) -> Press:
        """Return the effect; tones go where telephone-event was not agreed on (RFC 4733 section 2.1)."""
        _, media = self._leg.known()
        self._busy_until = max(now, self._busy_until) + seconds_of(command.digits, command.duration_ms)
        return Press(command.digits, command.duration_ms, media.dtmf_payload_type is None)
