"""A media engine in memory, for tests of whatever drives one. No socket, no thread, no clock.

It keeps the promises of `MediaEngine` and reports the same events in the same order as the native
core. The test plays the far end (`feed_rtp`, `feed_pcm`, `press`), the application (`app_closes`,
`fail_stream`, `connect_stream`) and the clock (`advance`), and looks at what was sent.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from offhook.edge.media import events
from offhook.edge.media.engine import MediaError
from offhook.edge.media.events import LegStats, MediaEvent
from offhook.edge.media.fake_audio import FakeFormat, resample
from offhook.edge.media.fake_checks import (
    PLAYED_RATES_HZ,
    check_address,
    check_app_codec,
    check_byte_order,
    check_codec,
    check_ranges,
    clock_rate_hz_of,
    is_framed,
    is_object,
    is_rate,
)
from offhook.edge.media.fake_leg import FakeFork, FakeLeg, FakeSpeech, FakeStream, FakeTap
from offhook.edge.media.fake_player import decode_file
from offhook.edge.media.fake_recording import FakeRecording
from offhook.edge.media.fake_voice import FakeVoice

__all__ = ["FakeEngine", "FakeFork", "FakeLeg", "FakeRecording", "FakeSpeech", "FakeStream"]

TAPS_PER_LEG_MAX = 32
PLAYS_PER_LEG_MAX = 64
PLAYS_BYTES_MAX = 32 * 1024 * 1024
STREAM_BUFFER_MS_MAX = 30_000
RECORDING_MS_MAX = 43_200_000
RECONNECT_TRIES_MAX = 16
RECONNECT_TOTAL_MS_MAX = 60_000

_TOTALS = ("legs_total", "streams_connected_total", "streams_reconnected_total", "streams_failed_total")


class FakeEngine:
    """A `MediaEngine` whose world is the test.

    Args:
        port_range: first and last port to give out.
        auto_connect: whether streams connect by themselves as soon as they are added.
    """

    def __init__(self, *, port_range: tuple[int, int] = (20000, 20999), auto_connect: bool = True) -> None:
        self.auto_connect = auto_connect
        self.transcodable_codecs = {"PCMU", "PCMA", "G722", "OPUS", "L16"}
        self.now_ms = 0
        self.legs: dict[int, FakeLeg] = {}
        self.down = False
        self._port_range = port_range
        self._ports: set[int] = set()
        self._next_port = port_range[0]
        self._known: dict[int, set[int]] = {}
        self._plays: dict[int, dict[int, int]] = {}
        self._waiting: list[MediaEvent] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_event: Callable[[MediaEvent], None] | None = None
        self._totals = dict.fromkeys(_TOTALS, 0)

    # Events, as `NativeEngine` has them

    def attach(self, loop: asyncio.AbstractEventLoop, on_event: Callable[[MediaEvent], None]) -> None:
        """Deliver events on `loop`, never from within the call that caused them."""
        self._loop, self._on_event = loop, on_event

    def detach(self) -> None:
        """Deliver no more events by themselves."""
        self._loop = None

    def drain(self) -> None:
        """Deliver what waits now."""
        for event in self.poll():
            if self._on_event is not None:
                self._on_event(event)

    def poll(self) -> list[MediaEvent]:
        """Take what waits. Legs and taps whose end is among it are forgotten here, not before."""
        taken, self._waiting = self._waiting, []
        for event in taken:
            match event:
                case events.LegClosed(leg_id=leg_id):
                    self._known.pop(leg_id, None)
                    self._plays.pop(leg_id, None)
                case events.PlayEnded():
                    self._plays.get(event.leg_id, {}).pop(event.play_id, None)
                case (
                    events.StreamFailed()
                    | events.StreamClosed()
                    | events.RecordingClosed()
                    | events.TapClosed()
                ):
                    self._known.get(event.leg_id, set()).discard(event.tap_id)
                case _:
                    pass
        return taken

    def _tell(self, told: Iterable[MediaEvent]) -> None:
        for event in told:
            if not self._waiting and self._loop is not None:
                self._loop.call_soon(self.drain)
            self._waiting.append(event)
            if isinstance(event, events.StreamFailed):
                self._totals["streams_failed_total"] += 1

    # Legs

    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        """Give out ports; the same one twice with `rtcp_mux`."""
        if self.down:
            raise MediaError("the media engine has been shut down")
        if leg_id in self._known:
            raise MediaError(f"leg {leg_id} exists already")
        ports = self._take_ports(rtcp_mux)
        self.legs[leg_id] = FakeLeg(leg_id, set(ports), self.now_ms)
        self._known[leg_id], self._plays[leg_id] = set(), {}
        self._totals["legs_total"] += 1
        return ports

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
        """Take what offer and answer agreed on."""
        check_codec(codec)
        if any(not 0 <= mode <= 8 for mode in amr_mode_set):
            raise MediaError("amr_mode_set is out of range")
        if inband_dtmf not in ("auto", "on", "off"):
            raise MediaError(f"inband_dtmf is auto, on or off, not {inband_dtmf!r}")
        check_ranges(
            clock_rate_hz=clock_rate_hz_of(codec, clock_rate_hz) == clock_rate_hz,
            payload_type=0 <= payload_type <= 127,
            dtmf_payload_type=dtmf_payload_type is None
            or (dtmf_payload_type <= 127 and dtmf_payload_type != payload_type),
            dtmf_clock_rate_hz=8000 <= dtmf_clock_rate_hz <= 48000,
            ptime_ms=5 <= ptime_ms <= 200 and is_framed(codec, clock_rate_hz, ptime_ms),
        )
        for address in (remote_rtp, remote_rtcp):
            check_address(address)
        leg = self._leg(leg_id)
        if leg is None:
            return
        if rtcp_mux and len(leg.ports) == 2:
            self._give_back({max(leg.ports)})
            leg.ports = {min(leg.ports)}
        leg.connect(
            form=FakeFormat(codec, clock_rate_hz, clock_rate_hz, "big"),
            payload_type=payload_type,
            dtmf_payload_type=dtmf_payload_type,
            dtmf_clock_rate_hz=dtmf_clock_rate_hz,
            ptime_ms=ptime_ms,
            media_timeout_ms=media_timeout_ms,
            now_ms=self.now_ms,
        )
        leg.remote_rtp, leg.sending, leg.receiving = remote_rtp, sending, receiving

    def bridge(self, leg_id: int, other_leg_id: int, *, keys: bool = True, other_keys: bool = True) -> None:
        """Let each leg send what the other is fed."""
        if leg_id == other_leg_id:
            raise MediaError("a leg cannot be bridged to itself")
        one, other = self._leg(leg_id), self._leg(other_leg_id)
        if one is None or other is None:
            return
        for known in (leg_id, other_leg_id):
            self.unbridge(known)
        one.bridge(other, keys=keys)
        other.bridge(one, keys=other_keys)
        for known in (leg_id, other_leg_id):
            self._hear_apps(known)

    def unbridge(self, leg_id: int) -> None:
        """Part two legs."""
        leg = self._leg(leg_id)
        other = None if leg is None else leg.other
        for parted in (leg, other):
            if parted is not None:
                parted.bridge(None)
                self._hear_apps(parted.leg_id)

    def _hear_apps(self, leg_id: int) -> None:
        leg = self.legs.get(leg_id)
        for tap in () if leg is None else leg.taps.values():
            if isinstance(tap, FakeStream) and tap.voice is not None:
                tap.voice.heard = any(tap.heard_by(bridged=leg is not None and leg.other is not None))

    def close_leg(self, leg_id: int) -> None:
        """End every tap, then the leg."""
        if leg_id not in self._known:
            raise MediaError(f"leg {leg_id} does not exist")
        if leg_id in self.legs:
            self.unbridge(leg_id)
        leg = self.legs.pop(leg_id, None)
        if leg is not None:
            self._give_back(leg.ports)
            self._tell(leg.close(self.now_ms))

    def stats(self, leg_id: int) -> LegStats:
        """Return the counters of a leg and its taps."""
        leg = self.legs.get(leg_id)
        if leg is None:
            raise MediaError(f"leg {leg_id} does not exist")
        return leg.stats()

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
        """Keep a copy of each packet in `FakeFork.rx_packets` and `tx_packets`."""
        if rx is None and tx is None:
            raise MediaError("a fork needs a target for rx or tx")
        for address in (rx, tx):
            if address is not None:
                check_address(address)
        if strep_leg_id is not None and len(strep_leg_id) != 16:
            raise MediaError("strep_leg_id must have 16 bytes")
        self._add_tap(leg_id, FakeFork(tap_id, rx=rx, tx=tx, strep_leg_id=strep_leg_id))

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
        """Keep each frame in `FakeStream.frames`."""
        if app_heard not in ("self", "opposite", "opposite_only", "both"):
            raise MediaError(f"app_heard is self, opposite, opposite_only or both, not {app_heard!r}")
        check_byte_order(l16_byte_order)
        check_codec(codec)
        if app_codec is not None:
            check_app_codec(app_codec)
        check_ranges(
            sample_rate_hz=is_rate(codec, sample_rate_hz),
            app_sample_rate_hz=app_codec is None or is_rate(app_codec, app_sample_rate_hz),
            frame_ms=20 <= frame_ms <= 100 and (codec not in ("OPUS", "AMR-WB") or frame_ms % 20 == 0),
            buffer_ms=buffer_ms <= STREAM_BUFFER_MS_MAX,
            connected_json=is_object(connected_json),
            start_json=is_object(start_json),
            stop_json=is_object(stop_json),
        )
        if not url.startswith(("ws://", "wss://")):
            raise MediaError("the stream URL must be a ws:// or wss:// URL")
        if len(reconnect_ms) > RECONNECT_TRIES_MAX or reconnect_total_ms > RECONNECT_TOTAL_MS_MAX:
            raise MediaError(
                f"a lost stream may be tried again {RECONNECT_TRIES_MAX} times "
                f"within {RECONNECT_TOTAL_MS_MAX // 1000} s at most"
            )
        if not addresses:
            raise MediaError("a stream needs an address to connect to")
        if not rx and not tx:
            raise MediaError("a stream needs the rx or the tx track")
        for address in addresses:
            check_address(address)
        self._check_transcoding(leg_id, codec, app_codec)
        stream = FakeStream(
            tap_id,
            url=url,
            headers=tuple(headers),
            rx=rx,
            tx=tx,
            codec=codec,
            stream_id=stream_id,
            connected_json=connected_json,
            start_json=start_json,
            stop_json=stop_json,
            buffer_frames=buffer_ms // frame_ms * (rx + tx),
            sample_rate_hz=sample_rate_hz,
            byte_order=l16_byte_order,
            tries_max=len(reconnect_ms),
            voice=None if app_codec is None else FakeVoice(app_codec, app_sample_rate_hz),
            app_heard=app_heard,
            binary_media=binary_media,
        )
        self._add_tap(leg_id, stream)
        self._hear_apps(leg_id)
        if self.auto_connect and leg_id in self.legs:
            self.connect_stream(leg_id, tap_id)

    def begin_stream(self, leg_id: int, tap_id: int) -> None:
        """Send the start frame and what was kept."""
        tap = self._tap(leg_id, tap_id)
        if isinstance(tap, FakeStream):
            tap.begin()

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
        """Give out `AudioChunk`s of what is fed or played."""
        if track not in ("rx", "tx"):
            raise MediaError(f'"{track}" is not a track: rx or tx')
        check_ranges(sample_rate_hz=sample_rate_hz in (8000, 16000), chunk_ms=10 <= chunk_ms <= 1000)
        self._add_tap(leg_id, FakeSpeech(tap_id, track, sample_rate_hz, chunk_ms, skip_own))

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
        """Write what is fed and played to the file when the recording ends."""
        check_ranges(
            tracks=rx or tx,
            sample_rate_hz=sample_rate_hz in (8000, 16000, 24000),
            max_ms=0 <= max_ms <= RECORDING_MS_MAX,
            silence_timeout_ms=0 <= silence_timeout_ms <= RECORDING_MS_MAX,
        )
        tap = FakeRecording(
            tap_id, path, rx, tx, dual, sample_rate_hz, self.now_ms, max_ms, silence_timeout_ms, trim_silence
        )
        self._add_tap(leg_id, tap)
        leg = self.legs.get(leg_id)
        if leg is not None and not path.parent.is_dir():
            self._tell(leg.remove_tap(tap, "failed", self.now_ms))

    def pause_recording(self, leg_id: int, tap_id: int) -> None:
        """Leave out what is fed and played from now on."""
        tap = self._tap(leg_id, tap_id)
        if isinstance(tap, FakeRecording):
            tap.pause(self.now_ms)

    def resume_recording(self, leg_id: int, tap_id: int) -> None:
        """Go on with a recording."""
        tap = self._tap(leg_id, tap_id)
        if isinstance(tap, FakeRecording):
            tap.resume(self.now_ms)

    def wav_to_mp3(self, wav: Path, mp3: Path) -> int:
        """Copy the file: there is no encoder here."""
        try:
            return mp3.write_bytes(wav.read_bytes())
        except OSError as error:
            raise MediaError(str(error)) from None

    def remove_tap(self, leg_id: int, tap_id: int, *, reason: str, hangup_cause: str | None = None) -> None:
        """End a tap."""
        tap = self._tap(leg_id, tap_id)
        if tap is not None:
            self._tell(self.legs[leg_id].remove_tap(tap, reason, self.now_ms, hangup_cause))

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
        """Queue audio; `advance` sends it."""
        if len(pcm) % 2:
            raise MediaError("s16le audio has an even number of bytes")
        leg = self._leg(leg_id)
        check_ranges(sample_rate_hz=sample_rate_hz in PLAYED_RATES_HZ, pcm=bool(pcm))
        plays = self._plays[leg_id]
        if play_id in plays:
            raise MediaError("this play id is already in use on the leg")
        if len(plays) >= PLAYS_PER_LEG_MAX or sum(plays.values()) + len(pcm) > PLAYS_BYTES_MAX:
            raise MediaError("too many sounds would wait to be played, or too many bytes of them")
        plays[play_id] = len(pcm)
        if leg is not None:
            player = leg.overlay if overlay else leg.player
            player.push(play_id, resample(pcm, sample_rate_hz, 8000), loops)

    def stop_play(self, leg_id: int, play_id: int) -> None:
        """End a play."""
        if leg_id not in self._known:
            raise MediaError(f"leg {leg_id} does not exist")
        if play_id not in self._plays[leg_id]:
            raise MediaError("the leg has no such play")
        leg = self.legs.get(leg_id)
        if leg is not None:
            self._tell(leg.stop_play(play_id))

    def decode_sound(self, data: bytes, *, max_samples: int) -> tuple[bytes, int]:
        """Return the samples of a wav file of 16 bits, mono; silence for an mp3 file."""
        sound = decode_file(data)
        if len(sound[0]) > 2 * max_samples:
            raise MediaError("the file is too long")
        return sound

    def send_digits(self, leg_id: int, *, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Keep the digits in `FakeLeg.digits_sent`."""
        leg = self._leg(leg_id)
        if leg is None:
            return
        if leg.dtmf_payload_type is None:
            raise MediaError("offer and answer have no telephone-event")
        leg.digits_sent += digits.upper()

    # The process

    def transcodable(self, codec: str) -> bool:
        """Tell what the test has set: by default all but AMR-WB, as on a system without its libraries."""
        return codec in self.transcodable_codecs

    def counters(self) -> dict[str, int]:
        """Return what is open, by the names of the native core."""
        taps = [tap for leg in self.legs.values() for tap in leg.taps.values()]
        return {
            "legs_open": len(self.legs),
            "taps_open": len(taps),
            "stream_sockets_open": sum(isinstance(tap, FakeStream) and tap.connected for tap in taps),
            "ports_in_use": len(self._ports),
            "ports_draining": 0,
            "events_waiting": len(self._waiting),
            **self._totals,
        }

    def shutdown(self) -> None:
        """Close every leg."""
        for leg_id in tuple(self.legs):
            self.close_leg(leg_id)
        self.down = True

    def assert_no_leaks(self) -> None:
        """Fail unless every leg, tap and port was given back and every event was taken."""
        counters = self.counters()
        open_things = {name: counters[name] for name in ("legs_open", "taps_open", "ports_in_use")}
        assert not any(open_things.values()), f"left behind: {open_things}"
        assert not self._waiting, f"nobody took {len(self._waiting)} events"

    # The test as far end, application and clock

    def stream(self, leg_id: int, tap_id: int) -> FakeStream:
        """Return an open stream."""
        tap = self.legs[leg_id].taps[tap_id]
        assert isinstance(tap, FakeStream)
        return tap

    def fork(self, leg_id: int, tap_id: int) -> FakeFork:
        """Return an open fork."""
        tap = self.legs[leg_id].taps[tap_id]
        assert isinstance(tap, FakeFork)
        return tap

    def connect_stream(self, leg_id: int, tap_id: int) -> None:
        """Let the application accept the connection."""
        stream = self.stream(leg_id, tap_id)
        again = stream.lost
        stream.connect()
        self._totals["streams_connected_total"] += 1
        if again:
            self._totals["streams_reconnected_total"] += 1
            self._tell([events.StreamReconnected(leg_id, tap_id, 1)])
        else:
            self._tell([events.StreamConnected(leg_id, tap_id)])

    def fail_stream(self, leg_id: int, tap_id: int, reason: str, detail: str = "HTTP 403") -> None:
        """Refuse the connection (connection_failed) or break it (connection_lost)."""
        self.legs[leg_id].drop_tap(self.stream(leg_id, tap_id))
        self._tell([events.StreamFailed(leg_id, tap_id, reason, detail)])

    def lose_stream(self, leg_id: int, tap_id: int, detail: str = "the connection ended") -> None:
        """Break the socket: the stream seeks another (`connect_stream`), or fails if it may not."""
        stream = self.stream(leg_id, tap_id)
        if not stream.tries_max:
            self.fail_stream(leg_id, tap_id, "connection_lost", detail)
            return
        stream.lose()
        self._tell([events.StreamReconnecting(leg_id, tap_id, detail)])

    def app_closes(self, leg_id: int, tap_id: int) -> None:
        """Let the application close the socket in order."""
        stream = self.stream(leg_id, tap_id)
        self.legs[leg_id].drop_tap(stream)
        self._tell([events.StreamClosed(leg_id, tap_id, "app_closed", stream.stats)])

    def app_sends(self, leg_id: int, tap_id: int, text: str) -> None:
        """Let the application send a message."""
        self.stream(leg_id, tap_id).receive(text, self.now_ms)

    def app_sends_binary(self, leg_id: int, tap_id: int, payload: bytes) -> None:
        """Let the application send a binary message."""
        self.stream(leg_id, tap_id).receive_binary(payload, self.now_ms)

    def feed_rtp(self, leg_id: int, packet: bytes, source: str = "127.0.0.1:40000") -> None:
        """Let a packet arrive."""
        self._tell(self.legs[leg_id].receive(packet, source, self.now_ms))

    def feed_pcm(self, leg_id: int, pcm: bytes) -> None:
        """Let 8 kHz audio arrive as packets of one ptime, without loss."""
        leg = self.legs[leg_id]
        size = leg.ptime_ms * 16
        for start in range(0, len(pcm), size):
            payload = leg.format.encode(pcm[start : start + size])
            self.feed_rtp(leg_id, leg.next_far_packet(payload))

    def press(self, leg_id: int, digit: str, duration_ms: int = 100) -> None:
        """Let the far end press a key."""
        self._tell(self.legs[leg_id].press(digit, duration_ms, self.now_ms))

    def advance(self, ms: int) -> None:
        """Let time pass: queued audio is sent, silence is noticed."""
        self.now_ms += ms
        for leg in tuple(self.legs.values()):
            self._tell(leg.advance(ms, self.now_ms))

    def fail_leg(self, leg_id: int, message: str = "a fault") -> None:
        """Let the engine lose a leg by a fault of its own."""
        self.unbridge(leg_id)
        leg = self.legs.pop(leg_id)
        self._give_back(leg.ports)
        self._tell(leg.fail(message, self.now_ms))

    # Helpers

    def _leg(self, leg_id: int) -> FakeLeg | None:
        """Return the leg; None while its unexpected end waits to be told."""
        if leg_id not in self._known:
            raise MediaError(f"leg {leg_id} does not exist")
        leg = self.legs.get(leg_id)
        closed = any(
            isinstance(event, events.LegFailed) and event.leg_id == leg_id for event in self._waiting
        )
        if leg is None and not closed:
            raise MediaError(f"leg {leg_id} is closing")
        return leg

    def _tap(self, leg_id: int, tap_id: int) -> FakeTap | None:
        if leg_id not in self._known:
            raise MediaError(f"leg {leg_id} does not exist")
        if tap_id not in self._known[leg_id]:
            raise MediaError(f"leg {leg_id} has no tap {tap_id}")
        leg = self.legs.get(leg_id)
        return None if leg is None else leg.taps.get(tap_id)

    def _add_tap(self, leg_id: int, tap: FakeTap) -> None:
        leg = self._leg(leg_id)
        known = self._known[leg_id]
        if tap.tap_id in known:
            raise MediaError(f"leg {leg_id} has a tap {tap.tap_id} already")
        if len(known) >= TAPS_PER_LEG_MAX:
            raise MediaError(f"leg {leg_id} has {TAPS_PER_LEG_MAX} taps, which is the most there may be")
        known.add(tap.tap_id)
        if leg is not None:
            leg.taps[tap.tap_id] = tap

    def _check_transcoding(self, leg_id: int, codec: str, app_codec: str | None) -> None:
        leg = self.legs.get(leg_id)
        own = None if leg is None or not leg.connected else leg.format.codec
        wanted = [codec, own] if own != codec else []
        if app_codec is not None:
            wanted += [app_codec, own]
        if own is None:
            wanted = [app_codec]
        if not all(name in (None, "MP3") or name in self.transcodable_codecs for name in wanted):
            raise MediaError(
                "AMR-WB is only passed through here: opencore-amrwb and vo-amrwbenc are not installed"
            )

    def _take_ports(self, rtcp_mux: bool) -> tuple[int, int]:
        first, last = self._port_range
        count = last - first + 1
        for step in range(count):
            port = first + (self._next_port - first + step) % count
            wanted = (port, port) if rtcp_mux else (port, port + 1)
            fits = rtcp_mux or (port % 2 == 0 and port < last)
            if fits and self._ports.isdisjoint(wanted):
                self._ports.update(wanted)
                self._next_port = wanted[1] + 1
                return wanted
        raise MediaError(f"no RTP port is free between {first} and {last}; widen [media] rtp_ports")

    def _give_back(self, ports: set[int]) -> None:
        self._ports -= ports
