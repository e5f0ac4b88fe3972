"""The resource `call_control_applications` and its reading as `connections` (contract 2.5)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from offhook.base import limits
from offhook.base.clock import Clock
from offhook.call.errors import Problem
from offhook.edge.http import fields
from offhook.edge.http.body import parse_object, read_body
from offhook.edge.http.pages import PAGE_PARAMETERS, Page, choice, parameter
from offhook.edge.http.problems import Refusal, problems_of
from offhook.edge.http.retries import RetryMemory, is_retry, request_key
from offhook.edge.http.schemas import Body, ErrorAnswer, PageMeta

_SORTS = ("-created_at", "created_at", "connection_name", "-connection_name", "active", "-active")
_CONTAINS_CHARACTERS_MIN = 3
_NULLABLE = {
    "webhook_event_failover_url",
    "webhook_timeout_secs",
    "channel_limit",
    "sip_subdomain",
    "outbound_voice_profile_id",
}
"""Members that a null empties; for all others it means absent."""


def _api_version(value: str) -> str:
    if value == "1":
        raise fields.refuse("10038", "This server sends webhooks of version 2 only.")
    return value


_ChannelLimit = Annotated[int, Field(ge=1, le=limits.CHANNEL_LIMIT_MAX)]
_Text = Annotated[str, Field(max_length=limits.APPLICATION_NAME_CHARACTERS_MAX)]


class Inbound(Body):
    """What holds for calls that come in."""

    channel_limit: _ChannelLimit | None = None
    shaken_stir_enabled: bool = False
    sip_subdomain: (
        Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?$")] | None
    ) = None
    sip_subdomain_receive_settings: Literal["only_my_connections", "from_anyone"] = "from_anyone"


class Outbound(Body):
    """What holds for calls that go out."""

    channel_limit: _ChannelLimit | None = None
    outbound_voice_profile_id: _Text | None = None


class Application(Body):
    """An application as it is created."""

    application_name: Annotated[
        str, Field(min_length=1, max_length=limits.APPLICATION_NAME_CHARACTERS_MAX, pattern=r"\S")
    ]
    webhook_event_url: fields.WebUrl
    webhook_event_failover_url: fields.WebUrlOrNone | None = ""
    webhook_api_version: Annotated[Literal["1", "2"], AfterValidator(_api_version)] = "2"
    webhook_timeout_secs: Annotated[int, Field(ge=0, le=30)] | None = None
    active: bool = True
    first_command_timeout: bool = False
    first_command_timeout_secs: Annotated[int, Field(ge=1, le=limits.APPLICATION_FIRST_COMMAND_S_MAX)] = 30
    dtmf_type: Literal["RFC 2833", "Inband", "SIP INFO"] = "RFC 2833"
    anchorsite_override: Literal[
        "Latency",
        "Chicago, IL",
        "Ashburn, VA",
        "San Jose, CA",
        "London, UK",
        "Chennai, IN",
        "Amsterdam, Netherlands",
        "Toronto, Canada",
        "Sydney, Australia",
    ] = "Latency"
    call_cost_in_webhooks: bool = False
    redact_dtmf_debug_logging: bool = False
    inbound: Inbound = Field(default_factory=Inbound)
    outbound: Outbound = Field(default_factory=Outbound)


class ApplicationResource(Application):
    """An application as it is shown."""

    # The default application may have no URL yet.
    webhook_event_url: str | None  # type: ignore[assignment]
    id: str
    record_type: Literal["call_control_application"] = "call_control_application"
    tags: list[str] = Field(default_factory=list)
    created_at: str
    updated_at: str


class ConnectionResource(BaseModel):
    """An application as `connections` shows it."""

    id: str
    record_type: Literal["call_control_application"] = "call_control_application"
    connection_name: str
    active: bool
    anchorsite_override: str
    outbound_voice_profile_id: str | None
    tags: list[str] = Field(default_factory=list)
    webhook_api_version: str
    webhook_event_url: str | None
    webhook_event_failover_url: str | None
    created_at: str
    updated_at: str


class ApplicationAnswer(BaseModel):
    """The answer about one application."""

    data: ApplicationResource


class ApplicationsAnswer(BaseModel):
    """One page of applications."""

    data: list[ApplicationResource]
    meta: PageMeta


class ConnectionAnswer(BaseModel):
    """The answer about one connection."""

    data: ConnectionResource


class ConnectionsAnswer(BaseModel):
    """One page of connections."""

    data: list[ConnectionResource]
    meta: PageMeta


class ApplicationService(Protocol):
    """What keeps the applications. What it refuses, it refuses with `CommandError` or `LimitReached`."""

    def all(self) -> Sequence[ApplicationResource]:
        """Return all applications, oldest first."""
        ...

    def find(self, application_id: str) -> ApplicationResource | None:
        """Return one application."""
        ...

    async def create(self, application: Application) -> ApplicationResource:
        """Keep a new application."""
        ...

    async def update(
        self, application_id: str, change: Callable[[ApplicationResource], Application]
    ) -> ApplicationResource | None:
        """Put what `change` makes of an application in its place; None: there is no such application."""
        ...

    async def delete(self, application_id: str) -> ApplicationResource | None:
        """Forget an application and return it; None: there is no such application."""
        ...


def applications_router(
    service: ApplicationService, key: Sequence[Depends], *, clock: Clock, retries: RetryMemory
) -> APIRouter:
    """Return the methods of `/call_control_applications`."""
    router = APIRouter(redirect_slashes=False, dependencies=key, tags=["applications"])
    path = "/call_control_applications"
    one: dict[int | str, dict[str, Any]] = {
        200: {"model": ApplicationAnswer},
        401: _ERROR,
        404: _ERROR,
        422: _ERROR,
    }

    @router.get(
        path,
        name="call_control_applications.list",
        responses={200: {"model": ApplicationsAnswer}, 401: _ERROR, 422: _ERROR},
        openapi_extra={"parameters": _list_parameters("application_name", limits.PAGE_SIZE)},
    )
    async def list_(request: Request) -> Response:
        """List the applications, newest first where `sort` does not say otherwise."""
        query = request.query_params
        page = Page.of(query)
        found = _selected(service.all(), query, "application_name")
        shown = [item.model_dump() for item in found[page.first : page.first + page.size]]
        return JSONResponse(page.answer(shown, len(found)))

    @router.post(
        path,
        name="call_control_applications.create",
        responses={201: {"model": ApplicationAnswer}, 400: _ERROR, 401: _ERROR, 422: _ERROR},
        openapi_extra=_body(),
        status_code=201,
    )
    async def create(request: Request) -> Response:
        """Make an application."""
        body = await read_body(request)
        retry_key = request_key("", "call_control_applications", body)
        if is_retry(request.headers) and (data := retries.reply_to(retry_key, clock.now())) is not None:
            return JSONResponse({"data": data}, status_code=201, headers={"offhook-duplicate": "true"})
        data = (await service.create(_checked(parse_object(body)))).model_dump()
        retries.remember(retry_key, data, clock.now())
        return JSONResponse({"data": data}, status_code=201)

    @router.get(f"{path}/{{id}}", name="call_control_applications.retrieve", responses=one)
    async def retrieve(id: str) -> Response:
        """Show an application."""
        return _answer(service.find(id))

    @router.patch(
        f"{path}/{{id}}",
        name="call_control_applications.update",
        responses={**one, 400: _ERROR},
        openapi_extra=_body(required=[]),
    )
    async def update(id: str, request: Request) -> Response:
        """Change what is named of an application; calls that go on keep what they began with."""
        changes = parse_object(await read_body(request), keep_nulls=True)

        def change(current: ApplicationResource) -> Application:
            return _checked(_merged(current.model_dump(), changes))

        return _answer(await service.update(id, change))

    @router.delete(f"{path}/{{id}}", name="call_control_applications.delete", responses=one)
    async def delete(id: str) -> Response:
        """Forget an application; calls that go on are not touched."""
        return _answer(await service.delete(id))

    return router


def connections_router(service: ApplicationService, key: Sequence[Depends]) -> APIRouter:
    """Return the methods that read `/connections`."""
    router = APIRouter(redirect_slashes=False, dependencies=key, tags=["applications"])

    @router.get(
        "/connections",
        name="connections.list",
        responses={200: {"model": ConnectionsAnswer}, 401: _ERROR, 422: _ERROR},
        openapi_extra={"parameters": _list_parameters("connection_name", limits.PAGE_SIZE_MAX)},
    )
    async def list_(request: Request) -> Response:
        """List what calls can come from and go to; here each is an application."""
        query = request.query_params
        page = Page.of(query, default_size=limits.PAGE_SIZE_MAX)
        # Only other kinds of connections have a domain name of their own.
        found = [] if query.get("filter[fqdn]") else _selected(service.all(), query, "connection_name")
        shown = [_as_connection(item).model_dump() for item in found[page.first : page.first + page.size]]
        return JSONResponse(page.answer(shown, len(found)))

    @router.get(
        "/connections/{id}",
        name="connections.retrieve",
        responses={200: {"model": ConnectionAnswer}, 401: _ERROR, 404: _ERROR},
    )
    async def retrieve(id: str) -> Response:
        """Show a connection."""
        found = service.find(id)
        return _answer(None if found is None else _as_connection(found))

    return router


_ERROR: dict[str, Any] = {"model": ErrorAnswer}


def _body(**changes: Any) -> dict[str, Any]:
    schema = Application.model_json_schema(ref_template="#/components/schemas/{model}")
    # What it refers to is among the components because the answers refer to it, too.
    del schema["$defs"]
    schema |= changes
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _list_parameters(name: str, size: int) -> list[dict[str, Any]]:
    pages = [dict(item, schema=dict(item["schema"])) for item in PAGE_PARAMETERS]
    pages[1]["schema"]["default"] = size
    return [
        parameter(
            f"filter[{name}][contains]",
            "Only those whose name contains this, in whatever case.",
            type="string",
            minLength=_CONTAINS_CHARACTERS_MIN,
        ),
        parameter(
            "filter[outbound.outbound_voice_profile_id]", "Only those with this profile.", type="string"
        ),
        parameter("sort", "The order; - is descending.", type="string", enum=list(_SORTS), default=_SORTS[0]),
        *pages,
    ]


def _answer(found: BaseModel | None) -> Response:
    if found is None:
        raise Refusal(404, Problem("10005", "There is no Call Control application with this id.", "/id"))
    return JSONResponse({"data": found.model_dump()})


def _checked(members: Mapping[str, Any]) -> Application:
    try:
        return Application.model_validate(members)
    except ValidationError as error:
        raise Refusal(422, *problems_of(error)) from None


def _merged(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `current` with the known members of `changes` in place of its own."""
    merged = dict(current)
    for name, value in changes.items():
        if name not in merged:
            continue
        if isinstance(merged[name], Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(merged[name], value)
        elif value is not None or name in _NULLABLE:
            merged[name] = value
    # The default application may have none yet: then it is missing, not of a wrong type.
    return {name: value for name, value in merged.items() if value is not None or name != "webhook_event_url"}


def _selected(
    items: Sequence[ApplicationResource], query: Mapping[str, str], name: str
) -> list[ApplicationResource]:
    """Return what the filters leave, in the order asked for."""
    order = choice(query, "sort", _SORTS)
    wanted = query.get(f"filter[{name}][contains]")
    if wanted is not None and len(wanted) < _CONTAINS_CHARACTERS_MIN:
        detail = f"The filter needs at least {_CONTAINS_CHARACTERS_MIN} characters."
        raise Refusal(422, Problem("10025", detail, f"/filter[{name}][contains]"))
    profile = query.get("filter[outbound.outbound_voice_profile_id]") or query.get(
        "filter[outbound_voice_profile_id]"
    )
    found = [
        item
        for item in items
        if (wanted is None or wanted.casefold() in item.application_name.casefold())
        and (not profile or item.outbound.outbound_voice_profile_id == profile)
    ]
    return sorted(found, key=_SORT_KEYS[order.removeprefix("-")], reverse=order.startswith("-"))


_SORT_KEYS: dict[str, Callable[[ApplicationResource], Any]] = {
    "created_at": lambda item: (item.created_at, item.id),
    "connection_name": lambda item: (item.application_name, item.id),
    "active": lambda item: (item.active, item.created_at, item.id),
}


def _as_connection(item: ApplicationResource) -> ConnectionResource:
    return ConnectionResource(
        id=item.id,
        connection_name=item.application_name,
        active=item.active,
        anchorsite_override=item.anchorsite_override,
        outbound_voice_profile_id=item.outbound.outbound_voice_profile_id,
        webhook_api_version=item.webhook_api_version,
        webhook_event_url=item.webhook_event_url,
        webhook_event_failover_url=item.webhook_event_failover_url,
        created_at=item.created_at,
        updated_at=item.updated_at,
    )
