"""Calls led by a Dialogflow agent, from the phone to Google's services and back.

The connection is made by the official SDK, the call by a real SIP phone, and the agent is Google's
published service on a local port.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import telnyx
from websockets.asyncio.server import ServerConnection, serve

from offhook.app.settings import DEFAULT_APPLICATION_ID
from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from tests.fakes.google_dialogflow import (
    PROJECT,
    Act,
    GoogleServer,
    Turn,
    google_server,
    hold,
    service_account,
    wav,
)
from tests.fakes.server import API_KEY, App, OffhookProcess, running_app, start_offhook, stop_offhook
from tests.fakes.tones import pure_ms, tone
from tests.interop.test_two_way import TimedCapture

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ACCOUNT = service_account()
CALLER_HZ, AGENT_HZ, DBFS = 440, 1_000, -20.0
REPLY_MS = 600
SPEECH = tone(CALLER_HZ, 600, dbfs=DBFS)
PAUSE = bytes(16 * 700)
ES: dict[str, Any] = {"service_account": ACCOUNT}
CX: dict[str, Any] = {
    "service_account": ACCOUNT,
    "dialogflow_api": "cx",
    "conversation_profile_id": "profile-1",
    "location": "europe-west3",
    "environment": "live",
}


async def greet(turn: Turn) -> None:
    """Answer every utterance by a tone."""
    if not await turn.utterance():
        return
    await turn.recognised("hello", final=True)
    await turn.end_of_utterance()
    reply = wav(tone(AGENT_HZ, REPLY_MS, turn.rate_hz, DBFS), turn.rate_hz)
    if turn.api == "es":
        await turn.answer_es("hello", "Hi!", reply)
    else:
        await turn.answer_cx("hello", "Hi!", reply)


@dataclass
class Stage:
    """One server, its app and its agent."""

    app: App
    server: OffhookProcess
    google: GoogleServer
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ask: dict[str, Any] = field(default_factory=lambda: {"enable_dialogflow": True})
    answers: list[dict[str, Any]] = field(default_factory=list)
    by_answer: bool = False

    def sdk(self) -> telnyx.AsyncTelnyx:
        return telnyx.AsyncTelnyx(api_key=API_KEY, base_url=self.server.api, max_retries=0)

    def told(self, event_type: str) -> list[dict[str, Any]]:
        return [
            event["data"]["payload"] for event in self.app.events if event["data"]["event_type"] == event_type
        ]

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        match data["event_type"]:
            case "call.initiated":
                asked = self.ask if self.by_answer else {}
                self.answers.append(await app.act(call, "answer", **asked))
            case "call.answered" if not self.by_answer:
                self.answers.append(await app.act(call, "streaming_start", **self.ask))
            case "streaming.started" if data["payload"].get("stream_type") == "dialogflow":
                self.started.set()

    async def metrics(self) -> dict[str, float]:
        url = self.server.api.removesuffix("/v2") + "/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            lines = [line.rsplit(" ", 1) for line in (await answer.text()).splitlines() if line[:1] != "#"]
        return {name: float(value) for name, value in lines}


@asynccontextmanager
async def stage(
    folder: Path, act: Act, connection: dict[str, Any] | None, more: str = ""
) -> AsyncIterator[Stage]:
    async with google_server(act) as google, running_app() as app:
        folder.joinpath("offhook.toml").write_text(more or f'[dialogflow]\nendpoint = "{google.url}"\n')
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        it = Stage(app, server, google)
        app.on_event = it.on_event
        try:
            if connection is not None:
                async with it.sdk() as client:
                    made = await client.dialogflow_connections.create(DEFAULT_APPLICATION_ID, **connection)
                    assert made.data.service_account == "****"
            yield it
        finally:
            assert await stop_offhook(server) == 0
        log = server.log()
        assert "PRIVATE KEY" not in log
        assert "hello" not in log
        assert "Traceback" not in log, log


async def call(
    it: Stage,
    *,
    play: bytes = SPEECH + PAUSE,
    tail_s: float = 1.5,
    codecs: tuple[str, ...] = ("PCMU",),
    during: Callable[[], Awaitable[None]] | None = None,
    when: asyncio.Event | None = None,
) -> tuple[CallResult, TimedCapture]:
    capture = TimedCapture()
    async with Phone() as phone, asyncio.TaskGroup() as group:
        if during is not None:
            group.create_task(during())  # type: ignore[arg-type]
        result = await phone.call(
            CallPlan(
                uri=f"sip:app@127.0.0.1:{it.server.sip_port}",
                codecs=codecs,
                play=Sound(play, 8_000),
                tail_s=tail_s,
            ),
            play_when=when or it.started,
            capture=capture,
        )
    await it.app.wait_for(lambda app: "call.hangup" in app.types())
    assert result.outcome == "answered"
    return result, capture


@pytest.mark.parametrize("connection", [ES, CX], ids=["es", "cx"])
async def test_a_caller_talks_with_an_agent(tmp_path: Path, connection: dict[str, Any]) -> None:
    config = {"analyze_sentiment": True, "partial_automated_agent_reply": True}
    async with stage(tmp_path, greet, connection) as it:
        it.ask["dialogflow_config"] = config
        _, capture = await call(it, tail_s=1.8)
        # The agent heard the phone, tone and level.
        turn = it.google.turns[0]
        assert pure_ms(bytes(turn.audio), CALLER_HZ, least_db=25, dbfs=DBFS) >= 300
        # The phone heard the agent, tone, level and length.
        loud = capture.loud(capture.received)
        assert abs(len(loud) * 20 - REPLY_MS) <= 200
        assert pure_ms(b"".join(pcm for _, pcm in loud), AGENT_HZ, least_db=25, dbfs=DBFS) >= 300

        stream_id = it.answers[1]["data"]["stream_id"]
        types = it.app.types()
        wanted = ["streaming.started", "dialogflow.detectintent.response", "streaming.stopped", "call.hangup"]
        assert [kind for kind in types if kind in wanted] == wanted
        (started,) = it.told("streaming.started")
        assert (started["stream_id"], started["stream_type"]) == (stream_id, "dialogflow")
        (answer,) = it.told("dialogflow.detectintent.response")
        common = {"call_control_id", "call_leg_id", "call_session_id", "client_state", "connection_id"}
        common |= {"calling_party_type", "start_time"} & set(answer)
        assert common <= set(answer)
        assert answer["connection_id"] == DEFAULT_APPLICATION_ID
        is_es = connection is ES
        assert {name: answer[name] for name in answer if name not in common} == {
            "confidence": 1.0 if is_es else 0.75,
            "fulfillment_messages": [{"text": ["Hi!"]}],
            "is_final": True,
            "stream_id": stream_id,
            "transcript": "hello",
            "intent": "greeting" if is_es else "order",
            "language": "en",
            **({"sentiment": {"magnitude": 2.0, "score": 0.5}} if is_es else {}),
        }
        assert set(it.google.sessions()) == {
            f"projects/{PROJECT}/agent/sessions/{stream_id}"
            if is_es
            else f"projects/{PROJECT}/locations/europe-west3/agents/agent-1/environments/live/sessions/{stream_id}"
        }
        if not is_es:
            assert turn.first.enable_partial_response
            assert turn.first.query_params.analyze_query_text_sentiment
        metrics = await it.metrics()
        assert metrics["offhook_dialogflow_sessions_open"] == 0
        assert metrics["offhook_dialogflow_sessions_total"] == 1
        assert metrics["offhook_dialogflow_audio_dropped_ms_total"] == 0


async def test_a_call_answered_with_an_agent_begins_at_once_and_in_wide_band(tmp_path: Path) -> None:
    async with stage(tmp_path, greet, ES) as it:
        it.by_answer = True
        await call(it, codecs=("G722",))
        assert it.google.turns[0].rate_hz == 16_000
        assert it.answers[0]["data"]["stream_id"] == it.told("streaming.started")[0]["stream_id"]
        assert len(it.told("dialogflow.detectintent.response")) == 1


async def test_an_app_may_listen_beside_the_agent(tmp_path: Path) -> None:
    frames: list[str] = []

    async def listen(socket: ServerConnection) -> None:
        frames.extend([str(frame) async for frame in socket])

    async with serve(listen, "127.0.0.1", 0) as streams, stage(tmp_path, greet, ES) as it:
        port = next(iter(streams.sockets)).getsockname()[1]
        it.ask["stream_url"] = f"ws://127.0.0.1:{port}/"
        it.ask["stream_track"] = "both_tracks"
        _, capture = await call(it)
        data = it.answers[1]["data"]
        ids = {data["stream_id"], data["dialogflow_stream_id"]}
        assert {each["stream_id"] for each in it.told("streaming.started")} == ids
        assert {each["stream_id"] for each in it.told("streaming.stopped")} == ids
        assert len(it.told("dialogflow.detectintent.response")) == 1
        # The app hears the caller and, on the other track, the agent.
        assert len([frame for frame in frames if '"track":"inbound"' in frame]) > 50
        assert len([frame for frame in frames if '"track":"outbound"' in frame]) * 20 >= REPLY_MS - 40
        assert abs(len(capture.loud(capture.received)) * 20 - REPLY_MS) <= 40


async def test_words_stop_a_reply_on_the_wire(tmp_path: Path) -> None:
    async def act(turn: Turn) -> None:
        if not await turn.utterance():
            return
        await turn.recognised("hello", final=True)
        await turn.end_of_utterance()
        first = len(it.google.turns) == 1
        reply = tone(AGENT_HZ, 8_000 if first else 100, turn.rate_hz, DBFS)
        await turn.answer_cx("hello", "A story.", wav(reply, turn.rate_hz), interruptible=True)

    async with stage(tmp_path, act, CX) as it:
        _, capture = await call(it, play=SPEECH + PAUSE + bytes(16 * 1200) + SPEECH + PAUSE, tail_s=2)
        assert 400 < len(capture.loud(capture.received)) * 20 < 4_000
        assert (await it.metrics())["offhook_dialogflow_replies_interrupted_total"] == 1


async def test_the_agent_may_say_good_bye(tmp_path: Path) -> None:
    async def act(turn: Turn) -> None:
        await turn.utterance()
        await turn.end_of_utterance()
        await turn.answer_cx("hello", "Bye.", wav(tone(AGENT_HZ, 300, turn.rate_hz, DBFS)), ends=True)

    async with stage(tmp_path, act, CX) as it:
        _, capture = await call(it, tail_s=2)
        (stopped,) = it.told("streaming.stopped")
        assert stopped["stop_reason"] == "agent_ended"
        assert abs(len(capture.loud(capture.received)) * 20 - 300) <= 40
        assert len(it.google.turns) == 1


async def test_without_a_connection_the_stream_fails_and_the_call_stays(tmp_path: Path) -> None:
    async with stage(tmp_path, greet, None) as it:
        failed = asyncio.Event()

        async def watch() -> None:
            await it.app.wait_for(lambda app: "streaming.failed" in app.types())
            failed.set()

        await call(it, when=failed, during=watch, tail_s=0.3)
        (told,) = it.told("streaming.failed")
        assert (told["failure_reason"], told["stream_type"]) == ("dialogflow_not_configured", "dialogflow")
        assert "no dialogflow connection" in told["failure_detail"]
        assert told["stream_params"] == {"track": "inbound_track"}
        assert told["stream_id"] == it.answers[1]["data"]["stream_id"]
        assert it.told("streaming.stopped") == []
        assert it.told("call.hangup")[0]["hangup_cause"] == "normal_clearing"


async def test_a_refusal_of_google_reaches_the_app_and_the_call_stays(tmp_path: Path) -> None:
    async def act(turn: Turn) -> None:
        await turn.fail(grpc.StatusCode.PERMISSION_DENIED, "IAM permission denied")

    async with stage(tmp_path, act, ES) as it:
        await call(it, tail_s=0.3)
        (told,) = it.told("streaming.failed")
        assert told["failure_reason"] == "connection_failed"
        assert told["failure_detail"] == "PERMISSION_DENIED: IAM permission denied"
        assert it.told("streaming.stopped") == []


async def test_one_agent_a_call_and_a_stop_ends_it(tmp_path: Path) -> None:
    async with stage(tmp_path, lambda turn: hold(), ES) as it:

        async def act() -> None:
            await it.started.wait()
            control_id = it.told("call.answered")[0]["call_control_id"]
            refusal = await it.app.act(control_id, "streaming_start", enable_dialogflow=True)
            assert [(each["code"], each["source"]["pointer"]) for each in refusal["errors"]] == [
                ("90045", "/enable_dialogflow")
            ]
            it.app.refused.clear()
            await it.app.act(control_id, "streaming_stop")
            await it.app.wait_for(lambda app: "streaming.stopped" in app.types())
            it.started.clear()
            it.ask = {"enable_dialogflow": True}
            await it.app.act(control_id, "streaming_start", **it.ask)

        await call(it, during=act, tail_s=1)
        assert len(it.told("streaming.started")) == 2
        assert len(it.told("streaming.stopped")) == 2


async def test_the_egress_gate_stands_before_the_agent_too(tmp_path: Path) -> None:
    more = '[dialogflow]\nendpoint = "http://127.0.0.2:9"\n[egress]\ndenied_networks = ["127.0.0.2/32"]\n'
    async with stage(tmp_path, greet, ES, more) as it:
        failed = asyncio.Event()

        async def watch() -> None:
            await it.app.wait_for(lambda app: "streaming.failed" in app.types())
            failed.set()

        await call(it, when=failed, during=watch, tail_s=0.1)
        (told,) = it.told("streaming.failed")
        assert told["failure_reason"] == "connection_failed"
        assert "egress policy" in told["failure_detail"]
