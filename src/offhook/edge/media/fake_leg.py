"""A leg of the fake engine: plain lists where the native core has sockets."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from offhook.edge.media import events
from offhook.edge.media.events import LegStats, MediaEvent, TapStats
from offhook.edge.media.fake_audio import (
    FakeFormat,
    RtpFields,
    add,
    build_rtp,
    parse_rtp,
    resample,
)
from offhook.edge.media.fake_player import FakePlayer
from offhook.edge.media.fake_recording import FakeRecording
from offhook.edge.media.fake_stats import empty_tap_stats
from offhook.edge.media.fake_voice import FakeVoice, app_heard_by, mark_frame, receive, receive_binary

__all__ = ["FakeFork", "FakeLeg", "FakeSpeech", "FakeStream", "FakeTap"]

_EVENT_CODES = "0123456789*#ABCD"
_GAP_FILL_MS_MAX = 1000

_KEPT_FRAME_MS = 20
"""Audio in a frame, whatever was asked for: this engine sends one a packet."""


@dataclass(slots=True)
class FakeFork:
    """A fork: the copies are here."""

    tap_id: int
    rx: str | None
    tx: str | None
    strep_leg_id: bytes | None
    rx_packets: list[bytes] = field(default_factory=list)
    tx_packets: list[bytes] = field(default_factory=list)
    stats: TapStats = field(default_factory=lambda: empty_tap_stats("fork"))

    def take(self, track: str, packet: bytes) -> None:
        """Copy a packet if the track is wanted."""
        if track == "rx" and self.rx is not None:
            self.rx_packets.append(packet)
            self.stats["rx_packets"] += 1
        elif track == "tx" and self.tx is not None:
            self.tx_packets.append(packet)
            self.stats["tx_packets"] += 1


@dataclass(slots=True)
class FakeStream:
    """A stream: the frames are here, as an application would parse them."""

    tap_id: int
    url: str
    headers: tuple[tuple[str, str], ...]
    rx: bool
    tx: bool
    codec: str
    stream_id: str
    connected_json: str
    start_json: str
    stop_json: str
    buffer_frames: int
    sample_rate_hz: int = 8000
    byte_order: str = "little"
    voice: FakeVoice | None = None
    app_heard: str = "self"
    binary_media: bool = False
    tries_max: int = 0
    connected: bool = False
    begun: bool = False
    lost: bool = False
    """Its socket is gone and another is sought."""
    begin_wanted: bool = False
    frames: list[dict[str, Any]] = field(default_factory=list)
    stats: TapStats = field(default_factory=lambda: empty_tap_stats("stream"))
    _kept: list[dict[str, Any]] = field(default_factory=list)
    _chunks: dict[str, int] = field(default_factory=lambda: {"inbound": 0, "outbound": 0})
    _sequence: int = 0

    def connect(self) -> None:
        """Send the connected frame; after a loss everything begins anew, with what was kept."""
        if self.lost:
            self.lost = False
            self.stats["reconnects"] += 1
            self._sequence, self._chunks = 0, {"inbound": 0, "outbound": 0}
        self.connected = True
        self.frames.append(json.loads(self.connected_json))
        self.stats["frames_sent"] += 1
        if self.begin_wanted:
            self.begin()

    def lose(self) -> None:
        """Lose the socket: from now on everything is kept for the next one."""
        self.lost, self.connected, self.begun = True, False, False

    def begin(self) -> None:
        """Send the start frame and what was kept."""
        self.begin_wanted |= self.connected or self.lost
        if not self.connected or self.begun:
            return
        self.begun = True
        start = json.loads(self.start_json)
        if self.stats["reconnects"]:
            start["reconnect"] = self.stats["reconnects"]
        self._send({"event": "start", "stream_id": self.stream_id, "start": start})
        kept, self._kept = self._kept, []
        for frame in kept:
            self._send(frame)

    def media(self, track: str, at_ms: int, payload: bytes, leg: FakeFormat) -> None:
        """Send or keep a media frame if the track is wanted."""
        if not self._is_up() or not (self.rx if track == "inbound" else self.tx):
            return
        text = base64.b64encode(self._transcode(payload, leg)).decode()
        media = {"track": track, "chunk": "", "timestamp": str(at_ms), "payload": text}
        self._send_or_keep({"event": "media", "stream_id": self.stream_id, "media": media})

    def _transcode(self, payload: bytes, leg: FakeFormat) -> bytes:
        own = FakeFormat(self.codec, self.sample_rate_hz, self.sample_rate_hz, self.byte_order)
        return payload if leg.passes(own) else own.encode(leg.decode(payload))

    def digit(self, digit: str) -> None:
        """Tell a digit of the far end."""
        if self._is_up() and self.rx:
            self._send_or_keep({"event": "dtmf", "stream_id": self.stream_id, "dtmf": {"digit": digit}})

    def receive(self, text: str, now_ms: int) -> None:
        """Take a message of the application."""
        if self.connected:
            for frame in receive(text, self.voice, now_ms, self.stats):
                self._send_or_keep({**frame, "stream_id": self.stream_id})

    def receive_binary(self, payload: bytes, now_ms: int) -> None:
        """Take a binary message of the application."""
        if self.connected:
            voice = self.voice if self.binary_media else None
            for frame in receive_binary(payload, voice, now_ms, self.stats):
                self._send_or_keep({**frame, "stream_id": self.stream_id})

    def has_words(self, size: int, now_ms: int) -> bool:
        """Tell whether the application says something in the next packet."""
        return self.voice is not None and self.voice.ready(size, now_ms)

    def speak(self, size: int, now_ms: int) -> bytes:
        """Return what the application says in the next packet."""
        if self.voice is None or not self.voice.ready(size, now_ms):
            return b""
        return self.voice.take(size, self.stats)

    def heard_by(self, *, bridged: bool) -> tuple[bool, bool]:
        """Tell whether the application is heard by the far end of its own leg, and by the other leg's."""
        return app_heard_by(self.app_heard, bridged=bridged)

    def spoken(self) -> None:
        """Give back the marks of what was sent."""
        for name in () if self.voice is None else self.voice.marks():
            self._send_or_keep({**mark_frame(name), "stream_id": self.stream_id})

    def count(self) -> None:
        """Bring the counters up to date."""
        self.stats["buffered_ms"] = _KEPT_FRAME_MS * sum("media" in frame for frame in self._kept)
        if self.voice is not None:
            self.voice.count(self.stats)

    def _is_up(self) -> bool:
        return self.connected or self.lost

    def stop(self, reason: str, hangup_cause: str | None = None) -> None:
        """Send the stop frame, if the stream was begun."""
        if self.begun:
            cause = {} if hangup_cause is None else {"hangup_cause": hangup_cause}
            stop = json.loads(self.stop_json) | {"reason": reason} | cause
            self._send({"event": "stop", "stream_id": self.stream_id, "stop": stop})

    def _send_or_keep(self, frame: dict[str, Any]) -> None:
        if self.begun:
            self._send(frame)
            return
        self._kept.append(frame)
        if len(self._kept) > self.buffer_frames:
            del self._kept[0]
            self.stats["frames_dropped"] += 1

    def _send(self, frame: dict[str, Any]) -> None:
        if frame["event"] != "error":
            self._sequence += 1
            frame["sequence_number"] = str(self._sequence)
        if (media := frame.get("media")) is not None:
            self._chunks[media["track"]] += 1
            media["chunk"] = str(self._chunks[media["track"]])
            self.stats["rx_frames" if media["track"] == "inbound" else "tx_frames"] += 1
        self.stats["frames_sent"] += 1
        self.frames.append(frame)


@dataclass(slots=True)
class FakeSpeech:
    """A speech tap: chunks go out as events."""

    tap_id: int
    track: str
    sample_rate_hz: int
    chunk_ms: int
    skip_own: bool = False
    stats: TapStats = field(default_factory=lambda: empty_tap_stats("speech"))
    _pcm: bytearray = field(default_factory=bytearray)
    _at_ms: int = 0

    def take(self, at_ms: int, pcm: bytes) -> list[tuple[int, bytes]]:
        """Add 8 kHz audio; return whole chunks."""
        if not self._pcm:
            self._at_ms = at_ms
        self._pcm += resample(pcm, 8000, self.sample_rate_hz)
        size = self.chunk_ms * self.sample_rate_hz // 1000 * 2
        chunks = []
        while len(self._pcm) >= size:
            chunks.append(self._cut(size))
        return chunks

    def flush(self) -> list[tuple[int, bytes]]:
        """Return the last, short chunk."""
        return [self._cut(len(self._pcm))] if self._pcm else []

    def _cut(self, size: int) -> tuple[int, bytes]:
        chunk = (self._at_ms, bytes(self._pcm[:size]))
        del self._pcm[:size]
        self._at_ms += size * 500 // self.sample_rate_hz
        self.stats["chunks"] += 1
        self.stats["audio_ms"] += size * 500 // self.sample_rate_hz
        return chunk


FakeTap = FakeFork | FakeStream | FakeSpeech | FakeRecording


class FakeLeg:
    """One leg of a `FakeEngine`."""

    def __init__(self, leg_id: int, ports: set[int], now_ms: int) -> None:
        self.leg_id = leg_id
        self.ports = ports
        self.taps: dict[int, FakeTap] = {}
        self.format, self.ptime_ms, self.payload_type = FakeFormat("PCMU"), 20, 0
        self.dtmf_payload_type: int | None = None
        self.remote_rtp = ""
        self.sending = self.receiving = True
        self.connected = False
        self.digits_sent = ""
        self.other: FakeLeg | None = None
        self._keys_go_on = True
        self.packets_passed = self.packets_not_passed = 0
        self.sent_packets: list[bytes] = []
        self.packets_received = self.packets_early = self.packets_malformed = self.packets_unexpected = 0
        self._media_timeout_ms = 0
        self._now_ms = self._zero_ms = self._heard_ms = now_ms
        self._silence_told = False
        self._source: tuple[str, int] | None = None
        self._next_timestamp: int | None = None
        self._dtmf_clock_rate_hz = 8000
        self._far_timestamp = self._tx_timestamp = self._far_packets = 0
        self._at_us = {"rx": 0, "tx": 0}
        self._last_digit: int | None = None
        self.player, self.overlay = FakePlayer(leg_id), FakePlayer(leg_id)
        self._played_ms = self._owed_ms = 0

    def connect(
        self,
        *,
        form: FakeFormat,
        payload_type: int,
        dtmf_payload_type: int | None,
        dtmf_clock_rate_hz: int,
        ptime_ms: int,
        media_timeout_ms: int,
        now_ms: int,
    ) -> None:
        """Take what was agreed on; the clock of the leg begins with the first time."""
        if not self.connected:
            self._zero_ms = now_ms
        self.connected = True
        if form.clock_rate_hz != self.format.clock_rate_hz:
            self._next_timestamp = None
        self.format, self.payload_type, self.ptime_ms = form, payload_type, ptime_ms
        self.dtmf_payload_type, self._dtmf_clock_rate_hz = dtmf_payload_type, dtmf_clock_rate_hz
        self._media_timeout_ms = media_timeout_ms
        self._heard_ms, self._silence_told, self._source = now_ms, False, None

    @property
    def codec(self) -> str:
        """Return the name of the codec."""
        return self.format.codec

    # From the far end

    def next_far_packet(self, payload: bytes) -> bytes:
        """Return the next packet of a far end that loses nothing."""
        fields = RtpFields(self.payload_type, self._far_packets, self._far_timestamp, 0xFA4E, payload)
        self._far_packets += 1
        self._far_timestamp += self.format.clock_ticks(payload)
        return build_rtp(fields)

    def receive(self, packet: bytes, source: str, now_ms: int) -> list[MediaEvent]:
        """Take a packet: statistics, fork, stream, speech, in this order."""
        fields = parse_rtp(packet)
        if fields is None:
            self.packets_malformed += 1
            return []
        if not self.connected:
            self.packets_early += 1
            return []
        if fields.payload_type not in (self.payload_type, self.dtmf_payload_type):
            self.packets_unexpected += 1
            return []
        told: list[MediaEvent] = []
        self.packets_received += 1
        self._now_ms = self._heard_ms = now_ms
        self._silence_told = False
        if self._source != (source, fields.ssrc):
            self._source = (source, fields.ssrc)
            self._next_timestamp = None
            told.append(events.MediaStarted(self.leg_id, fields.ssrc, source))
        self._copy("rx", packet)
        if fields.payload_type == self.dtmf_payload_type:
            return told + self._receive_digit(fields, now_ms)
        gap = 0 if self._next_timestamp is None else (fields.timestamp - self._next_timestamp) & 0xFFFFFFFF
        self._next_timestamp = fields.timestamp + self.format.clock_ticks(fields.payload)
        if 0 < gap <= self.format.clock_rate_hz * _GAP_FILL_MS_MAX // 1000:
            told += self._audio("rx", self.format.encode(bytes(gap * 8000 // self.format.clock_rate_hz * 2)))
        if self.other is not None:
            told += self.other.pass_on(self.format.decode(fields.payload))
        return told + self._audio("rx", fields.payload)

    # The other leg of a bridge

    def bridge(self, other: "FakeLeg | None", *, keys: bool = True) -> None:
        """Hand what comes to another leg from now on, or to none."""
        self.other, self._keys_go_on = other, keys

    def pass_on(self, pcm: bytes, *, own: bool = False) -> list[MediaEvent]:
        """Send what the other leg has received, or its app said, at once; on hold it is dropped."""
        if not self.connected or not self.sending:
            self.packets_not_passed += 1
            return []
        self.packets_passed += 1
        return self._transmit(self.format.encode(pcm), own=own)

    def _receive_digit(self, fields: RtpFields, now_ms: int) -> list[MediaEvent]:
        # RFC 4733: the end bit, once per timestamp.
        if len(fields.payload) < 4 or not fields.payload[1] & 0x80 or fields.timestamp == self._last_digit:
            return []
        self._last_digit = fields.timestamp
        code = fields.payload[0]
        duration_ms = int.from_bytes(fields.payload[2:4]) * 1000 // self._dtmf_clock_rate_hz
        return self.press(_EVENT_CODES[code], duration_ms, now_ms) if code < len(_EVENT_CODES) else []

    def press(self, digit: str, duration_ms: int, now_ms: int) -> list[MediaEvent]:
        """Tell a digit to the streams and the owner."""
        for tap in self.taps.values():
            if isinstance(tap, FakeStream):
                tap.digit(digit)
        if self.other is not None and self._keys_go_on:
            self.other.digits_sent += digit
        return [events.DigitReceived(self.leg_id, digit, now_ms - self._zero_ms, duration_ms)]

    # To the far end

    def stop_play(self, play_id: int) -> list[MediaEvent]:
        """End a play; nothing happens when its end waits to be told."""
        return self.player.stop(play_id) or self.overlay.stop(play_id)

    def _end_plays(self) -> list[MediaEvent]:
        return self.player.stop_all() + self.overlay.stop_all()

    def _has_work(self, size: int, now_ms: int) -> bool:
        speaks = any(stream.has_words(size, now_ms) for stream in self._streams())
        return speaks or self.player.is_playing or self.overlay.is_playing

    def advance(self, ms: int, now_ms: int) -> list[MediaEvent]:
        """Send what is due, notice silence."""
        told: list[MediaEvent] = []
        self._now_ms = now_ms
        size = self.ptime_ms * 16
        self._owed_ms += ms
        while self._owed_ms >= self.ptime_ms and self.connected and self.sending:
            if not self._has_work(size, now_ms):
                break
            self._owed_ms -= self.ptime_ms
            heard = self.player.is_playing or self.overlay.is_playing
            if heard:
                self._played_ms += self.ptime_ms
            pcm = bytes(size)
            for player in (self.player, self.overlay):
                part, of_plays = player.take(size)
                pcm, told = add(pcm, part), told + of_plays
            for stream in self._streams():
                said = stream.speak(size, now_ms)
                own, other = stream.heard_by(bridged=self.other is not None)
                heard |= own and bool(said)
                pcm = add(pcm, said) if own else pcm
                if other and said and self.other is not None:
                    told += self.other.pass_on(said.ljust(size, b"\0"), own=True)
            if heard:
                told += self._transmit(self.format.encode(pcm), own=True)
            for stream in self._streams():
                stream.spoken()
        if not self._has_work(size, now_ms):
            self._owed_ms = 0
        for tap in tuple(self.taps.values()):
            if isinstance(tap, FakeRecording) and (reason := tap.over(now_ms)) is not None:
                told += self.remove_tap(tap, reason, now_ms)
        silent = self._media_timeout_ms and now_ms - self._heard_ms >= self._media_timeout_ms
        if silent and self.connected and not self._silence_told:
            self._silence_told = True
            told.append(events.MediaTimedOut(self.leg_id))
        return told

    def _transmit(self, payload: bytes, *, own: bool) -> list[MediaEvent]:
        fields = RtpFields(self.payload_type, len(self.sent_packets), self._tx_timestamp, 0x0FF, payload)
        self._tx_timestamp += self.format.clock_ticks(payload)
        packet = build_rtp(fields)
        self.sent_packets.append(packet)
        self._copy("tx", packet)
        return self._audio("tx", payload, own=own)

    # Taps

    def remove_tap(
        self, tap: FakeTap, reason: str, now_ms: int, hangup_cause: str | None = None
    ) -> list[MediaEvent]:
        """End a tap in order."""
        self.drop_tap(tap)
        if isinstance(tap, FakeRecording):
            return [tap.close(self.leg_id, reason, now_ms)]
        if isinstance(tap, FakeStream):
            tap.stop(reason, hangup_cause)
            if tap.voice is not None:
                tap.voice.clear(tap.stats)
                tap.count()
            return [events.StreamClosed(self.leg_id, tap.tap_id, reason, tap.stats)]
        told: list[MediaEvent] = []
        if isinstance(tap, FakeSpeech):
            told += [events.AudioChunk(self.leg_id, tap.tap_id, *chunk) for chunk in tap.flush()]
        return [*told, events.TapClosed(self.leg_id, tap.tap_id, tap.stats)]

    def drop_tap(self, tap: FakeTap) -> None:
        """Forget a tap without a word."""
        del self.taps[tap.tap_id]

    def close(self, now_ms: int) -> list[MediaEvent]:
        """End everything. Streams last: the native core waits for their sockets."""
        ordered = sorted(self.taps.values(), key=lambda tap: isinstance(tap, FakeStream))
        told = self._end_plays()
        told += [event for tap in ordered for event in self.remove_tap(tap, "call_ended", now_ms)]
        return [*told, events.LegClosed(self.leg_id, self.stats())]

    def fail(self, message: str, now_ms: int) -> list[MediaEvent]:
        """End everything by a fault."""
        told: list[MediaEvent] = [events.LegFailed(self.leg_id, message), *self._end_plays()]
        for tap in self.taps.values():
            if isinstance(tap, FakeStream):
                detail = "an internal fault ended the leg"
                told.append(events.StreamFailed(self.leg_id, tap.tap_id, "connection_lost", detail))
            elif isinstance(tap, FakeRecording):
                told.append(tap.close(self.leg_id, "failed", now_ms))
            else:
                told.append(events.TapClosed(self.leg_id, tap.tap_id, tap.stats))
        self.taps.clear()
        return [*told, events.LegClosed(self.leg_id, self.stats())]

    def _streams(self) -> list[FakeStream]:
        return [tap for tap in self.taps.values() if isinstance(tap, FakeStream)]

    def _copy(self, track: str, packet: bytes) -> None:
        for tap in self.taps.values():
            if isinstance(tap, FakeFork):
                tap.take(track, packet)

    def _audio(self, track: str, payload: bytes, *, own: bool = False) -> list[MediaEvent]:
        at_ms = self._at_us[track] // 1000
        self._at_us[track] += self.format.clock_ticks(payload) * 1_000_000 // self.format.clock_rate_hz
        told: list[MediaEvent] = []
        for tap in self.taps.values():
            if isinstance(tap, FakeStream):
                tap.media("inbound" if track == "rx" else "outbound", at_ms, payload, self.format)
            elif isinstance(tap, FakeSpeech) and tap.track == track and not (own and tap.skip_own):
                chunks = tap.take(at_ms, self.format.decode(payload))
                told += [events.AudioChunk(self.leg_id, tap.tap_id, *chunk) for chunk in chunks]
            elif isinstance(tap, FakeRecording):
                tap.take(track, self.format.decode(payload), self._now_ms)
        return told

    def stats(self) -> LegStats:
        """Return the counters; what the fake has no idea of is zero."""
        for stream in self._streams():
            stream.count()
        return {
            "packets_received": self.packets_received,
            "bytes_received": 0,
            "packets_lost": 0,
            "packets_duplicate": 0,
            "packets_reordered": 0,
            "packets_late": 0,
            "packets_malformed": self.packets_malformed,
            "packets_foreign": 0,
            "packets_early": self.packets_early,
            "packets_ahead": 0,
            "packets_unexpected": self.packets_unexpected,
            "packets_not_receiving": 0,
            "packets_undecodable": 0,
            "resyncs": 0,
            "gap_ms": 0,
            "jitter_us": 0,
            "jitter_buffer_ms": 0,
            "slipped_samples": 0,
            "drift_ppm": 0,
            "digits_received": 0,
            "digits_dropped": 0,
            "digits_inband": 0,
            "packets_sent": len(self.sent_packets),
            "packets_passed": self.packets_passed,
            "packets_not_passed": self.packets_not_passed,
            "bridge_underruns": 0,
            "bridge_discarded_ms": 0,
            "bytes_sent": sum(len(packet) for packet in self.sent_packets),
            "played_ms": self._played_ms,
            "queued_ms": self.player.queued_ms + self.overlay.queued_ms,
            "discarded_ms": 0,
            "playout_slips": 0,
            "packets_unencodable": 0,
            "digits_sent": len(self.digits_sent),
            "rtcp_received": 0,
            "rtcp_sent": 0,
            "rtcp_foreign": 0,
            "remote_lost": 0,
            "remote_jitter_us": 0,
            "rtt_us": 0,
            "taps": {tap_id: tap.stats for tap_id, tap in self.taps.items()},
        }
