"""Talks to AssemblyAI's service by its own SDK: `ADDRESS KEY MODEL CHUNK_MS FILE`; the file is 8 kHz s16le.

Prints what happened, one JSON object a line.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from assemblyai.streaming.v3 import (
    AsyncRealTimeTranscriber,
    BeginEvent,
    Encoding,
    RealTimeError,
    RealTimeEvents,
    RealTimeParameters,
    RealTimeTranscriberOptions,
    SpeechModel,
    SpeechStartedEvent,
    TerminationEvent,
    TurnEvent,
)


def tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def on_event(_: Any, event: Any) -> None:
    match event:
        case BeginEvent():
            tell(event="begin", id=event.id, expires=event.expires_at.isoformat())
        case TurnEvent():
            words = [[word.text, word.start, word.end, word.confidence] for word in event.words]
            formatted = event.turn_is_formatted
            tell(event="turn", text=event.transcript, end=event.end_of_turn, formatted=formatted, words=words)
        case SpeechStartedEvent():
            tell(event="speech", at=event.timestamp)
        case TerminationEvent():
            tell(event="termination", seconds=event.audio_duration_seconds)
        case RealTimeError():
            tell(event="error", code=event.code, text=str(event))


async def main(address: str, key: str, model: str, chunk_ms: int, pcm: bytes) -> None:
    client = AsyncRealTimeTranscriber(RealTimeTranscriberOptions(api_host=address, api_key=key))
    for event in RealTimeEvents:
        client.on(event, on_event)
    await client.connect(
        RealTimeParameters(
            sample_rate=8000,
            encoding=Encoding.pcm_s16le,
            speech_model=SpeechModel(model),
            format_turns=model.startswith("universal-streaming-") or None,
            keyterms_prompt=["Offhook"],
            max_turn_silence=500,
            inactivity_timeout=60,
        )
    )
    try:
        for at in range(0, len(pcm), chunk_ms * 16):
            await client.stream(pcm[at : at + chunk_ms * 16])
        await client.keep_alive()
        await client.force_endpoint()
        await client.disconnect(terminate=True)
    except RuntimeError:
        tell(event="closed")


# The SDK logs every trouble that it also tells its handlers.
logging.disable(logging.CRITICAL)
asyncio.run(main(*sys.argv[1:4], int(sys.argv[4]), Path(sys.argv[5]).read_bytes()))
