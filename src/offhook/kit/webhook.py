"""Verify webhooks in an app, with nothing but a public key.

    event = verify(await request.read(), request.headers, PUBLIC_KEY, time.time())
    if event.event_type == "call.initiated":
        client.calls.actions.answer(event.payload["call_control_id"])

The official SDK's `client.webhooks.unwrap` does the same for apps that use it.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from offhook.base.errors import OffhookError
from offhook.proto.webhook.sign import SIGNATURE_HEADER, TIMESTAMP_HEADER, TOLERANCE_S, signed_bytes


class WebhookInvalid(OffhookError):
    """A request that must not be trusted; the text says why and holds nothing of the request."""


@dataclass(frozen=True, slots=True)
class VerifiedEvent:
    """A webhook whose signature was right and fresh."""

    event_type: str
    id: str
    occurred_at: str
    payload: dict[str, Any]
    attempt: int
    delivered_to: str


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    public_key: str | Sequence[str],
    now: float,
    *,
    tolerance_s: float = TOLERANCE_S,
) -> VerifiedEvent:
    """Return the event in `body`, or raise `WebhookInvalid`.

    Args:
        body: the raw request body, exactly as received.
        headers: the request's headers; the case of names does not matter.
        public_key: the server's public key as it prints it: base64, 44 characters. Several while keys
            rotate: one of them must fit.
        now: seconds since 1970.
        tolerance_s: how far the timestamp may be from `now`, both ways.
    """
    raw = body.encode("utf-8", "replace") if isinstance(body, str) else body
    _check(raw, headers, public_key, now, tolerance_s)
    return _read(raw)


def verify_query(
    query: str,
    headers: Mapping[str, str],
    public_key: str | Sequence[str],
    now: float,
    *,
    tolerance_s: float = TOLERANCE_S,
) -> dict[str, str]:
    """Return the members of a webhook that came by GET, as text by name, or raise `WebhookInvalid`.

    Args:
        query: what stands behind the question mark of the URL, exactly as received, still encoded.
        headers: as for `verify`, and so all that follows.
        public_key: one key or several.
        now: seconds since 1970.
        tolerance_s: how far the timestamp may be from `now`, both ways.
    """
    _check(query.encode("utf-8", "replace"), headers, public_key, now, tolerance_s)
    members = dict(parse_qsl(query, keep_blank_values=True))
    if not {"event_type", "id", "occurred_at"} <= members.keys():
        raise WebhookInvalid("the query is not a webhook")
    return members


def _check(
    raw: bytes,
    headers: Mapping[str, str],
    public_key: str | Sequence[str],
    now: float,
    tolerance_s: float,
) -> None:
    names = {name.lower(): value for name, value in headers.items()}
    timestamp = _required(names, TIMESTAMP_HEADER)
    signature = _base64(_required(names, SIGNATURE_HEADER), 64, "the signature header")
    keys = [read_public_key(text) for text in ([public_key] if isinstance(public_key, str) else public_key)]
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise WebhookInvalid("the timestamp header is not a number of seconds")
    if not any(_fits(key, signature, signed_bytes(timestamp, raw)) for key in keys):
        raise WebhookInvalid("the signature does not match the body")
    if abs(now - int(timestamp)) > tolerance_s:
        raise WebhookInvalid("the timestamp is too far from this clock")


def read_public_key(text: str) -> Ed25519PublicKey:
    """Return the key in `text`, base64 of 32 bytes, or raise `WebhookInvalid`."""
    return Ed25519PublicKey.from_public_bytes(_base64(text, 32, "the public key"))


def _fits(key: Ed25519PublicKey, signature: bytes, covered: bytes) -> bool:
    try:
        key.verify(signature, covered)
    except InvalidSignature:
        return False
    return True


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise WebhookInvalid(f"the header {name} is missing")
    return value


def _base64(text: str, size_bytes: int, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise WebhookInvalid(f"{what} is not base64") from None
    if len(raw) != size_bytes:
        raise WebhookInvalid(f"{what} does not hold {size_bytes} bytes")
    return raw


def _read(raw: bytes) -> VerifiedEvent:
    try:
        envelope = json.loads(raw)
        data, meta = envelope["data"], envelope["meta"]
        event = VerifiedEvent(
            event_type=data["event_type"],
            id=data["id"],
            occurred_at=data["occurred_at"],
            payload=data["payload"],
            attempt=meta["attempt"],
            delivered_to=meta["delivered_to"],
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WebhookInvalid("the body is not a webhook envelope") from None
    texts = (event.event_type, event.id, event.occurred_at, event.delivered_to)
    if not (all(isinstance(text, str) for text in texts) and isinstance(event.payload, dict)):
        raise WebhookInvalid("the body is not a webhook envelope")
    return event
