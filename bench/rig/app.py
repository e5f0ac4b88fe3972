"""The app on the other side of the server: answers each call and then gives one command."""

import asyncio
import time
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from aiohttp import ClientSession, ClientTimeout, web

from rig import ports

COMMAND_TIMEOUT_S = 10.0
SETTLE_TIMEOUT_S = 20.0
STREAM_URL = f"ws://{ports.HOST}:{ports.SINK_WEBSOCKET}/media"
FORK_TARGET = f"udp:{ports.HOST}:{ports.SINK_UDP}"


class Durations(Protocol):
    """Takes durations in seconds."""

    def add(self, seconds: float) -> None: ...


class App:
    """Takes events on the webhook port. `then` is the command given once a call is answered as `answer` says."""

    def __init__(self, key: str) -> None:
        self.then: tuple[str, dict[str, Any]] | None = None
        self.answer: dict[str, Any] = {}
        self.troubles: list[str] = []
        self.events_took: Durations | None = None
        """Told how long each event was under way, while there is one."""
        self._calls: list[str] = []
        self._started_total = 0
        self._ended_total = 0
        self._changed = asyncio.Condition()
        self._key = key
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            headers={"Authorization": f"Bearer {self._key}"}, timeout=ClientTimeout(total=COMMAND_TIMEOUT_S)
        )
        app = web.Application()
        app.router.add_post("/", self._take_event)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, ports.HOST, ports.WEBHOOKS).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def wait_for_starts(self, count: int) -> None:
        """Wait until that many taps have started since the last such wait, if there is a command for it."""
        if self.then is None:
            return
        async with asyncio.timeout(SETTLE_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: self._started_total >= count or self.troubles != [])
        self.check()
        self._started_total = 0

    async def settle(self, calls: int) -> None:
        """Wait until that many calls have ended for the app too, since the server began."""
        async with asyncio.timeout(SETTLE_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: self._ended_total >= calls)
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise if a command was refused or something failed."""
        if self.troubles:
            raise RuntimeError(f"the server refused or failed: {self.troubles[:3]}")

    def take_calls(self) -> list[str]:
        """Return the ids of the calls that were answered since the last time."""
        taken, self._calls = self._calls, []
        return taken

    async def streams(self) -> list[dict[str, Any]]:
        """What the server tells of the streams that are alive."""
        url = f"http://{ports.HOST}:{ports.HTTP}/v2/offhook/streams"
        async with self._session.get(url, params={"page[size]": "250"}) as response:
            told: list[dict[str, Any]] = (await response.json())["data"]
            return told

    async def _take_event(self, request: web.Request) -> web.Response:
        event = (await request.json())["data"]
        kind, call = event["event_type"], event["payload"]["call_control_id"]
        if self.events_took is not None:
            self.events_took.add(time.time() - datetime.fromisoformat(event["occurred_at"]).timestamp())
        if kind == "call.initiated":
            self._give(call, "answer", self.answer)
        elif kind == "call.hangup":
            self._ended_total += 1
            await self._notify()
        elif kind in ("streaming.started", "call.fork.started"):
            self._started_total += 1
            await self._notify()
        elif kind == "call.answered":
            self._calls.append(call)
            if self.then is not None:
                self._give(call, *self.then)
        elif kind.endswith("failed"):
            self.troubles.append(f"{kind}: {event['payload']}")
            await self._notify()
        return web.json_response({})

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _give(self, call: str, command: str, body: dict[str, Any]) -> None:
        task = asyncio.create_task(self.command(call, command, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def command(self, call: str, command: str, body: dict[str, Any]) -> None:
        """Give a command and wait for its answer; a refusal is a trouble."""
        url = f"http://{ports.HOST}:{ports.HTTP}/v2/calls/{call}/actions/{command}"
        async with self._session.post(url, json=body) as response:
            if response.status != 200:
                self.troubles.append(f"{command}: {response.status} {await response.text()}")
                await self._notify()
