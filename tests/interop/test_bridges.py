"""Two calls that hear each other through the whole server: in any codecs, by tone, with streams on both."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.edge.sip import Listen
from offhook.kit.answering import AnsweringPhone, AnswerPlan
from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, free_port, serving
from tests.fakes.tones import pure_ms, tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

A_HZ, B_HZ = 600, 1000
CALL_MS = 4000


@asynccontextmanager
async def server(folder: Path, on_event: Any) -> AsyncIterator[tuple[App, str]]:
    async with serving(folder, on_event) as (app, process):
        yield app, f"sip:app@127.0.0.1:{process.sip_port}"
    assert "Traceback" not in process.log()
    assert app.refused == []


def told(app: App, event_type: str) -> list[dict[str, Any]]:
    return [event["data"]["payload"] for event in app.events if event["data"]["event_type"] == event_type]


def hears(pcm: bytes, hz: float) -> bool:
    """Say whether a second of what was heard is this tone alone."""
    return pure_ms(pcm, hz) >= 1_000


async def talk(phone: Phone, uri: str, caller: str, hz: int, codecs: tuple[str, ...]) -> bytes:
    """Call and speak a tone; return what was heard. `a` hangs up when it has spoken."""
    ear = bytearray()
    plan = CallPlan(
        uri=uri,
        caller=caller,
        codecs=codecs,
        play=Sound(tone(hz, CALL_MS), 8000),
        record=ear.extend,
        hang_up_after_play=caller == "a",
        tail_s=0.1,
    )
    result = await phone.call(plan)
    assert result.outcome == "answered"
    return bytes(ear)


@pytest.mark.parametrize(
    ("codecs_a", "codecs_b"),
    [
        (("PCMU",), ("PCMU",)),
        (("PCMU",), ("PCMA",)),
        (("PCMU",), ("G722",)),
        (("PCMA",), ("OPUS",)),
        (("G722",), ("L16",)),
    ],
    ids=["pcmu-pcmu", "pcmu-pcma", "pcmu-g722", "pcma-opus", "g722-l16"],
)
async def test_two_callers_hear_each_other_by_tone(
    tmp_path: Path, codecs_a: tuple[str, ...], codecs_b: tuple[str, ...]
) -> None:
    answered: list[str] = []

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            answered.append(call)
            if len(answered) == 2:
                await app.act(call, "bridge", call_control_id=answered[0])

    async with server(tmp_path, on_event) as (app, uri), Phone() as phone:
        async with asyncio.TaskGroup() as both:
            a = both.create_task(talk(phone, uri, "a", A_HZ, codecs_a))
            b = both.create_task(talk(phone, uri, "b", B_HZ, codecs_b))
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    assert hears(a.result(), B_HZ)
    assert hears(b.result(), A_HZ)
    assert app.types().count("call.bridged") == 2
    causes = {payload["from"]: payload["hangup_source"] for payload in told(app, "call.hangup")}
    assert len(causes) == 2, "the end of one ended the other"
    assert set(causes.values()) == {"caller", "callee"}


async def test_streams_of_both_legs_go_on_through_bridge_and_unbridge(tmp_path: Path) -> None:
    frames: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    order: list[str] = []

    async def app_stream(connection: ServerConnection) -> None:
        call = ""
        async for message in connection:
            frame = json.loads(message)
            if frame["event"] == "start":
                call = frame["start"]["call_control_id"]
            elif frame["event"] == "media":
                frames[call, frame["media"]["track"]].append(frame["media"])

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            await app.act(
                call,
                "streaming_start",
                stream_url=url,
                stream_track="both_tracks",
                stream_codec="L16",
                stream_bidirectional_mode="rtp",
                stream_bidirectional_codec="L16",
            )
        elif data["event_type"] == "streaming.started":
            order.append(call)
            if len(order) == 2:
                await asyncio.sleep(0.3)
                await app.act(order[0], "bridge", call_control_id=order[1], park_after_unbridge="self")

    async with serve(app_stream, "127.0.0.1", 0, compression=None) as apps:
        url = f"ws://127.0.0.1:{next(iter(apps.sockets)).getsockname()[1]}/media"
        async with server(tmp_path, on_event) as (app, uri), Phone() as phone:
            calls = [
                asyncio.create_task(talk(phone, uri, "b", A_HZ, ("PCMU",))),
                asyncio.create_task(talk(phone, uri, "b", A_HZ, ("PCMA",))),
            ]
            await app.wait_for(lambda app: app.types().count("call.bridged") == 2)
            await asyncio.sleep(1.5)
            kept, ended = order
            await app.act(ended, "hangup")
            await app.wait_for(lambda app: "call.hangup" in app.types())
            inbound = len(frames[kept, "inbound"])
            await asyncio.sleep(0.5)
            assert len(frames[kept, "inbound"]) > inbound + 15, "the parked leg is streamed on"
            assert app.types().count("call.hangup") == 1
            await app.act(kept, "hangup")
            await asyncio.gather(*calls)
            await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    assert app.types().count("streaming.stopped") == 2
    for call in (kept, ended):
        for track in ("inbound", "outbound"):
            pcm = b"".join(base64.b64decode(media["payload"]) for media in frames[call, track])
            assert hears(pcm, A_HZ), f"{track} of a bridged leg"
        times = [int(media["timestamp"]) for media in frames[call, "inbound"]]
        assert all(later - earlier == 20 for earlier, later in pairwise(times))


@asynccontextmanager
async def transferred(
    folder: Path, plan: AnswerPlan, **parameters: Any
) -> AsyncIterator[tuple[App, "asyncio.Task[bytes]"]]:
    """A caller whose call is transferred to a phone with this plan as soon as it is answered."""

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        incoming = data["payload"].get("direction") == "incoming"
        if data["event_type"] == "call.initiated" and incoming:
            await app.act(data["payload"]["call_control_id"], "answer")
            first.append(data["payload"]["call_control_id"])
        elif data["event_type"] == "call.answered" and data["payload"]["call_control_id"] in first:
            await app.act(first[0], "transfer", to=callee.uri, **parameters)

    first: list[str] = []
    async with (
        AnsweringPhone(plan, Listen("udp", "127.0.0.1", free_port())) as callee,
        server(folder, on_event) as (app, uri),
        Phone() as phone,
    ):
        caller = asyncio.create_task(talk(phone, uri, "b", A_HZ, ("PCMU",)))
        yield app, caller


async def test_a_transfer_to_a_phone_that_answers_in_another_codec(tmp_path: Path) -> None:
    plan = AnswerPlan(play=Sound(tone(B_HZ, 2500), 8000), duration_s=2.6, codecs=("PCMA",))
    async with transferred(tmp_path, plan, preferred_codecs="PCMA") as (app, caller):
        heard = await caller
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    assert hears(heard, B_HZ)
    out = next(payload for payload in told(app, "call.initiated") if payload["direction"] == "outgoing")
    assert app.types(out["call_leg_id"]) == ["call.initiated", "call.answered", "call.bridged", "call.hangup"]
    first = told(app, "call.initiated")[0]
    assert first["call_session_id"] == out["call_session_id"]
    assert out["from"] == first["to"]
    sources = {payload["call_leg_id"]: payload["hangup_source"] for payload in told(app, "call.hangup")}
    assert sources[out["call_leg_id"]] == "callee"


async def test_a_transfer_to_a_busy_phone_leaves_the_caller_up(tmp_path: Path) -> None:
    async with transferred(tmp_path, AnswerPlan(refuse=486)) as (app, caller):
        await app.wait_for(lambda app: "call.hangup" in app.types())
        (end,) = told(app, "call.hangup")
        assert end["hangup_cause"] == "user_busy"
        first = told(app, "call.initiated")[0]
        assert end["call_leg_id"] != first["call_leg_id"]
        assert not caller.done()
        await app.act(first["call_control_id"], "hangup")
        await caller
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    assert "call.bridged" not in app.types()


async def test_a_transfer_to_a_phone_that_never_answers_gives_up_in_time(tmp_path: Path) -> None:
    async with transferred(tmp_path, AnswerPlan(ring_s=60), timeout_secs=5) as (app, caller):
        await app.wait_for(lambda app: "call.hangup" in app.types())
        (end,) = told(app, "call.hangup")
        assert (end["hangup_cause"], end["sip_hangup_cause"]) == ("timeout", "487")
        first = told(app, "call.initiated")[0]
        await app.act(first["call_control_id"], "hangup")
        await caller
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    assert "call.bridged" not in app.types()
