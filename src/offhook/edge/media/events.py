"""What a media engine reports. Events of one leg come in order; `LegClosed` is the last one."""

from dataclasses import dataclass
from typing import TypedDict

__all__ = [
    "AudioChunk",
    "DigitReceived",
    "LegClosed",
    "LegFailed",
    "LegStats",
    "MediaEvent",
    "MediaStarted",
    "MediaTimedOut",
    "PlayEnded",
    "PlayStarted",
    "RecordingClosed",
    "StreamClosed",
    "StreamConnected",
    "StreamFailed",
    "StreamReconnected",
    "StreamReconnecting",
    "TapClosed",
    "TapStats",
]


class TapStats(TypedDict):
    """Counters of one tap; those of other kinds of tap stay zero."""

    kind: str
    """fork, stream, speech or recording."""
    rx_packets: int
    """Packets copied from the rx track."""
    tx_packets: int
    """Packets copied from the tx track."""
    frames_sent: int
    """Frames of any kind sent to the application."""
    buffered_ms: int
    """Audio for the application that its socket has not taken yet."""
    rx_frames: int
    """Media frames of the rx track sent."""
    tx_frames: int
    """Media frames of the tx track sent."""
    frames_dropped: int
    """Media frames dropped because the application was too slow or away."""
    reconnects: int
    """Sockets that took the place of a lost one."""
    filled_ms: int
    """Silence put in for lost audio."""
    app_frames: int
    """Frames received from the application."""
    app_frames_refused: int
    """Frames of the application that were answered by an error, or ignored after too many."""
    played_ms: int
    """Audio of the application sent to the far end."""
    queued_ms: int
    """Audio of the application that waits to be sent."""
    discarded_ms: int
    """Audio of the application dropped by its `clear`, or by the end of the stream."""
    overflow_ms: int
    """Audio of the application refused because 60 s waited already, or too late to be recorded."""
    app_undecodable: int
    """Payloads of the application that did not decode; silence was heard instead."""
    underruns: int
    """How often the application's audio came after it was needed."""
    inserted_silence_ms: int
    """Silence the far end heard by that."""
    app_lateness_ms: int
    """How late the application's audio came, at most."""
    marks_waiting: int
    """Marks of the application that wait for the audio before them."""
    chunks: int
    """Chunks of decoded audio given to a recogniser."""
    audio_ms: int
    """Audio given out."""


class LegStats(TypedDict):
    """Counters of one leg, and of the taps that are open."""

    packets_received: int
    bytes_received: int
    packets_lost: int
    packets_duplicate: int
    packets_reordered: int
    packets_late: int
    packets_malformed: int
    packets_foreign: int
    packets_early: int
    packets_ahead: int
    packets_unexpected: int
    packets_not_receiving: int
    packets_undecodable: int
    resyncs: int
    gap_ms: int
    jitter_us: int
    jitter_buffer_ms: int
    """How long a packet is held back for a missing one now; in order, none is."""
    slipped_samples: int
    """Samples left out or put in, one at a time, to follow the far end's clock."""
    drift_ppm: int
    """How much faster the far end's clock is than ours; 0 until it is known."""
    digits_received: int
    digits_dropped: int
    digits_inband: int
    """Digits told by their tones; they are among those received."""
    packets_sent: int
    packets_passed: int
    """Of these, the other leg's of a bridge, untouched."""
    packets_not_passed: int
    """Packets of the other leg that could not be sent: on hold, or not to be decoded here."""
    bridge_underruns: int
    """How often the other leg's audio came too late to be mixed in time."""
    bridge_discarded_ms: int
    """Audio of the other leg that waited without need and was left out."""
    bytes_sent: int
    played_ms: int
    queued_ms: int
    discarded_ms: int
    playout_slips: int
    packets_unencodable: int
    digits_sent: int
    rtcp_received: int
    rtcp_sent: int
    rtcp_foreign: int
    remote_lost: int
    remote_jitter_us: int
    rtt_us: int
    taps: dict[int, TapStats]


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """The first packet from the far end has come, or its source has changed."""

    leg_id: int
    ssrc: int
    source: str
    """`ip:port`; never for a log line above DEBUG."""


@dataclass(frozen=True, slots=True)
class MediaTimedOut:
    """Nothing has come for the agreed time. Told once per silence."""

    leg_id: int


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """The far end pressed a key."""

    leg_id: int
    digit: str
    at_ms: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class StreamConnected:
    """A stream's socket is open and its `connected` frame is sent; `begin_stream` comes next."""

    leg_id: int
    tap_id: int


@dataclass(frozen=True, slots=True)
class StreamReconnecting:
    """A stream's socket was lost and another is sought; audio is kept for it."""

    leg_id: int
    tap_id: int
    detail: str
    """Why it was lost, for a person."""


@dataclass(frozen=True, slots=True)
class StreamReconnected:
    """Another socket took the place of a lost one; a stream that was begun is begun on it."""

    leg_id: int
    tap_id: int
    tries: int
    """How many it took since the loss."""


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """A stream could not be opened, or its socket was lost. The tap has ended."""

    leg_id: int
    tap_id: int
    reason: str
    """connection_failed or connection_lost."""
    detail: str
    """One sentence for a person: an HTTP status, an error of the system."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream has ended in order. The tap has ended."""

    leg_id: int
    tap_id: int
    reason: str
    """app_closed, call_ended, or what `remove_tap` said."""
    stats: TapStats


@dataclass(frozen=True, slots=True)
class TapClosed:
    """A fork or speech tap has ended; its last chunk came before."""

    leg_id: int
    tap_id: int
    stats: TapStats


@dataclass(frozen=True, slots=True)
class RecordingClosed:
    """A recording has ended and its file is complete, or as complete as it will be."""

    leg_id: int
    tap_id: int
    reason: str
    """max_length, silence, failed, call_ended, or what `remove_tap` said."""
    detail: str
    """Why it failed, for a person; empty otherwise."""
    duration_ms: int
    size_bytes: int
    stats: TapStats


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Decoded audio of a speech tap: s16le mono."""

    leg_id: int
    tap_id: int
    at_ms: int
    """Time of the first sample on the leg's clock."""
    pcm: bytes


@dataclass(frozen=True, slots=True)
class PlayStarted:
    """The first packet of a play has been sent."""

    leg_id: int
    play_id: int


@dataclass(frozen=True, slots=True)
class PlayEnded:
    """All of a play has been sent, or it was stopped."""

    leg_id: int
    play_id: int
    played_ms: int
    completed: bool


@dataclass(frozen=True, slots=True)
class LegClosed:
    """The leg is gone with everything that was its own."""

    leg_id: int
    stats: LegStats


@dataclass(frozen=True, slots=True)
class LegFailed:
    """A fault of the engine ended the leg; `LegClosed` follows."""

    leg_id: int
    message: str


MediaEvent = (
    MediaStarted
    | MediaTimedOut
    | DigitReceived
    | StreamConnected
    | StreamReconnecting
    | StreamReconnected
    | StreamFailed
    | StreamClosed
    | TapClosed
    | RecordingClosed
    | AudioChunk
    | PlayStarted
    | PlayEnded
    | LegClosed
    | LegFailed
)
