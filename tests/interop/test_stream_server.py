"""The kit's stream server against a foreign WebSocket client that plays the media server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from offhook.base.errors import ConfigError
from offhook.base.g711 import mulaw_encode
from offhook.kit.audio import read_wav
from offhook.kit.stream_server import StreamServer, StreamSession
from offhook.proto.stream import (
    AppClear,
    ConnectedFrame,
    MediaFormat,
    MediaFrame,
    ServerFrame,
    StartFrame,
    StopFrame,
    StreamTrack,
    format_server_frame,
)

pytestmark = pytest.mark.interop

STREAM_ID = "0b8e9d2c-5a41-4f53-9c9f-3c8a4c9d1b11"
LOUD = mulaw_encode((16_384).to_bytes(2, "little", signed=True) * 160)


def start_frame(encoding: str = "PCMU", stream_id: str = STREAM_ID) -> StartFrame:
    return StartFrame(
        stream_id=stream_id,
        user_id="u",
        call_control_id="v3:x",
        call_session_id="s",
        caller="+15550100",
        callee="+15550101",
        media_format=MediaFormat(encoding, 8_000),
    )


def media(chunk: int, track: StreamTrack = StreamTrack.INBOUND, payload: bytes = LOUD) -> MediaFrame:
    return MediaFrame(
        sequence_number=chunk + 1,
        stream_id=STREAM_ID,
        track=track,
        chunk=chunk,
        timestamp_ms=20 * chunk - 20,
        payload=payload,
    )


class Watch:
    """Keeps what a server tells."""

    def __init__(self) -> None:
        self.frames: list[ServerFrame] = []
        self.ended: asyncio.Queue[StreamSession] = asyncio.Queue()

    def frame(self, session: StreamSession, frame: ServerFrame) -> None:
        self.frames.append(frame)

    async def end(self) -> StreamSession:
        async with asyncio.timeout(30):
            return await self.ended.get()


@asynccontextmanager
async def serving(watch: Watch, **options: Any) -> AsyncIterator[str]:
    server = StreamServer(watch.frame, watch.ended.put_nowait, **options)
    url = await server.start()
    try:
        yield url
    finally:
        await server.close()
        assert not server.sessions


def recordings_in(folder: Path) -> list[Path]:
    return list(folder.rglob("*.wav"))


async def send(client: ClientConnection, *frames: ServerFrame) -> None:
    for frame in frames:
        await client.send(format_server_frame(frame))


async def test_each_track_is_counted_and_measured() -> None:
    watch = Watch()
    async with serving(watch) as url, connect(url + "any/path?token=x") as client:
        await send(client, ConnectedFrame(), start_frame(), media(1), media(2))
        await send(client, media(1, StreamTrack.OUTBOUND, b"\xff" * 160))
        await send(
            client, StopFrame(sequence_number=9, stream_id=STREAM_ID, user_id="u", call_control_id="v3:x")
        )
        await client.close()
        session = await watch.end()
    assert session.stream_id == STREAM_ID
    inbound, outbound = session.tracks[StreamTrack.INBOUND], session.tracks[StreamTrack.OUTBOUND]
    assert (inbound.frames, inbound.audio_ms, inbound.gaps) == (2, 40, 0)
    assert inbound.level_dbfs is not None
    assert abs(inbound.level_dbfs - -6) < 0.5
    assert (outbound.frames, outbound.level_dbfs) == (1, None)
    assert [type(frame).__name__ for frame in watch.frames] == [
        "ConnectedFrame",
        "StartFrame",
        "MediaFrame",
        "MediaFrame",
        "MediaFrame",
        "StopFrame",
    ]


async def test_a_jump_of_the_chunk_number_is_a_gap() -> None:
    watch = Watch()
    async with serving(watch) as url, connect(url) as client:
        await send(client, ConnectedFrame(), start_frame(), media(1), media(2), media(5), media(6), media(6))
        await client.close()
        session = await watch.end()
    assert session.tracks[StreamTrack.INBOUND].gaps == 2


async def test_echo_sends_the_inbound_track_back_and_nothing_else() -> None:
    watch = Watch()
    async with serving(watch, echo=True) as url, connect(url) as client:
        await send(client, ConnectedFrame(), start_frame(), media(1, StreamTrack.OUTBOUND), media(1))
        async with asyncio.timeout(30):
            echoed = json.loads(await client.recv())
        assert echoed["event"] == "media"
        assert len(echoed["media"]["payload"]) == 216
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.recv()


async def test_recordings_hold_each_track_and_stay_in_their_folder(tmp_path: Path) -> None:
    watch = Watch()
    async with serving(watch, record=tmp_path / "calls") as url, connect(url) as client:
        await send(client, ConnectedFrame(), start_frame(stream_id="../../evil/\0id"), media(1), media(2))
        await client.close()
        await watch.end()
    [recording] = recordings_in(tmp_path)
    assert recording.name == "______evil__id-inbound.wav"
    sound = read_wav(recording)
    assert (sound.duration_ms, sound.sample_rate_hz) == (40, 8_000)


async def test_hostile_frames_cost_a_counter_and_not_the_stream() -> None:
    watch = Watch()
    hostile = [
        "",
        "{",
        "[]",
        '{"event":"media"}',
        '{"event":"boom"}',
        "[" * 100_000,
        '{"event":"start","start":{}}',
    ]
    async with serving(watch) as url, connect(url) as client:
        for text in hostile:
            await client.send(text)
        await client.send(b"\x00\x01")
        await send(client, media(1))  # before start
        await send(client, ConnectedFrame(), start_frame(), media(1))
        await client.close()
        session = await watch.end()
    assert session.malformed_frames == len(hostile) + 2
    assert session.tracks[StreamTrack.INBOUND].frames == 1


async def test_a_codec_that_cannot_be_read_is_still_counted() -> None:
    watch = Watch()
    async with serving(watch) as url, connect(url) as client:
        await send(client, ConnectedFrame(), start_frame("OPUS"), media(1, payload=b"\x01\x02"))
        await client.close()
        session = await watch.end()
    meter = session.tracks[StreamTrack.INBOUND]
    assert (meter.frames, meter.audio_ms, meter.level_dbfs) == (1, 0, None)


async def test_an_app_can_speak_and_end_the_stream() -> None:
    started: asyncio.Queue[StreamSession] = asyncio.Queue()

    def remember(session: StreamSession, frame: ServerFrame) -> None:
        if isinstance(frame, StartFrame):
            started.put_nowait(session)

    server = StreamServer(remember)
    url = await server.start()
    async with connect(url) as client:
        await send(client, ConnectedFrame(), start_frame())
        async with asyncio.timeout(30):
            session = await started.get()
            await session.send(AppClear())
            assert json.loads(await client.recv()) == {"event": "clear"}
            await session.close()
            with pytest.raises(ConnectionClosed):
                await client.recv()
            await session.send(AppClear())  # after the end: nothing happens
    await server.close()


async def test_a_browser_is_told_what_this_is() -> None:
    watch = Watch()
    async with (
        serving(watch) as url,
        aiohttp.ClientSession() as http,
        http.get(url.replace("ws://", "http://")) as response,
    ):
        assert response.status == 426


async def test_a_port_in_use_is_one_sentence() -> None:
    watch = Watch()
    async with serving(watch) as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"Cannot listen at 127.0.0.1:{port}"):
            await StreamServer().start(port=port)
