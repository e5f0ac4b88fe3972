"""Streams as their operator and their app steer them: how many, which one gives way, what is shown of each."""

import asyncio
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, running_app, start_offhook, stop_offhook
from tests.interop.test_cli_tools import tool

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TIMEOUT_S = 30.0


@dataclass
class Audience:
    """An app whose sockets note what they hear, each by its path."""

    frames: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    async def take(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        mine = self.frames.setdefault(connection.request.path, [])
        async for message in connection:
            frame = json.loads(message)
            mine.append(frame)
            if frame["event"] != "media":
                self.order.append(frame["event"])

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        self.order.append(data["event_type"])
        if data["event_type"] == "call.initiated":
            await app.act(data["payload"]["call_control_id"], "answer", send_silence_when_idle=True)

    async def heard(self, path: str, event: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not any(frame["event"] == event for frame in self.frames.get(path, [])):
                await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def call_with(folder: Path, audience: Audience, act: Any, toml: str = "") -> App:
    """Make a call, let `act(app, call, base_url)` work on it once it is answered, then hang up."""
    folder.joinpath("offhook.toml").write_text(toml)
    hang_up = asyncio.Event()
    async with (
        running_app(audience.on_event) as app,
        serve(audience.take, "127.0.0.1", 0) as streams,
        Phone() as phone,
    ):
        base = f"ws://127.0.0.1:{next(iter(streams.sockets)).getsockname()[1]}/"
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api

        async def work() -> None:
            try:
                await app.wait_for(lambda app: "call.answered" in app.types())
                await act(app, app.events[0]["data"]["payload"]["call_control_id"], base)
            finally:
                hang_up.set()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
                await phone.call(
                    CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", hang_up_after_play=False),
                    hang_up_when=hang_up,
                )
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    return app


async def shown(app: App, *arguments: str) -> list[dict[str, Any]]:
    """Return what `offhook streams --json` prints."""
    command = ["streams", "--url", app.api, "--api-key", API_KEY, *arguments]
    async with asyncio.timeout(TIMEOUT_S), tool(*command) as running:
        assert await running.rest() == 0
    return running.events


async def test_eight_streams_listen_at_once_and_the_ninth_is_refused(tmp_path: Path) -> None:
    audience = Audience()

    async def act(app: App, call: str, base: str) -> None:
        ids = []
        for number in range(8):
            told = await app.act(call, "streaming_start", stream_url=f"{base}{number}?token=hidden")
            ids.append(told["data"]["stream_id"])
        ninth = await app.act(call, "streaming_start", stream_url=f"{base}8")
        assert [error["code"] for error in ninth["errors"]] == ["90045"]
        for number in range(8):
            await audience.heard(f"/{number}?token=hidden", "media")
        live = await shown(app, "--state", "begun", "--call", call)
        assert [item["stream_id"] for item in live] == ids
        for item in live:
            assert item["counters"]["rx_frames"] > 0
            assert item["stream_url"].endswith("?...")
        await app.act(call, "streaming_stop")
        await app.wait_for(lambda app: app.types().count("streaming.stopped") == 8)
        ended = await shown(app, "--state", "stopped")
        assert {item["stream_id"] for item in ended} == set(ids)
        assert {item["stop_reason"] for item in ended} == {"command"}
        assert all(item["counters"]["frames_sent"] > 1 for item in ended), "kept after the end"

    await call_with(tmp_path, audience, act)


async def test_a_stream_that_failed_is_shown_with_the_reason(tmp_path: Path) -> None:
    audience = Audience()

    async def act(app: App, call: str, base: str) -> None:
        url = f"ws://user:hidden@127.0.0.1:{free_port()}/?token=hidden"
        told = await app.act(call, "streaming_start", stream_url=url)
        await app.wait_for(lambda app: "streaming.failed" in app.types())
        (item,) = await shown(app, "--state", "failed")
        assert item["stream_id"] == told["data"]["stream_id"]
        assert "refused" in item["failure_detail"]
        assert "hidden" not in json.dumps(item)
        payload = next(
            e["data"]["payload"] for e in app.events if e["data"]["event_type"] == "streaming.failed"
        )
        assert payload["failure_reason"] == item["failure_reason"] == "connection_failed"
        assert payload["failure_detail"] == item["failure_detail"]
        assert payload["stream_type"] == "websocket"
        assert payload["stream_params"] == {"stream_url": url, "track": "inbound_track"}

    # One try, so that the reason comes at once.
    await call_with(tmp_path, audience, act, "[stream]\nconnect_retry_s = []\n")


async def test_with_room_for_one_a_fork_ends_the_stream_first(tmp_path: Path) -> None:
    audience = Audience()

    async def act(app: App, call: str, base: str) -> None:
        await app.act(call, "streaming_start", stream_url=f"{base}one")
        await audience.heard("/one", "media")
        await app.act(call, "streaming_start", stream_url=f"{base}two")
        await audience.heard("/two", "media")
        port = free_port()
        await app.act(call, "fork_start", rx=f"udp:127.0.0.1:{port}", tx=f"udp:127.0.0.1:{port}")
        await app.wait_for(lambda app: "call.fork.started" in app.types())

    app = await call_with(tmp_path, audience, act, "[compat]\nsingle_stream = true\n")
    assert app.refused == []
    for path in ("/one", "/two"):
        assert audience.frames[path][-1]["stop"]["reason"] == "replaced"
    assert [kind for kind in audience.order if kind != "call.initiated"] == [
        "call.answered",
        "connected",
        "streaming.started",
        "start",
        "stop",
        "streaming.stopped",
        "connected",
        "streaming.started",
        "start",
        "stop",
        "streaming.stopped",
        "call.fork.started",
        "call.fork.stopped",
        "call.hangup",
    ]


async def test_what_the_app_is_sent_and_what_it_speaks_may_differ_and_the_log_warns(tmp_path: Path) -> None:
    audience = Audience()

    async def act(app: App, call: str, base: str) -> None:
        options = {"stream_bidirectional_mode": "rtp", "stream_bidirectional_codec": "PCMA"}
        await app.act(call, "streaming_start", stream_url=f"{base}x", stream_codec="PCMU", **options)
        await audience.heard("/x", "media")

    await call_with(tmp_path, audience, act)
    log = (tmp_path / "stderr.log").read_text()
    assert "if it hears static, set stream_codec" in log
