"""A call whose speech service breaks off in mid-sentence: no word is lost, and nobody else notices."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.capture import PacketCapture
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fakes.vendors.deepgram import FakeDeepgram
from tests.fakes.vendors.host import KEY, Plan
from tests.fakes.vendors.talk import say, silence
from tests.interop.test_whole_server import Timeline, check_forks, check_nothing_open, fork_receiver

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

SAID = "one two three four five six seven eight"
SPEECH = Sound(silence(300) + say(SAID) + silence(2_500), 8_000)


class Listener:
    """Answers, streams, forks and transcribes; hangs up when all has been heard."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.stream_url = ""
        self.targets: dict[str, str] = {}
        self.ready = asyncio.Event()

    def words(self) -> list[str]:
        """Return the words of all finals."""
        told = [payload["transcription_data"] for payload in self.timeline.webhooks("call.transcription")]
        finals = " ".join(item["transcript"] for item in told if item["is_final"])
        return finals.lower().replace(".", "").split()

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        """React to one webhook."""
        data = event["data"]
        self.timeline.add("webhook", data)
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer", send_silence_when_idle=True)
        elif data["event_type"] == "call.answered":
            await app.act(call, "streaming_start", stream_url=self.stream_url, stream_track="both_tracks")
            await app.act(call, "fork_start", rx=self.targets["rx"], tx=self.targets["tx"])
            await app.act(
                call,
                "transcription_start",
                transcription_engine="Deepgram",
                transcription_engine_config={
                    "transcription_engine": "Deepgram",
                    "transcription_model": "deepgram/nova-3",
                },
            )
            self.ready.set()
        elif data["event_type"] == "call.transcription" and self.words()[-1:] == ["eight"]:
            await app.act(call, "hangup")

    async def take_stream(self, connection: ServerConnection) -> None:
        """Note every frame."""
        async for message in connection:
            self.timeline.add("ws", json.loads(message))


async def test_a_stream_and_a_fork_never_notice_that_a_speech_service_broke_off(tmp_path: Path) -> None:
    listener, capture = Listener(), PacketCapture()
    timeline = listener.timeline
    async with (
        running_app(listener.on_event) as app,
        serve(listener.take_stream, "127.0.0.1", 0) as streams,
        fork_receiver(timeline.forked["rx"]) as rx,
        fork_receiver(timeline.forked["tx"]) as tx,
        FakeDeepgram(Plan(close_after_ms=1_300), Plan(refuse=503), Plan()).serving() as service,
        Phone() as phone,
    ):
        listener.stream_url = f"ws://127.0.0.1:{next(iter(streams.sockets)).getsockname()[1]}/media"
        listener.targets = {"rx": rx, "tx": tx}
        (tmp_path / "offhook.toml").write_text(
            '[speech]\nengines = { Deepgram = "deepgram" }\ndefault_engine = "reject"\n'
            f'[deepgram]\nurl = "{service.address}"\n[log]\nlevel = "debug"\n'
        )
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url, OFFHOOK_DEEPGRAM_API_KEY=KEY)
        app.api = server.api
        try:
            result = await phone.call(
                CallPlan(
                    uri=f"sip:app@127.0.0.1:{server.sip_port}",
                    codecs=("PCMU",),
                    play=SPEECH,
                    hang_up_after_play=False,
                    duration_s=30,
                ),
                play_when=listener.ready,
                capture=capture,
            )
            await app.wait_for(lambda app: "call.hangup" in app.types())
            await check_nothing_open(server, engine="deepgram")
            log = server.log()
        finally:
            assert await stop_offhook(server) == 0
    assert app.refused == []
    assert result.ended_by == "remote"
    assert listener.words() == SAID.split()
    assert service.attempts == 3
    frames = [item for source, item in timeline.seen if source == "ws"]
    numbers = [int(frame["sequence_number"]) for frame in frames[1:]]
    assert numbers == list(range(1, len(numbers) + 1)), "no frame is missing"
    stamps = [
        int(frame["media"]["timestamp"])
        for frame in timeline.frames("media")
        if frame["media"]["track"] == "inbound"
    ]
    assert len(stamps) > 100
    assert {later - earlier for earlier, later in pairwise(stamps)} == {20}
    check_forks(timeline, capture)
    assert KEY not in log
    assert service.address.removeprefix("ws://") not in log
