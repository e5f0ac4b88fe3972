"""INFO and REFER with sipp as the phone, from the command to the webhooks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.server import App, running_app
from tests.interop.test_calls_out import callee, dial, hangup_of, running_server, scenario

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

SEND = """
  <send retrans="500">
    <![CDATA[
      {method} [$target] SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: <sip:bob@[local_ip]:[local_port]>;tag=[pid]SIPpTag01[call_number]
      To: [$peer]
      Call-ID: [call_id]
      CSeq: {number} {method}
      Contact: <sip:[local_ip]:[local_port];transport=[transport]>
      {headers}
      Content-Length: [len]

      {body}
    ]]>
  </send>
  <recv response="200"/>
"""


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running_app() as app:
        yield app


def info(number: int, kind: str, body: str) -> str:
    return SEND.format(method="INFO", number=number, headers=f"Content-Type: {kind}", body=body)


def notify(number: int, line: str, state: str) -> str:
    headers = f"Event: refer\n      Subscription-State: {state}\n      Content-Type: message/sipfrag"
    return SEND.format(method="NOTIFY", number=number, headers=headers, body=line)


def told(app: App, prefix: str) -> list[dict[str, Any]]:
    return [event["data"] for event in app.events if event["data"]["event_type"].startswith(prefix)]


@pytest.mark.parametrize(
    ("last", "event", "status"),
    [("SIP/2.0 200 OK", "call.refer.completed", 200), ("SIP/2.0 486 Busy Here", "call.refer.failed", 486)],
)
async def test_a_phone_takes_and_presses_infos_and_follows_a_referral(
    app: App, tmp_path: Path, last: str, event: str, status: int
) -> None:
    pressed = (
        info(1, "application/dtmf-relay", "Signal=5")
        + info(2, "application/dtmf", "#")
        + info(3, "text/plain", "hello")
    )
    notified = notify(4, "SIP/2.0 100 Trying", "active;expires=60") + notify(5, last, "terminated")
    phone = scenario(tmp_path, "signals", pressed=pressed, notified=notified)
    async with running_server(app, tmp_path) as server, callee(tmp_path, *phone) as port:
        call = (await dial(server, f"sip:bob@127.0.0.1:{port}"))["call_control_id"]
        await app.wait_for(lambda app: "call.answered" in app.types())
        await app.act(call, "gather", terminating_digit="#", gather_id="pin")
        await app.act(call, "send_sip_info", content_type="application/json", body='"hello"')
        await app.wait_for(lambda app: "call.sip_info.received" in app.types())
        await app.act(
            call, "refer", sip_address="sip:desk@pbx.example",
            sip_auth_username="us", sip_auth_password="secret",
        )  # fmt: skip
        await app.wait_for(lambda app: event in app.types())
        await app.act(call, "hangup")
        await hangup_of(app)
        assert "secret" not in server.log()
    assert app.refused == []
    assert [each["payload"]["digit"] for each in told(app, "call.dtmf")] == ["5", "#"]
    [end] = told(app, "call.gather")
    assert (end["payload"]["status"], end["payload"]["digits"]) == ("valid", "5")
    [heard] = told(app, "call.sip_info")
    assert (heard["payload"]["content_type"], heard["payload"]["body"].strip()) == ("text/plain", "hello")
    refers = [
        (each["event_type"], each["payload"]["sip_notify_response"]) for each in told(app, "call.refer")
    ]
    assert refers == [("call.refer.started", 100), (event, status)]
