"""Says s16le audio of a file to Deepgram's live API with its official SDK; prints what it hears, a line each.

Arguments: version ("v1" or "v2"), address, key, file, query as JSON, and as JSON the names of the
control messages that follow the audio.
"""

import asyncio
import json
import sys
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment


def show(message) -> None:
    body = message if isinstance(message, dict) else message.dict()
    print(json.dumps({"kind": type(message).__name__, "body": body}, default=str), flush=True)


async def main(*arguments: str) -> None:
    version, address, key, path, query, tell = arguments
    place = DeepgramClientEnvironment(base=address, production=address, agent=address, agent_rest=address)
    client = AsyncDeepgramClient(api_key=key, environment=place)
    listen = client.listen.v1 if version == "v1" else client.listen.v2
    try:
        async with listen.connect(**json.loads(query)) as connection:
            connection.on(EventType.MESSAGE, show)
            connection.on(EventType.ERROR, lambda error: print(json.dumps({"error": str(error)})))
            listening = asyncio.create_task(connection.start_listening())
            pcm = Path(path).read_bytes()
            for at in range(0, len(pcm), 2560):
                await connection.send_media(pcm[at : at + 2560])
            for name in json.loads(tell):
                await getattr(connection, f"send_{name}")()
            async with asyncio.timeout(20):
                await listening
    except ApiError as error:
        print(json.dumps({"refused": error.status_code}), flush=True)


asyncio.run(main(*sys.argv[1:]))
