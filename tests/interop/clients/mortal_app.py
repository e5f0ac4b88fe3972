"""A streaming app that keeps book of what it hears so well that it may be killed at any moment.

Arguments: port, file to append to. Each line is written at once: seconds, stream, what.
"""

import asyncio
import base64
import json
import os
import sys
import time

from websockets.asyncio.server import ServerConnection, serve


async def main(port: int, path: str) -> None:
    book = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(stream: str, what: object) -> None:
        os.write(book, f"{time.monotonic():.4f} {stream} {what}\n".encode())

    async def take(connection: ServerConnection) -> None:
        async for message in connection:
            frame = json.loads(message)
            if frame["event"] == "start":
                note(frame["stream_id"], f"start {frame['start'].get('reconnect', 0)}")
            elif frame["event"] == "media":
                payload = base64.b64decode(frame["media"]["payload"])
                note(frame["stream_id"], f"media {payload.hex()}")
            elif frame["event"] != "connected":
                note(frame["stream_id"], frame["event"])

    async with serve(take, "127.0.0.1", port, compression=None):
        note("-", "up")
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
