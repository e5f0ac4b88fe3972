"""The signature of a webhook: Ed25519 over `<timestamp>|<raw body>` (contract 3.1)."""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TIMESTAMP_HEADER = "telnyx-timestamp"
SIGNATURE_HEADER = "telnyx-signature-ed25519"
USER_AGENT = "telnyx-webhooks"

TOLERANCE_S = 300
"""How far a verifier lets the timestamp be from its own clock, both ways (contract 3.1)."""


def signed_bytes(timestamp: str, body: bytes) -> bytes:
    """Return what the signature covers."""
    return timestamp.encode() + b"|" + body


def sign(body: bytes, key: Ed25519PrivateKey, *, unix_time: int) -> dict[str, str]:
    """Return the two signature headers for `body` as sent at `unix_time` seconds.

    Sign again for every attempt: receivers refuse a timestamp more than five minutes old, and the
    attempt number in the body changes anyway.
    """
    timestamp = str(unix_time)
    signature = key.sign(signed_bytes(timestamp, body))
    return {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: base64.b64encode(signature).decode()}


def public_key_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the public key as it is published: standard base64 of the raw 32 bytes, 44 characters."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes_raw()).decode()


class WebhookSigner:
    """Makes all headers of one attempt.

    With `standard_webhooks`, the three `webhook-*` headers that some SDK versions look for are added
    (contract 3.2). Their HMAC is keyed by the *public* key, because those versions use it as the
    secret: they prove nothing and only let these SDKs run. The Ed25519 headers are always there.
    """

    def __init__(self, key: Ed25519PrivateKey, *, standard_webhooks: bool = False) -> None:
        self.public_key = public_key_text(key)
        self._key = key
        self._public_raw = key.public_key().public_bytes_raw()
        self._standard_webhooks = standard_webhooks

    def headers(self, body: bytes, *, event_id: str, unix_time: int, method: str = "POST") -> dict[str, str]:
        """Return the headers for `body` as sent at `unix_time` seconds; with GET it is the raw query."""
        headers = {"Content-Type": "application/json"} if method == "POST" else {}
        headers["User-Agent"] = USER_AGENT
        headers |= sign(body, self._key, unix_time=unix_time)
        if self._standard_webhooks:
            headers |= self._standard(body, event_id=event_id, unix_time=unix_time)
        return headers

    def _standard(self, body: bytes, *, event_id: str, unix_time: int) -> dict[str, str]:
        message_id = f"msg_{event_id}"
        covered = f"{message_id}.{unix_time}.".encode() + body
        mac = hmac.digest(self._public_raw, covered, hashlib.sha256)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(unix_time),
            "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        }
