"""What an application says, in the fake engine: its queue, its marks, its errors."""

from typing import Any

from offhook.edge.media.events import TapStats
from offhook.edge.media.fake_audio import FakeFormat
from offhook.edge.media.fake_mp3 import mp3_duration_ms
from offhook.proto.stream import AppClear, AppFrame, AppMark, AppMedia, FrameError, parse_app_frame

__all__ = ["FakeVoice", "app_heard_by", "receive", "receive_binary"]

QUEUED_MS_MAX = 60_000
FRAME_MS_MAX = 30_000
IDLE_MS = 60
MP3_INTERVAL_MS = 1000
MP3_JITTER_MS = 100
NOT_TWO_WAY = "this stream plays no audio: start it with stream_bidirectional_mode rtp and the codec you send"
NO_MP3 = (
    "media.payload is no mp3 file, which this stream plays: to send raw audio start it with "
    "stream_bidirectional_mode rtp"
)
BINARY = "binary messages are not accepted, send JSON text"
_BYTES_PER_MS = 16
_TITLES = {100003: "malformed_frame", 100004: "invalid_media", 100005: "rate_limit_reached"}


def app_heard_by(app_heard: str, *, bridged: bool) -> tuple[bool, bool]:
    """Tell whether an application is heard by the far end of its own leg, and by the other leg's."""
    own = app_heard in ("self", "both") or (app_heard == "opposite" and not bridged)
    return own, bridged and app_heard != "self"


class FakeVoice:
    """The queue of one application, in s16le of 8 kHz. An mp3 file is silence that lasts as long."""

    def __init__(self, codec: str, sample_rate_hz: int) -> None:
        self.heard = True
        """By anybody; else what is said is taken and dropped."""
        self._format = None if codec == "MP3" else FakeFormat(codec, sample_rate_hz, sample_rate_hz)
        self._next_file_at_ms = -MP3_JITTER_MS
        self._queue = bytearray()
        self._queued = self._taken = 0
        self._marks: list[tuple[int, str]] = []
        self._said_at_ms = 0

    def media(self, payload: bytes, now_ms: int, stats: TapStats) -> None:
        """Queue all of a payload, or nothing."""
        if self._format is None:
            pcm = self._file(payload, now_ms)
        else:
            pcm = self._format.decode(payload)
            if len(pcm) > FRAME_MS_MAX * _BYTES_PER_MS:
                raise FrameError(100004, "media.payload is longer than 30 s")
        if not self.heard:
            stats["discarded_ms"] += len(pcm) // _BYTES_PER_MS
            return
        if len(self._queue) + len(pcm) > QUEUED_MS_MAX * _BYTES_PER_MS:
            stats["overflow_ms"] += len(pcm) // _BYTES_PER_MS
            raise FrameError(100005, "60 s of audio wait to be played; this audio was dropped")
        self._queue += pcm
        self._queued += len(pcm)
        self._said_at_ms = now_ms

    def _file(self, payload: bytes, now_ms: int) -> bytes:
        lasts_ms = mp3_duration_ms(payload)
        if not lasts_ms:
            raise FrameError(100004, NO_MP3)
        if now_ms + MP3_JITTER_MS < self._next_file_at_ms:
            raise FrameError(100005, "more than one mp3 file in a second; this one was dropped")
        self._next_file_at_ms = max(now_ms, self._next_file_at_ms) + MP3_INTERVAL_MS
        return bytes(round(lasts_ms) * _BYTES_PER_MS)

    def mark(self, name: str) -> list[str]:
        """Ask for a mark; return the marks that come back at once."""
        self._marks.append((self._queued, name))
        return self.marks()

    def clear(self, stats: TapStats) -> list[str]:
        """Drop what waits; return the marks that waited with it."""
        stats["discarded_ms"] += len(self._queue) // _BYTES_PER_MS
        self._queue.clear()
        self._taken = self._queued
        return self.marks()

    def marks(self) -> list[str]:
        """Return the marks before which everything was sent."""
        back = [name for at, name in self._marks if at <= self._taken]
        del self._marks[: len(back)]
        return back

    def ready(self, size: int, now_ms: int) -> bool:
        """Tell whether there is something for a packet of this size."""
        idle = now_ms - self._said_at_ms >= IDLE_MS
        return len(self._queue) >= size or (idle and bool(self._queue))

    def take(self, size: int, stats: TapStats) -> bytes:
        """Return the audio of one packet, short of it perhaps."""
        pcm = bytes(self._queue[:size])
        del self._queue[:size]
        self._taken += len(pcm)
        stats["played_ms"] = self._taken // _BYTES_PER_MS
        return pcm

    def count(self, stats: TapStats) -> None:
        """Write how much waits."""
        stats["queued_ms"] = len(self._queue) // _BYTES_PER_MS
        stats["marks_waiting"] = len(self._marks)


def receive(text: str, voice: FakeVoice | None, now_ms: int, stats: TapStats) -> list[dict[str, Any]]:
    """Take a message of an application; return the frames that answer it, without their numbers."""
    stats["app_frames"] += 1
    try:
        return [mark_frame(name) for name in _receive(parse_app_frame(text), voice, now_ms, stats)]
    except FrameError as error:
        return [_refused(error, stats)]


def receive_binary(
    payload: bytes, voice: FakeVoice | None, now_ms: int, stats: TapStats
) -> list[dict[str, Any]]:
    """Take a binary message as audio for `voice`; None when that was not agreed on."""
    stats["app_frames"] += 1
    try:
        if voice is None:
            raise FrameError(100003, BINARY)
        voice.media(payload, now_ms, stats)
    except FrameError as error:
        return [_refused(error, stats)]
    return []


def _refused(error: FrameError, stats: TapStats) -> dict[str, Any]:
    stats["app_frames_refused"] += 1
    payload = {"code": error.code, "title": _TITLES[error.code], "detail": error.detail}
    return {"event": "error", "payload": payload}


def mark_frame(name: str) -> dict[str, Any]:
    """Return a mark on its way back."""
    return {"event": "mark", "mark": {"name": name}}


def _receive(frame: AppFrame, voice: FakeVoice | None, now_ms: int, stats: TapStats) -> list[str]:
    match frame:
        case AppMedia():
            if voice is None:
                raise FrameError(100004, NOT_TWO_WAY)
            voice.media(frame.payload, now_ms, stats)
            return []
        case AppMark():
            return [frame.name] if voice is None else voice.mark(frame.name)
        case _:
            assert isinstance(frame, AppClear)
            return [] if voice is None else voice.clear(stats)
