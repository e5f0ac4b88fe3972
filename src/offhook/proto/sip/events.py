"""The plain values that go into and come out of a `UserAgent`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from offhook.base.errors import OffhookError
from offhook.base.limits import LEGS_MAX, SIP_RING_TIMEOUT_S, SIP_TRANSACTIONS_MAX

Transport = Literal["udp", "tcp", "tls"]
HostPort = tuple[str, int]
Headers = tuple[tuple[str, str], ...]


class CallStateError(OffhookError):
    """The call is over, or not at a point where this can be done. The text says which."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a message came from or goes to.

    `local` is the address of ours that this peer can reach; it is written into Via and Contact.
    `connection` names one open stream connection; 0 means a datagram, or "reuse or open one".
    """

    transport: Transport
    local: HostPort
    remote: HostPort
    connection: int = 0

    @property
    def reliable(self) -> bool:
        """Whether the transport resends by itself."""
        return self.transport != "udp"


@dataclass(frozen=True, slots=True)
class Transmit:
    """Bytes to send over a flow."""

    data: bytes
    flow: Flow


@dataclass(frozen=True, slots=True)
class CallHandle:
    """Names one call of one user agent; never used twice."""

    number: int


@dataclass(frozen=True, slots=True)
class TimerSettings:
    """The timer values of RFC 3261 §17, table 4."""

    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0

    @property
    def give_up_s(self) -> float:
        """64*T1: the value of timers B, F, H, J, L and M."""
        return 64 * self.t1_s


@dataclass(frozen=True, slots=True)
class UserAgentConfig:
    """What a user agent needs to know once."""

    user_agent: str = "Offhook"
    contact_user: str = "offhook"
    max_calls: int = LEGS_MAX
    max_transactions: int = SIP_TRANSACTIONS_MAX
    retry_after_s: int = 5
    ring_timeout_s: float = SIP_RING_TIMEOUT_S
    timers: TimerSettings = field(default_factory=TimerSettings)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and its password, which is in no representation."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """An INVITE to send.

    `uri` is the Request-URI, `flow` says over which transport and to which numeric address it goes.
    `to_uri` is `uri` when left out. With `credentials` a 401 or 407 is answered instead of told.
    """

    uri: str
    from_uri: str
    flow: Flow
    from_display: str = ""
    to_uri: str | None = None
    headers: Headers = ()
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A new INVITE. Answer with `ring`, `accept`, `reject` or `hangup`."""

    call: CallHandle
    call_id: str
    from_uri: str
    from_display: str
    to_uri: str
    request_uri: str
    headers: Headers
    sdp: bytes | None
    source: Flow


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """Last event: the caller gave up before our final answer. `reason` is the Reason header's value."""

    call: CallHandle
    reason: str | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class CallRinging:
    """The called side answered provisionally (101-199), perhaps with early media."""

    call: CallHandle
    status: int
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class CallAccepted:
    """Our INVITE got its 2xx; the ACK is on its way."""

    call: CallHandle
    sdp: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class CallEstablished:
    """The ACK to our 2xx came. `sdp` is its answer when the INVITE had no offer."""

    call: CallHandle
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class AckTimedOut:
    """No ACK within 64*T1 of our 2xx. `CallEnded` follows; a BYE is sent (RFC 3261 §13.3.1.4)."""

    call: CallHandle


@dataclass(frozen=True, slots=True)
class CallRejected:
    """Last event of a call that was never accepted.

    An outgoing call: the final status, 408 when nobody answered in time, 503 when nothing could be
    sent, 487 after `cancel`. An incoming call: the status we gave.
    """

    call: CallHandle
    status: int
    reason: str
    by_peer: bool
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class CallEnded:
    """Last event of a call that was accepted."""

    call: CallHandle
    by_peer: bool
    reason: str | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A re-INVITE or UPDATE asks for new media. Answer with `answer_offer` or `refuse_offer`.

    `sdp` is None when the peer wants our offer; its answer then comes as `OfferAnswered`.
    """

    call: CallHandle
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """Our re-INVITE was accepted, or the ACK to our offer brought the answer."""

    call: CallHandle
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class OfferRefused:
    """Our re-INVITE was refused (491: both sides asked at once); the session stays as it was."""

    call: CallHandle
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """An INFO inside the call (RFC 6086); it is already answered."""

    call: CallHandle
    content_type: str
    body: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class InfoAnswered:
    """An INFO of ours has its final status: 408 is silence, 503 that it could not be sent."""

    call: CallHandle
    status: int


@dataclass(frozen=True, slots=True)
class ReferAnswered:
    """A REFER of ours has its final status. When it is a 2xx, `ReferNotified` tells what follows."""

    call: CallHandle
    status: int


@dataclass(frozen=True, slots=True)
class ReferNotified:
    """The peer tells how the call it was referred to goes on (RFC 3515 2.4.5).

    `status` is None where it does not say; with `over` it will say no more.
    """

    call: CallHandle
    status: int | None
    over: bool


UserAgentEvent = (
    IncomingCall
    | CallCancelled
    | CallRinging
    | CallAccepted
    | CallEstablished
    | AckTimedOut
    | CallRejected
    | CallEnded
    | OfferReceived
    | OfferAnswered
    | OfferRefused
    | InfoReceived
    | InfoAnswered
    | ReferAnswered
    | ReferNotified
)

Counters = Mapping[str, int]
