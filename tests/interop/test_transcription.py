"""A running server whose speech service refuses it: another engine goes on, and the app is told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import telnyx

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, running_app, start_offhook, stop_offhook
from tests.fakes.vendors.assemblyai import FakeAssemblyAi
from tests.fakes.vendors.host import KEY, Plan

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def test_another_engine_goes_on_where_a_service_refuses_and_the_app_is_told(tmp_path: Path) -> None:
    heard = asyncio.Event()
    at_least_three = {
        "transcription_engine": "Google",
        "enable_speaker_diarization": True,
        "min_speaker_count": 3,
    }

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call, kind = event["data"]["payload"]["call_control_id"], event["data"]["event_type"]
        if kind == "call.initiated":
            await app.act(call, "answer")
        elif kind == "call.answered":
            await app.act(call, "transcription_start", transcription_engine_config=at_least_three)
            await app.act(call, "transcription_start", transcription_engine="Google", interim_results=True)
        elif kind == "call.transcription":
            heard.set()

    async with (
        FakeAssemblyAi(Plan(refuse=401)).serving() as host,
        running_app(on_event) as app,
        Phone() as phone,
    ):
        (tmp_path / "script.json").write_text(json.dumps([{"at_ms": 300, "text": "good morning"}]))
        (tmp_path / "offhook.toml").write_text(
            '[speech]\nengines = { Google = "assemblyai" }\ndefault_engine = "scripted"\nscript = "script.json"\n'
            f'fallback = "scripted"\n[assemblyai]\napi_key = "{KEY}"\nurl = "{host.address}"\n'
        )
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            plan = CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", digits="1", tail_s=0.2)
            async with asyncio.timeout(60):
                await phone.call(plan, play_when=heard)
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    [(action, status, told)] = app.refused
    assert (action, status) == ("transcription_start", 422)
    assert (told["errors"][0]["code"], told["errors"][0]["source"]["pointer"]) == (
        "10038",
        "/transcription_engine_config/min_speaker_count",
    )
    of_kind = {event["data"]["event_type"]: event["data"]["payload"] for event in app.events}
    failed = of_kind["call.transcription.failed"]
    assert (failed["engine"], failed["fallback_engine"]) == ("Google", "scripted")
    assert KEY not in server.log()
    data = of_kind["call.transcription"]["transcription_data"]
    assert (data["transcript"], data["engine"], data["served_by"]) == ("good morning", "Google", "scripted")
    client = telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api, public_key=server.public_key)
    for body, headers in app.raw:
        assert client.webhooks.unwrap(body.decode(), headers=headers) is not None
