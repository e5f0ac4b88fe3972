"""Which fields answers and webhooks have, at Telnyx and here; where they differ, and in what."""

import json
import types
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from telnyx import types as sdk

from tests.api.reference import ROOT

Payload = dict[str, Any]

UNKNOWN_TO_THE_SDK = frozenset(
    {"dialogflow.detectintent.response", "call.sip_info.received", "call.transcription.failed"}
)
"""Events that no model of the SDK has: Telnyx's guides name the first two, the last is ours alone."""
_ANYTHING = ".*"
"""Marks an object of which the SDK says nothing."""


def fields_of(kind: Any) -> set[str]:
    """Return the names of all fields of a model, those within others as `outer.inner` and `list[].inner`."""
    return {name for name in _within("", kind) if not name.endswith(_ANYTHING)}


def fields_told(value: Any) -> set[str]:
    """Return the names of all fields that a value has, in the same words; free-form objects as they are."""
    return _told_within("", value)


def fields_published(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of all fields of published properties, in the same words."""
    found: set[str] = set()
    for name, member in schema.items():
        found |= {name} | {name + rest for rest in _published_within(member)}
    return found


def strict_faults(kind: Any, value: Any, excused: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Return what the SDK's model has against a value: unknown, missing and mistyped fields.

    `excused` are the names of fields that may be unknown, or have values that are.
    """
    known = _within("", kind)
    unknown = fields_told(value) - known - excused
    free_forms = {name.removesuffix("*") for name in known if name.endswith(_ANYTHING)}
    free_forms |= {f"{name}." for name in excused}
    free = {name for name in unknown if name.startswith(tuple(free_forms))}
    faults = [f"unknown: {name}" for name in sorted(unknown - free)]
    try:
        TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        faults += [
            f"{found['type']}: {'.'.join(map(str, found['loc']))}"
            for found in error.errors(include_url=False)
            # A null stands for an absent optional field; Telnyx itself sends such (contract 3.1).
            if found["input"] is not None and ".".join(map(str, found["loc"])) not in excused
        ]
    return faults


@cache
def event_models() -> dict[str, Any]:
    """Return the SDK's model of each event's `data`, by event type."""
    found: dict[str, Any] = {}
    for wrapper in get_args(sdk.UnwrapWebhookEvent):
        data = _bare(wrapper.model_fields["data"].annotation) if "data" in wrapper.model_fields else None
        if not isinstance(data, type) or "event_type" not in getattr(data, "model_fields", {}):
            continue
        for event_type in get_args(_bare(data.model_fields["event_type"].annotation)):
            found.setdefault(event_type, data)
    return found


@cache
def published_events() -> dict[str, Payload]:
    """Return the payload that Telnyx publishes for each event."""
    facts: dict[str, Payload] = json.loads((ROOT / "tests/data/telnyx/webhook_payloads.json").read_text())
    return facts


def fields_of_event(event_type: str) -> set[str]:
    """Return every payload field that Telnyx publishes or its SDK knows for an event."""
    found = fields_published(published_events().get(event_type, {}))
    if event_type in event_models():
        found |= fields_of(_bare(event_models()[event_type].model_fields["payload"].annotation))
    return found


def _bare(kind: Any) -> Any:
    """Return a type without its None."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [each for each in get_args(kind) if each is not type(None)]
        return rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - made at run time
    return kind


def _within(prefix: str, kind: Any) -> set[str]:
    kind = _bare(kind)
    if kind is object or get_origin(kind) is dict:
        return {prefix + _ANYTHING}
    if get_origin(kind) in (Union, types.UnionType):
        return set().union(*(_within(prefix, each) for each in get_args(kind)))
    if get_origin(kind) is list:
        return _within(f"{prefix}[]", get_args(kind)[0])
    if get_origin(kind) is not Literal and isinstance(kind, type) and issubclass(kind, BaseModel):
        found: set[str] = set()
        for name, field in kind.model_fields.items():
            path = f"{prefix}.{field.alias or name}".lstrip(".")
            found |= {path} | _within(path, field.annotation)
        return found
    return set()


def _told_within(prefix: str, value: Any) -> set[str]:
    if isinstance(value, Mapping):
        found: set[str] = set()
        for name, member in value.items():
            path = f"{prefix}.{name}".lstrip(".")
            found |= {path} | _told_within(path, member)
        return found
    if isinstance(value, list):
        return set().union(*(_told_within(f"{prefix}[]", member) for member in value))
    assert value is None or isinstance(value, str | int | float | bool | datetime | date)
    return set()


def _published_within(schema: Mapping[str, Any]) -> set[str]:
    if "items" in schema:
        return {f"[]{rest}" for rest in _published_within(schema["items"])}
    return {f".{name}" for name in fields_published(schema.get("properties", {}))}
