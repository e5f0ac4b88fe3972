"""The counters of a tap of the fake engine."""

from offhook.edge.media.events import TapStats

__all__ = ["empty_tap_stats"]


def empty_tap_stats(kind: str) -> TapStats:
    """Return the counters of a tap that has done nothing."""
    return {
        "kind": kind,
        "rx_packets": 0,
        "tx_packets": 0,
        "frames_sent": 0,
        "buffered_ms": 0,
        "rx_frames": 0,
        "tx_frames": 0,
        "frames_dropped": 0,
        "reconnects": 0,
        "filled_ms": 0,
        "app_frames": 0,
        "app_frames_refused": 0,
        "played_ms": 0,
        "queued_ms": 0,
        "discarded_ms": 0,
        "overflow_ms": 0,
        "app_undecodable": 0,
        "underruns": 0,
        "inserted_silence_ms": 0,
        "app_lateness_ms": 0,
        "marks_waiting": 0,
        "chunks": 0,
        "audio_ms": 0,
    }
