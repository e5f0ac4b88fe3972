"""The log of webhook deliveries, as the API shows it."""

import json
from dataclasses import asdict

from offhook.base.clock import iso_time
from offhook.base.errors import LimitReached
from offhook.edge.http.webhook_deliveries import (
    AttemptResource,
    DeliveryFilter,
    DeliveryResource,
    HttpExchange,
    ReceivedResponse,
    SentRequest,
    WebhookResource,
)
from offhook.edge.store import AttemptRow, Deliveries, DeliverySearch, DeliveryView, StoreError
from offhook.edge.webhook import Outbox, WebhookSender

_UNAVAILABLE = "The log of deliveries cannot be read now."


class DeliveryLog:
    """Implements `DeliveryService` over the store, the outbox and its sender."""

    def __init__(
        self, deliveries: Deliveries, outbox: Outbox, sender: WebhookSender, *, user_id: str
    ) -> None:
        self._deliveries = deliveries
        self._outbox = outbox
        self._sender = sender
        self._user_id = user_id

    async def find(self, delivery_id: str) -> DeliveryResource | None:
        """Return one delivery; None when there is none, or none any more."""
        self._outbox.flush()
        try:
            view = await self._deliveries.find(delivery_id)
        except StoreError:
            raise LimitReached(_UNAVAILABLE) from None
        return None if view is None else resource_of(view, user_id=self._user_id)

    async def search(
        self, wanted: DeliveryFilter, *, first: int, count: int
    ) -> tuple[list[DeliveryResource], int]:
        """Return some of the deliveries wanted, newest first, and how many there are in all."""
        self._outbox.flush()
        search = DeliverySearch(**asdict(wanted))
        try:
            views, total = await self._deliveries.search(search, first=first, count=count)
        except StoreError:
            raise LimitReached(_UNAVAILABLE) from None
        return [resource_of(view, user_id=self._user_id) for view in views], total

    async def resend(self, delivery_id: str) -> DeliveryResource | None:
        """Send a delivery again, with the same event id, and return it; None when there is none."""
        try:
            known = await self._outbox.resend(delivery_id)
        except StoreError:
            raise LimitReached(_UNAVAILABLE) from None
        if not known:
            return None
        found = await self.find(delivery_id)
        self._sender.wake()
        return found


def resource_of(view: DeliveryView, *, user_id: str) -> DeliveryResource:
    """Return a delivery as the API shows it."""
    row, pending = view.row, view.state == "pending"
    return DeliveryResource(
        id=row.event_id,
        user_id=user_id,
        status=None if pending else view.state,
        started_at=None if view.started_at is None else iso_time(view.started_at),
        finished_at=None if view.ended_at is None else iso_time(view.ended_at),
        webhook=WebhookResource(**json.loads(row.data)),
        attempts=[_attempt(attempt) for attempt in reversed(view.attempts)],
        state=view.state,
        next_attempt_at=iso_time(row.next_attempt_at) if pending else None,
    )


def _attempt(attempt: AttemptRow) -> AttemptResource:
    kept = json.loads(attempt.exchange) if attempt.exchange else {}
    response = None
    if attempt.http_status is not None:
        response = ReceivedResponse(
            status=attempt.http_status, headers=kept.get("response", []), body=kept.get("body", "")
        )
    return AttemptResource(
        status="delivered" if attempt.error is None else "failed",
        started_at=iso_time(attempt.started_at),
        finished_at=iso_time(attempt.finished_at),
        http=HttpExchange(
            request=SentRequest(url=attempt.url, headers=kept.get("request", [])), response=response
        ),
        # Telnyx publishes no list of its codes, so the reason is told in words.
        errors=[],
        number=attempt.number,
        error=attempt.error,
    )
