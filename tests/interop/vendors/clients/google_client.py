"""Google's own client, talking to the address it is given: prints what it is told.

Arguments: address, project, a file of 8 kHz s16le, and perhaps which mistake to make.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import speech_v2
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def ms(offset: Any) -> int:
    return round(offset.total_seconds() * 1000)


async def requests(
    project: str, pcm: bytes, mistake: str
) -> AsyncIterator[speech_v2.StreamingRecognizeRequest]:
    config = speech_v2.StreamingRecognitionConfig(
        config=speech_v2.RecognitionConfig(
            explicit_decoding_config=speech_v2.ExplicitDecodingConfig(
                encoding=speech_v2.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
                sample_rate_hertz=8000,
                audio_channel_count=1,
            ),
            language_codes=["en-US"],
            model="no-such-model" if mistake == "model" else "long",
            features=speech_v2.RecognitionFeatures(enable_word_time_offsets=True),
        ),
        streaming_features=speech_v2.StreamingRecognitionFeatures(
            interim_results=True, enable_voice_activity_events=True
        ),
    )
    name = "someone-elses" if mistake == "project" else project
    recognizer = f"projects/{name}/locations/global/recognizers/_"
    yield speech_v2.StreamingRecognizeRequest(recognizer=recognizer, streaming_config=config)
    if mistake in ("project", "model"):
        await asyncio.sleep(5)
    size = 30_000 if mistake == "audio" else 1600
    for at in range(0, len(pcm), size):
        yield speech_v2.StreamingRecognizeRequest(audio=pcm[at : at + size].ljust(size, b"\0"))
        # A request that meets the end of the stream hides its status from the client.
        await asyncio.sleep(0.5 if at == 0 and mistake else 0.005)


async def main(url: str, project: str, file: str, mistake: str = "") -> None:
    pcm = Path(file).read_bytes()
    channel = grpc.aio.insecure_channel(url.removeprefix("http://"))
    client = speech_v2.SpeechAsyncClient(transport=SpeechGrpcAsyncIOTransport(channel=channel))
    try:
        async for response in await client.streaming_recognize(requests=requests(project, pcm, mistake)):
            if response.speech_event_type:
                say(kind="begin", at_ms=ms(response.speech_event_offset))
            for result in response.results:
                best = result.alternatives[0]
                words = [[item.word, ms(item.start_offset), ms(item.end_offset)] for item in best.words]
                say(kind="final" if result.is_final else "partial", text=best.transcript, words=words)
        say(kind="end")
    except GoogleAPICallError as error:
        say(kind="error", status=type(error).__name__)
    finally:
        await channel.close()


asyncio.run(main(*sys.argv[1:]))
