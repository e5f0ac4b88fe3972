"""The resource `webhook_deliveries` (contract 3.3): what was sent to apps, with every attempt, and sending it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.call.errors import Problem
from offhook.edge.http.events import EVENT_TYPES
from offhook.edge.http.pages import PAGE_PARAMETERS, Page, parameter
from offhook.edge.http.problems import Refusal
from offhook.edge.http.schemas import ErrorAnswer, PageMeta

_ROUNDING_S = 0.6e-6
"""Times are shown in whole microseconds; who asks for the time he was shown must find what it was of."""
STATES = ("delivered", "failed", "pending")


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a list is to hold; what is None does not matter. Times in seconds since 1970."""

    state: str | None = None
    event_types: tuple[str, ...] | None = None
    webhook_contains: str | None = None
    attempts_contain: str | None = None
    started_from: float | None = None
    started_until: float | None = None
    finished_from: float | None = None
    finished_until: float | None = None


class SentRequest(BaseModel):
    """What was sent in an attempt; the body is the delivery's `webhook` in its envelope."""

    url: str
    headers: list[list[str]]


class ReceivedResponse(BaseModel):
    """What a receiver answered, cut to 10 kB, and to 500 bytes where it accepted the event."""

    status: int
    headers: list[list[str]]
    body: str


class HttpExchange(BaseModel):
    """Both sides of an attempt; there is no response where none came."""

    request: SentRequest
    response: ReceivedResponse | None


class AttemptResource(BaseModel):
    """One attempt; `number` and `error` are additions of Offhook."""

    status: Literal["delivered", "failed"]
    started_at: str
    finished_at: str
    http: HttpExchange
    errors: list[int]
    number: int
    error: str | None


class WebhookResource(BaseModel):
    """The event as it is sent in `data`."""

    event_type: str
    id: str
    occurred_at: str
    payload: dict[str, Any]
    record_type: Literal["event"]


class DeliveryResource(BaseModel):
    """One delivery; `state` and `next_attempt_at` are additions of Offhook."""

    record_type: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    user_id: str
    status: Literal["delivered", "failed"] | None
    started_at: str | None
    finished_at: str | None
    webhook: WebhookResource
    attempts: list[AttemptResource]
    state: Literal["delivered", "failed", "pending"]
    next_attempt_at: str | None


class DeliveryAnswer(BaseModel):
    """The answer about one delivery."""

    data: DeliveryResource


class DeliveriesAnswer(BaseModel):
    """Some of the deliveries."""

    data: list[DeliveryResource]
    meta: PageMeta


class DeliveryService(Protocol):
    """What keeps the deliveries. Each method raises `LimitReached` when the store cannot answer."""

    async def find(self, delivery_id: str) -> DeliveryResource | None:
        """Return one delivery; None when there is none, or none any more."""
        ...

    async def search(
        self, wanted: DeliveryFilter, *, first: int, count: int
    ) -> tuple[list[DeliveryResource], int]:
        """Return some of the deliveries wanted, newest first, and how many there are in all."""
        ...

    async def resend(self, delivery_id: str) -> DeliveryResource | None:
        """Send a delivery again, with the same event id, and return it; None when there is none."""
        ...


_FILTERS = [
    parameter("filter[status][eq]", "Only these; pending is an addition.", type="string", enum=list(STATES)),
    parameter("filter[event_type]", "Only events of these types, separated by commas.", type="string"),
    *(
        parameter(
            f"filter[{part}][contains]",
            f"Only deliveries in whose {part} this text stands.",
            type="string",
            maxLength=limits.WEBHOOK_SEARCH_CHARACTERS_MAX,
        )
        for part in ("webhook", "attempts")
    ),
    *(
        parameter(f"filter[{name}][{side}]", text, type="string", format="date-time")
        for name, what in (("started_at", "began"), ("finished_at", "ended"))
        for side, text in (
            ("gte", f"Only deliveries that {what} at this time or later."),
            ("lte", f"Only deliveries that {what} at this time or earlier."),
        )
    ),
    *PAGE_PARAMETERS,
]
_NAMES = frozenset(each["name"] for each in _FILTERS)


def deliveries_router(service: DeliveryService, key: Sequence[Depends]) -> APIRouter:
    """Return the list, the single delivery, and the call to send it again."""
    router = APIRouter(redirect_slashes=False, dependencies=key, tags=["webhooks"])
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer} for code in (401, 404, 422, 503)
    }

    @router.get(
        "/webhook_deliveries",
        name="webhook_deliveries.list",
        responses={**refusals, 200: {"model": DeliveriesAnswer}},
        openapi_extra={"parameters": _FILTERS},
    )
    async def search(request: Request) -> Response:
        """List what was sent to apps, newest first, with every attempt."""
        page, wanted = Page.of(request.query_params), filter_of(request.query_params)
        try:
            found, total = await service.search(wanted, first=page.first, count=page.size)
        except LimitReached as error:
            raise _unavailable(error) from None
        return JSONResponse(page.answer([each.model_dump() for each in found], total))

    @router.get(
        "/webhook_deliveries/{delivery_id}",
        name="webhook_deliveries.retrieve",
        responses={**refusals, 200: {"model": DeliveryAnswer}},
    )
    async def retrieve(delivery_id: str) -> Response:
        """Show one delivery with its attempts, the newest first; its id is that of the event."""
        try:
            found = await service.find(delivery_id)
        except LimitReached as error:
            raise _unavailable(error) from None
        return _answer(found, 200)

    @router.post(
        "/offhook/webhook_deliveries/{delivery_id}/resend",
        name="webhook_deliveries.resend",
        responses={**refusals, 202: {"model": DeliveryAnswer}},
        status_code=202,
    )
    async def resend(delivery_id: str) -> Response:
        """Send an event again that was delivered or given up, and at once what waits for its next attempt."""
        try:
            found = await service.resend(delivery_id)
        except LimitReached as error:
            raise _unavailable(error) from None
        return _answer(found, 202)

    return router


def filter_of(query: Mapping[str, str]) -> DeliveryFilter:
    """Return what a query asks for.

    Raises:
        Refusal: a parameter that is none, or a value that cannot be.
    """
    for name in query:
        if name.startswith("filter") and name not in _NAMES:
            raise Refusal(422, Problem("10015", "The filter is none of this list's.", f"/{name[:64]}"))
    return DeliveryFilter(
        state=_one_of(query, "filter[status][eq]", STATES),
        event_types=_event_types(query),
        webhook_contains=_text(query, "filter[webhook][contains]"),
        attempts_contain=_text(query, "filter[attempts][contains]"),
        started_from=_time(query, "filter[started_at][gte]", -_ROUNDING_S),
        started_until=_time(query, "filter[started_at][lte]", _ROUNDING_S),
        finished_from=_time(query, "filter[finished_at][gte]", -_ROUNDING_S),
        finished_until=_time(query, "filter[finished_at][lte]", _ROUNDING_S),
    )


def _one_of(query: Mapping[str, str], name: str, allowed: Sequence[str]) -> str | None:
    value = query.get(name)
    if value is not None and value not in allowed:
        detail = f"The parameter `{name}` must be one of {', '.join(allowed)}."
        raise Refusal(422, Problem("10032", detail, f"/{name}"))
    return value


def _event_types(query: Mapping[str, str]) -> tuple[str, ...] | None:
    name = "filter[event_type]"
    text = query.get(name)
    if text is None:
        return None
    types = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if len(types) > limits.WEBHOOK_SEARCH_EVENT_TYPES_MAX:
        detail = f"The parameter `{name}` takes up to {limits.WEBHOOK_SEARCH_EVENT_TYPES_MAX} types."
        raise Refusal(422, Problem("10033", detail, f"/{name}"))
    if unknown := [each for each in types if each not in EVENT_TYPES]:
        detail = f"The parameter `{name}` has {len(unknown)} that are no event types."
        raise Refusal(422, Problem("10032", detail, f"/{name}"))
    return types


def _text(query: Mapping[str, str], name: str) -> str | None:
    value = query.get(name)
    if value is not None and not 1 <= len(value) <= limits.WEBHOOK_SEARCH_CHARACTERS_MAX:
        detail = f"The parameter `{name}` must have 1 to {limits.WEBHOOK_SEARCH_CHARACTERS_MAX} characters."
        raise Refusal(422, Problem("10025", detail, f"/{name}"))
    return value


def _time(query: Mapping[str, str], name: str, wider_by_s: float) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        # A `+` that was not escaped arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() + wider_by_s
    except (ValueError, OverflowError):
        detail = f"The parameter `{name}` must be a time in ISO 8601, such as 2026-11-23T08:00:00Z."
        raise Refusal(422, Problem("10015", detail, f"/{name}")) from None


def _answer(found: DeliveryResource | None, status: int) -> Response:
    if found is None:
        raise Refusal(404, Problem("10005", "There is no such delivery, or none any more.", "/id"))
    return JSONResponse({"data": found.model_dump()}, status_code=status)


def _unavailable(error: LimitReached) -> Refusal:
    return Refusal(503, Problem("10007", str(error)), headers={"retry-after": "1"})
