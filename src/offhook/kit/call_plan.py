"""What a call of the simulated phone is to do, and how it went."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from offhook.base.errors import ConfigError, OffhookError
from offhook.edge.media.events import LegStats
from offhook.kit.audio import Sound
from offhook.proto.sdp import is_codec
from offhook.proto.sip import SipSyntaxError, SipUri

CODECS = ("PCMU", "PCMA")
"""What a phone offers that was not told otherwise."""
WIDE_BAND_CODECS = ("G722", "OPUS", "AMR-WB", "L16")
RECORD_RATES_HZ = (8_000, 16_000)
RING_TIMEOUT_S = 60.0
DIGITS = frozenset("0123456789*#ABCD")
Outcome = Literal["answered", "rejected", "no answer", "failed"]


class PhoneError(OffhookError):
    """A call could not even be tried; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPlan:
    """What the phone does in one call.

    Attributes:
        uri: whom to call, `sip:user@host:port;transport=tcp`.
        play: what to say once the call is answered.
        digits: keys to press, after the audio when there is any.
        codecs: offered, best first; L16 is offered at 16000 Hz unless it is named with its rate, "L16/48000".
        record: takes what is heard, s16le; called with each piece, in order.
        record_rate_hz: of what `record` takes.
        duration_s: hang up so long after the answer, whatever is going on; None: no limit.
        hang_up_after_play: hang up when audio and digits are over; else wait for the other side.
        tail_s: how long to stay after audio and digits.
        caller: user part of our own URI: what the app sees as `from`.
    """

    uri: str
    play: Sound | None = None
    digits: str = ""
    codecs: tuple[str, ...] = CODECS
    record: Callable[[bytes], None] | None = None
    record_rate_hz: int = RECORD_RATES_HZ[0]
    duration_s: float | None = None
    hang_up_after_play: bool = True
    tail_s: float = 1.0
    ring_timeout_s: float = RING_TIMEOUT_S
    caller: str = "phone"
    display: str = "Offhook phone"

    def __post_init__(self) -> None:
        """Refuse a plan that cannot be carried out, with one sentence for a person."""
        try:
            target = SipUri.parse(self.uri)
        except SipSyntaxError:
            target = None
        if target is None or target.scheme != "sip" or not target.host:
            raise ConfigError(f"{self.uri!r} is not a SIP URI like sip:user@host:port;transport=udp.")
        if target.parameters.get("transport", "udp").lower() not in ("udp", "tcp"):
            raise ConfigError("The phone speaks udp and tcp; give one of them as ;transport=.")
        unknown = [name for name in self.codecs if not is_codec(name)]
        if unknown or not self.codecs:
            known = ", ".join((*CODECS, *WIDE_BAND_CODECS))
            raise ConfigError(f"The phone speaks {known}, not {', '.join(unknown) or 'nothing'}.")
        if self.record_rate_hz not in RECORD_RATES_HZ:
            raise ConfigError("What is heard can be recorded at 8000 or 16000 Hz.")
        if not set(self.digits) <= DIGITS:
            raise ConfigError("Digits are 0-9, *, # and A-D.")
        if not _is_user(self.caller):
            raise ConfigError("The caller must be a number or a name, without spaces and special characters.")


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """One thing that happened in a call, `at_s` seconds after it was begun.

    Kinds: dialing, ringing, answered, rejected, media, playing, played, digit, pressed, hangup.
    """

    kind: str
    at_s: float
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallResult:
    """How a call went. `ended_by` is empty for a call that was not answered."""

    outcome: Outcome
    status: int
    """SIP status: 200, or why there was no call."""
    reason: str
    ended_by: Literal["local", "remote", ""] = ""
    ring_s: float = 0.0
    duration_s: float = 0.0
    codec: str = ""
    digits: str = ""
    """Keys that the other side pressed."""
    stats: LegStats | None = None


def _is_user(text: str) -> bool:
    """Say whether `text` can stand before the @ of a SIP URI as it is (RFC 3261 25.1)."""
    return bool(text) and text.isascii() and all(c.isalnum() or c in "-_.!~*'()&=+$,;?/" for c in text)
