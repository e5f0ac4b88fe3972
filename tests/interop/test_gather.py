"""Keys that a caller presses, gathered on a running server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


async def test_what_the_caller_presses_ends_the_entry_and_its_rest_is_only_told(tmp_path: Path) -> None:
    ready = asyncio.Event()

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif event["data"]["event_type"] == "call.answered":
            await app.act(call, "gather", gather_id="pin", minimum_digits=4, maximum_digits=4)
            ready.set()

    async with running_app(on_event) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            plan = CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", digits="49*15", tail_s=0.3)
            async with asyncio.timeout(20):
                await phone.call(plan, play_when=ready)
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    assert app.refused == []
    [end] = [event["data"]["payload"] for event in app.events if "gather" in event["data"]["event_type"]]
    assert (end["status"], end["digits"], end["gather_id"]) == ("valid", "49*1", "pin")
    told = [kind for kind in app.types() if kind in ("call.dtmf.received", "call.gather.ended")]
    assert told == [*["call.dtmf.received"] * 4, "call.gather.ended", "call.dtmf.received"]
