"""What a media engine can do, for whoever drives calls. The stub of the native core says it at length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from offhook.base.errors import OffhookError
from offhook.edge.media.events import LegStats

__all__ = ["MediaEngine", "MediaError"]


class MediaError(OffhookError):
    """A refused call: unknown leg, no free port, bad argument. Nothing has changed."""


class MediaEngine(Protocol):
    """Legs, taps and their media. Calls return at once; what happens comes as `events`.

    Every `add_*` is answered by exactly one `TapClosed`, `RecordingClosed`, `StreamClosed` or `StreamFailed`,
    every `play` by one `PlayEnded` and every `open_leg` by one `LegClosed`. Each is known until that event
    was delivered.
    """

    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        """Bind (rtp_port, rtcp_port); the same port twice with `rtcp_mux`."""
        ...

    def connect_leg(
        self,
        leg_id: int,
        *,
        codec: str,
        payload_type: int,
        clock_rate_hz: int,
        ptime_ms: int,
        dtmf_payload_type: int | None,
        remote_rtp: str,
        remote_rtcp: str,
        rtcp_mux: bool,
        sending: bool = True,
        receiving: bool = True,
        silence_when_idle: bool = False,
        keepalive_ms: int = 5000,
        media_timeout_ms: int = 0,
        sample_rate_hz: int = 0,
        octet_align: bool = False,
        amr_mode_set: Sequence[int] = (),
        opus_fec: bool = False,
        opus_max_bitrate: int = 0,
        dtmf_clock_rate_hz: int = 8000,
        inband_dtmf: str = "auto",
    ) -> None:
        """Say what offer and answer agreed on. Again on re-INVITE: taps stay, with the codecs they have.

        Args:
            codec: PCMU, PCMA, G722, OPUS, AMR-WB or L16.
            sample_rate_hz: what Opus is coded at; 0 is 48000.
            amr_mode_set: AMR-WB modes that may be sent; empty is all.
            opus_max_bitrate: in bit/s; 0 is no bound.
            inband_dtmf: whether keys are told by their tones: "on" until the first telephone-event,
                "off", or "auto": if telephone-event was not agreed on and the codec keeps tones.
        """
        ...

    def bridge(self, leg_id: int, other_leg_id: int, *, keys: bool = True, other_keys: bool = True) -> None:
        """Let the far ends of two legs hear each other, instead of whom they were bridged to before.

        Args:
            keys: keys pressed on `leg_id` go to the other.
            other_keys: keys pressed on `other_leg_id` go to `leg_id`.
        """
        ...

    def unbridge(self, leg_id: int) -> None:
        """End what `bridge` began; nothing happens where nothing was."""
        ...

    def close_leg(self, leg_id: int) -> None:
        """Close every tap, then the leg."""
        ...

    def add_fork(
        self,
        leg_id: int,
        tap_id: int,
        *,
        rx: str | None,
        tx: str | None,
        strep_leg_id: bytes | None = None,
        strep_b_leg: bool = False,
    ) -> None:
        """Copy RTP byte for byte to UDP targets."""
        ...

    def add_stream(
        self,
        leg_id: int,
        tap_id: int,
        *,
        url: str,
        addresses: Sequence[str],
        headers: Sequence[tuple[str, str]],
        rx: bool,
        tx: bool,
        codec: str,
        sample_rate_hz: int,
        frame_ms: int,
        stream_id: str,
        connected_json: str,
        start_json: str,
        stop_json: str,
        connect_timeout_ms: int,
        connect_retry_ms: Sequence[int],
        buffer_ms: int = 5000,
        ping_ms: int = 20000,
        fill_gaps: bool = True,
        app_codec: str | None = None,
        app_sample_rate_hz: int = 8000,
        l16_byte_order: str = "little",
        reconnect_ms: Sequence[int] = (),
        reconnect_total_ms: int = 10000,
        app_heard: str = "self",
        binary_media: bool = False,
    ) -> None:
        """Open a WebSocket and keep audio for it until `begin_stream`.

        With `app_codec` what the application sends is heard, "MP3" meaning whole files, by whom `app_heard`
        says: "self", "opposite" (of the leg bridged to this one; "self" while there is none),
        "opposite_only" (nobody while there is none) or "both". With `binary_media` binary messages are
        audio as well. What the leg's codec is not is transcoded; that is refused where `transcodable` says no.
        With `reconnect_ms` a socket that is lost is opened again after these pauses, within
        `reconnect_total_ms`.
        """
        ...

    def begin_stream(self, leg_id: int, tap_id: int) -> None:
        """Send the start frame, then media."""
        ...

    def add_speech(
        self,
        leg_id: int,
        tap_id: int,
        *,
        track: str,
        sample_rate_hz: int,
        chunk_ms: int,
        skip_own: bool = False,
    ) -> None:
        """Decode one track ("rx" or "tx") for a recogniser.

        `skip_own`: of tx only what the other leg of a bridge says, not what applications play and say.
        """
        ...

    def add_recording(
        self,
        leg_id: int,
        tap_id: int,
        *,
        path: Path,
        rx: bool,
        tx: bool,
        dual: bool,
        sample_rate_hz: int,
        max_ms: int = 0,
        silence_timeout_ms: int = 0,
        trim_silence: bool = False,
    ) -> None:
        """Write one track or both to a new WAV file, on the leg's clock.

        With `dual` rx is the first channel and tx the second; else they are added up. It ends by itself after
        `max_ms`, or when nothing was heard for `silence_timeout_ms` after something was (0: never). With
        `trim_silence` silence is cut off at both ends.
        """
        ...

    def pause_recording(self, leg_id: int, tap_id: int) -> None:
        """Leave out of a recording what is heard from now on."""
        ...

    def resume_recording(self, leg_id: int, tap_id: int) -> None:
        """Go on with a recording."""
        ...

    def wav_to_mp3(self, wav: Path, mp3: Path) -> int:
        """Encode the file of a recording and return the length of the new one; for a thread, as it takes time."""
        ...

    def remove_tap(self, leg_id: int, tap_id: int, *, reason: str, hangup_cause: str | None = None) -> None:
        """End a tap; a stream's stop frame says why."""
        ...

    def play(
        self,
        leg_id: int,
        play_id: int,
        *,
        pcm: bytes,
        sample_rate_hz: int,
        loops: int = 1,
        overlay: bool = False,
    ) -> None:
        """Queue s16le mono audio for the far end, after the plays that wait already.

        Args:
            sample_rate_hz: one of those that wav and mp3 files have, 8000 to 48000.
            loops: how often it is heard; 0 is for ever.
            overlay: mixed over what is played, after the other overlays.
        """
        ...

    def stop_play(self, leg_id: int, play_id: int) -> None:
        """End a play, whether it is heard or waits."""
        ...

    def send_digits(self, leg_id: int, *, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Send telephone-events."""
        ...

    def stats(self, leg_id: int) -> LegStats:
        """Return the counters of a leg and its taps."""
        ...

    def transcodable(self, codec: str) -> bool:
        """Tell whether a codec can be decoded and encoded here; without libraries AMR-WB cannot."""
        ...

    def decode_sound(self, data: bytes, *, max_samples: int) -> tuple[bytes, int]:
        """Return the s16le mono audio of a wav or mp3 file, and its rate. Takes long: call it in a thread."""
        ...

    def counters(self) -> dict[str, int]:
        """Return the counters of the process."""
        ...

    def shutdown(self) -> None:
        """Close every leg and stop."""
        ...
