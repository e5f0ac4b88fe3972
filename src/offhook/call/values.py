"""Plain values that commands, facts and effects share."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

WebhookMethod = Literal["POST", "GET"]

EngineName = Literal[
    "Google",
    "Telnyx",
    "Deepgram",
    "Azure",
    "xAI",
    "AssemblyAI",
    "Speechmatics",
    "Soniox",
    "Parakeet",
    "Humain",
    "Reson8",
    "Cohere",
]
"""The transcription engines of the API (contract 2.2), by the names of their vendors."""
EngineAlias = Literal["A", "B"]
"""Google and Telnyx."""


class Direction(StrEnum):
    """Which way the call was made, as webhooks name it."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class LegState(StrEnum):
    """Where a leg is in its life. ARCHITECTURE.md draws the table."""

    NEW = "new"
    """Made, and not yet told of its call."""
    PARKED = "parked"
    """Incoming, ringing, waits for the app."""
    DIALLING = "dialling"
    """Outgoing, waits for the far end's answer; webhooks call it bridging."""
    ANSWERING = "answering"
    """We sent 200 OK and wait for the ACK."""
    ANSWERED = "answered"
    """Both sides agree that the call is up."""
    ENDING = "ending"
    """Over for the far end; taps are still being closed. Commands are refused as for ENDED."""
    ENDED = "ended"
    """`call.hangup` has been told. Nothing happens any more."""


class TargetLegs(StrEnum):
    """Who hears what the app of a stream says (contract 4.6)."""

    SELF = "self"
    """The far end of the leg the stream was started on."""
    OPPOSITE = "opposite"
    """The far end of the leg that is bridged to it; of its own leg where none is."""
    BOTH = "both"


class Track(StrEnum):
    """One direction of a leg's audio: rx is from the phone to us."""

    RX = "rx"
    TX = "tx"

    @property
    def telnyx_name(self) -> str:
        """Return the name apps know: `inbound` or `outbound`."""
        return "inbound" if self is Track.RX else "outbound"


class HangupCause(StrEnum):
    """Why a call ended (contract 3.5)."""

    CALL_REJECTED = "call_rejected"
    NORMAL_CLEARING = "normal_clearing"
    ORIGINATOR_CANCEL = "originator_cancel"
    TIMEOUT = "timeout"
    TIME_LIMIT = "time_limit"
    USER_BUSY = "user_busy"
    NOT_FOUND = "not_found"
    NO_ANSWER = "no_answer"
    UNSPECIFIED = "unspecified"


class HangupSource(StrEnum):
    """Who ended the call."""

    CALLER = "caller"
    CALLEE = "callee"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Header:
    """A SIP header that an app reads or sets."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class UdpTarget:
    """Where forked packets go: an IP address as text and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WebhookRoute:
    """Where the events of a leg go: a primary and perhaps a failover URL."""

    url: str
    failover_url: str | None = None
    timeout_s: float | None = None
    method: WebhookMethod = "POST"
    """How the primary URL is asked; the failover URL is always posted to."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """URLs of single events, which win over `url` (contract 3.3)."""
    urls_method: WebhookMethod = "POST"
    retries_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Waits between the attempts of single events, in place of the installation's schedule."""
    form: bool = False
    """Whether the payload alone is sent, as a form: by POST in the body, by GET in the query."""

    def of_event(self, event_type: str) -> "WebhookRoute":
        """Return where events of one type go, with nothing about others."""
        url = self.urls.get(event_type)
        waits_s = self.retries_s.get(event_type)
        return WebhookRoute(
            self.url if url is None else url,
            self.failover_url,
            self.timeout_s,
            self.method if url is None else self.urls_method,
            retries_s={} if waits_s is None else {event_type: waits_s},
            form=self.form,
        )


@dataclass(frozen=True, slots=True)
class WebhookWishes:
    """What a command says of the webhooks of its call; what it leaves out stays as it is."""

    url: str | None = None
    method: WebhookMethod = "POST"
    urls: Mapping[str, str] = field(default_factory=dict)
    urls_method: WebhookMethod = "POST"
    retries_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def applied_to(self, route: WebhookRoute) -> WebhookRoute:
        """Return `route` as it is wished from now on."""
        if self.url is not None:
            route = replace(route, url=self.url, method=self.method)
        if self.urls:
            route = replace(route, urls=self.urls, urls_method=self.urls_method)
        return replace(route, retries_s=self.retries_s) if self.retries_s else route


@dataclass(frozen=True, slots=True)
class LegIdentity:
    """The names of a leg; constant for its life."""

    call_control_id: str
    call_leg_id: str
    call_session_id: str
    connection_id: str


@dataclass(frozen=True, slots=True)
class QualityStats:
    """What the far end's RTP was like, for `call.hangup` and the summary line of the log."""

    mos: float
    jitter_max_ms: float
    jitter_packets: int
    rx_packets: int
    rx_packets_lost: int
    tx_packets: int
    tx_packets_skipped: int
