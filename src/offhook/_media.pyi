"""The native media core (Rust, PyO3). Only `offhook.edge.media` may import it.

Every call is synchronous and non-blocking: it checks its arguments, posts a command to the
worker that owns the leg and returns. What happens comes back through `poll_events`, in order per
leg. `leg_id` and `tap_id` are chosen by the caller (unsigned 64 bit, never reused in a process).
Addresses are "ip:port" text with "[v6]:port" for IPv6; host names never cross the seam.
"""

from pathlib import Path
from typing import Any, Self, final

__all__ = ["Engine", "MediaError", "SoundDecoder", "decode_sound", "transcodable", "version", "wav_to_mp3"]

class MediaError(Exception):
    """A refused call: unknown leg, no free port, bad argument. The text is one sentence for a person."""

def decode_sound(data: bytes, *, max_samples: int) -> tuple[bytes, int]:
    """Decode a wav file (PCM, float, G.711; 8000 to 192000 Hz) or an mp3 file to s16le mono and its rate,
    which `Engine.play` takes. Takes its time without the interpreter's lock. Raises `MediaError` for
    what is neither, or longer than `max_samples`."""

def transcodable(codec: str) -> bool:
    """Whether this system can decode and encode a codec, by its name in SDP. Without the libraries
    opencore-amrwb and vo-amrwbenc AMR-WB is only passed through; an unknown codec is not transcodable."""

def version() -> str: ...
def wav_to_mp3(wav: Path, mp3: Path) -> int:
    """Encode a WAV file of a recording, even one that was never closed; returns the length of the mp3 file.
    Takes a thousandth of the time the audio lasts, without the GIL."""

@final
class SoundDecoder:
    """Decodes and resamples sound that comes in any pieces, without the interpreter's lock."""

    def __new__(cls, format: str, *, to_hz: int, sample_rate_hz: int = 0, mix: bool = True) -> Self:
        """`format` is "linear16", "linear32", "mulaw" or "alaw" (mono, little-endian, at `sample_rate_hz`),
        "wav" (also of unknown length), "mp3", or "file": one of these two, told apart by how it begins.
        What comes out is at `to_hz`, all channels made one or, without `mix`, each for itself. Rates are
        8000 to 48000 Hz with simple ratios; wav files may have up to 192000. `MediaError` otherwise."""
    @property
    def sample_rate_hz(self) -> int | None:
        """Samples per second of what comes in, once that is known."""
    def push(self, data: bytes) -> list[bytes]:
        """Return the s16le that `data` completes, for each channel; nothing while their number is not
        known. `MediaError` when it is not such sound."""
    def finish(self) -> list[bytes]:
        """Return what waited for more. `MediaError` when a file ended before its audio began."""

@final
class Engine:
    """Workers, the RTP port pool and all media legs of one process."""

    def __new__(
        cls,
        *,
        workers: int,
        bind_address: str,
        port_min: int,
        port_max: int,
        drain_ms: int = 5000,
        ca_file: str | None = None,
        tls_verify: bool = True,
    ) -> Self: ...
    def fileno(self) -> int:
        """File descriptor that is readable while events wait: for `loop.add_reader`."""
    def poll_events(self) -> list[tuple[Any, ...]]:
        """Empty the wake pipe, then take every waiting event. See below for the tuples."""
    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        """Bind (rtp_port, rtcp_port); the same port twice with `rtcp_mux`. Packets are dropped and
        counted until `connect_leg`."""
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
        amr_mode_set: list[int] = ...,
        opus_fec: bool = False,
        opus_max_bitrate: int = 0,
        dtmf_clock_rate_hz: int = 8000,
        inband_dtmf: str = "auto",
    ) -> None:
        """Say what offer and answer agreed on. May be called again (re-INVITE): the source lock is
        reset, taps stay. `rtcp_mux=True` on a leg opened with two ports frees the second.
        `media_timeout_ms=0` means never. `codec` is "PCMU", "PCMA", "G722", "OPUS", "AMR-WB" or "L16"
        (big-endian, at `clock_rate_hz`); another one than before changes how taps are fed, not what
        they give out. `sample_rate_hz` is what Opus is coded at, or the next rate it has (0: 48000),
        `amr_mode_set` what may be sent (empty: all), `opus_max_bitrate` in bit/s (0: the encoder's
        choice). `dtmf_clock_rate_hz` is that of `dtmf_payload_type`. `ptime_ms` makes whole samples of
        the codec; it is a multiple of 20 for Opus and AMR-WB."""
    def bridge(self, leg_id: int, other_leg_id: int, *, keys: bool = True, other_keys: bool = True) -> None:
        """Let the far ends of two legs hear each other, instead of whom they were bridged to before. What
        one leg receives goes out of the other: untouched and at once where the codec is the same and
        nothing else is to be heard, else mixed with that. Keys pressed on `leg_id` go to the other with
        `keys`, those on the other with `other_keys`: as telephone-events, or as tones where none were
        agreed on. A leg that may not send gets nothing. Taps of both legs go on; the other party is part
        of their tx track. Refused where one of two codecs cannot be transcoded. The end of one leg ends it."""
    def unbridge(self, leg_id: int) -> None:
        """End what `bridge` began; nothing happens where nothing was."""
    def close_leg(self, leg_id: int) -> None:
        """Close every tap (stop frames, last speech chunk), then the leg; ends with `leg_closed`.
        The ports drain before they are used again."""
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
        """Copy RTP byte for byte to UDP targets. With `strep_leg_id` (16 bytes) each packet is
        prefixed by the 24-byte STREP header of contract 5.2."""
    def add_stream(
        self,
        leg_id: int,
        tap_id: int,
        *,
        url: str,
        addresses: list[str],
        headers: list[tuple[str, str]],
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
        connect_retry_ms: list[int],
        buffer_ms: int = 5000,
        ping_ms: int = 20000,
        fill_gaps: bool = True,
        app_codec: str | None = None,
        app_sample_rate_hz: int = 8000,
        l16_byte_order: str = "little",
        reconnect_ms: list[int] = ...,
        reconnect_total_ms: int = 10000,
        app_heard: str = "self",
        binary_media: bool = False,
    ) -> None:
        """Open a WebSocket to `url` at the first of `addresses` that answers; the name in `url` is used
        for Host, SNI and certificate. Sends `connected_json` (a whole frame) and reports
        `stream_connected`; audio is kept (up to `buffer_ms` of each track) until `begin_stream`. With `fill_gaps`
        short losses become silence, otherwise a jump of `timestamp`. `codec` is one that a leg may
        have: "G722" (8000), "OPUS" (8000, 16000, 24000, 48000), "AMR-WB" (16000, octet-aligned), "L16"
        (8000, 16000, 22050, 24000 or 48000, in `l16_byte_order`). What the leg has already is passed on
        untouched; else it is transcoded, which is refused where `transcodable` says no. With `app_codec`,
        one of these too, the far end hears what the application sends, mixed with what is played; "MP3"
        means whole mp3 files. `app_heard` says who hears it: "self", "opposite" (the far end of the leg
        bridged to this one; while there is none, "self"), "opposite_only" (while there is none, nobody: it
        is taken and dropped) or "both". With `binary_media` binary messages are audio too.
        With `reconnect_ms` (at most 16) a socket that is lost, not closed by the application, is opened
        again after these pauses, within `reconnect_total_ms` (at most 60000) of the loss."""
    def begin_stream(self, leg_id: int, tap_id: int) -> None:
        """Send the start frame (`start_json` is the value of its "start" key), then media."""
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
        """Decode one track ("rx" or "tx") to s16le mono in chunks; short losses are concealed, then
        filled with zeros, so that sample positions follow the RTP clock. `skip_own`: of tx only what the
        other leg of a bridge says, not what applications play and say."""
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
        """Write the rx or the tx track or both to a new WAV file of 16-bit samples, on the leg's clock: losses
        and pauses are silence. With `dual` rx is the first channel and tx the second; else they are added up.
        `sample_rate_hz` is 8000, 16000 or 24000. It ends by itself after `max_ms`, or when nothing was heard
        for `silence_timeout_ms` after something was (0: never). With `trim_silence` silence is cut off at both
        ends but for 100 ms. The file can be played at any time; it is behind by 1.1 s at most."""
    def pause_recording(self, leg_id: int, tap_id: int) -> None:
        """Leave out what is heard until `resume_recording`."""
    def resume_recording(self, leg_id: int, tap_id: int) -> None: ...
    def remove_tap(self, leg_id: int, tap_id: int, *, reason: str, hangup_cause: str | None = None) -> None:
        """Ends with `tap_closed` (fork, speech), `recording_closed` or `stream_closed`. `reason` goes into stop.reason,
        and `hangup_cause` into stop.hangup_cause when the call has ended."""
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
        """Queue s16le mono audio (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100 or 48000 Hz) to be
        sent to the far end at real time, `loops` times or for ever (0). It waits for the plays before it;
        an overlay waits for the overlays before it and is mixed over the others. What the applications of
        streams say is mixed with it and neither ends the other. At most 64 plays and 32 MiB of them may
        wait on a leg. `play_id` is chosen by the caller, as a `tap_id` is."""
    def stop_play(self, leg_id: int, play_id: int) -> None:
        """End a play, whether it is heard or waits."""
    def send_digits(self, leg_id: int, *, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Send RFC 4733 telephone-events (refused without an agreed payload type)."""
    def stats(self, leg_id: int) -> dict[str, Any]:
        """Counters of a leg and its taps now; keys as in `leg_closed`."""
    def counters(self) -> dict[str, int]:
        """Process-wide counters: legs, taps, ports in use and draining, sockets, drops by cause."""
    def shutdown(self) -> None:
        """Close every leg and stop the workers; returns when their threads ended."""

# Events, each a tuple (kind, leg_id, tap_id, ...):
#   ("media_started", leg, 0, ssrc: int, source: str)
#   ("media_timeout", leg, 0)                             once per silence
#   ("digit", leg, 0, digit: str, at_ms: int, duration_ms: int)
#   ("stream_connected", leg, tap)                        its socket is open
#   ("stream_reconnecting", leg, tap, detail: str)        it was lost, and why; another is sought, audio is kept
#   ("stream_reconnected", leg, tap, tries: int)          another is open: connected, start (if begun), what was kept
#   ("stream_failed", leg, tap, reason: str, detail: str)      reason: connection_failed | connection_lost
#   ("stream_closed", leg, tap, reason: str, stats: dict)      reason: app_closed | <reason of remove_tap> | call_ended
#   ("tap_closed", leg, tap, stats: dict)                      forks and speech taps
#   ("recording_closed", leg, tap, reason: str, detail: str, duration_ms: int, size_bytes: int, stats: dict)
#                                          reason: max_length | silence | failed (and why) | <reason of remove_tap>
#                                          | call_ended
#   ("audio", leg, tap, at_ms: int, pcm: bytes)                at_ms on the leg's clock (0 = connect_leg)
#   ("play_started", leg, play)                                its first packet has been sent
#   ("play_ended", leg, play, played_ms: int, completed: bool) all of it was sent; or it was stopped
#   ("leg_closed", leg, 0, stats: dict)                        always the last event of a leg
#   ("leg_failed", leg, 0, message: str)                       an internal fault; leg_closed follows
# Every add_* is answered by exactly one *_closed or stream_failed, every play by exactly one play_ended.
