"""What became of the packets: how many were lost or doubled, and how long the others took."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rig.tools import Record


@dataclass(frozen=True)
class Delivery:
    """Of the packets sent within the window."""

    sent: int
    arrived: int
    doubled: int
    p50_ms: float
    p99_ms: float

    @property
    def loss_percent(self) -> float:
        return 100 * (self.sent - self.arrived) / self.sent if self.sent else 0.0


Window = tuple[int, int]


def compare(sent: Iterable[Record], arrived: Iterable[Record], window: Window) -> Delivery:
    """Join what was sent between two moments with what arrived at any time."""
    begun = {(r.call, r.sequence): r.sent_ns for r in sent if window[0] <= r.sent_ns < window[1]}
    return _join(begun, arrived)


def compare_hops(first: Iterable[Record], then: Iterable[Record], window: Window) -> Delivery:
    """Join what arrived at one place between two moments with its arrival at another."""
    begun = {(r.call, r.sequence): r.received_ns for r in first if window[0] <= r.received_ns < window[1]}
    return _join(begun, then)


def _join(begun_ns: dict[tuple[int, int], int], arrived: Iterable[Record]) -> Delivery:
    delays_ns: dict[tuple[int, int], int] = {}
    doubled = 0
    for record in arrived:
        key = (record.call, record.sequence)
        if key in delays_ns:
            doubled += 1
        elif key in begun_ns:
            delays_ns[key] = record.received_ns - begun_ns[key]
    ordered = sorted(delays_ns.values())
    return Delivery(
        len(begun_ns), len(ordered), doubled, quantile_ms(ordered, 0.5), quantile_ms(ordered, 0.99)
    )


def quantile_ms(ordered_ns: Sequence[int], share: float) -> float:
    """A quantile of sorted nanoseconds, in milliseconds."""
    return (
        ordered_ns[min(len(ordered_ns) - 1, int(share * len(ordered_ns)))] / 1e6
        if ordered_ns
        else float("nan")
    )
