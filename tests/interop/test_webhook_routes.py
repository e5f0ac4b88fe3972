"""Where the webhooks of a real call go, through a real server, the official parameters and the kit's verifier."""

from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from offhook.kit.webhook_receiver import ReceivedWebhook, WebhookReceiver
from tests.fakes.server import App, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def test_an_answer_sends_one_event_elsewhere_by_get_and_the_rest_to_its_own_url(tmp_path: Path) -> None:
    ends: list[ReceivedWebhook] = []
    rest: list[ReceivedWebhook] = []
    base: list[str] = []

    async def answer(app: App, event: dict[str, Any]) -> None:
        if event["data"]["event_type"] == "call.initiated":
            await app.act(
                event["data"]["payload"]["call_control_id"],
                "answer",
                webhook_url=f"{base[0]}/rest",
                webhook_urls={"call.hangup": f"{base[1]}/ends?from=offhook"},
                webhook_urls_method="GET",
                webhook_retries_policies={"call.hangup": {"retries_ms": [100]}},
            )

    async with running_app(answer) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        receivers = [WebhookReceiver(got.append, public_key=server.public_key) for got in (rest, ends)]
        base += [f"http://127.0.0.1:{await receiver.start()}" for receiver in receivers]
        try:
            await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{server.sip_port}", duration_s=0.5))
            await app.wait_for(lambda _: bool(ends))
        finally:
            await stop_offhook(server)
            for receiver in receivers:
                await receiver.close()
    assert app.refused == []
    assert app.types() == ["call.initiated"]
    assert [(each.event_type, each.problem) for each in rest] == [("call.answered", None)]
    (end,) = ends
    assert (end.event_type, end.problem, end.call_control_id) == (
        "call.hangup",
        None,
        rest[0].call_control_id,
    )
    assert end.payload["from"], "the caller, beside the parameter of the same name in the URL"
    assert end.payload["hangup_cause"] == "normal_clearing"
