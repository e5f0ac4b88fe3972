"""The server as its users meet it: a SIP phone on one side, the official SDK and a WebSocket on the other."""

import asyncio
import base64
import json
import math
import re
import socket
from array import array
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import telnyx
from websockets.asyncio.server import ServerConnection, serve

from offhook.base.g711 import mulaw_decode
from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.capture import PacketCapture
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TOKEN = "stream-token-that-no-log-may-show"
QUERY = "query-that-no-log-may-show"
WORDS = ("purple elephants", "dance at dawn")
CALLER, CALLEE = "+15551230001", "+15559870001"
CLIENT_STATE = base64.b64encode(b"a state").decode()
TONE_HZ, TONE_DBFS, TONE_S, QUIET_S = 1_000, -20.0, 1.0, 0.5
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


@dataclass
class Timeline:
    """Everything the app saw, in one order: ("ws", frame) and ("webhook", event)."""

    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    path: str = ""
    close_code: int | None = None
    forked: dict[str, list[bytes]] = field(default_factory=lambda: {"rx": [], "tx": []})

    def add(self, source: str, item: dict[str, Any]) -> None:
        """Note one thing now."""
        self.seen.append((source, item))
        self.at_s.append(asyncio.get_running_loop().time())

    def frames(self, event: str) -> list[dict[str, Any]]:
        """Return all frames of one kind."""
        return [item for source, item in self.seen if source == "ws" and item["event"] == event]

    def webhooks(self, event_type: str) -> list[dict[str, Any]]:
        """Return the payloads of one event type."""
        return [
            item["payload"]
            for source, item in self.seen
            if source == "webhook" and item["event_type"] == event_type
        ]

    def where(self, source: str, kind: str) -> int:
        """Return the place of the first of a kind."""
        key = "event" if source == "ws" else "event_type"
        return next(n for n, (s, item) in enumerate(self.seen) if s == source and item[key] == kind)

    def kinds(self) -> list[str]:
        """Return the types of all webhooks, in order."""
        return [item["event_type"] for source, item in self.seen if source == "webhook"]


def quiet_tone_quiet() -> Sound:
    """Return half a second of nothing, a second of tone, and nothing again."""
    peak = math.sqrt(2) * 32_768 * 10 ** (TONE_DBFS / 20)
    tone = [round(peak * math.sin(2 * math.pi * TONE_HZ * n / 8_000)) for n in range(int(8_000 * TONE_S))]
    quiet = [0] * int(8_000 * QUIET_S)
    return Sound(array("h", [*quiet, *tone, *quiet]).tobytes(), 8_000)


@asynccontextmanager
async def fork_receiver(packets: list[bytes]) -> AsyncIterator[str]:
    """Receive forked packets; yields the target."""

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
            packets.append(data)

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("127.0.0.1", 0))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Receiver, sock=sock)
    try:
        yield f"udp:127.0.0.1:{sock.getsockname()[1]}"
    finally:
        transport.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def scripted_server(directory: Path, app: App) -> AsyncIterator[OffhookProcess]:
    """Run a server whose speech engine says two sentences, at debug level."""
    script = [
        {"at_ms": 200, "text": WORDS[0].split()[0], "is_final": False, "confidence": 0.5},
        {"at_ms": 600, "text": WORDS[0], "is_final": True, "confidence": 0.75},
        {"at_ms": 900, "text": WORDS[1], "is_final": True, "confidence": None},
    ]
    (directory / "script.json").write_text(json.dumps(script))
    (directory / "offhook.toml").write_text(
        '[speech]\ndefault_engine = "scripted"\nscript = "script.json"\n[log]\nlevel = "debug"\n'
    )
    server = await start_offhook(directory, OFFHOOK_WEBHOOK_URL=app.url)
    app.api = server.api
    try:
        yield server
    finally:
        assert await stop_offhook(server) == 0


class SdkApp:
    """Answers the call, asks for everything, and says goodbye once a key was pressed."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.stream_url = ""
        self.targets: dict[str, str] = {}
        self.ready = asyncio.Event()
        self.client: telnyx.AsyncTelnyx | None = None

    async def on_event(self, app: App, event: dict[str, Any]) -> None:
        """React to one webhook by the official client."""
        self.timeline.add("webhook", event["data"])
        assert self.client is not None
        actions = self.client.calls.actions
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await actions.answer(call, client_state=CLIENT_STATE, send_silence_when_idle=True)
        elif data["event_type"] == "call.answered":
            await actions.start_streaming(
                call,
                stream_url=self.stream_url,
                stream_track="both_tracks",
                stream_auth_token=TOKEN,
                custom_parameters=[{"name": "agent", "value": "7"}],
            )
            await actions.start_forking(call, rx=self.targets["rx"], tx=self.targets["tx"])
            await actions.start_transcription(
                call,
                transcription_engine="Google",
                transcription_engine_config={
                    "transcription_engine": "Google",
                    "language": "en",
                    "interim_results": True,
                },
            )
            self.ready.set()
        elif data["event_type"] == "call.dtmf.received" and data["payload"]["digit"] == "#":
            await actions.stop_streaming(call)
            await actions.stop_forking(call)
            await actions.stop_transcription(call)
            await actions.hangup(call)

    async def take_stream(self, connection: ServerConnection) -> None:
        """Note every frame and how the socket closed."""
        assert connection.request is not None
        self.timeline.headers = {name.lower(): value for name, value in connection.request.headers.items()}
        self.timeline.path = connection.request.path
        async for message in connection:
            assert isinstance(message, str), "text frames only"
            self.timeline.add("ws", json.loads(message))
        self.timeline.close_code = connection.close_code


async def test_one_call_does_everything_the_contract_says(tmp_path: Path) -> None:
    timeline, capture = Timeline(), PacketCapture()
    sdk_app = SdkApp(timeline)
    playing_at: list[float] = []

    def on_phone_event(event: Any) -> None:
        if event.kind == "playing":
            playing_at.append(asyncio.get_running_loop().time())

    async with (
        running_app(sdk_app.on_event) as app,
        serve(sdk_app.take_stream, "127.0.0.1", 0) as streams,
        fork_receiver(timeline.forked["rx"]) as rx,
        fork_receiver(timeline.forked["tx"]) as tx,
        scripted_server(tmp_path, app) as server,
        Phone() as phone,
    ):
        port = next(iter(streams.sockets)).getsockname()[1]
        sdk_app.stream_url = f"ws://127.0.0.1:{port}/media?key={QUERY}"
        sdk_app.targets = {"rx": rx, "tx": tx}
        sdk_app.client = telnyx.AsyncTelnyx(
            api_key=API_KEY,
            base_url=server.api,
            public_key=server.public_key,
            _strict_response_validation=True,
        )
        result: CallResult = await phone.call(
            CallPlan(
                uri=f"sip:{CALLEE}@127.0.0.1:{server.sip_port}",
                caller=CALLER,
                codecs=("PCMU",),
                play=quiet_tone_quiet(),
                digits="5#",
                hang_up_after_play=False,
                duration_s=20,
            ),
            play_when=sdk_app.ready,
            capture=capture,
            on_event=on_phone_event,
        )
        await app.wait_for(lambda app: "call.hangup" in app.types())
        for body, headers in app.raw:
            assert sdk_app.client.webhooks.unwrap(body.decode(), headers=headers) is not None
        await sdk_app.client.close()
        await check_nothing_open(server)
        log = server.log()

    assert (result.outcome, result.ended_by) == ("answered", "remote")
    check_webhooks(timeline)
    check_order(timeline)
    check_frames(timeline)
    check_tone(timeline, playing_at[0])
    check_forks(timeline, capture)
    check_transcripts(timeline)
    check_log(log, timeline)


def check_webhooks(timeline: Timeline) -> None:
    """Each event once, in the contract's order, with the state of the leg (contract 3.4, 3.6)."""
    kinds = timeline.kinds()
    assert Counter(kinds) == {
        "call.initiated": 1,
        "call.answered": 1,
        "streaming.started": 1,
        "call.fork.started": 1,
        "call.transcription": 3,
        "call.dtmf.received": 2,
        "streaming.stopped": 1,
        "call.fork.stopped": 1,
        "call.hangup": 1,
    }
    assert kinds[:2] == ["call.initiated", "call.answered"]
    assert kinds[-1] == "call.hangup"
    initiated, hangup = timeline.webhooks("call.initiated")[0], timeline.webhooks("call.hangup")[0]
    assert (initiated["from"], initiated["to"]) == (CALLER, CALLEE)
    assert (initiated["direction"], initiated["state"]) == ("incoming", "parked")
    assert initiated["client_state"] is None
    assert hangup["client_state"] == CLIENT_STATE
    assert (hangup["hangup_cause"], hangup["hangup_source"]) == ("normal_clearing", "callee")
    assert hangup["sip_hangup_cause"] == "200"
    inbound = hangup["call_quality_stats"]["inbound"]
    assert int(inbound["packet_count"]) > 100
    assert float(inbound["mos"]) > 4.0
    assert [payload["digit"] for payload in timeline.webhooks("call.dtmf.received")] == ["5", "#"]


def check_order(timeline: Timeline) -> None:
    """Connected, streaming.started, start, media; stop, streaming.stopped, hangup (contract 4.2, 3.6)."""
    places = [
        timeline.where("ws", "connected"),
        timeline.where("webhook", "streaming.started"),
        timeline.where("ws", "start"),
        timeline.where("ws", "media"),
        timeline.where("ws", "stop"),
        timeline.where("webhook", "streaming.stopped"),
        timeline.where("webhook", "call.hangup"),
    ]
    assert places == sorted(places)


def check_frames(timeline: Timeline) -> None:
    """The frames of contract 4.3, to the letter."""
    assert timeline.headers["x-telnyx-streaming-auth-token"] == TOKEN
    assert timeline.headers["user-agent"].startswith("offhook/")
    assert "sec-websocket-extensions" not in timeline.headers
    assert timeline.path == f"/media?key={QUERY}"
    frames = [item for source, item in timeline.seen if source == "ws"]
    assert frames[0] == {
        "event": "connected",
        "version": "1.0.0",
        "connected": {"x-telnyx-streaming-auth-token": TOKEN},
    }
    leg = timeline.webhooks("call.initiated")[0]
    started = timeline.webhooks("streaming.started")[0]
    stream_id = started["stream_id"]
    [start] = timeline.frames("start")
    user_id = start["start"].pop("user_id")
    assert re.fullmatch(r"[0-9a-f-]{36}", user_id)
    told = {
        name: start["start"].pop(name)
        for name in tuple(start["start"])
        if name in ("call_leg_id", "connection_id", "direction", "tracks")
    }
    assert told["call_leg_id"] == leg["call_leg_id"]
    assert start == {
        "event": "start",
        "sequence_number": "1",
        "stream_id": stream_id,
        "start": {
            "call_control_id": leg["call_control_id"],
            "call_session_id": leg["call_session_id"],
            "from": CALLER,
            "to": CALLEE,
            "tags": [],
            "client_state": CLIENT_STATE,
            "custom_parameters": {"agent": "7"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
        },
    }
    numbers = [int(frame["sequence_number"]) for frame in frames[1:]]
    assert numbers == list(range(1, len(numbers) + 1)), "no frame is missing"
    for track in ("inbound", "outbound"):
        media = [frame for frame in timeline.frames("media") if frame["media"]["track"] == track]
        assert len(media) > 100
        for number, frame in enumerate(media, start=1):
            assert set(frame) == {"event", "sequence_number", "stream_id", "media"}
            assert set(frame["media"]) == {"track", "chunk", "timestamp", "payload"}
            assert frame["media"]["chunk"] == str(number)
            assert frame["stream_id"] == stream_id
            # The last may be a rest, if the machine has held a packet up.
            size = len(base64.b64decode(frame["media"]["payload"], validate=True))
            assert size == 160 or (number == len(media) and 0 < size < 160)
        stamps = [int(frame["media"]["timestamp"]) for frame in media]
        assert {later - earlier for earlier, later in pairwise(stamps)} == {20}
    digits = timeline.frames("dtmf")
    assert [frame["dtmf"] for frame in digits] == [{"digit": "5"}, {"digit": "#"}]
    for frame in digits:
        assert set(frame) == {"event", "stream_id", "occurred_at", "sequence_number", "dtmf"}
        assert ISO.match(frame["occurred_at"])
    assert frames[-1]["event"] == "stop"
    stop = frames[-1]["stop"]
    assert (stop["call_control_id"], stop["user_id"]) == (leg["call_control_id"], user_id)
    assert timeline.close_code == 1000


def check_tone(timeline: Timeline, playing_at: float) -> None:
    """The tone is in the inbound track at its level, for its length, when it was played."""
    audio, arrivals = bytearray(), []
    for at_s, (source, item) in zip(timeline.at_s, timeline.seen, strict=True):
        if source == "ws" and item["event"] == "media" and item["media"]["track"] == "inbound":
            audio += base64.b64decode(item["media"]["payload"])
            arrivals.append(at_s)
    samples = array("h", mulaw_decode(bytes(audio)))
    loud = [n for n, sample in enumerate(samples) if abs(sample) > 1_000]
    first, last = loud[0], loud[-1]
    assert (last - first) / 8_000 == pytest.approx(TONE_S, abs=0.002), "as long as it was"
    middle = samples[first + 800 : first + 7_200]
    power = sum(sample * sample for sample in middle) / len(middle)
    assert 10 * math.log10(power / 32_768**2) == pytest.approx(TONE_DBFS, abs=1.0)
    cosine = sum(s * math.cos(2 * math.pi * TONE_HZ * n / 8_000) for n, s in enumerate(middle))
    sine = sum(s * math.sin(2 * math.pi * TONE_HZ * n / 8_000) for n, s in enumerate(middle))
    at_tone = 2 * (cosine**2 + sine**2) / len(middle) ** 2
    assert at_tone / power > 0.99, "nothing but the tone"
    heard_at = arrivals[first // 160]
    assert heard_at - playing_at == pytest.approx(QUIET_S, abs=0.15)


def check_forks(timeline: Timeline, capture: PacketCapture) -> None:
    """The forks carry the phone's own packets, byte for byte and in order."""
    for forked, own in ((timeline.forked["rx"], capture.sent), (timeline.forked["tx"], capture.received)):
        assert len(forked) > 100
        begin = own.index(forked[0])
        assert own[begin : begin + len(forked)] == forked


def check_transcripts(timeline: Timeline) -> None:
    """Partials where asked for, finals with their words, each with track and confidence."""
    told = [payload["transcription_data"] for payload in timeline.webhooks("call.transcription")]
    assert [(item["transcript"], item["is_final"], item["confidence"]) for item in told] == [
        (WORDS[0].split()[0], False, 0.5),
        (WORDS[0], True, 0.75),
        (WORDS[1], True, None),
    ]
    assert {item["transcription_track"] for item in told} == {"inbound"}


def check_log(log: str, timeline: Timeline) -> None:
    """Not even the debug log shows a secret, a number, a word or a payload."""
    payloads = {frame["media"]["payload"] for frame in timeline.frames("media")[::50]}
    secrets = {TOKEN, QUERY, API_KEY, CLIENT_STATE, *WORDS, "elephants", CALLER[1:], CALLEE[1:], *payloads}
    assert [secret for secret in secrets if secret in log] == []
    assert "call arrived" in log


async def check_nothing_open(server: OffhookProcess, *, engine: str = "scripted") -> None:
    """The gauges are back at zero once the call is over."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(30):
        while True:
            async with session.get(server.api.removesuffix("/v2") + "/metrics") as answer:
                text = await answer.text()
            values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
            gauges = (
                "offhook_calls_open",
                "offhook_media_legs_open",
                "offhook_media_taps_open",
                f'offhook_speech_sessions_open{{engine="{engine}"}}',
                "offhook_webhook_in_memory",
                "offhook_webhook_parked",
            )
            if all(float(values[name]) == 0 for name in gauges):
                break
            await asyncio.sleep(0.05)
