"""Keys that an app presses, as the phone at the other end of the call hears them."""

from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, serving

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

DIGITS = "159w0*#AD"


async def test_the_phone_hears_every_key_in_order_and_once(tmp_path: Path) -> None:
    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            for _ in range(2):
                await app.act(call, "send_dtmf", digits=DIGITS, duration_millis=120, command_id="once")

    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        result = await phone.call(
            CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", codecs=("PCMU",), duration_s=4)
        )
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert app.refused == []
    assert result.digits == DIGITS.replace("w", "")
