"""Calls of a real phone go to the application that was made for them over the API."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import telnyx

from offhook.app.settings import DEFAULT_APPLICATION_ID
from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ROUTES = """
[[routes]]
application = "billing"
called = ["+4930*"]
sources = ["127.0.0.0/8"]
"""


async def hang_up(app: App, event: dict[str, Any]) -> None:
    if event["data"]["event_type"] == "call.initiated":
        await app.act(event["data"]["payload"]["call_control_id"], "hangup")


async def test_calls_go_to_the_application_they_are_for_also_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "offhook.toml").write_text(ROUTES, encoding="utf-8")
    async with running_app(hang_up) as default, running_app(hang_up) as billing, Phone() as phone:
        made = ""
        for start in range(2):
            server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=default.url)
            default.api = billing.api = server.api
            if start == 0:
                async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client:
                    answer = await client.call_control_applications.create(
                        application_name="billing", webhook_event_url=billing.url
                    )
                assert answer.data is not None
                made = answer.data.id or ""

            async def call(user: str, port: int = server.sip_port) -> CallResult:
                return await phone.call(CallPlan(uri=f"sip:{user}@127.0.0.1:{port}"))

            assert [(await call(user)).status for user in ("+493012", made, "+4989")] == [603, 603, 603]
            assert await stop_offhook(server) == 0
    ids = [{event["data"]["payload"]["connection_id"] for event in app.events} for app in (default, billing)]
    assert ids == [{DEFAULT_APPLICATION_ID}, {made}]
    assert default.types().count("call.initiated") == 2
    assert billing.types().count("call.initiated") == 4


async def test_a_call_that_gets_no_command_ends_in_time(tmp_path: Path) -> None:
    async with running_app() as app, Phone() as phone:
        server = await start_offhook(tmp_path)
        async with telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client:
            answer = await client.call_control_applications.create(
                application_name="slow",
                webhook_event_url=app.url,
                first_command_timeout=True,
                first_command_timeout_secs=1,
            )
        assert answer.data is not None
        result = await phone.call(CallPlan(uri=f"sip:{answer.data.id}@127.0.0.1:{server.sip_port}"))
        nobody = await phone.call(CallPlan(uri=f"sip:x@127.0.0.1:{server.sip_port}"))
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert await stop_offhook(server) == 0
    assert (result.status, nobody.status) == (480, 480)
    hangup = app.events[-1]["data"]["payload"]
    assert hangup["hangup_cause"] == "timeout"
    start, end = (datetime.fromisoformat(hangup[name]) for name in ("start_time", "end_time"))
    assert timedelta(seconds=1) <= end - start < timedelta(seconds=3)
