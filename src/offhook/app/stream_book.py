"""What every stream is doing, and how the last ones ended: the material of `GET /v2/offhook/streams`.

The book only looks on. It decides nothing, and a stream that it has forgotten is still a stream.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

from offhook.base import limits
from offhook.base.clock import Clock, iso_time
from offhook.base.urls import masked_url
from offhook.call import effects as do
from offhook.call.codecs import MP3
from offhook.call.payloads import stream_track


class StreamState(StrEnum):
    """Where a stream stands. The last two are ends."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    """Its socket is open and `connected` is sent; the start frame waits for the webhook."""
    BEGUN = "begun"
    RECONNECTING = "reconnecting"
    """Its socket was lost and another is sought."""
    CLOSING = "closing"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_end(self) -> bool:
        """Tell whether nothing follows."""
        return self in (StreamState.STOPPED, StreamState.FAILED)


CountersOf = Callable[[int], Mapping[int, Mapping[str, Any]] | None]


@dataclass(slots=True)
class StreamEntry:
    """One stream. `counters` are the last ones, kept when it has ended."""

    effect: do.OpenStream | do.OpenDialogflow
    media_leg_id: int
    started_at: float
    state: StreamState = StreamState.CONNECTING
    tap_id: int | None = None
    connected_at: float | None = None
    begun: bool = False
    ended_at: float | None = None
    stop_reason: str | None = None
    failure_reason: str | None = None
    failure_detail: str | None = None
    counters: dict[str, Any] = field(default_factory=dict)

    @property
    def call_control_id(self) -> str:
        """Return the id of the call."""
        if isinstance(self.effect, do.OpenDialogflow):
            return self.effect.identity.call_control_id
        return str(self.effect.stop["call_control_id"])


class StreamBook:
    """All streams of this server that are alive, and the last `limits.ENDED_STREAMS_KEPT_MAX` that ended.

    Args:
        clock: tells when things happened.
        counters_of: returns the counters of a leg's taps by tap id; None when it could not be asked, which
            may have taken a second.
    """

    def __init__(self, clock: Clock, counters_of: CountersOf) -> None:
        self._clock = clock
        self._counters_of = counters_of
        self._live: dict[str, StreamEntry] = {}
        self._ended: deque[StreamEntry] = deque(maxlen=limits.ENDED_STREAMS_KEPT_MAX)

    def __len__(self) -> int:
        return len(self._live)

    # What happens

    def opening(self, effect: do.OpenStream | do.OpenDialogflow, media_leg_id: int) -> None:
        """Begin the entry of a stream."""
        self._live[effect.stream_id] = StreamEntry(effect, media_leg_id, self._clock.now())

    def opened_tap(self, stream_id: str, tap_id: int) -> None:
        """Note the tap by which the media core knows the stream."""
        if (entry := self._live.get(stream_id)) is not None:
            entry.tap_id = tap_id

    def moved(self, stream_id: str, state: StreamState) -> None:
        """Note where a stream stands now; one that is closing stays so.

        A stream that was begun is begun again with its next socket, and not before.
        """
        entry = self._live.get(stream_id)
        if entry is None or entry.state is StreamState.CLOSING:
            return
        entry.begun |= state is StreamState.BEGUN
        if state is StreamState.CONNECTED and entry.begun:
            entry.state = StreamState.BEGUN
        elif state is not StreamState.BEGUN or entry.state is not StreamState.RECONNECTING:
            entry.state = state
        if state is StreamState.CONNECTED and entry.connected_at is None:
            entry.connected_at = self._clock.now()

    def stopped(self, stream_id: str, reason: str, counters: Mapping[str, Any] | None = None) -> None:
        """Note the end of a stream that somebody wished for."""
        if (entry := self._end(stream_id, StreamState.STOPPED, counters)) is not None:
            entry.stop_reason = reason

    def failed(
        self, stream_id: str, reason: str, detail: str, counters: Mapping[str, Any] | None = None
    ) -> None:
        """Note the end of a stream that nobody wished for."""
        if (entry := self._end(stream_id, StreamState.FAILED, counters)) is not None:
            entry.failure_reason, entry.failure_detail = reason, detail

    def leg_released(self, media_leg_id: int) -> None:
        """Close the entries of a leg whose streams never reported their end."""
        for stream_id in [name for name, entry in self._live.items() if entry.media_leg_id == media_leg_id]:
            self.stopped(stream_id, "call_ended")

    def _end(
        self, stream_id: str, state: StreamState, counters: Mapping[str, Any] | None
    ) -> StreamEntry | None:
        entry = self._live.pop(stream_id, None)
        if entry is not None:
            entry.state, entry.ended_at = state, self._clock.now()
            if counters is not None:
                entry.counters = dict(counters)
            self._ended.append(entry)
        return entry

    # What is shown

    def page(
        self, *, call_control_id: str | None, wanted: str, first: int, count: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return some of the streams asked for, and how many there are in all.

        Args:
            call_control_id: only the streams of this call.
            wanted: "live", "ended", "all", or the one state to show.
            first: how many to pass over.
            count: how many to return at most.
        """
        entries = [*self._live.values(), *reversed(self._ended)]
        found = [
            entry
            for entry in entries
            if call_control_id in (None, entry.call_control_id) and _is_wanted(entry.state, wanted)
        ]
        shown = list(islice(found, first, first + count))
        counters = self._ask_for(shown)
        return [_shown(entry, counters.get(entry.media_leg_id, {})) for entry in shown], len(found)

    def _ask_for(self, entries: list[StreamEntry]) -> dict[int, Mapping[int, Mapping[str, Any]]]:
        """Ask for the counters of live streams, once a leg; a core that is too busy is not asked again."""
        answers: dict[int, Mapping[int, Mapping[str, Any]]] = {}
        live = (entry for entry in entries if not entry.state.is_end and entry.tap_id is not None)
        for leg_id in dict.fromkeys(entry.media_leg_id for entry in live):
            answer = self._counters_of(leg_id)
            if answer is None:
                break
            answers[leg_id] = answer
        return answers


def _shown(entry: StreamEntry, taps: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    effect = entry.effect
    counters: Mapping[str, Any] = entry.counters
    if not entry.state.is_end and entry.tap_id is not None:
        counters = taps.get(entry.tap_id, {})
    return {
        "record_type": "stream",
        "stream_id": effect.stream_id,
        "call_control_id": entry.call_control_id,
        **_of_kind(effect),
        "state": entry.state.value,
        "stream_track": stream_track(effect.tracks),
        "started_at": iso_time(entry.started_at),
        "connected_at": None if entry.connected_at is None else iso_time(entry.connected_at),
        "ended_at": None if entry.ended_at is None else iso_time(entry.ended_at),
        "stop_reason": entry.stop_reason,
        "failure_reason": entry.failure_reason,
        "failure_detail": entry.failure_detail,
        "counters": {name: value for name, value in counters.items() if name not in _NOT_OF_STREAMS},
    }


_NOT_OF_STREAMS = frozenset({"kind", "rx_packets", "tx_packets", "chunks", "audio_ms"})
"""Counters of the other kinds of tap."""


def _is_wanted(state: StreamState, wanted: str) -> bool:
    match wanted:
        case "all":
            return True
        case "live":
            return not state.is_end
        case "ended":
            return state.is_end
        case _:
            return state == wanted


def _of_kind(effect: do.OpenStream | do.OpenDialogflow) -> dict[str, Any]:
    """Return what a stream to an app and one to an agent tell differently."""
    if isinstance(effect, do.OpenDialogflow):
        audio = {"codec": "L16", "sample_rate": effect.sample_rate_hz}
        return {
            "call_leg_id": effect.identity.call_leg_id,
            "call_session_id": effect.identity.call_session_id,
            "stream_url": None,
            "stream_type": "dialogflow",
            "to_app": audio,
            "from_app": audio,
        }
    return {
        "call_leg_id": effect.start["call_leg_id"],
        "call_session_id": effect.start["call_session_id"],
        "stream_url": masked_url(effect.url),
        "stream_type": "websocket",
        "to_app": {"codec": effect.codec, "sample_rate": effect.sample_rate_hz},
        "from_app": _from_app(effect),
    }


def _from_app(effect: do.OpenStream) -> dict[str, Any] | None:
    if effect.app_codec is None:
        return None
    # Each mp3 file tells its own rate.
    rate_hz = None if effect.app_codec == MP3 else effect.app_sample_rate_hz
    return {"codec": effect.app_codec, "sample_rate": rate_hz}
