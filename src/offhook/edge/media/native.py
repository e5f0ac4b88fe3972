"""The native engine: arguments to the core, its tuples to typed events. Packets stay in Rust."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import structlog

from offhook.base.errors import ConfigError
from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.events import LegStats, MediaEvent, TapStats

if TYPE_CHECKING:
    from offhook import _media  # noqa: TID251 - this room is the door

__all__ = ["NativeEngine", "load_core"]

log = structlog.get_logger(__name__)


def load_core() -> Any:
    """Return the native module, or raise ConfigError where it is not built."""
    try:
        from offhook import _media  # noqa: TID251 - this room is the door
    except ImportError as error:
        raise ConfigError("the native media core is not built: run `make setup`") from error
    return _media


@contextmanager
def _refusals(error_type: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error_type as error:
        raise MediaError(str(error)) from None
    except OverflowError as error:
        raise MediaError(f"a number is out of range: {error}") from None


class NativeEngine:
    """The Rust core: worker threads, RTP ports, streams. A `MediaEngine`.

    Args:
        workers: media threads, one a core.
        bind_address: local IP address of all RTP sockets.
        port_range: first and last UDP port.
        drain_s: how long a port must be quiet after its leg before it is used again.
        ca_file: more roots for `wss:`.
        tls_verify: whether certificates are checked at all.

    Raises:
        ConfigError: the core is not built.
        MediaError: the arguments make no sense to it.
    """

    def __init__(
        self,
        *,
        workers: int,
        bind_address: str,
        port_range: tuple[int, int],
        drain_s: float = 5.0,
        ca_file: str | Path | None = None,
        tls_verify: bool = True,
    ) -> None:
        core = load_core()
        self._refused: type[Exception] = core.MediaError
        with _refusals(self._refused):
            self._core: _media.Engine = core.Engine(
                workers=workers,
                bind_address=bind_address,
                port_min=port_range[0],
                port_max=port_range[1],
                drain_ms=round(drain_s * 1000),
                ca_file=None if ca_file is None else str(ca_file),
                tls_verify=tls_verify,
            )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_event: Callable[[MediaEvent], None] | None = None

    # Events

    def attach(self, loop: asyncio.AbstractEventLoop, on_event: Callable[[MediaEvent], None]) -> None:
        """Deliver events on `loop` from now on, in batches, each by one call of `on_event`."""
        assert self._loop is None, "attached already"
        self._loop, self._on_event = loop, on_event
        loop.add_reader(self._core.fileno(), self.drain)

    def detach(self) -> None:
        """Deliver no more events by themselves; `drain` still does."""
        if self._loop is not None:
            self._loop.remove_reader(self._core.fileno())
            self._loop = None

    def drain(self) -> None:
        """Deliver what waits now. One event that goes wrong does not hold up the others."""
        for raw in self._core.poll_events():
            if self._on_event is None:
                continue
            try:
                self._on_event(_typed(raw))
            except Exception:
                log.exception("media event failed", kind=raw[0], leg=raw[1])

    def poll(self) -> list[MediaEvent]:
        """Take what waits, for whoever has no event loop."""
        return [_typed(raw) for raw in self._core.poll_events()]

    # Legs

    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        """Bind (rtp_port, rtcp_port); the same port twice with `rtcp_mux`."""
        with _refusals(self._refused):
            return self._core.open_leg(leg_id, rtcp_mux=rtcp_mux)

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
        """Say what offer and answer agreed on. Again on re-INVITE: taps stay."""
        with _refusals(self._refused):
            self._core.connect_leg(
                leg_id,
                codec=codec,
                payload_type=payload_type,
                clock_rate_hz=clock_rate_hz,
                ptime_ms=ptime_ms,
                dtmf_payload_type=dtmf_payload_type,
                remote_rtp=remote_rtp,
                remote_rtcp=remote_rtcp,
                rtcp_mux=rtcp_mux,
                sending=sending,
                receiving=receiving,
                silence_when_idle=silence_when_idle,
                keepalive_ms=keepalive_ms,
                media_timeout_ms=media_timeout_ms,
                sample_rate_hz=sample_rate_hz,
                octet_align=octet_align,
                amr_mode_set=list(amr_mode_set),
                opus_fec=opus_fec,
                opus_max_bitrate=opus_max_bitrate,
                dtmf_clock_rate_hz=dtmf_clock_rate_hz,
                inband_dtmf=inband_dtmf,
            )

    def bridge(self, leg_id: int, other_leg_id: int, *, keys: bool = True, other_keys: bool = True) -> None:
        """Let the far ends of two legs hear each other."""
        with _refusals(self._refused):
            self._core.bridge(leg_id, other_leg_id, keys=keys, other_keys=other_keys)

    def unbridge(self, leg_id: int) -> None:
        """End what `bridge` began."""
        with _refusals(self._refused):
            self._core.unbridge(leg_id)

    def close_leg(self, leg_id: int) -> None:
        """Close every tap, then the leg."""
        with _refusals(self._refused):
            self._core.close_leg(leg_id)

    def stats(self, leg_id: int) -> LegStats:
        """Return the counters of a leg and its taps."""
        with _refusals(self._refused):
            return cast(LegStats, self._core.stats(leg_id))

    # Taps

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
        with _refusals(self._refused):
            self._core.add_fork(
                leg_id, tap_id, rx=rx, tx=tx, strep_leg_id=strep_leg_id, strep_b_leg=strep_b_leg
            )

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
        """Open a WebSocket and keep audio for it until `begin_stream`."""
        with _refusals(self._refused):
            self._core.add_stream(
                leg_id,
                tap_id,
                url=url,
                addresses=list(addresses),
                headers=list(headers),
                rx=rx,
                tx=tx,
                codec=codec,
                sample_rate_hz=sample_rate_hz,
                frame_ms=frame_ms,
                stream_id=stream_id,
                connected_json=connected_json,
                start_json=start_json,
                stop_json=stop_json,
                connect_timeout_ms=connect_timeout_ms,
                connect_retry_ms=list(connect_retry_ms),
                buffer_ms=buffer_ms,
                ping_ms=ping_ms,
                fill_gaps=fill_gaps,
                app_codec=app_codec,
                app_sample_rate_hz=app_sample_rate_hz,
                l16_byte_order=l16_byte_order,
                reconnect_ms=list(reconnect_ms),
                reconnect_total_ms=reconnect_total_ms,
                app_heard=app_heard,
                binary_media=binary_media,
            )

    def begin_stream(self, leg_id: int, tap_id: int) -> None:
        """Send the start frame, then media."""
        with _refusals(self._refused):
            self._core.begin_stream(leg_id, tap_id)

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
        """Decode one track ("rx" or "tx") for a recogniser."""
        with _refusals(self._refused):
            self._core.add_speech(
                leg_id,
                tap_id,
                track=track,
                sample_rate_hz=sample_rate_hz,
                chunk_ms=chunk_ms,
                skip_own=skip_own,
            )

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
        """Write one track or both to a new WAV file."""
        with _refusals(self._refused):
            self._core.add_recording(
                leg_id,
                tap_id,
                path=path,
                rx=rx,
                tx=tx,
                dual=dual,
                sample_rate_hz=sample_rate_hz,
                max_ms=max_ms,
                silence_timeout_ms=silence_timeout_ms,
                trim_silence=trim_silence,
            )

    def pause_recording(self, leg_id: int, tap_id: int) -> None:
        """Leave out of a recording what is heard from now on."""
        with _refusals(self._refused):
            self._core.pause_recording(leg_id, tap_id)

    def resume_recording(self, leg_id: int, tap_id: int) -> None:
        """Go on with a recording."""
        with _refusals(self._refused):
            self._core.resume_recording(leg_id, tap_id)

    def wav_to_mp3(self, wav: Path, mp3: Path) -> int:
        """Encode the file of a recording and return the length of the new one."""
        with _refusals(self._refused):
            return cast(int, load_core().wav_to_mp3(wav, mp3))

    def remove_tap(self, leg_id: int, tap_id: int, *, reason: str, hangup_cause: str | None = None) -> None:
        """End a tap."""
        with _refusals(self._refused):
            self._core.remove_tap(leg_id, tap_id, reason=reason, hangup_cause=hangup_cause)

    # Sending

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
        """Queue s16le mono audio for the far end."""
        with _refusals(self._refused):
            self._core.play(
                leg_id, play_id, pcm=pcm, sample_rate_hz=sample_rate_hz, loops=loops, overlay=overlay
            )

    def stop_play(self, leg_id: int, play_id: int) -> None:
        """End a play, whether it is heard or waits."""
        with _refusals(self._refused):
            self._core.stop_play(leg_id, play_id)

    def send_digits(self, leg_id: int, *, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Send telephone-events."""
        with _refusals(self._refused):
            self._core.send_digits(leg_id, digits=digits, duration_ms=duration_ms, gap_ms=gap_ms)

    # The process

    def transcodable(self, codec: str) -> bool:
        """Tell whether a codec can be decoded and encoded here."""
        return bool(load_core().transcodable(codec))

    def decode_sound(self, data: bytes, *, max_samples: int) -> tuple[bytes, int]:
        """Return the s16le mono audio of a wav or mp3 file, and its rate."""
        with _refusals(self._refused):
            decoded: tuple[bytes, int] = load_core().decode_sound(data, max_samples=max_samples)
            return decoded

    def counters(self) -> dict[str, int]:
        """Return the counters of the process."""
        return self._core.counters()

    def shutdown(self) -> None:
        """Close every leg and stop; what that caused can still be drained. Bounded to seconds."""
        self._core.shutdown()


def _typed(raw: tuple[Any, ...]) -> MediaEvent:
    match raw:
        case ("audio", leg, tap, at_ms, pcm):
            return events.AudioChunk(leg, tap, at_ms, pcm)
        case ("media_started", leg, _, ssrc, source):
            return events.MediaStarted(leg, ssrc, source)
        case ("media_timeout", leg, _):
            return events.MediaTimedOut(leg)
        case ("digit", leg, _, digit, at_ms, duration_ms):
            return events.DigitReceived(leg, digit, at_ms, duration_ms)
        case ("stream_connected", leg, tap):
            return events.StreamConnected(leg, tap)
        case ("stream_reconnecting", leg, tap, detail):
            return events.StreamReconnecting(leg, tap, detail)
        case ("stream_reconnected", leg, tap, tries):
            return events.StreamReconnected(leg, tap, tries)
        case ("stream_failed", leg, tap, reason, detail):
            return events.StreamFailed(leg, tap, reason, detail)
        case ("stream_closed", leg, tap, reason, stats):
            return events.StreamClosed(leg, tap, reason, cast(TapStats, stats))
        case ("recording_closed", leg, tap, reason, detail, duration_ms, size_bytes, stats):
            return events.RecordingClosed(
                leg, tap, reason, detail, duration_ms, size_bytes, cast(TapStats, stats)
            )
        case ("tap_closed", leg, tap, stats):
            return events.TapClosed(leg, tap, cast(TapStats, stats))
        case ("play_started", leg, play):
            return events.PlayStarted(leg, play)
        case ("play_ended", leg, play, played_ms, completed):
            return events.PlayEnded(leg, play, played_ms, completed)
        case ("leg_closed", leg, _, stats):
            return events.LegClosed(leg, cast(LegStats, stats))
        case ("leg_failed", leg, _, message):
            return events.LegFailed(leg, message)
        case _:
            raise AssertionError(f"the native core sent an event of unknown kind {raw[0]!r}")
