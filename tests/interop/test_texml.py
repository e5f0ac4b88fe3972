"""TeXML streams on a running server: started by a form, followed by signed forms."""

import asyncio
import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from aiohttp import web

from tests.fakes.server import API_KEY, App
from tests.interop.test_stream_control import Audience, call_with

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def test_a_status_callback_tells_start_and_stop_as_forms(tmp_path: Path) -> None:
    forms: list[dict[str, str]] = []
    stopped = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        assert len(base64.b64decode(request.headers["telnyx-signature-ed25519"])) == 64
        forms.append(dict(parse_qsl(body.decode() or request.query_string, keep_blank_values=True)))
        if forms[-1]["StreamEvent"] == "stream-stopped":
            stopped.set()
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/status", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    callback = f"http://127.0.0.1:{runner.addresses[0][1]}/status"
    audience = Audience()
    answers: list[dict[str, Any]] = []

    async def act(app: App, call: str, base: str) -> None:
        path = f"{app.api}/texml/Accounts/acc/Calls/{call}/Streams"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:

            async def post(url: str, **fields: str) -> None:
                async with session.post(url, data=fields) as answer:
                    assert answer.status == 200, await answer.text()
                    answers.append(await answer.json())

            await post(f"{path}.json", Url=f"{base}mine", Name="mine", StatusCallback=callback)
            await audience.heard("/mine", "start")
            await post(f"{path}/{answers[0]['sid']}.json", Status="stopped")
            await post(
                f"{path}.json", Url="ws://127.0.0.1:9/", StatusCallback=callback, StatusCallbackMethod="GET"
            )
            async with asyncio.timeout(30):
                while len(forms) < 3:
                    await asyncio.sleep(0.01)

    try:
        app = await call_with(tmp_path, audience, act)
    finally:
        await runner.cleanup()
    call = app.events[0]["data"]["payload"]["call_control_id"]
    told = [(form["StreamEvent"], form["StreamSid"]) for form in forms]
    first, second = answers[0]["sid"], answers[2]["sid"]
    assert told == [("stream-started", first), ("stream-stopped", first), ("stream-failed", second)]
    assert {(form["AccountSid"], form["CallSid"], form["CallSidLegacy"]) for form in forms} == {
        ("acc", call, call)
    }
    assert forms[0]["StreamName"] == "mine"
    assert forms[2]["StreamError"].startswith("connection_failed: ")
    assert app.types()[-1] == "call.hangup"
    assert not [kind for kind in app.types() if "-" in kind], "callbacks are no webhooks"
