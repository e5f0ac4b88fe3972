"""A leg's counters as the call quality that apps are told at hangup."""

from offhook.call.values import QualityStats
from offhook.edge.media.events import LegStats

_R_BEST = 93.2
"""Rating of a call without impairment (ITU-T G.107, default values)."""
_PACKET_LOSS_ROBUSTNESS = 4.3
"""Bpl of G.711 without concealment (ITU-T G.113, table I.2)."""


def mean_opinion_score(loss_fraction: float, jitter_ms: float) -> float:
    """Estimate what a listener would say, 1 to 4.5, from loss and jitter (ITU-T G.107, simplified).

    Jitter is counted as delay of a buffer twice as long; the network's own delay is not known.
    """
    loss_percent = 100.0 * min(max(loss_fraction, 0.0), 1.0)
    delay_ms = 20.0 + 2.0 * jitter_ms
    delay_impairment = 0.024 * delay_ms + (0.11 * (delay_ms - 177.3) if delay_ms > 177.3 else 0.0)
    loss_impairment = 95.0 * loss_percent / (loss_percent + _PACKET_LOSS_ROBUSTNESS)
    rating = min(max(_R_BEST - delay_impairment - loss_impairment, 0.0), 100.0)
    return round(1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7.0e-6, 2)


def quality_of(stats: LegStats) -> QualityStats:
    """Return the quality of a leg from its last counters."""
    received, lost = stats["packets_received"], stats["packets_lost"]
    expected = received + lost
    jitter_ms = stats["jitter_us"] / 1000.0
    return QualityStats(
        mos=mean_opinion_score(lost / expected if expected else 0.0, jitter_ms),
        jitter_max_ms=jitter_ms,
        jitter_packets=stats["packets_reordered"] + stats["packets_late"],
        rx_packets=received,
        rx_packets_lost=lost,
        tx_packets=stats["packets_sent"],
        tx_packets_skipped=stats["playout_slips"],
    )
