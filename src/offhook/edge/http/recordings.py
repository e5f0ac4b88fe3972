"""Recordings of calls: the list, one of them, their deletion, and their files by signed URLs.

Files are given out without an API key: whoever has a URL of `call.recording.saved` has been given it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from offhook.base import limits
from offhook.call.errors import Problem
from offhook.edge.http.body import parse_object, read_body
from offhook.edge.http.pages import PAGE_PARAMETERS, Page, parameter
from offhook.edge.http.problems import Refusal
from offhook.edge.http.schemas import ErrorAnswer, PageMeta

MEDIA_TYPES = {".wav": "audio/wav", ".mp3": "audio/mpeg"}
_FILES: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()
}
_EQUAL = {
    "filter[call_control_id]": "call_control_id",
    "filter[call_leg_id]": "call_leg_id",
    "filter[call_session_id]": "call_session_id",
    "filter[connection_id]": "connection_id",
    "filter[from]": "caller",
    "filter[to]": "callee",
}
_TIMES = {
    "filter[created_at][gte]": "started_from",
    "filter[created_at][lte]": "started_until",
    "filter[start_time][gte]": "started_from",
    "filter[start_time][lte]": "started_until",
    "filter[end_time][gte]": "ended_from",
    "filter[end_time][lte]": "ended_until",
}
_NEVER = ("filter[conference_id]", "filter[conference_region]", "filter[sip_call_id]")
"""Filters of what recordings here do not have: nothing fits."""
_ROUNDING_S = 0.000_001
_TEXT_MAX = 255


class RecordingResource(BaseModel):
    """A recording that is complete. `download_urls` are good for ten minutes."""

    model_config = ConfigDict(populate_by_name=True)
    id: str
    call_control_id: str
    call_leg_id: str
    call_session_id: str
    channels: Literal["single", "dual"]
    conference_id: None = None
    connection_id: str
    created_at: str
    download_urls: dict[str, str]
    duration_millis: int
    from_: str = Field(alias="from")
    initiated_by: str
    record_type: Literal["recording"] = "recording"
    recording_ended_at: str
    recording_started_at: str
    source: Literal["call"] = "call"
    status: Literal["completed"] = "completed"
    to: str
    updated_at: str


class RecordingAnswer(BaseModel):
    """One recording."""

    data: RecordingResource


class RecordingsAnswer(BaseModel):
    """Some of the recordings."""

    data: list[RecordingResource]
    meta: PageMeta


class RecordingIds(BaseModel):
    """Which recordings to delete."""

    ids: Annotated[list[str], Field(min_length=1, max_length=limits.RECORDINGS_PER_DELETE_MAX)]


class DeletedAnswer(BaseModel):
    """The answer to a deletion of several."""

    status: Literal["ok"] = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingQuery:
    """Which recordings are asked for. Times are seconds since 1970; None is any."""

    equal: tuple[tuple[str, str], ...] = ()
    started_from: float | None = None
    started_until: float | None = None
    ended_from: float | None = None
    ended_until: float | None = None


class RecordingService(Protocol):
    """Knows the recordings of the server. Every method may raise `LimitReached`."""

    async def get(self, recording_id: str) -> RecordingResource | None:
        """Return a complete recording."""
        ...

    async def page(self, query: RecordingQuery, page: Page) -> tuple[list[RecordingResource], int]:
        """Return one page of those that fit, newest first, and how many fit."""
        ...

    async def delete(self, recording_ids: list[str]) -> list[RecordingResource]:
        """Delete recordings with their files; return those that there were."""
        ...

    async def file(self, name: str, *, expires: str, signature: str) -> tuple[Path, str] | None:
        """Return the file of a signed URL and how it is called; None when the URL is not good (any more)."""
        ...


def recordings_router(service: RecordingService, key: Sequence[Depends]) -> APIRouter:
    """Return the paths below `/recordings`."""
    router = APIRouter(redirect_slashes=False, tags=["recordings"])
    refusals: dict[int | str, dict[str, Any]] = {
        401: {"model": ErrorAnswer},
        404: {"model": ErrorAnswer},
        422: {"model": ErrorAnswer},
        503: {"model": ErrorAnswer},
    }
    filters = [parameter(name, "Only recordings with this value.", type="string") for name in _EQUAL]
    filters += [parameter(name, "A time in ISO 8601.", type="string") for name in _TIMES]

    @router.get(
        "/recordings",
        name="recordings.list",
        dependencies=key,
        responses={**refusals, 200: {"model": RecordingsAnswer}},
        openapi_extra={"parameters": [*filters, *PAGE_PARAMETERS]},
    )
    async def list_recordings(request: Request) -> Response:
        """List the recordings that are complete, newest first."""
        page = Page.of(request.query_params)
        query = query_of(request.query_params)
        items, total = ([], 0) if query is None else await service.page(query, page)
        return JSONResponse(page.answer([_dumped(item) for item in items], total))

    @router.get(
        "/recordings/{recording_id}",
        name="recordings.retrieve",
        dependencies=key,
        responses={**refusals, 200: {"model": RecordingAnswer}},
    )
    async def retrieve(recording_id: str) -> Response:
        """Show a recording, with a new URL of its file."""
        return _shown(await service.get(recording_id))

    @router.delete(
        "/recordings/{recording_id}",
        name="recordings.delete",
        dependencies=key,
        responses={**refusals, 200: {"model": RecordingAnswer}},
    )
    async def delete(recording_id: str) -> Response:
        """Delete a recording and its file for good."""
        deleted = await service.delete([recording_id])
        return _shown(deleted[0] if deleted else None)

    @router.post(
        "/recordings/actions/delete",
        name="recordings.actions.delete",
        dependencies=key,
        responses={**refusals, 200: {"model": DeletedAnswer}, 400: {"model": ErrorAnswer}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": RecordingIds.model_json_schema()}},
            }
        },
    )
    async def delete_many(request: Request) -> Response:
        """Delete several recordings; those that there are none of are passed over."""
        await service.delete(_ids(parse_object(await read_body(request))))
        return JSONResponse(DeletedAnswer().model_dump())

    @router.get(
        "/recordings/files/{name}",
        name="recordings.file",
        response_class=FileResponse,
        responses={
            200: {"description": "The file", "content": _FILES},
            206: {"description": "The part of it that was asked for", "content": _FILES},
            404: {"model": ErrorAnswer},
            416: {"description": "There is no such part", "content": {"text/plain": {}}},
            503: {"model": ErrorAnswer},
        },
        openapi_extra={
            "parameters": [
                parameter("expires", "Of the URL that was told.", type="string"),
                parameter("signature", "Of the URL that was told.", type="string"),
            ]
        },
    )
    async def file(name: str, request: Request) -> Response:
        """Give out the file of a recording to whoever has its URL, for as long as that is good."""
        query = request.query_params
        found = await service.file(
            name[:_TEXT_MAX],
            expires=query.get("expires", "")[:_TEXT_MAX],
            signature=query.get("signature", "")[:_TEXT_MAX],
        )
        if found is None:
            detail = (
                "There is no such file, or its URL is good no more; GET /v2/recordings/{id} tells another."
            )
            raise Refusal(404, Problem("10005", detail))
        path, called = found
        return FileResponse(
            path,
            media_type=MEDIA_TYPES[path.suffix],
            filename=called,
            headers={"cache-control": "private, no-store"},
        )

    return router


def query_of(query: Mapping[str, str]) -> RecordingQuery | None:
    """Return what a query asks for; None when nothing can fit.

    Raises:
        Refusal: a filter that is none, or a value that cannot be.
    """
    for name in query:
        if name.startswith("filter") and name not in (*_EQUAL, *_TIMES, *_NEVER):
            raise Refusal(422, Problem("10015", "The filter is none of this list's.", f"/{name[:64]}"))
    if any(query.get(name) for name in _NEVER):
        return None
    equal = []
    for name, column in _EQUAL.items():
        if (value := query.get(name)) is not None:
            if not 1 <= len(value) <= _TEXT_MAX:
                raise Refusal(
                    422, Problem("10025", f"The parameter `{name}` is empty or too long.", f"/{name}")
                )
            equal.append((column, value))
    bounds: dict[str, float] = {}
    for name, bound in _TIMES.items():
        if (text := query.get(name)) is None:
            continue
        moment, best = _time(name, text), max if bound.endswith("from") else min
        moment += -_ROUNDING_S if bound.endswith("from") else _ROUNDING_S
        bounds[bound] = best(moment, bounds.get(bound, moment))
    return RecordingQuery(equal=tuple(equal), **bounds)


def _time(name: str, text: str) -> float:
    try:
        # A `+` that was not escaped arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        detail = f"The parameter `{name}` must be a time in ISO 8601, such as 2026-11-23T08:00:00Z."
        raise Refusal(422, Problem("10015", detail, f"/{name}")) from None


def _ids(body: dict[str, Any]) -> list[str]:
    ids = body.get("ids")
    if ids is None:
        raise Refusal(422, Problem("10004", "The parameter `ids` is required.", "/ids"))
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise Refusal(422, Problem("10026", "The parameter `ids` must be an array of strings.", "/ids"))
    if not 1 <= len(ids) <= limits.RECORDINGS_PER_DELETE_MAX:
        detail = f"The parameter `ids` must name 1 to {limits.RECORDINGS_PER_DELETE_MAX} recordings."
        raise Refusal(422, Problem("10033", detail, "/ids"))
    return ids


def _shown(found: RecordingResource | None) -> Response:
    if found is None:
        raise Refusal(404, Problem("10005", "There is no such recording.", "/recording_id"))
    return JSONResponse({"data": _dumped(found)})


def _dumped(resource: RecordingResource) -> dict[str, Any]:
    return resource.model_dump(by_alias=True)
