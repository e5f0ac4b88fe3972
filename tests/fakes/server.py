"""A real `offhook serve` in its own process, and a small app that receives its webhooks."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from offhook.base.tasks import TaskSet

API_KEY = "KEYtest"


@dataclass
class OffhookProcess:
    """A running server; `api` ends in `/v2`."""

    process: asyncio.subprocess.Process
    api: str
    sip_port: int
    public_key: str
    log_path: Path

    @property
    def pid(self) -> int:
        """Return the process id of the server."""
        return self.process.pid

    def log(self) -> str:
        """Return what it has logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    async def kill(self) -> None:
        """End it as a power cut would; harmless when it has ended."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def start_offhook(
    data_dir: Path,
    *,
    http_port: int = 0,
    sip_port: int = 0,
    command: tuple[str, ...] = ("-m", "offhook", "serve"),
    **env: str,
) -> OffhookProcess:
    """Start a server on loopback and wait for its ready line; `command` is what Python runs."""
    process, log_path = await launch_offhook(
        data_dir, http_port=http_port, sip_port=sip_port, command=command, **env
    )
    return await ready_offhook(process, log_path)


async def launch_offhook(
    data_dir: Path,
    *,
    http_port: int = 0,
    sip_port: int = 0,
    command: tuple[str, ...] = ("-m", "offhook", "serve"),
    **env: str,
) -> tuple[asyncio.subprocess.Process, Path]:
    """Start a server and wait for nothing; return its process and where it logs."""
    data_dir.mkdir(parents=True, exist_ok=True)
    config = data_dir / "offhook.toml"
    if "[speech]" not in (told := config.read_text("utf-8") if config.exists() else ""):
        # Most calls of tests are not transcribed: they need not load a model with the first one.
        config.write_text(told + "\n[speech]\nwarm_up = false\n", "utf-8")
    log_path = data_dir / "stderr.log"
    settings = {
        "OFFHOOK_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "OFFHOOK_SIP_LISTEN": f"udp:127.0.0.1:{sip_port},tcp:127.0.0.1:{sip_port}",
        "OFFHOOK_DATA_DIR": str(data_dir / "data"),
        "OFFHOOK_API_KEYS": API_KEY,
        "OFFHOOK_RTP_PORTS": "21000-23999",
    }
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=data_dir,
            env={**os.environ, **settings, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    return process, log_path


async def ready_offhook(process: asyncio.subprocess.Process, log_path: Path) -> OffhookProcess:
    """Wait for the ready line of a server that was launched."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = (await process.stdout.readline()).decode().strip()
    if not line.startswith("offhook ready "):
        await process.wait()
        raise RuntimeError(f"no ready line but {line!r}; log: {log_path.read_text(encoding='utf-8')[-2000:]}")
    told = dict(item.split("=", 1) for item in line.removeprefix("offhook ready ").split())
    udp = next(item for item in told["sip"].split(",") if item.startswith("udp:"))
    return OffhookProcess(process, told["api"], int(udp.rsplit(":", 1)[1]), told["public_key"], log_path)


async def stop_offhook(server: OffhookProcess) -> int:
    """End a server in good order; return its exit status."""
    if server.process.returncode is None:
        server.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(30):
                await server.process.wait()
        except TimeoutError:
            await server.kill()
            raise
    assert server.process.returncode is not None
    return server.process.returncode


OnEvent = Callable[["App", dict[str, Any]], Coroutine[Any, Any, None]]


@dataclass
class App:
    """A webhook receiver that may answer each event by commands."""

    url: str
    on_event: OnEvent | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    api: str = ""
    status: int = 200
    """What webhooks are answered."""
    refused: list[Any] = field(default_factory=list)
    _session: aiohttp.ClientSession | None = None

    def types(self, call_leg_id: str | None = None) -> list[str]:
        """Return the event types received, of one leg or all, in order."""
        return [
            event["data"]["event_type"]
            for event in self.events
            if call_leg_id in (None, event["data"]["payload"].get("call_leg_id"))
        ]

    async def act(self, call_control_id: str, action: str, /, **body: Any) -> dict[str, Any]:
        """Send a command; a refusal is kept in `refused`."""
        assert self._session is not None
        async with self._session.post(
            f"{self.api}/calls/{call_control_id}/actions/{action}", json=body
        ) as answer:
            told: dict[str, Any] = await answer.json()
            if answer.status != 200:
                self.refused.append((action, answer.status, told))
            return told

    async def wait_for(self, condition: Callable[["App"], bool], timeout_s: float = 30) -> None:
        """Return when `condition` holds."""
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running_app(on_event: OnEvent | None = None, *, port: int = 0) -> AsyncIterator[App]:
    """Serve webhooks on loopback.

    What was taken and comes again, because this process was too busy to say so in time, is passed over.
    """
    app = App(url="", on_event=on_event)
    tasks = TaskSet()
    taken: set[str] = set()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        event = json.loads(body)
        if event["data"]["id"] in taken:
            return web.json_response({})
        if app.status == 200:
            taken.add(event["data"]["id"])
        app.events.append(event)
        app.raw.append((body, dict(request.headers)))
        if app.on_event is not None:
            tasks.start(app.on_event(app, event), name="app")
        return web.json_response({}, status=app.status)

    server = web.Application()
    server.router.add_post("/webhooks", receive)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = runner.addresses[0][1]
    app.url = f"http://127.0.0.1:{bound}/webhooks"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        app._session = session
        try:
            yield app
        finally:
            await tasks.close()
            await runner.cleanup()


@asynccontextmanager
async def serving(
    folder: Path, on_event: OnEvent | None = None, **env: Any
) -> AsyncIterator[tuple[App, OffhookProcess]]:
    """Run a server and the app that gets its webhooks; the server ends in good order."""
    async with running_app(on_event) as app:
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url, **env)
        app.api = server.api
        try:
            yield app, server
        finally:
            assert await stop_offhook(server) == 0


def free_port() -> int:
    """Return a TCP and UDP port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
