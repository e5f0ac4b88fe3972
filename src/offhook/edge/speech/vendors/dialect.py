"""What one vendor's protocol has to say for itself. Types only.

A `Dialect` lives as long as one connection. All its times are milliseconds of the audio that was
sent on that connection; the session puts them on the leg's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from offhook.edge.speech.protocol import Word

Wire = Any
"""One message as its transport takes it: text, bytes, or a vendor's gRPC message."""


@dataclass(frozen=True, slots=True)
class Dial:
    """Where a connection goes. Keys may be anywhere in it, so none of it is ever shown."""

    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    subprotocols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ready:
    """The vendor takes audio from now on."""


@dataclass(frozen=True, slots=True)
class Speaking:
    """Somebody began to speak."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Said:
    """Words: a partial that replaces the last one, or a final piece.

    `utterance_end`: nothing more belongs to this utterance. A final without text only ends it.
    """

    text: str = field(repr=False)
    final: bool
    start_ms: int
    end_ms: int
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    language: str | None = None
    utterance_end: bool = True


@dataclass(frozen=True, slots=True)
class Settled:
    """Everything up to here has had its final, or held no speech: it need not be sent again."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """The vendor complains. Its words may repeat a key or what was said, so `reason` is ours.

    With `retry` another connection may help, not before `retry_after_s`.
    """

    reason: str
    retry: bool
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """The vendor has told all it had to tell; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is not what the vendor's protocol says; it is counted and forgotten."""


VendorEvent = Ready | Speaking | Said | Settled | Trouble | Done | Unreadable


class Dialect(Protocol):
    """One connection to one vendor, without the connection.

    Made from a `SpeechConfig` by its engine, once a connection. Nothing here blocks, and no message
    of a vendor may raise: what cannot be read is `Unreadable`.
    """

    chunk_ms: ClassVar[int]
    """Audio that the vendor likes in one message; the session collects so much before `audio`."""
    keep_alive_s: ClassVar[float | None]
    """Silence of ours after which `keep_alive` is to be sent; None: never."""
    session_max_s: ClassVar[float | None]
    """How long the vendor lets a connection live; the session rotates well before."""
    realtime: ClassVar[bool]
    """True when the vendor refuses audio much faster than it was spoken, also in a replay."""
    greets: ClassVar[bool]
    """True when the vendor says `Ready`; else audio may go as soon as `opening` is sent."""

    @property
    def answers(self) -> bool:
        """True while the vendor hears nothing loud for long without a message: its silence is a fault then."""
        ...

    def dial(self) -> Dial:
        """Return where to connect."""
        ...

    def opening(self) -> Sequence[Wire]:
        """Return what to send as soon as the connection stands."""
        ...

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the messages of s16le audio at the config's rate."""
        ...

    def keep_alive(self) -> Sequence[Wire]:
        """Return what says that we are still here; nothing where only audio does: silence is sent then."""
        ...

    def flush(self) -> Sequence[Wire]:
        """Return what ends the utterance now; nothing where the vendor knows no such thing."""
        ...

    def finish(self) -> Sequence[Wire]:
        """Return what says that no audio follows and the last words are wanted."""
        ...

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message of the vendor means."""
        ...

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what it means that the handshake was answered with this HTTP status; 0: by nobody."""
        ...

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what it means that the vendor closed without `Done`, by WebSocket close code (RFC 6455 7.4)."""
        ...


class Connection(Protocol):
    """One open connection."""

    async def send(self, message: Wire) -> None:
        """Send a message; waits while the vendor does not read.

        Raises:
            ConnectionLost: it is closed.
        """
        ...

    async def receive(self) -> Wire:
        """Return the next message.

        Raises:
            ConnectionLost: it is closed; says how.
        """
        ...

    async def close(self) -> None:
        """Close it, for at most a second. Never raises."""
        ...


class ConnectionRefused(Exception):
    """The vendor answered the handshake with an error; `status` 0: nobody answered at all."""

    def __init__(self, status: int, body: bytes = b"", *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"refused with {status}" if status else "nobody answered")
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        """What its `Retry-After` asks for."""


class ConnectionLost(Exception):
    """The connection is closed; `code` as in RFC 6455 7.4, 1006 when it just broke."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        self.reason = reason


class Transport(Protocol):
    """Opens connections: WebSocket for all vendors but one."""

    async def __call__(self, dial: Dial) -> Connection:
        """Connect.

        Raises:
            ConnectionRefused: the vendor does not want us, or is not there.
        """
        ...
