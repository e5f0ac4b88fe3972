"""The resource `dialogflow_connections` (contract 2.5): which agent talks in the calls of an application.

A service account goes in and never comes out: answers show `****`.
"""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from offhook.base import limits
from offhook.call.errors import Problem
from offhook.edge.http.body import parse_object, read_body
from offhook.edge.http.problems import Refusal, problems_of
from offhook.edge.http.schemas import Body, ErrorAnswer

_NAME = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\s]+$")]


class DialogflowConnection(Body):
    """A connection as it is created and replaced."""

    service_account: dict[str, Any] = Field(
        description="The JSON key of a Google service account, as an object or as its text."
    )
    dialogflow_api: Literal["cx", "es"] = "es"
    conversation_profile_id: _NAME | None = None
    location: Annotated[str, Field(pattern="^[a-z0-9-]{1,63}$")] | None = None
    environment: _NAME | None = None

    @field_validator("service_account", mode="before")
    @classmethod
    def _read_account(cls, value: Any) -> Any:
        """Take the encoded JSON that the published examples send, too."""
        if isinstance(value, str):
            value = _decoded(value)
        if isinstance(value, dict) and len(json.dumps(value)) > limits.DIALOGFLOW_SERVICE_ACCOUNT_BYTES_MAX:
            raise PydanticCustomError("10033", "The parameter `service_account` is too large.")
        return value

    @field_validator("dialogflow_api", mode="before")
    @classmethod
    def _check_api(cls, value: Any) -> Any:
        if value not in ("cx", "es"):
            raise PydanticCustomError("100001", "The parameter `dialogflow_api` must be one of 'cx' or 'es'.")
        return value


class DialogflowConnectionResource(BaseModel):
    """A connection as it is shown."""

    record_type: Literal["dialogflow_connections"] = "dialogflow_connections"
    connection_id: str
    service_account: Literal["****"] = "****"
    dialogflow_api: str
    conversation_profile_id: str | None
    location: str | None
    environment: str | None


class DialogflowConnectionAnswer(BaseModel):
    """The answer about a connection."""

    data: DialogflowConnectionResource


class DialogflowService(Protocol):
    """What keeps the connections."""

    def has_application(self, connection_id: str) -> bool:
        """Tell whether there is such a Call Control application."""
        ...

    async def get(self, connection_id: str) -> DialogflowConnectionResource | None:
        """Return a connection, without its secret."""
        ...

    async def put(self, connection_id: str, connection: DialogflowConnection, *, new: bool) -> bool:
        """Keep a connection; without `new` only in place of one. Returns whether it is kept."""
        ...

    async def delete(self, connection_id: str) -> bool:
        """Forget a connection; return whether there was one."""
        ...


def dialogflow_router(service: DialogflowService, key: Sequence[Depends]) -> APIRouter:
    """Return the four methods of `/dialogflow_connections/{connection_id}`."""
    router = APIRouter(redirect_slashes=False, dependencies=key, tags=["dialogflow"])
    path = "/dialogflow_connections/{connection_id}"
    refusals: dict[int | str, dict[str, Any]] = {
        401: {"model": ErrorAnswer},
        404: {"model": ErrorAnswer},
        422: {"model": ErrorAnswer},
    }
    body = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": DialogflowConnection.model_json_schema()}},
        }
    }

    async def show(connection_id: str, status: int) -> Response:
        found = await service.get(connection_id)
        if found is None:
            raise _unknown("There is no Dialogflow connection for this application.")
        return JSONResponse({"data": found.model_dump()}, status_code=status)

    async def keep(connection_id: str, request: Request, *, new: bool) -> Response:
        members = parse_object(await read_body(request))
        try:
            connection = DialogflowConnection.model_validate(members)
        except ValidationError as error:
            raise Refusal(422, *problems_of(error)) from None
        _check_cx(connection)
        if not service.has_application(connection_id):
            raise _unknown("There is no Call Control application with this id.")
        if not await service.put(connection_id, connection, new=new):
            raise _unknown("There is no Dialogflow connection for this application.")
        return await show(connection_id, 201 if new else 200)

    @router.post(
        path,
        name="dialogflow_connections.create",
        responses={**refusals, 201: {"model": DialogflowConnectionAnswer}},
        openapi_extra=body,
        status_code=201,
    )
    async def create(connection_id: str, request: Request) -> Response:
        """Connect the calls of an application with a Dialogflow agent, in place of any other."""
        return await keep(connection_id, request, new=True)

    @router.get(
        path,
        name="dialogflow_connections.retrieve",
        responses={**refusals, 200: {"model": DialogflowConnectionAnswer}},
    )
    async def retrieve(connection_id: str) -> Response:
        """Show the agent of an application."""
        return await show(connection_id, 200)

    @router.put(
        path,
        name="dialogflow_connections.update",
        responses={**refusals, 200: {"model": DialogflowConnectionAnswer}},
        openapi_extra=body,
    )
    async def update(connection_id: str, request: Request) -> Response:
        """Replace the agent of an application; talks that go on keep theirs."""
        return await keep(connection_id, request, new=False)

    @router.delete(path, name="dialogflow_connections.delete", responses=refusals, status_code=204)
    async def delete(connection_id: str) -> Response:
        """Forget the agent of an application."""
        if not await service.delete(connection_id):
            raise _unknown("There is no Dialogflow connection for this application.")
        return Response(status_code=204)

    return router


def _check_cx(connection: DialogflowConnection) -> None:
    if connection.dialogflow_api != "cx":
        return
    missing = [
        Problem("10004", f"The parameter `{name}` is required for Dialogflow CX.", f"/{name}")
        for name in ("conversation_profile_id", "location")
        if getattr(connection, name) is None
    ]
    if missing:
        raise Refusal(422, *missing)


def _decoded(text: str) -> Any:
    for candidate in (text, _from_base64(text)):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    raise PydanticCustomError("10026", "The parameter `service_account` must be a JSON object.")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _unknown(detail: str) -> Refusal:
    return Refusal(404, Problem("10005", detail, "/connection_id"))
