"""What the API needs from the rest of Offhook. `app` implements it; tests may too."""

from typing import Any, Protocol

from offhook.base.errors import OffhookError
from offhook.call.commands import Command, Dial, Reply

STREAMS_WANTED = (
    "live",
    "ended",
    "all",
    "connecting",
    "connected",
    "begun",
    "reconnecting",
    "closing",
    "stopped",
    "failed",
)
"""Which streams a list may be asked for: those that live, those of late, or those in one state."""


class UnknownCall(OffhookError):
    """No leg of this installation has that `call_control_id`, or it is not one at all."""


class CallService(Protocol):
    """Decides commands at once and tells the state of calls. No method may block or wait."""

    def command(self, call_control_id: str, action: str, command: Command) -> Reply:
        """Decide `command` now; its effects follow in the background.

        Raises:
            UnknownCall: the id is malformed or was never a call's.
            CommandError: refused; nothing has changed.
            LimitReached: the server is full; nothing has changed.
        """
        ...

    def status(self, call_control_id: str) -> dict[str, Any] | None:
        """Return the call resource (contract 2.3), or None when there is no such call any more."""
        ...

    def dial(self, plan: Dial) -> Reply:
        """Make a call now; the reply is its call resource.

        Raises:
            CommandError: refused; nothing has changed.
            LimitReached: the server takes no more calls; nothing has changed.
        """
        ...

    def active_calls(self, connection_id: str) -> list[dict[str, Any]] | None:
        """Return the call resources of a connection, oldest first, each with a rising number as `cursor`.

        None when there is no such connection.
        """
        ...

    def public_keys(self) -> dict[str, str]:
        """Return the base64 Ed25519 key that verifies our webhooks as `public_key`, and while keys
        rotate the one after and before it as `next_public_key` and `previous_public_key`."""
        ...

    def streams(
        self, *, call_control_id: str | None, wanted: str, first: int, count: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return some of the streams asked for, without tokens, and how many there are in all.

        Args:
            call_control_id: only the streams of this call; None: of all.
            wanted: one of `STREAMS_WANTED`.
            first: how many to pass over.
            count: how many to return at most.
        """
        ...

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok", ...}`, or another status when calls cannot be taken."""
        ...
