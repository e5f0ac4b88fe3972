"""Every endpoint of the API, and what the official SDK makes of its answer."""

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from telnyx import types as sdk
from telnyx.types import (
    call_control_application_create_response as application_created,
)
from telnyx.types import (
    call_control_application_delete_response as application_deleted,
)
from telnyx.types import (
    call_control_application_retrieve_response as application_shown,
)
from telnyx.types import (
    call_control_application_update_response as application_changed,
)
from telnyx.types.recordings import action_delete_response as recordings_deleted
from telnyx.types.texml.accounts import call_streams_json_response as texml_started
from telnyx.types.texml.accounts.calls import stream_streaming_sid_json_response as texml_stopped

from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import ACTIONS, DIAL, Rules
from tests.api.reference import sdk_type
from tests.fakes.call_service import LegService

OURS_ALONE = frozenset({"public_key", "streams", "webhook_deliveries.resend", "recordings.file", "healthz"})
"""Endpoints that Telnyx does not have."""

SDK_ANSWERS: dict[str, Any] = {
    **{action.name: sdk_type(action.name, "response") for action in ACTIONS},
    "calls.dial": sdk_type(DIAL, "response"),
    "calls.retrieve_status": sdk.CallRetrieveStatusResponse,
    "connections.list_active_calls": sdk.ConnectionListActiveCallsResponse,
    "connections.list": sdk.Connection,
    "connections.retrieve": sdk.ConnectionRetrieveResponse,
    "call_control_applications.list": sdk.CallControlApplication,
    "call_control_applications.create": application_created.CallControlApplicationCreateResponse,
    "call_control_applications.retrieve": application_shown.CallControlApplicationRetrieveResponse,
    "call_control_applications.update": application_changed.CallControlApplicationUpdateResponse,
    "call_control_applications.delete": application_deleted.CallControlApplicationDeleteResponse,
    "dialogflow_connections.create": sdk.DialogflowConnectionResponse,
    "dialogflow_connections.retrieve": sdk.DialogflowConnectionResponse,
    "dialogflow_connections.update": sdk.DialogflowConnectionResponse,
    "dialogflow_connections.delete": None,
    "webhook_deliveries.list": sdk.WebhookDelivery,
    "webhook_deliveries.retrieve": sdk.WebhookDeliveryRetrieveResponse,
    "recordings.list": sdk.RecordingResponseData,
    "recordings.retrieve": sdk.RecordingResponse,
    "recordings.delete": sdk.RecordingResponse,
    "recordings.actions.delete": recordings_deleted.ActionDeleteResponse,
    "texml.streams.start": texml_started.CallStreamsJsonResponse,
    "texml.streams.update": texml_stopped.StreamStreamingSidJsonResponse,
}
"""The SDK's model of each answer, of a list that of its items; None: the answer is empty."""
LISTS = frozenset(name for name in SDK_ANSWERS if name.endswith((".list", ".list_active_calls")))


@cache
def whole_app() -> FastAPI:
    """Return an application with every resource; none of them can be asked anything."""
    service = LegService()
    absent = cast("Any", object())
    return create_app(
        service,
        auth=ApiKeys(["KEY"]),
        rules=Rules(check_ip=lambda ip: None),
        clock=service.clock,
        registry=CollectorRegistry(),
        dialogflow=absent,
        deliveries=absent,
        applications=absent,
        recordings=absent,
    )


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint as it is described."""

    name: str
    method: str
    path: str
    described: dict[str, Any]

    def answer(self) -> dict[str, Any] | None:
        """Return the schema of the answer to a request that is accepted; None: it is empty."""
        accepted = next(held for status, held in self.described["responses"].items() if int(status) < 300)
        if "content" not in accepted:
            return None
        schema: dict[str, Any] = accepted["content"]["application/json"]["schema"]
        return schema


def operations() -> list[Operation]:
    """Return every endpoint that is described."""
    return [
        Operation(described["operationId"], method.upper(), path, described)
        for path, methods in whole_app().openapi()["paths"].items()
        for method, described in methods.items()
    ]


def fields_described(schema: dict[str, Any]) -> set[str]:
    """Return the names of all fields that a schema of ours has, in the words of `shapes`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return fields_described(whole_app().openapi()["components"]["schemas"][name])
    found: set[str] = set()
    for kinds in ("anyOf", "allOf", "oneOf"):
        found = found.union(*(fields_described(each) for each in schema.get(kinds, ())))
    if "items" in schema:
        found |= {f"[]{rest}" for rest in _below(schema["items"])}
    for name, member in schema.get("properties", {}).items():
        found |= {name} | {name + rest for rest in _below(member)}
    return found


def _below(schema: dict[str, Any]) -> set[str]:
    return {rest if rest.startswith("[]") else f".{rest}" for rest in fields_described(schema)}
