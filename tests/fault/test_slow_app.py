"""An app that stops reading for ten seconds: it loses its own oldest audio, and nobody else loses anything."""

import asyncio
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fault.test_streams_that_fail import listening_socket, resident_kib, streams_of

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

CALLS = 20
STALL_S = 10.0
GROWTH_KIB_MAX = 1024
MARKS = ["one", "two", "three"]
DIGITS = "12#"


@dataclass
class Apps:
    """The far ends of all streams; that of the first call does not read between `stall` and `read_on`."""

    stall: asyncio.Event = field(default_factory=asyncio.Event)
    read_on: asyncio.Event = field(default_factory=asyncio.Event)
    frames: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def take(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        name = connection.request.path
        frames = self.frames.setdefault(name, [])
        async with asyncio.TaskGroup() as group:
            if name == "/slow":
                group.create_task(self.stop_reading(connection))
            async for message in connection:
                frames.append(json.loads(message))

    async def stop_reading(self, connection: ServerConnection) -> None:
        await self.stall.wait()
        connection.transport.pause_reading()
        for name in MARKS:
            await connection.send(json.dumps({"event": "mark", "mark": {"name": name}}))
        await self.read_on.wait()
        connection.transport.resume_reading()

    def of_slow(self, event: str) -> list[dict[str, Any]]:
        """Return the frames of one kind that the slow app got."""
        return [frame for frame in self.frames["/slow"] if frame["event"] == event]


async def start_stream(app: App, event: dict[str, Any], base: str) -> None:
    data = event["data"]
    call = data["payload"]["call_control_id"]
    if data["event_type"] == "call.initiated":
        await app.act(call, "answer", send_silence_when_idle=True)
    elif data["event_type"] == "call.answered":
        slow = "slow" in data["payload"]["from"]
        # Wide audio fills sooner what the kernel would keep.
        wide = {"stream_codec": "L16", "stream_bidirectional_sampling_rate": 16000} if slow else {}
        await app.act(
            call,
            "streaming_start",
            stream_url=f"{base}/{'slow' if slow else call}",
            stream_track="both_tracks",
            stream_bidirectional_mode="rtp",
            **wide,
        )


async def call(phone: Phone, number: int, port: int, hang_up: asyncio.Event) -> str:
    """Talk all the time; the first phone presses keys while its app does not read."""
    slow = number == 0
    plan = CallPlan(
        uri=f"sip:app@127.0.0.1:{port}",
        caller="slow" if slow else f"phone{number}",
        play=Sound(bytes(16_000 * (8 if slow else 30)), 8_000),
        digits=DIGITS if slow else "",
        tail_s=30.0,
    )
    return (await phone.call(plan, hang_up_when=hang_up)).outcome


async def test_an_app_that_reads_nothing_for_10_s_loses_its_oldest_audio_and_costs_nobody_else(
    tmp_path: Path,
) -> None:
    apps = Apps()
    listener = listening_socket()
    base = f"ws://127.0.0.1:{listener.getsockname()[1]}"
    hang_up = asyncio.Event()
    async with (
        running_app(lambda app, event: start_stream(app, event, base)) as app,
        serve(apps.take, sock=listener, max_queue=4, close_timeout=1),
        Phone() as phone,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(call(phone, number, server.sip_port, hang_up))
                    for number in range(CALLS)
                ]
                await app.wait_for(lambda app: app.types().count("streaming.started") == CALLS)
                await asyncio.sleep(2.0)
                before_kib = resident_kib(server.pid)
                apps.stall.set()
                await asyncio.sleep(STALL_S)
                grown_kib = resident_kib(server.pid) - before_kib
                apps.read_on.set()
                await asyncio.sleep(2.0)
                counters = await streams_of(server)
                hang_up.set()
            await app.wait_for(lambda app: app.types().count("call.hangup") == CALLS)
        finally:
            assert await stop_offhook(server) == 0
    assert app.refused == []
    assert [task.result() for task in calls] == ["answered"] * CALLS
    assert grown_kib < GROWTH_KIB_MAX

    (start,) = apps.of_slow("start")
    slow_id = start["stream_id"]
    dropped = counters[slow_id]["frames_dropped"]
    assert dropped > 0
    assert {key: told["frames_dropped"] for key, told in counters.items() if told["frames_dropped"]} == {
        slow_id: dropped
    }
    # Nothing but its oldest audio is missing, and it is told so once.
    (error,) = apps.of_slow("error")
    assert error["payload"]["code"] == 100002
    assert [frame["mark"]["name"] for frame in apps.of_slow("mark")] == MARKS
    assert "".join(frame["dtmf"]["digit"] for frame in apps.of_slow("dtmf")) == DIGITS
    outbound = [
        int(frame["media"]["timestamp"])
        for frame in apps.of_slow("media")
        if frame["media"]["track"] == "outbound"
    ]
    holes = [(then - now) // 20 - 1 for now, then in pairwise(outbound) if then - now > 25]
    assert len(holes) == 1
    assert 0 < holes[0] <= dropped
    # All that is sent is numbered without a gap, by every stream.
    assert len(apps.frames) == CALLS
    for frames in apps.frames.values():
        numbers = [int(frame["sequence_number"]) for frame in frames if "sequence_number" in frame]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) > 100
