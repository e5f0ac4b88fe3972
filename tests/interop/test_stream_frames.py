"""Every frame of a stream as a real server writes it: members, JSON types, order (contract 4.2, 4.3)."""

import asyncio
import base64
import json
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from offhook.proto.stream import format_server_frame, parse_server_frame
from tests.fakes.server import App, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TOKEN = "a token"
CLIENT_STATE = base64.b64encode(b"a state").decode()
CALLER, CALLEE = "+15551230001", "+15559870001"

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
COUNTER = re.compile(r"0|[1-9][0-9]*")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
CALL_ID = re.compile(r"v3:[A-Za-z0-9_-]{54}")
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
ANY = re.compile(r".+", re.DOTALL)

GOLDEN: dict[str, dict[str, Any]] = {
    "connected": {
        "event": "connected",
        "version": "1.0.0",
        "connected": {"x-telnyx-streaming-auth-token": TOKEN},
    },
    "start": {
        "event": "start",
        "sequence_number": "1",
        "stream_id": UUID,
        "start": {
            "user_id": UUID,
            "call_control_id": CALL_ID,
            "call_session_id": UUID,
            "from": CALLER,
            "to": CALLEE,
            "tags": [],
            "client_state": CLIENT_STATE,
            "custom_parameters": {"agent": "7", "lang": "en"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
            # additions
            "call_leg_id": UUID,
            "connection_id": "1000000000000000001",
            "direction": "incoming",
            "tracks": ["inbound", "outbound"],
        },
    },
    "media": {
        "event": "media",
        "sequence_number": COUNTER,
        "stream_id": UUID,
        "media": {
            "track": re.compile("inbound|outbound"),
            "chunk": COUNTER,
            "timestamp": COUNTER,
            "payload": BASE64,
        },
    },
    "dtmf": {
        "event": "dtmf",
        "sequence_number": COUNTER,
        "stream_id": UUID,
        "occurred_at": TIME,
        "dtmf": {"digit": re.compile("[5#]")},
    },
    "mark": {"event": "mark", "sequence_number": COUNTER, "stream_id": UUID, "mark": {"name": ANY}},
    "error": {"event": "error", "stream_id": UUID, "payload": {"code": int, "title": ANY, "detail": ANY}},
    "stop": {
        "event": "stop",
        "sequence_number": COUNTER,
        "stream_id": UUID,
        "stop": {"user_id": UUID, "call_control_id": CALL_ID, "reason": ANY},
    },
}
"""Each frame: literal values, patterns for text, types for numbers. No other member may be there."""


def differences(found: Any, golden: Any, place: str) -> list[str]:
    """Return where a value is not what the golden one says, its JSON type included."""
    if isinstance(golden, re.Pattern):
        good = isinstance(found, str) and golden.fullmatch(found) is not None
    elif isinstance(golden, type):
        good = type(found) is golden
    elif isinstance(golden, dict) and isinstance(found, dict):
        wrong = [f"{place}.{name} should not be there" for name in found.keys() - golden.keys()]
        wrong += [f"{place}.{name} is missing" for name in golden.keys() - found.keys()]
        for name in found.keys() & golden.keys():
            wrong += differences(found[name], golden[name], f"{place}.{name}")
        return wrong
    else:
        good = type(found) is type(golden) and found == golden
    return [] if good else [f"{place} is {found!r}"]


@dataclass
class Conversation:
    """An app that makes the server send every frame there is, and notes all in one order."""

    tracks: str = "both_tracks"
    mode: dict[str, Any] = field(default_factory=lambda: {"stream_bidirectional_mode": "rtp"})
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    url: str = ""
    spoken: asyncio.Event = field(default_factory=asyncio.Event)
    close_code: int | None = None

    def frames(self, event: str | None = None) -> list[dict[str, Any]]:
        return [item for source, item in self.seen if source == "ws" and event in (None, item["event"])]

    def place(self, source: str, kind: str) -> int:
        key = "event" if source == "ws" else "event_type"
        return next(n for n, (s, item) in enumerate(self.seen) if s == source and item[key] == kind)

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        self.seen.append(("webhook", data))
        call = data["payload"]["call_control_id"]
        match data["event_type"]:
            case "call.initiated":
                await app.act(call, "answer", client_state=CLIENT_STATE, send_silence_when_idle=True)
            case "call.answered":
                await app.act(
                    call,
                    "streaming_start",
                    stream_url=self.url,
                    stream_track=self.tracks,
                    stream_auth_token=TOKEN,
                    custom_parameters=[{"name": "agent", "value": "7"}, {"name": "lang", "value": "en"}],
                    **self.mode,
                )
            case "call.dtmf.received" if data["payload"]["digit"] == "#":
                await app.act(call, "streaming_stop")

    async def take(self, connection: ServerConnection) -> None:
        async for message in connection:
            assert isinstance(message, str), "text frames only"
            frame = json.loads(message)
            self.raw.append(message)
            self.seen.append(("ws", frame))
            if frame["event"] == "start":
                await self.speak(connection)
        self.close_code = connection.close_code

    async def speak(self, connection: ServerConnection) -> None:
        audio = base64.b64encode(b"\x55" * 800).decode()
        good = [
            {"event": "media", "media": {"payload": audio}},
            {"event": "mark", "mark": {"name": 'said "ü"'}},
        ]
        bad: list[Any] = [
            {"event": "nonsense"},
            {"event": "media", "media": {}},
            {"event": "media", "media": {"payload": "!"}},
        ]
        for frame in (*good, *bad):
            await connection.send(json.dumps(frame))
        await connection.send("no JSON")
        await connection.send(b"binary")
        await connection.send(json.dumps({"event": "clear"}))
        self.spoken.set()


async def converse(folder: Path, talk: Conversation, *, digits: str) -> None:
    """Make one call in which the app does all it can."""
    silence = Sound(array("h", [0] * 8_000).tobytes(), 8_000)
    async with (
        running_app(talk.on_event) as app,
        serve(talk.take, "127.0.0.1", 0) as streams,
        Phone() as phone,
    ):
        talk.url = f"ws://127.0.0.1:{next(iter(streams.sockets)).getsockname()[1]}/"
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            await phone.call(
                CallPlan(
                    uri=f"sip:{CALLEE}@127.0.0.1:{server.sip_port}",
                    caller=CALLER,
                    codecs=("PCMU",),
                    play=silence,
                    digits=digits,
                    tail_s=0.5,
                ),
                play_when=talk.spoken,
            )
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
        assert app.refused == []


async def test_every_frame_is_as_the_golden_one(tmp_path: Path) -> None:
    talk = Conversation()
    await converse(tmp_path, talk, digits="5#")
    frames = talk.frames()
    assert {frame["event"] for frame in frames} == set(GOLDEN), "every kind was there"
    wrong = [text for frame in frames for text in differences(frame, GOLDEN[frame["event"]], frame["event"])]
    assert wrong == []
    for text, frame in zip(talk.raw, frames, strict=True):
        # The frame holds nothing that the one grammar does not know.
        assert json.loads(format_server_frame(parse_server_frame(text))) == frame

    stream_id = frames[1]["stream_id"]
    assert {frame["stream_id"] for frame in frames[1:]} == {stream_id}
    numbers = [int(frame["sequence_number"]) for frame in frames if "sequence_number" in frame]
    assert numbers == list(range(1, len(numbers) + 1))
    for track in ("inbound", "outbound"):
        media = [frame["media"] for frame in talk.frames("media") if frame["media"]["track"] == track]
        assert [int(item["chunk"]) for item in media] == list(range(1, len(media) + 1))
        stamps = [int(item["timestamp"]) for item in media]
        assert stamps == [stamps[0] + 20 * n for n in range(len(media))]
        assert {len(base64.b64decode(item["payload"], validate=True)) for item in media} == {160}
    assert [frame["dtmf"]["digit"] for frame in talk.frames("dtmf")] == ["5", "#"]
    assert [frame["mark"]["name"] for frame in talk.frames("mark")] == ['said "ü"']
    errors = [(frame["payload"]["code"], frame["payload"]["title"]) for frame in talk.frames("error")]
    malformed, media_wrong = (100003, "malformed_frame"), (100004, "invalid_media")
    assert errors == [malformed, malformed, media_wrong, malformed, malformed]
    assert frames[-1]["event"] == "stop"
    assert frames[-1]["stop"]["reason"] == "command"
    assert talk.close_code == 1000


async def test_the_order_is_connected_webhook_start_media(tmp_path: Path) -> None:
    talk = Conversation()
    await converse(tmp_path, talk, digits="5")
    places = [
        talk.place("webhook", "call.answered"),
        talk.place("ws", "connected"),
        talk.place("webhook", "streaming.started"),
        talk.place("ws", "start"),
        talk.place("ws", "media"),
        talk.place("ws", "stop"),
        talk.place("webhook", "streaming.stopped"),
        talk.place("webhook", "call.hangup"),
    ]
    assert places == sorted(places)
    stop = talk.frames("stop")[0]["stop"]
    assert (stop["reason"], stop["hangup_cause"]) == ("call_ended", "normal_clearing")
    told = {item["event_type"]: item["payload"] for source, item in talk.seen if source == "webhook"}
    assert told["streaming.stopped"]["stop_reason"] == "call_ended"
    stream_id = talk.frames("start")[0]["stream_id"]
    for event in ("streaming.started", "streaming.stopped"):
        payload = told[event]
        assert (payload["stream_id"], payload["stream_url"], payload["stream_track"]) == (
            stream_id,
            talk.url,
            "both_tracks",
        )


async def test_a_stream_in_the_default_mode_answers_raw_audio_by_naming_the_mode(tmp_path: Path) -> None:
    talk = Conversation(tracks="inbound_track", mode={})
    await converse(tmp_path, talk, digits="5")
    golden = {
        **GOLDEN,
        "start": {**GOLDEN["start"], "start": {**GOLDEN["start"]["start"], "tracks": ["inbound"]}},
    }
    ended = {"reason": "call_ended", "hangup_cause": "normal_clearing"}
    golden["stop"] = {**GOLDEN["stop"], "stop": GOLDEN["stop"]["stop"] | ended}
    wrong = [text for frame in talk.frames() for text in differences(frame, golden[frame["event"]], "")]
    assert wrong == []
    assert {frame["media"]["track"] for frame in talk.frames("media")} == {"inbound"}
    first = talk.frames("error")[0]["payload"]
    assert first["code"] == 100004
    assert "stream_bidirectional_mode" in first["detail"]
