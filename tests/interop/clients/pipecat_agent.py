"""A voice agent on Pipecat with its own Telnyx serializer; run by the Python of an environment that has it.

It repeats what it hears. On key 1 it talks for ten seconds and is interrupted after one, as it would be
by a caller who begins to speak. One JSON line on standard output tells its port.
"""

import asyncio
import json
import math
import socket
import struct
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import Frame, InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.telnyx import TelnyxFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

RATE_HZ = 16_000
TALK_HZ, TALK_S, INTERRUPTED_AFTER_S = 1_300, 10, 1.0


def talk() -> bytes:
    """Return ten seconds of a tone."""
    step = math.tau * TALK_HZ / RATE_HZ
    return struct.pack(
        f"<{RATE_HZ * TALK_S}h", *(round(4_000 * math.sin(step * n)) for n in range(RATE_HZ * TALK_S))
    )


class Parrot(FrameProcessor):
    """Says what it hears; talks on key 1."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a frame."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, frame.num_channels))
        elif isinstance(frame, InputDTMFFrame):
            print(json.dumps({"event": "key", "key": frame.button.value}), flush=True)
            await self.push_frame(OutputAudioRawFrame(talk(), RATE_HZ, 1))
            self.create_task(self.be_interrupted())
        else:
            await self.push_frame(frame, direction)

    async def be_interrupted(self) -> None:
        """Stop talking in the middle of it."""
        await asyncio.sleep(INTERRUPTED_AFTER_S)
        await self.broadcast_interruption()
        print(json.dumps({"event": "interrupted"}), flush=True)


app = FastAPI()


@app.websocket("/")
async def stream(websocket: WebSocket) -> None:
    """Be the agent of one call."""
    await websocket.accept()
    kind, call = await parse_telephony_websocket(websocket)
    told = {"event": "call", "kind": kind, "encoding": call["outbound_encoding"], "call": call["call_id"]}
    print(json.dumps(told), flush=True)
    serializer = TelnyxFrameSerializer(
        stream_id=call["stream_id"],
        outbound_encoding=call["outbound_encoding"],
        inbound_encoding="PCMU",
        params=TelnyxFrameSerializer.InputParams(auto_hang_up=False),
    )
    params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
    transport = FastAPIWebsocketTransport(websocket=websocket, params=params)
    task = PipelineTask(
        Pipeline([transport.input(), Parrot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
    )

    @transport.event_handler("on_client_disconnected")
    async def over(*_: object) -> None:
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"event": "listening", "port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
    sys.exit(0)
