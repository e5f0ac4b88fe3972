"""An outbox that remembers instead of sending."""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from offhook.call.values import WebhookRoute
from offhook.edge.webhook import Receipt, WebhookCounters


@dataclass
class RecordedOutbox:
    """Keeps the events of each leg in the order in which they were put."""

    counters: WebhookCounters = field(default_factory=WebhookCounters)
    by_leg: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    delay_s: float = 0.0
    """How long a `put` takes to become durable."""
    on_event: Callable[[str, dict[str, Any]], None] | None = None
    """The app: called with type and payload once an event is durable."""

    async def put(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        occurred_at: float,
        route: WebhookRoute,
        call_leg_id: str,
    ) -> Receipt:
        """As `Outbox.put`."""
        del occurred_at, route
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        self.by_leg.setdefault(call_leg_id, []).append((event_type, copy.deepcopy(dict(payload))))
        self.counters.taken_total += 1
        if self.on_event is not None:
            self.on_event(event_type, dict(payload))
        first_attempt: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        first_attempt.set_result(True)
        return Receipt(f"event-{self.counters.taken_total}", True, first_attempt)

    def types(self, call_leg_id: str) -> list[str]:
        """Return the event types of a leg, in order."""
        return [event_type for event_type, _ in self.by_leg.get(call_leg_id, [])]
