"""kill -9 of a whole server with calls up: nothing that was to be told is lost, and the calls are ended."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from tests.fakes.server import App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

CALLS = 6
RING_ONLY = "sip:+15550000000"
FORK = "udp:127.0.0.1:9"


async def answer_and_tap(app: App, event: dict[str, Any]) -> None:
    """Answer all calls but one number's; fork and stream each."""
    data = event["data"]
    payload = data["payload"]
    call = payload["call_control_id"]
    if data["event_type"] == "call.initiated" and not RING_ONLY.endswith(payload["to"]):
        await app.act(call, "answer", client_state="c3RhdGU=", send_silence_when_idle=True)
    elif data["event_type"] == "call.answered":
        await app.act(call, "fork_start", rx=FORK, tx=FORK)
        await app.act(call, "streaming_start", stream_url="ws://127.0.0.1:1/nobody")


def stored_ids(directory: Path) -> set[str]:
    """Return the ids of all events in the file that the killed server left."""
    with sqlite3.connect(f"file:{directory}/data/offhook.sqlite3?mode=ro", uri=True) as db:
        ids = {row[0] for row in db.execute("SELECT event_id FROM deliveries")}
    db.close()
    return ids


async def call_and_be_cut_off(phone: Phone, server: OffhookProcess, user: str) -> CallResult | None:
    """Call until cancelled: no one will say goodbye."""
    with suppress(asyncio.CancelledError):
        return await phone.call(CallPlan(uri=f"{user}@127.0.0.1:{server.sip_port}", hang_up_after_play=False))
    return None


async def test_every_event_before_the_kill_arrives_with_its_id_and_every_call_ends(tmp_path: Path) -> None:
    async with running_app(answer_and_tap) as app, Phone() as phone:
        app.status = 500
        first = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = first.api
        users = [RING_ONLY, *(f"sip:+1555000000{n}" for n in range(1, CALLS))]
        calls = [asyncio.create_task(call_and_be_cut_off(phone, first, user)) for user in users]
        # A refused attempt holds the next event of its call back, not for ever: all come to be tried.
        await app.wait_for(lambda app: len(_distinct(app, "call.fork.started")) == CALLS - 1, 30)
        seen = {event["data"]["id"]: event["data"] for event in app.events}
        await first.kill()
        before = stored_ids(tmp_path)
        assert set(seen) <= before, "what was heard of is on disk"
        assert "webhook attempt failed" in first.log()

        app.status = 200
        app.on_event = None
        app.events.clear()
        second = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        try:
            await app.wait_for(lambda app: len(_distinct(app, "call.hangup")) == CALLS, 30)
            await app.wait_for(lambda app: before <= _ids(app), 30)
            log = second.log()
        finally:
            assert await stop_offhook(second) == 0
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls)

    again = {event["data"]["id"]: event["data"] for event in app.events}
    for event_id, data in seen.items():
        assert again[event_id] == data, "the same event, not one like it"
    assert all(count == 1 for count in Counter(event["data"]["id"] for event in app.events).values())
    legs = {data["payload"]["call_leg_id"] for data in seen.values()}
    assert len(legs) == CALLS
    for leg in legs:
        types = app.types(leg)
        assert types[-1] == "call.hangup", f"nothing follows the hangup: {types}"
        assert types.count("call.hangup") == 1
        assert types[0] == "call.initiated", f"in order: {types}"
        assert types.count("call.fork.started") == types.count("call.fork.stopped"), types
        hangup = next(
            event["data"]["payload"]
            for event in app.events
            if event["data"]["event_type"] == "call.hangup" and event["data"]["payload"]["call_leg_id"] == leg
        )
        assert (hangup["hangup_cause"], hangup["hangup_source"]) == ("unspecified", "unknown")
        if len(types) > 2:
            assert hangup["client_state"] == "c3RhdGU="
    assert "calls were cut off by the end of the last run" in log


async def test_a_call_that_had_ended_is_not_ended_again(tmp_path: Path) -> None:
    async with running_app() as app, Phone() as phone:
        app.status = 500
        first = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        result = await phone.call(CallPlan(uri=f"sip:a@127.0.0.1:{first.sip_port}", ring_timeout_s=0.3))
        assert result.outcome == "no answer"
        await app.wait_for(lambda app: len(_distinct(app, "call.hangup")) == 1)
        await first.kill()
        app.status = 200
        app.events.clear()
        second = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        try:
            await app.wait_for(lambda app: "call.hangup" in app.types())
            await asyncio.sleep(1.0)
        finally:
            assert await stop_offhook(second) == 0
        assert app.types() == ["call.initiated", "call.hangup"]


def _distinct(app: App, event_type: str) -> set[str]:
    return {event["data"]["id"] for event in app.events if event["data"]["event_type"] == event_type}


def _ids(app: App) -> set[str]:
    return {event["data"]["id"] for event in app.events}
