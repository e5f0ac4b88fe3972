"""The API as an ASGI application: routes, keys, and the one way a command takes.

A command is read, checked and decided without an await between its last byte and its decision,
so two commands for one call are decided in the order in which they arrived.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from offhook import __version__
from offhook.base.clock import Clock
from offhook.base.errors import LimitReached
from offhook.call.commands import Reply
from offhook.call.errors import CommandError, Problem
from offhook.edge.http.applications import ApplicationService, applications_router, connections_router
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.body import parse_object, read_body
from offhook.edge.http.commands import ACTIONS, DIAL, Action, Rules, dial
from offhook.edge.http.cursors import CURSOR_PARAMETERS, cut
from offhook.edge.http.dialogflow import DialogflowService, dialogflow_router
from offhook.edge.http.docs import DOCS_PAGE
from offhook.edge.http.guard import Guard, tell_allowance
from offhook.edge.http.not_yet import ACTIONS_NOT_YET
from offhook.edge.http.openapi import complete_openapi
from offhook.edge.http.pages import PAGE_PARAMETERS, Page, choice, parameter
from offhook.edge.http.problems import Refusal, envelope, problems_of
from offhook.edge.http.rates import RateLimit
from offhook.edge.http.recordings import RecordingService, recordings_router
from offhook.edge.http.retries import RetryMemory, is_retry, request_key
from offhook.edge.http.schemas import (
    ActiveCallsAnswer,
    CallAnswer,
    Dial,
    DialAnswer,
    ErrorAnswer,
    HealthAnswer,
    PublicKeysAnswer,
    StreamsAnswer,
)
from offhook.edge.http.service import STREAMS_WANTED, CallService, UnknownCall
from offhook.edge.http.texml import texml_router
from offhook.edge.http.transcription_socket import TranscriptionSockets, transcription_router
from offhook.edge.http.webhook_deliveries import DeliveryService, deliveries_router

log = structlog.get_logger(__name__)

_bearer = HTTPBearer(auto_error=False, description="One of the keys of `offhook keys`.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No or a wrong API key"},
    422: {"model": ErrorAnswer, "description": "Refused; nothing has changed"},
}
_STREAM_FILTERS = [
    parameter("call_control_id", "Only the streams of this call.", type="string"),
    parameter(
        "state",
        "live: all but the ended; ended: the last 200 that stopped or failed; or one state.",
        type="string",
        enum=list(STREAMS_WANTED),
        default=STREAMS_WANTED[0],
    ),
    *PAGE_PARAMETERS,
]


_Body = TypeVar("_Body", bound=BaseModel)
_ACTIVE_CALL = ("record_type", "call_control_id", "call_leg_id", "call_session_id", "call_duration")


@dataclass(frozen=True, slots=True)
class _Api:
    service: CallService
    auth: ApiKeys
    rules: Rules
    clock: Clock
    retries: RetryMemory
    rate_limit: RateLimit | None

    async def need_key(self, request: Request, credentials: _Credentials) -> None:
        """Refuse a request without an accepted key, or beyond its rate, before its body is read."""
        self.admit(None if credentials is None else credentials.credentials, request.scope)

    def admit(self, key: str | None, scope: Scope) -> None:
        """Refuse whoever has no accepted key, or sends more than it may."""
        if key is None:
            raise Refusal(401, Problem("10009", "No API key was sent: use `Authorization: Bearer <key>`."))
        if not self.auth.accepts(key):
            raise Refusal(401, Problem("10009", "The API key is not one of this server's."))
        if self.rate_limit is None:
            return
        allowance = self.rate_limit.take(key, self.clock.now())
        tell_allowance(scope, allowance)
        if allowance.exceeded:
            problem = Problem(
                "10011", f"Only {allowance.limit} requests fit into this time; try again later."
            )
            raise Refusal(429, problem, headers={"retry-after": str(allowance.reset_s)})


def create_app(
    service: CallService,
    *,
    auth: ApiKeys,
    rules: Rules,
    clock: Clock,
    registry: CollectorRegistry,
    metrics_need_key: bool = False,
    dialogflow: DialogflowService | None = None,
    deliveries: DeliveryService | None = None,
    applications: ApplicationService | None = None,
    recordings: RecordingService | None = None,
    rate_limit: RateLimit | None = None,
    transcriptions: TranscriptionSockets | None = None,
) -> FastAPI:
    """Return the API of `service`.

    Args:
        service: decides commands and knows the calls.
        auth: the accepted keys.
        rules: what this installation lets commands ask for.
        clock: for the memory of retried requests and the latency metric.
        registry: what `/metrics` shows; the API adds its own metrics to it.
        metrics_need_key: ask for an API key at `/metrics` too.
        dialogflow: keeps the Dialogflow agents of applications; None: there is no such resource.
        deliveries: keeps the log of webhook deliveries; None: there is no such resource.
        applications: keeps the Call Control applications; None: there is no such resource.
        recordings: keeps the recordings of calls; None: there is no such resource.
        rate_limit: how many requests each key may send; None: any number.
        transcriptions: serves the transcription socket; None: there is none.
    """
    api = _Api(service, auth, rules, clock, RetryMemory(), rate_limit)
    app = FastAPI(
        title="Offhook",
        version=__version__,
        summary="Real calls behind the Telnyx Call Control API, on your own machine.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    telnyx = _call_control(api)
    key = [Security(api.need_key)]
    telnyx.include_router(texml_router(service, key, rules=rules, clock=clock, retries=api.retries))
    if dialogflow is not None:
        telnyx.include_router(dialogflow_router(dialogflow, key))
    if deliveries is not None:
        telnyx.include_router(deliveries_router(deliveries, key))
    if applications is not None:
        telnyx.include_router(applications_router(applications, key, clock=clock, retries=api.retries))
        telnyx.include_router(connections_router(applications, key))
    if recordings is not None:
        telnyx.include_router(recordings_router(recordings, key))
    if transcriptions is not None:
        telnyx.include_router(transcription_router(transcriptions, api.admit))
    app.include_router(telnyx, prefix="/v2")
    app.include_router(telnyx, include_in_schema=False)
    app.include_router(_house(api, registry, metrics_need_key=metrics_need_key))
    app.add_exception_handler(Refusal, _tell_refusal)
    app.add_exception_handler(HTTPException, _tell_http_error)
    app.add_exception_handler(CommandError, _tell_command_error)
    app.add_exception_handler(LimitReached, _tell_limit)
    app.add_middleware(Guard, registry=registry, clock=clock)
    complete_openapi(app)
    return app


def _call_control(api: _Api) -> APIRouter:
    """Return the paths that exist with and without `/v2`."""
    router = APIRouter(redirect_slashes=False)
    key = [Security(api.need_key)]

    @router.get(
        "/calls/{call_control_id}",
        name="calls.retrieve_status",
        tags=["calls"],
        dependencies=key,
        responses={**_REFUSALS, 200: {"model": CallAnswer}, 404: {"model": ErrorAnswer}},
    )
    async def retrieve_status(call_control_id: str) -> Response:
        """Tell the state of a call, up to ten minutes after its end."""
        status = api.service.status(call_control_id)
        if status is None:
            raise Refusal(404, Problem("10005", "There is no such call.", "/call_control_id"))
        return JSONResponse({"data": status})

    for action in ACTIONS:
        router.add_api_route(
            f"/calls/{{call_control_id}}/actions/{action.name}",
            _command_endpoint(api, action),
            methods=[action.method],
            name=action.name,
            tags=["commands"],
            dependencies=key,
            responses={**_REFUSALS, 200: {"model": action.answer}, 400: {"model": ErrorAnswer}},
            description=f"The command {action.name} of Telnyx Call Control.",
        )
    for title in ACTIONS_NOT_YET:
        router.add_api_route(
            f"/calls/{{call_control_id}}/actions/{title}",
            _not_yet_endpoint(title),
            methods=["POST"],
            name="not_yet",
            dependencies=key,
            include_in_schema=False,
        )

    @router.post(
        "/calls",
        name="calls.dial",
        tags=["calls"],
        dependencies=key,
        responses={**_REFUSALS, 200: {"model": DialAnswer}, 400: {"model": ErrorAnswer}},
    )
    async def dial_call(request: Request) -> Response:
        """Call a number or a SIP address; what becomes of it is told by webhook."""
        return _dial(api, await read_body(request), retried=is_retry(request.headers))

    @router.get(
        "/connections/{connection_id}/active_calls",
        name="connections.list_active_calls",
        tags=["calls"],
        dependencies=key,
        responses={**_REFUSALS, 200: {"model": ActiveCallsAnswer}, 404: {"model": ErrorAnswer}},
        openapi_extra={"parameters": [*CURSOR_PARAMETERS, *PAGE_PARAMETERS]},
    )
    async def active_calls(connection_id: str, request: Request) -> Response:
        """List the calls of a connection that are up or ringing, oldest first."""
        found = api.service.active_calls(connection_id)
        if found is None:
            raise Refusal(404, Problem("10005", "There is no such connection.", "/connection_id"))
        items = [(call["cursor"], _active_call(call)) for call in found]
        path = f"/v2/connections/{connection_id}/active_calls"
        return JSONResponse(cut(path, request.query_params, items))

    @router.get(
        "/offhook/public_key",
        name="public_key",
        tags=["offhook"],
        responses={200: {"model": PublicKeysAnswer}},
    )
    async def public_key() -> Response:
        """Tell the base64 Ed25519 key that verifies webhooks, for the SDK's `public_key`, and its neighbours."""
        return JSONResponse({"data": api.service.public_keys()})

    @router.get(
        "/offhook/streams",
        name="streams",
        tags=["offhook"],
        dependencies=key,
        responses={**_REFUSALS, 200: {"model": StreamsAnswer}},
        openapi_extra={"parameters": _STREAM_FILTERS},
    )
    async def streams(request: Request) -> Response:
        """List the streams of the server, live ones and the last that ended, with what became of their audio."""
        query = request.query_params
        page = Page.of(query)
        items, total = api.service.streams(
            call_control_id=query.get("call_control_id") or None,
            wanted=choice(query, "state", STREAMS_WANTED),
            first=page.first,
            count=page.size,
        )
        return JSONResponse(page.answer(items, total))

    return router


def _house(api: _Api, registry: CollectorRegistry, *, metrics_need_key: bool) -> APIRouter:
    """Return the paths for the people who run the server."""
    router = APIRouter(redirect_slashes=False)

    @router.get(
        "/healthz",
        name="healthz",
        tags=["offhook"],
        responses={
            200: {"model": HealthAnswer},
            503: {"model": HealthAnswer, "description": "No calls are taken"},
        },
    )
    async def healthz() -> Response:
        """Answer 200 while calls can be taken, else 503."""
        health = api.service.health()
        return JSONResponse(health, status_code=200 if health.get("status") == "ok" else 503)

    @router.get(
        "/metrics",
        name="metrics",
        include_in_schema=False,
        dependencies=[Security(api.need_key)] if metrics_need_key else [],
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/docs", name="docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(
            DOCS_PAGE, headers={"content-security-policy": "default-src 'self' 'unsafe-inline'"}
        )

    return router


def _command_endpoint(api: _Api, action: Action) -> Callable[..., Awaitable[Response]]:
    async def endpoint(call_control_id: str, request: Request) -> Response:
        body = await read_body(request)
        return _decide(api, action, call_control_id, body, retried=is_retry(request.headers))

    return endpoint


def _decide(api: _Api, action: Action, call_control_id: str, body: bytes, *, retried: bool) -> Response:
    now = api.clock.now()
    key = request_key(call_control_id, action.name, body)
    if retried and (data := api.retries.reply_to(key, now)) is not None:
        return _accepted(data, duplicate=True)
    asked = _checked(action.name, action.body, body)
    try:
        command = action.build(asked, api.rules)
    except ValidationError as error:  # of a request that is made from this one
        raise Refusal(422, *problems_of(error)) from None
    try:
        reply = _asked(action.name, lambda: api.service.command(call_control_id, action.name, command))
    except UnknownCall:
        detail = "The call_control_id is not that of a call of this server."
        raise Refusal(422, Problem("90015", detail, "/call_control_id")) from None
    api.retries.remember(key, reply.data, now)
    return _accepted(reply.data, duplicate=reply.duplicate)


def _dial(api: _Api, body: bytes, *, retried: bool) -> Response:
    now = api.clock.now()
    key = request_key("", DIAL, body)
    if retried and (data := api.retries.reply_to(key, now)) is not None:
        return _accepted(data, duplicate=True)
    plan = dial(_checked(DIAL, Dial, body), api.rules)
    reply = _asked(DIAL, lambda: api.service.dial(plan))
    api.retries.remember(key, reply.data, now)
    return _accepted(reply.data, duplicate=reply.duplicate)


def _checked(name: str, model: type[_Body], body: bytes) -> _Body:
    members = parse_object(body)
    try:
        checked = model.model_validate(members)
    except ValidationError as error:
        raise Refusal(422, *problems_of(error)) from None
    _log_unknown(name, model, members)
    return checked


def _asked(name: str, ask: Callable[[], Reply]) -> Reply:
    try:
        return ask()
    except CommandError as error:
        log.info("command refused", action=name, code=error.problem.code)
        raise Refusal(422, error.problem) from None
    except LimitReached as error:
        log.warning("command refused by a limit", action=name, limit=str(error))
        raise Refusal(503, Problem("10007", str(error)), headers={"retry-after": "1"}) from None


def _active_call(call: dict[str, Any]) -> dict[str, Any]:
    return {**{name: call[name] for name in _ACTIVE_CALL}, "client_state": call["client_state"] or ""}


def _accepted(data: dict[str, Any], *, duplicate: bool) -> Response:
    return JSONResponse({"data": data}, headers={"offhook-duplicate": "true"} if duplicate else None)


def _log_unknown(action: str, model: type[BaseModel], members: dict[str, Any]) -> None:
    known = {field.alias or name for name, field in model.model_fields.items()}
    unknown = [name[:64] for name in members if name not in known]
    if unknown:
        log.debug("unknown parameters ignored", action=action, parameters=unknown[:10])


def _not_yet_endpoint(title: str) -> Callable[..., Awaitable[Response]]:
    async def endpoint() -> Response:
        raise Refusal(422, Problem("10038", f"This server does not do {title} yet."))

    return endpoint


async def _tell_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    content = envelope(error.problems, error.status)
    return JSONResponse(content, status_code=error.status, headers=error.headers)


async def _tell_command_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CommandError)
    return await _tell_refusal(request, Refusal(422, error.problem))


async def _tell_limit(request: Request, error: Exception) -> Response:
    assert isinstance(error, LimitReached)
    problem = Problem("10007", str(error))
    return await _tell_refusal(request, Refusal(503, problem, headers={"retry-after": "1"}))


async def _tell_http_error(request: Request, error: Exception) -> Response:
    """Tell in Telnyx's words what the router refuses: unknown paths and wrong methods."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        problem = Problem("10005", "The URL is not one of this server's.", "/")
    elif error.status_code == 405:
        problem = Problem("10030", "This URL does not take that method.")
    else:
        problem = Problem("10015", "The request cannot be understood.")
    return await _tell_refusal(request, Refusal(error.status_code, problem, headers=error.headers))
