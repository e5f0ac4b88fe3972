"""The body of a webhook (contract 3.1).

An event is encoded once; each attempt only adds its number and URL to the kept bytes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""What needs no percent-encoding (RFC 3986 section 2.3)."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on a call, as its app is told."""

    event_type: str
    id: str
    occurred_at: str
    payload: Mapping[str, Any]


def encode_event(event: Event) -> bytes:
    """Return the `data` object of the envelope: compact UTF-8 JSON, payload keys in alphabetical order."""
    payload = _encode(dict(event.payload), sort_keys=True)
    head = _encode({"event_type": event.event_type, "id": event.id, "occurred_at": event.occurred_at})
    return b'%b,"payload":%b,"record_type":"event"}' % (head[:-1], payload)


def body_of(data: bytes, *, attempt: int, delivered_to: str) -> bytes:
    """Return the exact bytes to send as attempt number `attempt` (the first is 1) to `delivered_to`."""
    assert attempt >= 1, "attempts are counted from one"
    return b'{"data":%b,"meta":{"attempt":%d,"delivered_to":%b}}' % (data, attempt, _encode(delivered_to))


def query_of(data: bytes) -> str:
    """Return the event as the query of a URL, for receivers that are asked by GET (contract 3.1).

    `event_type`, `id`, `occurred_at` and the members of the payload; what lies deeper is named
    `outer[inner]` and `list[0]`; null is left out.
    """
    event = json.loads(data)
    pairs = [(name, str(event[name])) for name in ("event_type", "id", "occurred_at")]
    for name, value in event["payload"].items():
        _flatten(str(name), value, pairs)
    return "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)


def form_of(data: bytes) -> str:
    """Return the payload alone as a form, for callbacks (contract 6); null is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in json.loads(data)["payload"].items():
        _flatten(str(name), value, pairs)
    return "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)


def _quote(text: str) -> str:
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in text.encode("utf-8", "replace")
    )


def _flatten(name: str, value: Any, pairs: list[tuple[str, str]]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(f"{name}[{key}]", inner, pairs)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _flatten(f"{name}[{index}]", inner, pairs)
    elif isinstance(value, str):
        pairs.append((name, value))
    elif value is not None:
        pairs.append((name, json.dumps(value)))


def _encode(value: Any, *, sort_keys: bool = False) -> bytes:
    try:
        text = json.dumps(
            value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys
        )
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys)
    # SIP headers may carry bytes that never were UTF-8; a webhook must not fail because of them.
    return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    """Return `value` with NaN and infinities as null: JSON (RFC 8259 section 6) has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
