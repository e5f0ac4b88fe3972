"""What the webhook room counts, for `/metrics` and `/healthz`."""

from dataclasses import dataclass


@dataclass(slots=True)
class WebhookCounters:
    """Totals since the start, and two gauges."""

    taken_total: int = 0
    """Events put into the outbox."""
    delivered_total: int = 0
    attempts_total: int = 0
    attempts_failed_total: int = 0
    retried_total: int = 0
    """Attempts that were not the first of their event."""
    paced_total: int = 0
    """Attempts that waited because their receiver takes only so many a second."""
    resent_total: int = 0
    """Ended deliveries that somebody asked to send again."""
    failed_total: int = 0
    """Deliveries given up."""
    not_durable_total: int = 0
    """Events or results the store did not take; such an event is sent, but a crash would lose it."""
    sent_unstored_total: int = 0
    """Events sent although the disk had not answered yet."""
    dropped_total: int = 0
    """Events lost: neither the store nor memory had room. Anything but zero is an emergency."""
    in_memory: int = 0
    """Undelivered events held in memory."""
    parked: int = 0
    """Undelivered events that wait in the database."""

    @property
    def pending(self) -> int:
        """Undelivered events, wherever they wait."""
        return self.in_memory + self.parked
