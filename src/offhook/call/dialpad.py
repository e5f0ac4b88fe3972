"""The keys a leg presses: how long they take, and by which way they go."""

from dataclasses import dataclass

from offhook.base import limits
from offhook.call.codecs import why_opaque
from offhook.call.commands import SendDigits
from offhook.call.effects import SendDigits as Press
from offhook.call.errors import CommandError
from offhook.proto.sdp import NegotiatedMedia

KEYS = frozenset("0123456789ABCD*#")
PAUSES_S = {"w": 0.5, "W": 1.0}
BETWEEN_KEYS_S = 0.1
"""Silence after each key; receivers need 40 ms at least (ITU-T Q.24)."""


def seconds_of(digits: str, duration_ms: int) -> float:
    """Return how long keys and pauses take."""
    each_s = duration_ms / 1000 + BETWEEN_KEYS_S
    return sum(PAUSES_S.get(key, each_s) for key in digits)


@dataclass(slots=True)
class Dialpad:
    """Knows until when the keys asked for so far are being sent. Sends nothing itself."""

    busy_until: float = 0.0

    def check(
        self, command: SendDigits, media: NegotiatedMedia | None, opaque: frozenset[str], now: float
    ) -> None:
        """Raise `CommandError` when the call cannot take the keys.

        Args:
            command: what is asked.
            media: what the call is in.
            opaque: codecs into which no tone can be mixed here.
            now: the time.
        """
        ends = max(now, self.busy_until) + seconds_of(command.digits, command.duration_ms)
        if ends > now + limits.DIGITS_WAITING_S_MAX:
            detail = f"the keys that wait would take longer than {limits.DIGITS_WAITING_S_MAX:.0f} s"
            raise CommandError("90014", detail, "/digits")
        if media is not None and media.dtmf_payload_type is None and media.codec_name in opaque:
            detail = f"the far end takes no telephone-event: {why_opaque(media.codec_name)}"
            raise CommandError("10038", detail)

    def press(self, command: SendDigits, media: NegotiatedMedia, now: float) -> Press:
        """Return the effect; tones go where telephone-event was not agreed on (RFC 4733 section 2.1)."""
        self.busy_until = max(now, self.busy_until) + seconds_of(command.digits, command.duration_ms)
        return Press(command.digits, command.duration_ms, media.dtmf_payload_type is None)
