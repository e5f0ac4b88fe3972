"""The recordings of one leg, between the leg's effects and the media core."""

import json
import math
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import structlog

from offhook.app.plays import Plays
from offhook.app.recordings import Recordings, Told, route_json
from offhook.base.errors import LimitReached
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.commands import RecordingOptions
from offhook.call.leg import CallLeg
from offhook.call.values import Track
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaEngine, MediaError
from offhook.edge.store import RecordingRow

log = structlog.get_logger(__name__)

BEEP_HZ, BEEP_S, BEEP_RATE_HZ = 1_000, 0.25, 8_000
_BEEP_LEVEL = 8_000
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")


class LegRecordings:
    """Opens and closes recordings; each that is opened reports its end exactly once.

    Args:
        recordings: keeps the files.
        plays: for the beep.
        leg: whose recordings these are.
        media_leg_id: what the core calls it.
        new_tap_id: names each recording for the core.
        now: reads the clock.
        feed: takes the facts.
    """

    def __init__(
        self,
        recordings: Recordings,
        media: MediaEngine,
        plays: Plays,
        leg: CallLeg,
        media_leg_id: int,
        *,
        new_tap_id: Callable[[], int],
        now: Callable[[], float],
        feed: Callable[[facts.Fact], None],
    ) -> None:
        self._recordings = recordings
        self._media = media
        self._plays = plays
        self._leg = leg
        self._media_leg_id = media_leg_id
        self._new_tap_id = new_tap_id
        self._now = now
        self._feed = feed
        self._taps: dict[str, int] = {}
        self._ids: dict[int, str] = {}

    def carry_out(self, effect: do.OpenRecording | do.HoldRecording | do.CloseRecording) -> None:
        """Do what the leg has decided."""
        match effect:
            case do.OpenRecording():
                self._open(effect)
            case do.HoldRecording():
                self._hold(effect)
            case do.CloseRecording():
                self._close(effect.recording_id)

    def _open(self, effect: do.OpenRecording) -> None:
        options, tap_id = effect.options, self._new_tap_id()
        key = (self._media_leg_id, tap_id)
        path = self._recordings.begin(key, self._row(effect), self._told)
        try:
            self._recordings.check_room()
            self._media.add_recording(
                self._media_leg_id,
                tap_id,
                path=path,
                rx=Track.RX in options.tracks,
                tx=Track.TX in options.tracks,
                dual=options.dual,
                sample_rate_hz=effect.sample_rate_hz,
                max_ms=options.max_s * 1000,
                silence_timeout_ms=options.silence_timeout_s * 1000,
                trim_silence=options.trim_silence,
            )
        except (MediaError, LimitReached) as error:
            self._recordings.never_began(key, str(error))
            self._feed(facts.RecordingEnded(effect.recording_id, "failed"))
            return
        self._taps[effect.recording_id] = tap_id
        self._ids[tap_id] = effect.recording_id
        if options.beep:
            self._beep()

    def _hold(self, effect: do.HoldRecording) -> None:
        tap_id = self._taps.get(effect.recording_id)
        if tap_id is None:
            return  # it has ended, and says so by its own event
        with suppress(MediaError):
            if effect.held:
                self._media.pause_recording(self._media_leg_id, tap_id)
            else:
                self._media.resume_recording(self._media_leg_id, tap_id)

    def _close(self, recording_id: str) -> None:
        if (tap_id := self._taps.get(recording_id)) is not None:
            with suppress(MediaError):
                self._media.remove_tap(self._media_leg_id, tap_id, reason="command")

    def on_closed(self, event: media_events.RecordingClosed) -> None:
        """Tell the leg of an end; whoever keeps the files has been told of it already."""
        recording_id = self._ids.pop(event.tap_id, None)
        if recording_id is not None:
            del self._taps[recording_id]
            self._feed(facts.RecordingEnded(recording_id, event.reason))

    def _told(self) -> Told:
        return Told(self._leg.told_by_all(), self._leg.route)

    def _row(self, effect: do.OpenRecording) -> RecordingRow:
        now, identity, told = self._now(), self._leg.identity, self._told()
        return RecordingRow(
            recording_id=effect.recording_id,
            state="recording",
            format=effect.options.format.value,
            channels="dual" if effect.options.dual else "single",
            call_control_id=identity.call_control_id,
            call_leg_id=identity.call_leg_id,
            call_session_id=identity.call_session_id,
            connection_id=identity.connection_id,
            caller=self._leg.caller,
            callee=self._leg.callee,
            file_name=_file_name(effect.options, identity.call_leg_id, now),
            initiated_by="StartCallRecordingAPI",
            told=json.dumps(told.payload),
            route=route_json(told.route),
            started_at=now,
            updated_at=now,
        )

    def _beep(self) -> None:
        try:
            # Over whatever is played: it marks the beginning, and must not wait.
            self._plays.start(
                self._media_leg_id, lambda _: None, pcm=beep(), sample_rate_hz=BEEP_RATE_HZ, overlay=True
            )
        except MediaError as error:
            log.warning("no beep was heard", reason=str(error))


def _file_name(options: RecordingOptions, call_leg_id: str, now: float) -> str:
    """Return what a downloaded file is called, less its ending: Telnyx adds the time, too."""
    return f"{_UNUSUAL.sub('_', options.file_name or call_leg_id)}-{int(now)}"


@cache
def beep() -> bytes:
    """Return the sound at the beginning of a recording, s16le, without clicks at its ends."""
    count = int(BEEP_S * BEEP_RATE_HZ)
    ramp = count // 20
    samples = (
        round(
            _BEEP_LEVEL
            * min(1.0, n / ramp, (count - n) / ramp)
            * math.sin(2 * math.pi * BEEP_HZ * n / BEEP_RATE_HZ)
        )
        for n in range(count)
    )
    return struct.pack(f"<{count}h", *samples)
