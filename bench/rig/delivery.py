"""What became of the packets: how many were lost or doubled, and how long the others took."""

from collections.abc import Sequence
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


def compare(sent: Sequence[Record], arrived: Sequence[Record], window: tuple[int, int]) -> Delivery:
    """Join what was sent between two moments with what arrived at any time."""
    wanted = {(r.call, r.sequence) for r in sent if window[0] <= r.sent_ns < window[1]}
    delays_ns: dict[tuple[int, int], int] = {}
    doubled = 0
    for record in arrived:
        key = (record.call, record.sequence)
        if key in delays_ns:
            doubled += 1
        elif key in wanted:
            delays_ns[key] = record.received_ns - record.sent_ns
    ordered = sorted(delays_ns.values())
    return Delivery(
        len(wanted), len(ordered), doubled, _quantile_ms(ordered, 0.5), _quantile_ms(ordered, 0.99)
    )


def _quantile_ms(ordered: Sequence[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6 if ordered else float("nan")
