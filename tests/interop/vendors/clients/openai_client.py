"""Talks to OpenAI's service by its own SDK: `BASE_URL KEY MODEL FILE`; the file is mu-law.

Prints what happened, one JSON object a line.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from openai.types import realtime
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import TypeAdapter

CHUNK = 480
EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
LIVE = "gpt-live-transcribe"


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def session(model: str) -> realtime.RealtimeTranscriptionSessionCreateRequestParam:
    vad: Any = {"type": "server_vad", "silence_duration_ms": 500}
    result: realtime.RealtimeTranscriptionSessionCreateRequestParam = {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": model},
                "turn_detection": None if model == LIVE else vad,
            }
        },
    }
    if model != LIVE:
        result["include"] = ["item.input_audio_transcription.logprobs"]
    return result


def show(event: Any) -> None:
    # The SDK itself takes anything for an event; its types do not.
    EVENTS.validate_python(event.to_dict(), strict=False)
    match event:
        case realtime.InputAudioBufferSpeechStartedEvent():
            tell(event="started", at=event.audio_start_ms)
        case realtime.InputAudioBufferSpeechStoppedEvent():
            tell(event="stopped", at=event.audio_end_ms)
        case realtime.InputAudioBufferCommittedEvent():
            tell(event="committed", item=event.item_id)
        case realtime.ConversationItemInputAudioTranscriptionDeltaEvent():
            tell(event="delta", text=event.delta)
        case realtime.ConversationItemInputAudioTranscriptionCompletedEvent():
            shares = [entry.logprob for entry in event.logprobs or ()]
            tell(event="completed", text=event.transcript, logprobs=shares, usage=event.usage.type)
        case realtime.ConversationItemInputAudioTranscriptionFailedEvent():
            tell(event="failed", code=event.error.code)
        case realtime.RealtimeErrorEvent():
            tell(event="error", code=event.error.code, type=event.error.type)
        case _:
            tell(event=event.type)


async def main(base_url: str, key: str, model: str, mulaw: bytes) -> None:
    client = AsyncOpenAI(api_key=key, websocket_base_url=base_url, max_retries=0)
    async with client.realtime.connect(extra_query={"intent": "transcription"}, max_retries=0) as connection:
        await connection.session.update(session=session(model))
        for at in range(0, len(mulaw), CHUNK):
            audio = base64.b64encode(mulaw[at : at + CHUNK]).decode("ascii")
            await connection.input_audio_buffer.append(audio=audio)
        if model == LIVE:
            await connection.input_audio_buffer.commit()
        await connection.input_audio_buffer.commit()
        await connection.input_audio_buffer.clear()
        async for event in connection:
            show(event)
            if event.type == "input_audio_buffer.cleared":
                return


try:
    asyncio.run(main(*sys.argv[1:4], Path(sys.argv[4]).read_bytes()))
except Exception as refused:  # noqa: BLE001 - whatever the SDK makes of it is the answer
    tell(event="refused", kind=type(refused).__name__, text=str(refused))
