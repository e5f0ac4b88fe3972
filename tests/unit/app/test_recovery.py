"""Promises of `offhook.app.recovery`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offhook.app.recovery import end_calls_of_last_run, missing_callbacks, missing_events
from offhook.call.values import WebhookRoute
from offhook.edge.store import Deliveries, DeliveryRow, Store
from offhook.edge.webhook import Outbox

pytestmark = pytest.mark.unit

NOW = 1_790_000_000.0
COMMON = {"call_control_id": "v3:x", "call_leg_id": "leg", "call_session_id": "s", "connection_id": "1"}
PARTIES = {"from": "+15551", "to": "+15552", "start_time": "2026-11-23T00:00:00.000000Z"}


class StillClock:
    def now(self) -> float:
        return NOW

    def unix_time(self) -> float:
        return NOW


def row(event_type: str, leg: str = "leg", **payload: Any) -> DeliveryRow:
    data = json.dumps({"event_type": event_type, "payload": COMMON | {"call_leg_id": leg} | payload}).encode()
    return DeliveryRow(f"id-{event_type}", leg, event_type, "", data, "http://a/", None, None, NOW, NOW, NOW)


def types(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [event_type for event_type, _ in events]


def test_a_leg_that_only_rang_is_told_to_have_hung_up() -> None:
    events = missing_events([row("call.initiated", client_state=None, **PARTIES)], now=NOW)
    assert types(events) == ["call.hangup"]
    hangup = events[0][1]
    assert hangup | COMMON | PARTIES == hangup
    assert (hangup["hangup_cause"], hangup["hangup_source"]) == ("unspecified", "unknown")


def test_what_was_started_is_told_to_have_stopped_before_the_hangup() -> None:
    rows = [
        row("call.initiated", **PARTIES),
        row("streaming.started", stream_id="a"),
        row("streaming.started", stream_id="b"),
        row("call.fork.started", rx="udp:1", tx="udp:2"),
        row("call.fork.started", rx="udp:1", tx="udp:2"),
        row("streaming.stopped", stream_id="a"),
        row("call.fork.stopped", rx="udp:1", tx="udp:2"),
    ]
    events = missing_events(rows, now=NOW)
    assert types(events) == ["streaming.stopped", "call.fork.stopped", "call.hangup"]
    assert events[0][1]["stream_id"] == "b"


def test_a_sound_that_was_heard_is_told_to_have_ended() -> None:
    rows = [
        row("call.initiated", **PARTIES),
        row("call.playback.started", media_url="http://a/1.wav"),
        row("call.playback.ended", media_url="http://a/1.wav", status="completed"),
        row("call.playback.started", media_url="http://a/2.wav"),
        row("call.speak.started", speak_id="s"),
    ]
    events = missing_events(rows, now=NOW)
    assert types(events) == ["call.playback.ended", "call.speak.ended", "call.hangup"]
    assert (events[0][1]["media_url"], events[0][1]["status"]) == ("http://a/2.wav", "call_hangup")


def test_a_stream_that_failed_is_not_told_to_have_stopped() -> None:
    rows = [
        row("call.initiated"),
        row("streaming.started", stream_id="a"),
        row("streaming.failed", stream_id="a"),
    ]
    assert types(missing_events(rows, now=NOW)) == ["call.hangup"]


def test_the_last_client_state_is_the_one_that_is_told() -> None:
    rows = [
        row("call.initiated", client_state=None),
        row("streaming.started", stream_id="a", client_state="b25l"),
        row("call.answered", client_state="dHdv"),
    ]
    assert {payload["client_state"] for _, payload in missing_events(rows, now=NOW)} == {"dHdv"}


async def test_only_legs_without_an_end_are_ended_and_only_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    deliveries = Deliveries(store)
    outbox = Outbox(deliveries, StillClock())
    try:
        for leg, told in {"ended": ["call.initiated", "call.hangup"], "cut": ["call.initiated"]}.items():
            for event_type in told:
                await outbox.put(
                    event_type,
                    COMMON | {"call_leg_id": leg},
                    occurred_at=NOW,
                    route=WebhookRoute("http://receiver/", "http://second/", 3.0),
                    call_leg_id=leg,
                )
        assert await end_calls_of_last_run(deliveries, outbox, now=NOW) == 1
        assert await end_calls_of_last_run(deliveries, outbox, now=NOW) == 0
        newest = (await deliveries.recent(count_max=1))[0].row
        assert (newest.call_leg_id, newest.event_type) == ("cut", "call.hangup")
        assert (newest.url, newest.failover_url, newest.timeout_s) == (
            "http://receiver/",
            "http://second/",
            3.0,
        )
    finally:
        store.close()


def called_back(event: str, stream_id: str) -> DeliveryRow:
    told = row(event, StreamSid=stream_id, StreamEvent=event)
    return replace(told, event_id=f"{event}-{stream_id}", method="FORM GET", url="http://b/")


def test_a_callback_that_told_a_start_is_owed_the_stop() -> None:
    rows = [
        called_back("stream-started", "a"),
        called_back("stream-failed", "c"),
        called_back("stream-started", "b"),
        called_back("stream-stopped", "a"),
    ]
    assert missing_callbacks(rows) == [rows[2]]


async def test_callbacks_are_ended_at_their_own_address_and_do_not_draw_the_webhooks_there(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path)
    deliveries = Deliveries(store)
    for each in (row("call.initiated", **PARTIES), called_back("stream-started", "a")):
        await deliveries.insert(each, parked=False)
    outbox = Outbox(deliveries, StillClock())
    assert await end_calls_of_last_run(deliveries, outbox, now=NOW) == 1
    found = await store.submit(
        lambda db: list(db.execute("SELECT event_type, url, method, data FROM deliveries"))
    )
    ends = {event: (url, method) for event, url, method, _ in found}
    assert ends["stream-stopped"] == ("http://b/", "FORM GET")
    assert ends["call.hangup"] == ("http://a/", "POST")
    [data] = [json.loads(data) for event, _, _, data in found if event == "stream-stopped"]
    assert (data["payload"]["StreamEvent"], data["payload"]["StreamSid"]) == ("stream-stopped", "a")
    store.close()
