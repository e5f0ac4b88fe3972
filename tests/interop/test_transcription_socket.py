"""The transcription socket of a running server, heard by the local engine with its real weights."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import telnyx
import websockets
from telnyx.types.transcribe_server_event import TranscriptFrame

from offhook.app.demo.place import sentence
from offhook.kit.wer import word_error_rate
from tests.fakes import pcmu
from tests.fakes.server import API_KEY, start_offhook, stop_offhook

pytest.importorskip("onnxruntime", reason="needs the extra offhook[speech]")
pytest.importorskip("moonshine_voice", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(120)]


async def test_the_official_sdk_gets_the_sentence_and_the_end_of_the_server_the_last_words(
    tmp_path: Path,
) -> None:
    sound, text = sentence()
    server = await start_offhook(tmp_path)
    try:
        async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client:
            query = {"transcription_engine": "Telnyx", "input_format": "mulaw", "sample_rate": "8000"}
            async with client.speech_to_text.transcribe(extra_query=query) as connection:
                audio = pcmu.encode(sound.pcm)
                for at in range(0, len(audio), 160):
                    await connection.send_raw(audio[at : at + 160])
                await connection.send({"type": "CloseStream"})
                frames = [frame async for frame in connection]
        heard = " ".join(frame.transcript for frame in frames if isinstance(frame, TranscriptFrame))
        assert word_error_rate(text, heard) < 0.15

        url = f"{server.api.replace('http', 'ws', 1)}/speech-to-text/transcription"
        headers = {"authorization": f"Bearer {API_KEY}"}
        asked = "?transcription_engine=Google&input_format=linear16&sample_rate=8000"
        async with websockets.connect(url + asked, additional_headers=headers) as socket:
            await socket.send(sound.pcm)
            await (await socket.ping())
            await asyncio.sleep(0.5)
            ending = asyncio.create_task(stop_offhook(server))
            last: list[dict[str, Any]] = [json.loads(message) async for message in until_closed(socket)]
            assert socket.close_code == 1012
            assert await ending == 0
        assert word_error_rate(text, " ".join(frame["transcript"] for frame in last)) < 0.15
    finally:
        await stop_offhook(server)


async def until_closed(socket: websockets.ClientConnection) -> Any:
    """Yield what comes before the server says goodbye."""
    try:
        async for message in socket:
            yield message
    except websockets.ConnectionClosedError:
        return
