"""A real server with calls that are up: an app takes its webhooks and streams, phones call and are called.

The server runs in a process of its own with its real media, so that a test meets calls in every state.
"""

import asyncio
import base64
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from aiohttp import web

from offhook.base.tasks import TaskSet
from offhook.edge.sip import Listen
from offhook.kit.answering import AnsweringPhone, AnswerPlan
from offhook.kit.phone import CallPlan, Phone, PhoneError
from tests.fakes.call_service import CONNECTION_ID
from tests.fakes.command_samples import LEAST
from tests.fakes.server import API_KEY, OffhookProcess, start_offhook

KEY = {"authorization": f"Bearer {API_KEY}"}
ANSWERED_CALLS, RINGING_CALLS = 3, 2
"""How many calls are kept up."""
CALL_TIMEOUT_S, TRIES = 10.0, 20
WAV_MS = 100


@dataclass
class World:
    """The app and the phones around the server, and the calls that are up just now."""

    server: OffhookProcess
    url: str
    phone_uri: str
    phone: Phone
    loop: asyncio.AbstractEventLoop
    tasks: TaskSet = field(default_factory=TaskSet)
    answered: list[str] = field(default_factory=list)
    ringing: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    """Those that may be changed and deleted."""
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on_webhook(self, event: dict[str, Any]) -> None:
        """Follow the calls by what the server tells of them."""
        self.events.append(event)
        kind, payload = event["data"]["event_type"], event["data"]["payload"]
        call = payload["call_control_id"]
        with self.changed:
            if kind == "call.initiated" and payload["direction"] == "incoming":
                self.ringing.append(call)
            elif kind in ("call.answered", "call.hangup"):
                for calls in (self.ringing, self.answered):
                    if call in calls:
                        calls.remove(call)
                (self.answered if kind == "call.answered" else self.ended).append(call)
            self.changed.notify_all()

    def keep_calls_up(self) -> None:
        """Place calls until there are enough of them; called from another thread than the loop's."""
        for _ in range(TRIES):
            # What is counted now may be ending: its webhook is still to come.
            for _ in range(len(self.answered), ANSWERED_CALLS):
                self._dial()
            for _ in range(len(self.ringing), RINGING_CALLS):
                self.loop.call_soon_threadsafe(self._start_call_in)
            with self.changed:
                if self.changed.wait_for(self._enough, CALL_TIMEOUT_S / TRIES):
                    return
        raise AssertionError(self.server.log()[-2000:])

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the server tells by webhook; called from another thread than the loop's."""
        with self.changed:
            assert self.changed.wait_for(condition, CALL_TIMEOUT_S), self.server.log()[-2000:]

    def call_for(self, action: str, choice: random.Random) -> str:
        """Return the call_control_id of a call, most often of one that suits the action."""
        with self.changed:
            fitting = self.ringing if action in ("answer", "reject") else self.answered
            calls = choice.choices([fitting, self.answered, self.ringing, self.ended], [85, 5, 5, 5])[0]
            return choice.choice(calls or fitting or self.ended or ["v3:none"])

    def _dial(self) -> None:
        body = {"connection_id": CONNECTION_ID, "to": self.phone_uri, "from": "+15550001111"}
        answer = requests.post(f"{self.server.api}/calls", json=body, headers=KEY, timeout=CALL_TIMEOUT_S)
        assert answer.status_code == 200, answer.text

    def _enough(self) -> bool:
        return len(self.answered) >= ANSWERED_CALLS and len(self.ringing) >= RINGING_CALLS

    def _start_call_in(self) -> None:
        uri = f"sip:app@127.0.0.1:{self.server.sip_port}"
        self.tasks.start(self._call_in(uri), name="phone")

    async def _call_in(self, uri: str) -> None:
        with suppress(PhoneError):
            await self.phone.call(CallPlan(uri=uri, hang_up_after_play=False, duration_s=60))


@asynccontextmanager
async def running_world(folder: Path, **env: Any) -> AsyncIterator[World]:
    """Run the app, the phones, and a server between them."""
    box: list[World] = []

    async def webhook(request: web.Request) -> web.Response:
        box[0].on_webhook(await request.json())
        return web.json_response({})

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    async def sound(request: web.Request) -> web.Response:
        return web.Response(body=_wav(), content_type="audio/wav")

    app = web.Application()
    app.router.add_post("/webhooks", webhook)
    app.router.add_get("/media", stream)
    app.router.add_get("/hello.wav", sound)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"127.0.0.1:{runner.addresses[0][1]}"
    callee = AnsweringPhone(AnswerPlan(), Listen("udp", "127.0.0.1", 0))
    try:
        async with callee, Phone() as phone:
            server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=f"http://{url}/webhooks", **env)
            world = World(server, url, callee.uri, phone, asyncio.get_running_loop())
            box.append(world)
            try:
                yield world
            finally:
                await world.tasks.close()
                await server.kill()
    finally:
        await runner.cleanup()


def localised(value: Any, world: World, *, call: str | None = None) -> Any:
    """Return a value whose addresses are those of this world, not of the examples; another call is not `call`."""
    if isinstance(value, dict):
        return {key: localised(member, world, call=call) for key, member in value.items()}
    if isinstance(value, list):
        return [localised(member, world, call=call) for member in value]
    if not isinstance(value, str):
        return value
    host = world.url
    if value.startswith("wss://app.example"):
        return f"ws://{host}/media"
    if value.startswith("https://app.example"):
        return f"http://{host}/" + ("hello.wav" if value.endswith(".wav") else "webhooks")
    if value.startswith("udp:192.0.2."):
        return "udp:127.0.0.1:9"
    if value.startswith("sip:alice@") or value == LEAST["dial"]["to"]:
        return world.phone_uri
    if value in ("v3:other", "v3:third"):
        return random.choice([other for other in world.answered if other != call] or ["v3:none"])
    return value


def _wav() -> bytes:
    pcm = bytes(16 * WAV_MS)
    head = base64.b64decode("UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=")
    return (
        head[:4] + (36 + len(pcm)).to_bytes(4, "little") + head[8:40] + len(pcm).to_bytes(4, "little") + pcm
    )
