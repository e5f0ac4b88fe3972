"""The app's end of media streams: a WebSocket server that takes them, measures, echoes and records.

    async def main() -> None:
        server = StreamServer(on_frame=show)
        url = await server.start(port=9001)     # give this URL to start_streaming

Frames are parsed strictly by `offhook.proto.stream`. A frame that is wrong costs a counter of its
session, and neither the session nor the server.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

from offhook.base.errors import ConfigError
from offhook.base.limits import STREAM_FRAME_CHARACTERS_MAX
from offhook.kit.audio import WavWriter, decode, level_dbfs
from offhook.proto.stream import (
    AppFrame,
    AppMedia,
    FrameError,
    MediaFrame,
    ServerFrame,
    StartFrame,
    StreamTrack,
    format_app_frame,
    parse_server_frame,
)

STREAMS_MAX = 200
"""Streams taken at once; further ones are answered 503."""
HEARTBEAT_S = 30.0
"""A server that does not answer a ping within half of this is gone."""
SEND_TIMEOUT_S = 5.0
"""How long a server may leave our frames unread before the stream is ended."""
RECORDING_BYTES_MAX = 1 << 30
"""Audio kept per track; what comes later is counted and not written."""


@dataclass(slots=True)
class TrackMeter:
    """What came of one track. `gaps` counts jumps of the chunk number, which never happen on a good stream."""

    frames: int = 0
    audio_ms: float = 0.0
    gaps: int = 0
    level_dbfs: float | None = None
    peak_dbfs: float | None = None
    _next_chunk: int = 1

    def receive(self, frame: MediaFrame, pcm: bytes | None, sample_rate_hz: int) -> None:
        """Count a frame; `pcm` is None when its codec cannot be read here."""
        self.gaps += frame.chunk != self._next_chunk
        self._next_chunk = frame.chunk + 1
        self.frames += 1
        if pcm is not None:
            self.audio_ms += len(pcm) / 2 * 1_000 / sample_rate_hz
            self.level_dbfs = level_dbfs(pcm)
            if self.level_dbfs is not None:
                self.peak_dbfs = max(self.level_dbfs, self.peak_dbfs or -1_000.0)


@dataclass(slots=True, eq=False)
class StreamSession:
    """One stream, from its socket's opening to its end."""

    _socket: web.WebSocketResponse = field(repr=False)
    start: StartFrame | None = None
    tracks: dict[StreamTrack, TrackMeter] = field(default_factory=dict)
    malformed_frames: int = 0
    last_problem: str | None = None
    recording_bytes_dropped: int = 0
    _recordings: dict[StreamTrack, tuple[WavWriter, int]] = field(default_factory=dict, repr=False)

    @property
    def stream_id(self) -> str:
        """Return the stream's id, or "" before its start frame."""
        return self.start.stream_id if self.start else ""

    async def send(self, frame: AppFrame) -> None:
        """Send a frame to the call. Does nothing once the socket is closed.

        Raises:
            TimeoutError: the server has not read for five seconds.
        """
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send_str(format_app_frame(frame))

    async def close(self) -> None:
        """End the stream from the app's side."""
        await self._socket.close()


class StreamServer:
    """Takes streams at any path of one address.

    Args:
        on_frame: told every frame after it was counted, for example to show it.
        on_end: told once for each stream, after its socket closed.
        echo: send the caller's audio back to the call.
        record: folder for one WAV file a track, named by stream id and track.
    """

    def __init__(
        self,
        on_frame: Callable[[StreamSession, ServerFrame], None] | None = None,
        on_end: Callable[[StreamSession], None] | None = None,
        *,
        echo: bool = False,
        record: Path | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_end = on_end
        self._echo = echo
        self._record = record
        self._runner: web.AppRunner | None = None
        self.sessions: set[StreamSession] = set()
        self.refused = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return the URL to stream to.

        Raises:
            ConfigError: the address cannot be taken, or the folder for recordings cannot be made.
        """
        if self._record is not None:
            _make_folder(self._record)
        app = web.Application()
        app.router.add_get("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"Cannot listen at {host}:{port} ({reason}): choose another port.") from None
        self._runner = runner
        return f"ws://{host}:{runner.addresses[0][1]}/"

    async def close(self) -> None:
        """End all streams and stop listening."""
        await asyncio.gather(*(session.close() for session in tuple(self.sessions)), return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S, max_msg_size=STREAM_FRAME_CHARACTERS_MAX, compress=False, timeout=1.0
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=426, text="This is a WebSocket server: stream to it.\n")
        if len(self.sessions) >= STREAMS_MAX:
            self.refused += 1
            return web.Response(status=503)
        await socket.prepare(request)
        session = StreamSession(socket)
        self.sessions.add(session)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(session, message.data)
                elif message.type is WSMsgType.BINARY:
                    _count_problem(session, "binary messages are not part of the protocol")
        except TimeoutError:
            _count_problem(session, "the server stopped reading")
        finally:
            self.sessions.discard(session)
            for writer, _ in session._recordings.values():
                writer.close()
            if self._on_end is not None:
                self._on_end(session)
        return socket

    async def _receive(self, session: StreamSession, text: str) -> None:
        try:
            frame = parse_server_frame(text)
        except FrameError as error:
            _count_problem(session, error.detail)
            return
        if isinstance(frame, StartFrame):
            session.start = frame
        elif isinstance(frame, MediaFrame):
            self._measure(session, frame)
        if self._on_frame is not None:
            self._on_frame(session, frame)
        if self._echo and isinstance(frame, MediaFrame) and frame.track is StreamTrack.INBOUND:
            await session.send(AppMedia(frame.payload))

    def _measure(self, session: StreamSession, frame: MediaFrame) -> None:
        if session.start is None:
            _count_problem(session, "media came before start")
            return
        media_format = session.start.media_format
        pcm = decode(media_format.encoding, frame.payload, media_format.byte_order)
        meter = session.tracks.setdefault(frame.track, TrackMeter())
        meter.receive(frame, pcm, media_format.sample_rate_hz)
        if self._record is not None and pcm is not None:
            _write(session, self._record, frame.track, pcm)


def _write(session: StreamSession, folder: Path, track: StreamTrack, pcm: bytes) -> None:
    assert session.start is not None, "a recording begins after start"
    if track not in session._recordings:
        # The id comes from the network: keep what cannot leave the folder.
        name = re.sub(r"[^A-Za-z0-9-]", "_", session.stream_id)[:64]
        rate_hz = session.start.media_format.sample_rate_hz
        session._recordings[track] = (WavWriter(folder / f"{name}-{track}.wav", sample_rate_hz=rate_hz), 0)
    writer, written = session._recordings[track]
    if written + len(pcm) > RECORDING_BYTES_MAX:
        session.recording_bytes_dropped += len(pcm)
        return
    writer.write(pcm)
    session._recordings[track] = (writer, written + len(pcm))


def _count_problem(session: StreamSession, text: str) -> None:
    session.malformed_frames += 1
    session.last_problem = text


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"The folder {folder} cannot be made ({reason}): choose another.") from None
