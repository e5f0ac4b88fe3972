"""Identifiers. The source of randomness is an argument, so a test can seed it.

`call_control_id` = `v3:` + 54 base64url characters (40 bytes): 8 bytes node id, 16 bytes leg id,
16 bytes HMAC-SHA256 (truncated) keyed by the installation's secret. Opaque and unguessable, and
any node sees from the id alone who owns the call.
"""

import base64
import binascii
import hashlib
import hmac
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass

RandomBytes = Callable[[int], bytes]

_PREFIX = "v3:"
_NODE_BYTES = 8
_LEG_BYTES = 16
_MAC_BYTES = 16


def system_random(count: int) -> bytes:
    """Return `count` unguessable bytes from the operating system."""
    return os.urandom(count)


def uuid4(random: RandomBytes) -> str:
    """Return a lower-case random UUID (RFC 9562, version 4) made from `random`."""
    return str(uuid.UUID(bytes=random(16), version=4))


def decimal_id(random: RandomBytes) -> str:
    """Return 19 decimal digits made from `random`, the shape of a `connection_id` (contract 1.3)."""
    return str(10**18 + int.from_bytes(random(8)) % (9 * 10**18))


@dataclass(frozen=True, slots=True)
class CallControlIds:
    """Mints and checks the `call_control_id`s of one node of an installation.

    Args:
        node_id: 8 bytes, constant for this node.
        secret: the installation's secret, at least 16 bytes, the same on every node.
    """

    node_id: bytes
    secret: bytes

    def __post_init__(self) -> None:
        assert len(self.node_id) == _NODE_BYTES, "a node id has 8 bytes"
        assert len(self.secret) >= 16, "the installation secret has at least 16 bytes"

    def mint(self, leg_id: uuid.UUID) -> str:
        """Return the handle of the leg `leg_id` on this node."""
        owner = self.node_id + leg_id.bytes
        return _PREFIX + base64.urlsafe_b64encode(owner + self._mac(owner)).rstrip(b"=").decode()

    def read(self, call_control_id: str) -> tuple[bytes, uuid.UUID] | None:
        """Return (node id, leg id), or None when this installation never minted that text."""
        text = call_control_id.removeprefix(_PREFIX)
        if len(text) != 54 or text == call_control_id:
            return None
        try:
            raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        owner, mac = raw[: _NODE_BYTES + _LEG_BYTES], raw[_NODE_BYTES + _LEG_BYTES :]
        if not hmac.compare_digest(mac, self._mac(owner)):
            return None
        return owner[:_NODE_BYTES], uuid.UUID(bytes=owner[_NODE_BYTES:])

    def _mac(self, owner: bytes) -> bytes:
        return hmac.new(self.secret, owner, hashlib.sha256).digest()[:_MAC_BYTES]
