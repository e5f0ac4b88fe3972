"""An application that answers a call, listens to it in three ways at once, and hangs up politely.

It is written to the official `telnyx` SDK and a plain WebSocket server; nothing in it knows
Offhook. Point `TELNYX_BASE_URL` at Offhook and it runs on your laptop.

What happens on a call, top to bottom in this file:

1. `call.initiated` arrives as a webhook: the app answers.
2. `call.answered` arrives: the app asks for three copies of the call's audio:
   the frames of both tracks over a WebSocket (`start_streaming`), the RTP packets over UDP
   (`start_forking`), and the words (`start_transcription`).
3. It prints what it gets. When something was said and the caller has then been quiet for a while, the app
   stops all three, hangs up, and waits for `call.hangup`.

Settings come from the environment, as the SDK reads them: TELNYX_BASE_URL, TELNYX_API_KEY and
TELNYX_PUBLIC_KEY. Run `python app.py --help` for the rest, and see README.md.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import math
import socket
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import telnyx
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

FRAMES_PER_REPORT = 5  # five frames of 20 ms: the level meter moves ten times a second
LOUD_DBFS = -45.0  # above this we say that somebody speaks


# --- The call --------------------------------------------------------------------------------


class CallApp:
    """One call at a time: what we asked for, what we got, and when to say goodbye."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        # The client takes its base URL, API key and public key from the environment.
        self.client = telnyx.AsyncTelnyx()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1_000)
        self.seen_ids: set[str] = set()
        self.stream_url = ""
        self.rtp_targets = {"rx": "", "tx": ""}
        self.done = asyncio.Event()
        self.call_ended = False
        self.goodbye: asyncio.Task[None] | None = None
        self.answered_at = self.last_voice_at = 0.0
        self.finals: list[str] = []

    async def receive_webhook(self, request: web.Request) -> web.Response:
        """Check who sent the webhook, say 200 at once, and let `run` react to it."""
        body = await request.text()
        try:
            # Raises unless the body was signed by the server whose public key we were given.
            self.client.webhooks.unwrap(body, headers=request.headers)
        except ValueError as error:
            report("webhook", type="unknown", verified=False, reason=str(error))
            return web.Response(status=401)
        event = json.loads(body)["data"]
        report("webhook", type=event["event_type"], id=event["id"], verified=True)
        # Webhooks are delivered at least once: the same id twice is the same event.
        if event["id"] not in self.seen_ids:
            self.seen_ids.add(event["id"])
            self.events.put_nowait(event)
        return web.Response()

    async def run(self) -> None:
        """React to events, in the order in which they came."""
        while True:
            event = await self.events.get()
            kind, payload = event["event_type"], event["payload"]
            call_id = payload["call_control_id"]
            if kind == "call.initiated" and payload["direction"] == "incoming":
                # Silence while we say nothing, so that the caller's phone hears a live line
                # and our outbound track has audio to show.
                await command(
                    "answer", self.client.calls.actions.answer(call_id, send_silence_when_idle=True)
                )
            elif kind == "call.answered":
                await self.listen_in_three_ways(call_id)
            elif kind == "call.transcription":
                self.hear(payload["transcription_data"])
            elif kind == "call.hangup":
                report("hangup", cause=payload.get("hangup_cause"), source=payload.get("hangup_source"))
                await self.forget_call()
                if self.options.once:
                    self.done.set()

    async def listen_in_three_ways(self, call_id: str) -> None:
        """Ask for the audio frames, the RTP packets and the words."""
        actions = self.client.calls.actions
        self.answered_at = self.last_voice_at = time.monotonic()
        self.call_ended = False
        await command(
            "start_streaming",
            actions.start_streaming(call_id, stream_url=self.stream_url, stream_track="both_tracks"),
        )
        await command(
            "start_forking",
            actions.start_forking(call_id, rx=self.rtp_targets["rx"], tx=self.rtp_targets["tx"]),
        )
        await command(
            "start_transcription",
            actions.start_transcription(
                call_id,
                transcription_engine="Google",
                # Words while they are spoken, not only when a sentence is over.
                transcription_engine_config={
                    "transcription_engine": "Google",
                    "language": "en",
                    "interim_results": True,
                },
                transcription_tracks="inbound",
            ),
        )
        self.goodbye = asyncio.create_task(self.say_goodbye_when_quiet(call_id))

    def hear(self, heard: dict[str, Any]) -> None:
        """Take a transcript: partials replace one another, a final stands."""
        report(
            "transcript",
            track=heard.get("transcription_track"),
            text=heard["transcript"],
            final=heard["is_final"],
            confidence=heard.get("confidence"),
        )
        self.last_voice_at = time.monotonic()
        if heard["is_final"]:
            self.finals.append(heard["transcript"])

    async def say_goodbye_when_quiet(self, call_id: str) -> None:
        """Wait until the caller has said something and is quiet, then end everything."""
        said_and_done = False
        while not said_and_done:
            await asyncio.sleep(0.1)
            if self.call_ended:
                return  # the caller was faster
            now = time.monotonic()
            quiet = now - self.last_voice_at > self.options.quiet_s
            said_and_done = (bool(self.finals) and quiet) or now - self.answered_at > self.options.max_call_s
        actions = self.client.calls.actions
        await command("stop_streaming", actions.stop_streaming(call_id))
        await command("stop_forking", actions.stop_forking(call_id))
        await command("stop_transcription", actions.stop_transcription(call_id))
        await command("hangup", actions.hangup(call_id))

    async def forget_call(self) -> None:
        """Be ready for the next call."""
        self.call_ended = True
        if self.goodbye is not None:
            await self.goodbye  # it may still be waiting for the answer to its hangup
        self.goodbye = None
        self.finals.clear()


async def command(name: str, request: Awaitable[Any]) -> None:
    """Send one command and report how it went. A refusal is news, not the end of the app."""
    started_at = time.monotonic()
    try:
        await request
    except telnyx.APIError as error:
        report("command", name=name, ok=False, reason=str(error))
    else:
        report("command", name=name, ok=True, ms=round((time.monotonic() - started_at) * 1000, 1))


# --- The audio frames: a WebSocket server ------------------------------------------------------


async def receive_stream(app: CallApp, connection: ServerConnection) -> None:
    """Take one stream: `connected`, `start`, then 20 ms of audio a frame, then `stop`."""
    tracks: dict[str, TrackMeter] = {}
    with contextlib.ExitStack() as files, contextlib.suppress(ConnectionClosed):
        async for message in connection:
            frame = json.loads(message)
            if frame["event"] == "start":
                media_format = frame["start"]["media_format"]
                report("stream", state="start", stream_id=frame["stream_id"], **media_format)
            elif frame["event"] == "media":
                name = frame["media"]["track"]
                if name not in tracks:
                    tracks[name] = TrackMeter(name, recording(app, files, f"{name}.pcmu"))
                if tracks[name].receive(frame["media"]) > LOUD_DBFS and name == "inbound":
                    app.last_voice_at = time.monotonic()
            elif frame["event"] == "stop":
                report("stream", state="stop", stream_id=frame["stream_id"])
    for track in tracks.values():
        track.tell()


class TrackMeter:
    """Counts and measures one track of a stream."""

    def __init__(self, name: str, record: Any) -> None:
        self.name, self.record = name, record
        self.frames = self.audio_ms = self.gaps = 0
        self.next_chunk = 1
        self.level_dbfs = -math.inf

    def receive(self, media: dict[str, str]) -> float:
        """Take one frame; return how loud it is in dB below full scale."""
        payload = base64.b64decode(media["payload"])
        chunk = int(media["chunk"])  # counters are decimal text
        self.gaps += chunk != self.next_chunk
        self.next_chunk = chunk + 1
        self.frames += 1
        self.audio_ms += len(payload) // 8  # PCMU: 8 bytes are a millisecond
        self.level_dbfs = level_dbfs(payload)
        if self.record is not None:
            self.record.write(payload)
        if self.frames % FRAMES_PER_REPORT == 0:
            self.tell()
        return self.level_dbfs

    def tell(self) -> None:
        """Report the track as it is now."""
        level = None if math.isinf(self.level_dbfs) else round(self.level_dbfs, 1)
        report(
            "media", track=self.name, frames=self.frames, ms=self.audio_ms, level_dbfs=level, gaps=self.gaps
        )


def mulaw_to_linear(byte: int) -> int:
    """Expand one byte of PCMU (ITU-T G.711 mu-law) to a 16-bit sample."""
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << (byte >> 4 & 7)) - 0x84
    return -magnitude if byte & 0x80 else magnitude


SQUARES = [mulaw_to_linear(byte) ** 2 for byte in range(256)]


def level_dbfs(payload: bytes) -> float:
    """Return the level of some PCMU audio: 0 is full scale, minus infinity is digital silence."""
    power = sum(SQUARES[byte] for byte in payload) / max(len(payload), 1)
    return 10 * math.log10(power / 32_768**2) if power else -math.inf


# --- The RTP packets: two UDP sockets ----------------------------------------------------------


class ForkReceiver(asyncio.DatagramProtocol):
    """Takes the RTP packets of one direction: rx is from the caller to the server, tx back."""

    def __init__(self, direction: str, record: Any) -> None:
        self.direction, self.record = direction, record
        self.packets = 0

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Take one whole RTP packet, header and payload."""
        self.packets += 1
        if self.record is not None:
            self.record.write(len(data).to_bytes(2, "big") + data)
        if self.packets % FRAMES_PER_REPORT == 0:
            self.tell()

    def tell(self) -> None:
        """Report how many packets there were."""
        report("rtp", direction=self.direction, packets=self.packets)


# --- Reports, files, start ---------------------------------------------------------------------

JSON_LINES = False


def report(event: str, **fields: Any) -> None:
    """Tell the world: JSON lines for programs, readable lines for people."""
    if JSON_LINES:
        line = json.dumps({"event": event, **fields}, ensure_ascii=False)
    else:
        line = f"{event:12}" + "  ".join(f"{name}={value}" for name, value in fields.items())
    # A reader that has gone away must not end the call.
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def recording(app: CallApp, files: contextlib.ExitStack, name: str) -> Any:
    """Open a file of the recording, or return None when nothing is to be recorded."""
    if app.options.record is None:
        return None
    return files.enter_context((Path(app.options.record) / name).open("wb"))


async def open_fork_receiver(app: CallApp, files: contextlib.ExitStack, direction: str) -> ForkReceiver:
    """Bind a UDP socket of any free port and remember its address for `start_forking`."""
    receiver = ForkReceiver(direction, recording(app, files, f"{direction}.rtp"))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((app.options.host, 0))
    sock.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: receiver, sock=sock)
    files.callback(transport.close)
    app.rtp_targets[direction] = f"udp:{app.options.host}:{sock.getsockname()[1]}"
    return receiver


async def main(options: argparse.Namespace) -> None:
    """Open the receivers, then take calls until told to stop."""
    app = CallApp(options)
    with contextlib.ExitStack() as files:
        forks = [await open_fork_receiver(app, files, direction) for direction in ("rx", "tx")]
        async with serve(lambda connection: receive_stream(app, connection), options.host, 0) as streams:
            port = next(iter(streams.sockets)).getsockname()[1]
            app.stream_url = f"ws://{options.host}:{port}/call"
            web_app = web.Application()
            web_app.router.add_post("/webhooks", app.receive_webhook)
            runner = web.AppRunner(web_app, access_log=None, shutdown_timeout=2)
            await runner.setup()
            await web.TCPSite(runner, options.host, options.port).start()
            report("ready", webhooks=f"http://{options.host}:{options.port}/webhooks", stream=app.stream_url)
            reacting = asyncio.create_task(app.run())
            ending = asyncio.create_task(app.done.wait())
            try:
                done, _ = await asyncio.wait({reacting, ending}, return_when=asyncio.FIRST_COMPLETED)
                if reacting in done:
                    reacting.result()  # raises what went wrong
            finally:
                reacting.cancel()
                ending.cancel()
                await runner.cleanup()
                await app.client.close()
        for fork in forks:
            fork.tell()
    report("done")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Answer calls; show their audio, packets and words.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, as the server reaches it")
    parser.add_argument("--port", type=int, default=9000, help="port of the webhook receiver (default 9000)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--record", metavar="DIR", help="keep the audio and the packets of the call here")
    parser.add_argument("--once", action="store_true", help="end after the first call")
    parser.add_argument(
        "--quiet-s", type=float, default=2.0, help="hang up after this much quiet (default 2)"
    )
    parser.add_argument("--max-call-s", type=float, default=60.0, help="longest call (default 60)")
    return parser.parse_args()


if __name__ == "__main__":
    chosen = arguments()
    if chosen.record is not None:
        Path(chosen.record).mkdir(parents=True, exist_ok=True)
    JSON_LINES = chosen.json
    try:
        asyncio.run(main(chosen))
    except KeyboardInterrupt:
        sys.exit(130)
    except telnyx.TelnyxError as problem:
        sys.exit(f"app.py: {problem}")  # for example: TELNYX_API_KEY is not set
