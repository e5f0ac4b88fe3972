"""Sounds that an app lets a call hear, as the phone at its other end hears them."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fakes.sounds import pcm_wav
from tests.interop.test_two_way import purity_db, tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


async def test_the_phone_hears_a_file_by_url_then_one_from_the_request_until_it_is_stopped(
    tmp_path: Path,
) -> None:
    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            await app.act(call, "playback_start", audio_url=file_url)
            content = base64.b64encode(pcm_wav(tone(500, 500))).decode()
            await app.act(call, "playback_start", playback_content=content, loop="infinity")
        elif data["event_type"] == "call.playback.started" and data["payload"]["media_url"] is None:
            await asyncio.sleep(1.2)
            await app.act(call, "playback_stop")
        elif data["event_type"] == "call.playback.ended" and data["payload"]["media_url"] is None:
            await asyncio.sleep(0.5)
            await app.act(call, "hangup")

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=pcm_wav(tone(1_000, 1_000, 44_100), rate_hz=44_100))

    application = web.Application()
    application.router.add_get("/hello.wav", file)
    files = web.AppRunner(application)
    await files.setup()
    await web.TCPSite(files, "127.0.0.1", 0).start()
    file_url = f"http://127.0.0.1:{files.addresses[0][1]}/hello.wav"
    heard: list[bytes] = []
    async with running_app(on_event) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            await phone.call(
                CallPlan(
                    uri=f"sip:app@127.0.0.1:{server.sip_port}",
                    codecs=("PCMU",),
                    record=heard.append,
                    hang_up_after_play=False,
                    duration_s=15,
                )
            )
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
            await files.cleanup()
        assert app.refused == []
    told = [kind for kind in app.types() if kind.startswith("call.playback")]
    assert told == ["call.playback.started", "call.playback.ended"] * 2
    ended = [event["data"]["payload"] for event in app.events if event["data"]["event_type"] == told[1]]
    assert [payload["status"] for payload in ended] == ["completed", "cancelled"]
    window = 1_600
    pcm = b"".join(heard)
    windows = [pcm[at : at + window] for at in range(0, len(pcm) - window, window)]
    assert 8 <= sum(any(each) and purity_db(each, 1_000) > 15 for each in windows) <= 10, (
        "a second of the file"
    )
    assert 8 <= sum(any(each) and purity_db(each, 500) > 15 for each in windows) <= 22, (
        "the loop until it was stopped"
    )
