"""What the API needs from the rest of Offhook. `app` implements it; tests may too."""

from typing import Any, Protocol

from offhook.base.errors import OffhookError
from offhook.call.commands import Command, Reply


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

    def public_key(self) -> str:
        """Return the base64 Ed25519 key that verifies our webhooks."""
        ...

    def streams(self) -> list[dict[str, Any]]:
        """Return what is known of each live stream, without tokens."""
        ...

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok", ...}`, or another status when calls cannot be taken."""
        ...
