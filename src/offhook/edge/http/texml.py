"""The two TeXML REST calls about streams (contract 6): start one in a call, stop it.

Bodies are forms with names in CamelCase, or the same members as JSON. What happens is told by the
webhooks of the call's application, as for `streaming_start`, and to `StatusCallback` as a form.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from offhook.base import limits
from offhook.base.clock import Clock, iso_time
from offhook.call import commands as domain
from offhook.call.errors import CommandError, Problem
from offhook.edge.http import fields, schemas
from offhook.edge.http.body import parse_object, read_body
from offhook.edge.http.commands import Rules, streaming_start
from offhook.edge.http.problems import Refusal, problems_of
from offhook.edge.http.retries import RetryMemory, is_retry, request_key
from offhook.edge.http.service import CallService, UnknownCall

Model = TypeVar("Model", bound=BaseModel)

_PATH = "/texml/Accounts/{account_sid}/Calls/{call_sid}/Streams"
_NO_SUCH_STREAM = "90048"


class TexmlStream(schemas.Body):
    """A stream to start."""

    url: fields.StreamUrl = Field(alias="Url")
    track: Literal["inbound_track", "outbound_track", "both_tracks"] = Field("inbound_track", alias="Track")
    name: fields.ParameterText | None = Field(None, alias="Name")
    bidirectional_mode: Literal["mp3", "rtp"] = Field("mp3", alias="BidirectionalMode")
    bidirectional_codec: Literal["PCMU", "PCMA", "G722"] = Field("PCMU", alias="BidirectionalCodec")
    status_callback: fields.WebUrl | None = Field(None, alias="StatusCallback")
    status_callback_method: Literal["GET", "POST"] = Field("POST", alias="StatusCallbackMethod")


class TexmlStreamUpdate(schemas.Body):
    """What a stream is to become."""

    status: Literal["stopped"] = Field(alias="Status")


class TexmlStreamAnswer(BaseModel):
    """A stream as TeXML shows it."""

    account_sid: str
    call_sid: str
    sid: str
    name: str | None = None
    status: Literal["in-progress", "stopped"]
    date_updated: str
    uri: str


def texml_router(
    service: CallService, key: Sequence[Depends], *, rules: Rules, clock: Clock, retries: RetryMemory
) -> APIRouter:
    """Return the paths below `/texml`."""
    router = APIRouter(redirect_slashes=False, dependencies=key, tags=["texml"])
    error = {"model": schemas.ErrorAnswer}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"model": TexmlStreamAnswer},
        400: error,
        401: error,
        404: error,
        422: error,
    }

    def command(call_sid: str, action: str, asked: domain.Command) -> domain.Reply:
        try:
            return service.command(call_sid, action, asked)
        except UnknownCall:
            raise _not_found("There is no such call.", "/call_sid") from None

    def show(account_sid: str, call_sid: str, sid: str, **members: Any) -> dict[str, Any]:
        return {
            "account_sid": account_sid,
            "call_sid": call_sid,
            "sid": sid,
            **members,
            "date_updated": iso_time(clock.now()),
            "uri": "/v2"
            + _PATH.format(account_sid=_quoted(account_sid), call_sid=_quoted(call_sid))
            + f"/{sid}.json",
        }

    @router.post(
        f"{_PATH}.json", name="texml.streams.start", responses=responses, openapi_extra=_form(TexmlStream)
    )
    async def start(account_sid: str, call_sid: str, request: Request) -> Response:
        """Start a stream in a call."""
        body = await read_body(request)
        retry_key = request_key(f"{account_sid}\0{call_sid}", "texml.streams", body)
        if is_retry(request.headers) and (known := retries.reply_to(retry_key, clock.now())) is not None:
            return JSONResponse(known, headers={"offhook-duplicate": "true"})
        asked = _checked(TexmlStream, _members(request, body))
        asked_for = _with_callback(streaming_start(_as_command(asked), rules), asked, account_sid)
        reply = command(call_sid, "streaming_start", asked_for)
        answer = show(account_sid, call_sid, reply.data["stream_id"], name=asked.name, status="in-progress")
        retries.remember(retry_key, answer, clock.now())
        return JSONResponse(answer)

    @router.post(
        f"{_PATH}/{{streaming_sid}}.json",
        name="texml.streams.update",
        responses=responses,
        openapi_extra=_form(TexmlStreamUpdate),
    )
    async def update(account_sid: str, call_sid: str, streaming_sid: str, request: Request) -> Response:
        """Stop a stream."""
        asked = _checked(TexmlStreamUpdate, _members(request, await read_body(request)))
        sid = streaming_sid.lower()
        try:
            command(call_sid, "streaming_stop", domain.StopStream(stream_id=sid))
        except CommandError as refused:
            if refused.problem.code != _NO_SUCH_STREAM:
                raise
            raise _not_found("There is no such stream.", "/streaming_sid") from None
        return JSONResponse(show(account_sid, call_sid, sid, status=asked.status))

    return router


def _as_command(asked: TexmlStream) -> schemas.StreamingStart:
    return schemas.StreamingStart(
        stream_url=asked.url,
        stream_track=asked.track,
        stream_bidirectional_mode=asked.bidirectional_mode,
        stream_bidirectional_codec=asked.bidirectional_codec,
    )


def _with_callback(command: domain.StartStream, asked: TexmlStream, account_sid: str) -> domain.StartStream:
    if asked.status_callback is None or command.stream is None:
        return command
    callback = domain.StreamCallback(
        url=asked.status_callback,
        method=asked.status_callback_method,
        account_sid=account_sid,
        name=asked.name or "",
    )
    return replace(command, stream=replace(command.stream, callback=callback))


def _members(request: Request, body: bytes) -> dict[str, Any]:
    """Return the members of a form, or of JSON where the request says that it is; empty ones are absent."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        return parse_object(body)
    try:
        text = body.decode()
        pairs = parse_qsl(text, errors="strict", max_num_fields=limits.FORM_FIELDS_MAX)
    except UnicodeDecodeError:
        raise Refusal(400, Problem("10028", "The body is not UTF-8.")) from None
    except ValueError:
        detail = f"The form has more than {limits.FORM_FIELDS_MAX} fields."
        raise Refusal(400, Problem("10015", detail)) from None
    return dict(pairs)


def _checked(model: type[Model], members: dict[str, Any]) -> Model:
    try:
        return model.model_validate(members)
    except ValidationError as error:
        raise Refusal(422, *problems_of(error)) from None


def _form(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"schema": model.model_json_schema()}
    content = {"application/x-www-form-urlencoded": schema, "application/json": schema}
    return {"requestBody": {"required": True, "content": content}}


def _quoted(part: str) -> str:
    return quote(part, safe=":")


def _not_found(detail: str, pointer: str) -> Refusal:
    return Refusal(404, Problem("10005", detail, pointer))
