"""The transcription socket on a real port: the official SDK, every way to end, and hostile clients."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import websockets
from telnyx.types.transcribe_server_event import SttErrorFrame, TranscriptFrame
from websockets.asyncio.client import ClientConnection

from offhook.base import limits
from offhook.edge.http.rates import RateLimit
from offhook.edge.speech.service import SpeechService
from tests.fakes.speech_sessions import HandEngine, service_of
from tests.fakes.transcription import SAMPLES, SocketServer, serving_sockets

pytestmark = pytest.mark.api

SCRIPT = [
    {"at_ms": 200, "text": "good", "is_final": False, "confidence": 0.5},
    {"at_ms": 600, "text": "good morning"},
    {"at_ms": 800, "text": "how", "is_final": False},
    {"at_ms": 60_000, "text": "how are you"},
]
SECOND = bytes(16_000)


@pytest.fixture
async def server() -> AsyncIterator[SocketServer]:
    speech = SpeechService(default_engine="scripted", options={"scripted": {"script": SCRIPT}})
    async with serving_sockets(speech) as server:
        yield server


async def messages(client: ClientConnection) -> list[dict[str, Any]]:
    """Return all that still comes, to the end."""
    async with asyncio.timeout(10):
        try:
            return [json.loads(message) async for message in client]
        except websockets.ConnectionClosedError:
            return []


async def told(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        message: dict[str, Any] = json.loads(await client.recv())
        return message


def texts(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["transcript"] for frame in frames]


async def test_the_official_sdk_gets_frames_that_fit_its_models(server: SocketServer) -> None:
    query = SAMPLES | {"interim_results": "true", "language": "en"}
    async with server.sdk() as client, client.speech_to_text.transcribe(extra_query=query) as connection:
        await connection.send_raw(SECOND)
        await connection.send({"type": "CloseStream"})
        frames = [frame async for frame in connection]
    assert all(isinstance(frame, TranscriptFrame) for frame in frames)
    for frame in frames:
        TranscriptFrame.model_validate(frame.model_dump(), strict=True)
    assert [(frame.transcript, frame.is_final, frame.confidence) for frame in frames] == [
        ("good", False, 0.5),
        ("good morning", True, 0.9),
        ("how", False, 0.9),
        ("how are you", True, 0.9),
    ]


async def test_the_official_sdk_gets_errors_that_fit_its_models(server: SocketServer) -> None:
    async with server.sdk() as client, client.speech_to_text.transcribe(extra_query={}) as connection:
        frames = [await connection.recv()]
    assert isinstance(frames[0], SttErrorFrame)
    assert frames[0].model_extra is not None
    assert frames[0].model_extra["errors"][0]["code"] == "40007"


async def test_a_result_has_telnyxs_fields_and_ours(server: SocketServer) -> None:
    async with server.connect() as client:
        await client.send(SECOND)
        assert await told(client) == {
            "type": "transcript",
            "transcript": "good morning",
            "is_final": True,
            "confidence": 0.9,
            "speech_final": True,
            "utterance_end": True,
            "language": "en",
            "start_ms": 200,
            "end_ms": 600,
            "utterance_id": "0",
            "words": [],
        }


async def test_close_stream_gives_the_last_final_and_closes(server: SocketServer) -> None:
    async with server.connect() as client:
        await client.send(SECOND)
        await client.send('{"type": "CloseStream"}')
        assert texts(await messages(client)) == ["good morning", "how are you"]
        assert client.close_code == 1000
    assert server.speech.counters()["sessions_open"] == 0
    assert server.counted("sockets_total", end="asked") == 1
    assert server.counted("sockets_open") == 0


async def test_finalize_ends_the_utterance_and_the_socket_goes_on(server: SocketServer) -> None:
    async with server.connect() as client:
        await client.send(SECOND)
        await client.send('{"type": "KeepAlive"}')
        await client.send('{"type": "Finalize"}')
        assert [(await told(client))["transcript"] for _ in range(2)] == ["good morning", "how are you"]
        await client.send(SECOND)
        await client.send('{"type": "CloseStream"}')
        assert await messages(client) == []


async def test_a_client_that_closes_its_half_gets_its_last_words(server: SocketServer) -> None:
    async with server.connect() as client:
        await client.send(SECOND)
        client.transport.write_eof()
        assert texts([await told(client), await told(client)]) == ["good morning", "how are you"]
        async with asyncio.timeout(5):
            await client.wait_closed()
    assert server.counted("sockets_total", end="closed") == 1


async def test_the_end_of_the_server_gives_the_last_words_too(server: SocketServer) -> None:
    async with server.connect() as client:
        await client.send(SECOND)
        assert (await told(client))["transcript"] == "good morning"
        await server.sockets.close()
        assert (await told(client))["transcript"] == "how are you"
        await client.wait_closed()
        assert client.close_code == 1012
    async with server.connect() as late:
        assert (await told(late))["errors"][0]["code"] == "10007"


@pytest.mark.parametrize(
    ("query", "code", "parameter"),
    [
        ({"input_format": "opus"}, "40002", "input_format"),
        ({"sample_rate": "12345"}, "40004", "sample_rate"),
        ({"transcription_engine": "nobody"}, "40007", "transcription_engine"),
    ],
)
async def test_a_refusal_is_told_and_closes(
    server: SocketServer, query: dict[str, str], code: str, parameter: str
) -> None:
    async with server.connect(**query) as client:
        frame = await told(client)
        assert frame["errors"][0]["code"] == code
        assert frame["errors"][0]["source"] == {"parameter": parameter}
        await client.wait_closed()
        assert client.close_code == 1008
    assert server.counted("sockets_total", end="refused") == 1


async def test_an_engine_that_is_switched_off_or_full_or_cannot_is_told_apart() -> None:
    async with serving_sockets(
        SpeechService(default_engine="scripted", routes={"Telnyx": "reject"})
    ) as server:
        async with server.connect() as client:
            assert (await told(client))["errors"][0]["code"] == "40007"
        async with server.connect(transcription_engine="Google") as client:  # it has no script
            assert (await told(client))["errors"][0]["code"] == "10007"
    async with serving_sockets(service_of(HandEngine(tracks_max=1, languages=("en",)))) as server:
        async with server.connect(language="de") as client:
            assert (await told(client))["errors"][0]["source"] == {"parameter": "language"}
        async with server.connect() as first, server.connect() as second:
            assert (await told(second))["errors"][0]["code"] == "10007"
            await second.wait_closed()
            assert second.close_code == 1013
            await first.send('{"type": "CloseStream"}')
            assert await messages(first) == []


async def test_an_engine_that_is_lost_is_told() -> None:
    engine = HandEngine()
    async with serving_sockets(service_of(engine)) as server, server.connect() as client:
        await client.send(SECOND)
        async with asyncio.timeout(5):
            while not engine.sessions:
                await asyncio.sleep(0.01)
        engine.sessions[0].break_off("the account 12345 has no money")
        frame = await told(client)
        assert frame["errors"][0]["detail"] == "The speech engine failed."
        await client.wait_closed()
        assert client.close_code == 1011
        assert server.counted("sockets_total", end="failed") == 1


async def test_audio_that_is_no_wav_file_is_refused(server: SocketServer) -> None:
    async with server.connect(input_format="wav") as client:
        await client.send(b"no wav file at all")
        assert (await told(client))["errors"][0]["code"] == "40001"


async def test_without_a_key_there_is_no_socket(server: SocketServer) -> None:
    for key in (None, "KEYwrong"):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.connect(key=key)
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["errors"][0]["code"] == "10009"
    assert server.counted("sockets_total", end="no_key") == 2
    assert "sessions_opened" not in server.speech.counters()


async def test_a_plain_request_is_told_what_to_do(server: SocketServer) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/v2/speech-to-text/transcription")
    assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


async def test_no_other_path_is_a_socket(server: SocketServer) -> None:
    for path in ("/v2/calls", "/nothing"):
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(server.url.replace("http", "ws") + path)


async def test_sockets_count_as_requests_of_their_key() -> None:
    speech = SpeechService(default_engine="scripted", options={"scripted": {"script": SCRIPT}})
    async with serving_sockets(speech, rate_limit=RateLimit(1, 60)) as server, server.connect():
        with pytest.raises(websockets.InvalidStatus) as refused:
            await server.connect()
        assert refused.value.response.status_code == 429


async def test_a_client_that_is_silent_is_let_go(
    server: SocketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TRANSCRIPTION_SOCKET_IDLE_S", 0.05)
    async with server.connect() as client:
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (1008, "no audio came")
    assert server.counted("sockets_total", end="idle") == 1


async def test_nonsense_costs_counters_and_one_hint(server: SocketServer) -> None:
    async with server.connect() as client:
        for text in ("hello", "[" * 1000, "[]", '{"type": 7}', '{"type": "Dance"}'):
            await client.send(text)
        await client.send(b"")
        await client.send(b"\1")
        await client.send(SECOND)
        await client.send('{"type": "CloseStream"}')
        frames = await messages(client)
    assert [frame["type"] for frame in frames] == ["error", "transcript", "transcript"]
    assert server.counted("socket_dropped_total", what="text") == 5


async def test_a_message_without_end_and_text_that_is_none_end_their_connection(server: SocketServer) -> None:
    async with server.connect() as client:
        with suppress(websockets.ConnectionClosed):
            await client.send(bytes(100_000_000))
        await client.wait_closed()
        assert client.close_code in (1006, 1009)
    async with server.connect() as client:
        await client.send(b"\xff\xfe", text=True)
        await client.wait_closed()
        assert client.close_code == 1007
    async with server.connect() as client:
        await client.send(SECOND)
        assert (await told(client))["transcript"] == "good morning", "others are served as before"


async def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRANSCRIPTION_SOCKET_FRAMES_MAX", 8)
    monkeypatch.setattr(limits, "TRANSCRIPTION_SOCKET_SEND_S", 0.2)
    engine = HandEngine()
    async with (
        serving_sockets(service_of(engine)) as server,
        server.connect(interim_results="true") as client,
    ):
        await client.send(SECOND)
        async with asyncio.timeout(10):
            while not (engine.sessions and engine.sessions[0].heard):
                await asyncio.sleep(0.01)
            client.transport.pause_reading()
            session = engine.sessions[0]
            while not session.closed:
                session.say("x" * 100_000, final=False)
                session.say("y" * 100_000)
                await asyncio.sleep(0.001)
            while not server.counted("sockets_total", end="slow"):
                await asyncio.sleep(0.01)
        client.transport.abort()
    assert server.counted("socket_dropped_total", what="interim_result") > 0


async def test_sockets_have_a_bound(server: SocketServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRANSCRIPTION_SOCKETS_MAX", 1)
    async with server.connect() as first, server.connect() as second:
        assert (await told(second))["errors"][0]["code"] == "10007"
        await first.send('{"type": "CloseStream"}')
        await messages(first)
