"""Servers of sounds in trouble, or up to no good: what the app is told, and that the call goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fakes.sounds import pcm_wav

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

MB = 1024 * 1024
SENT_MAX = 64 * MB
"""Far more than is taken, far less than is offered: buffers on the way are filled, too."""


class BadShop:
    """Serves one kind of trouble under each name."""

    def __init__(self) -> None:
        self.sent = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.match_info["name"]:
            case "good.wav":
                return web.Response(body=pcm_wav(b"\x10\x20" * 4_000))
            case "page.mp3":
                return web.Response(text="<!doctype html>")
            case "zeros.mp3":
                return web.Response(body=b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(MB))
            case "circle.wav":
                raise web.HTTPFound("/circle.wav")
            case "hang.wav":
                await asyncio.sleep(60)
            case "slow.wav":
                return await self._stream(request, piece=b"RIFF", pause_s=0.5)
            case "endless.wav":
                return await self._stream(request, piece=bytes(MB), pause_s=0)
            case "cut.wav":
                assert request.transport is not None
                request.transport.abort()
        raise web.HTTPNotFound

    async def _stream(self, request: web.Request, *, piece: bytes, pause_s: float) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(1024 * MB)})
        await answer.prepare(request)
        for _ in range(1024):
            await answer.write(piece)
            self.sent += len(piece)
            await asyncio.sleep(pause_s)
        return answer


@asynccontextmanager
async def shop() -> AsyncIterator[tuple[str, BadShop]]:
    bad = BadShop()
    application = web.Application()
    application.router.add_get("/{name}", bad.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", bad
    finally:
        await runner.cleanup()


def memory_mb(pid: int) -> float:
    """Return what a process has had in memory at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


async def test_every_trouble_with_a_sound_is_told_once_and_the_next_is_heard(tmp_path: Path) -> None:
    expected = {
        "nope.wav": "file_not_found",
        "page.mp3": "failed",
        "zeros.mp3": "failed",
        "circle.wav": "failed",
        "cut.wav": "failed",
        "endless.wav": "failed",
        "hang.wav": "failed",
        "slow.wav": "failed",
        "good.wav": "completed",
    }

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            for name in expected:
                await app.act(call, "playback_start", audio_url=f"{url}/{name}")
        elif data["event_type"] == "call.playback.ended" and "good" in data["payload"]["media_url"]:
            await app.act(call, "hangup")

    async with shop() as (url, bad), running_app(on_event) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        before_mb = memory_mb(server.pid)
        try:
            await phone.call(CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", duration_s=60))
            await app.wait_for(lambda app: "call.hangup" in app.types())
            assert memory_mb(server.pid) - before_mb < 80
        finally:
            assert await stop_offhook(server) == 0
        assert bad.sent < SENT_MAX
    ended = [
        (payload["media_url"].rpartition("/")[2], payload["status"], bool(payload["status_detail"]))
        for payload in (event["data"]["payload"] for event in app.events)
        if "status" in payload
    ]
    assert ended == [(name, status, status != "completed") for name, status in expected.items()]
    assert app.types().count("call.playback.started") == 1
    assert url not in server.log(), "what an app names is no matter of the log"
