"""The answering phone against the calling one and against the whole server."""

import asyncio
from pathlib import Path

import pytest

from offhook.edge.sip import Listen
from offhook.kit.answering import AnsweringPhone, AnswerPlan
from offhook.kit.audio import Sound
from offhook.kit.phone import CallPlan, Phone, PhoneEvent
from offhook.kit.stream_server import StreamServer
from offhook.proto import sip
from offhook.proto.stream import MediaFrame, ServerFrame, StartFrame
from tests.fakes.server import running_app, start_offhook, stop_offhook
from tests.interop.test_calls_out import dial, hangup_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TONE = Sound(b"\x00\x20\x00\xe0" * 8_000, 8_000)


async def one_call(
    plan: AnswerPlan, transport: sip.Transport = "udp", digits: str = ""
) -> tuple[str, list[PhoneEvent]]:
    """Call an answering phone; return the outcome, and what the phone told."""
    events: list[PhoneEvent] = []
    heard = bytearray()
    async with (
        AnsweringPhone(plan, Listen(transport, "127.0.0.1", 0), on_event=events.append) as answering,
        Phone() as caller,
    ):
        result = await caller.call(
            CallPlan(uri=answering.uri, digits=digits, duration_s=2.0, record=heard.extend, tail_s=0.5)
        )
        async with asyncio.timeout(30):
            await answering.wait(calls=1)
    if plan.play is not None:
        assert max(heard) > 0
        assert any(heard)
    return f"{result.outcome} {result.status}", events


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_it_answers_speaks_and_hears_keys(transport: sip.Transport) -> None:
    outcome, events = await one_call(AnswerPlan(play=TONE), transport, digits="12")
    assert outcome == "answered 200"
    kinds = [event.kind for event in events]
    assert (kinds[:2], kinds[-1]) == (["ringing", "answered"], "hangup")
    assert events[-1].fields["digits"] == "12"
    assert events[-1].fields["by"] == "remote"


async def test_it_refuses_with_the_status_asked_for() -> None:
    outcome, events = await one_call(AnswerPlan(refuse=486))
    assert outcome == "rejected 486"
    assert [event.kind for event in events] == ["ringing", "refused"]


async def test_it_hangs_up_after_its_time() -> None:
    outcome, events = await one_call(AnswerPlan(duration_s=0.3))
    assert outcome == "answered 200"
    assert events[-1].fields["by"] == "local"


async def test_the_server_calls_it_and_presses_keys(tmp_path: Path) -> None:
    events: list[PhoneEvent] = []
    listen = Listen("udp", "127.0.0.1", 0)
    async with (
        running_app() as app,
        AnsweringPhone(AnswerPlan(play=TONE), listen, on_event=events.append) as phone,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            call = await dial(server, phone.uri, send_digits_on_answer="1w2#")
            await app.wait_for(lambda app: "call.answered" in app.types())
            async with asyncio.timeout(30):
                while "".join(e.fields["digit"] for e in events if e.kind == "digit") != "12#":
                    await asyncio.sleep(0.05)
            await app.act(call["call_control_id"], "hangup")
            hangup = await hangup_of(app)
        finally:
            assert await stop_offhook(server) == 0
    assert int(hangup["call_quality_stats"]["inbound"]["packet_count"]) > 20
    assert hangup["hangup_cause"] == "normal_clearing"


async def test_a_call_out_streams_what_the_phone_says_from_its_answer_on(tmp_path: Path) -> None:
    frames: list[ServerFrame] = []
    apps = StreamServer(lambda session, frame: frames.append(frame))
    url = await apps.start(port=0)
    listen = Listen("udp", "127.0.0.1", 0)
    try:
        async with (
            running_app() as app,
            AnsweringPhone(AnswerPlan(play=TONE, duration_s=1.5), listen) as phone,
        ):
            server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
            try:
                made = await dial(server, phone.uri, stream_url=url)
                hangup = await hangup_of(app)
            finally:
                assert await stop_offhook(server) == 0
    finally:
        await apps.close()
    started = next(e["data"]["payload"] for e in app.events if e["data"]["event_type"] == "streaming.started")
    assert started["stream_id"] == made["stream_id"]
    assert app.types()[:2] == ["call.initiated", "call.answered"]
    assert app.types()[-1] == "call.hangup"
    assert hangup["hangup_source"] == "callee"
    [start] = [frame for frame in frames if isinstance(frame, StartFrame)]
    assert start.call_control_id == made["call_control_id"]
    assert sum(isinstance(frame, MediaFrame) for frame in frames) > 30
