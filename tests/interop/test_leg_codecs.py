"""Calls in each codec through the whole server: what is agreed, told and pressed."""

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offhook.edge.media.agreed import connect_agreed
from offhook.edge.media.native import NativeEngine
from offhook.edge.sip import Listen, SipServer
from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from offhook.proto import sip
from offhook.proto.sdp import SessionDescription, make_offer, read_answer
from tests.fakes.server import App, serving
from tests.fakes.tones import pure_ms
from tests.interop.test_cli_tools import tool

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@asynccontextmanager
async def offhook(
    folder: Path, config: str = "", env: dict[str, str] | None = None, **answer: Any
) -> AsyncIterator[tuple[App, int]]:
    """Run a server whose app answers every call."""

    async def on_event(app: App, event: dict[str, Any]) -> None:
        if event["data"]["event_type"] == "call.initiated":
            await app.act(event["data"]["payload"]["call_control_id"], "answer", **answer)

    folder.joinpath("offhook.toml").write_text(config, encoding="utf-8")
    async with serving(folder, on_event, **(env or {})) as (app, server):
        yield app, server.sip_port
        assert app.refused == []


async def call(phone: Phone, app: App, sip_port: int, *codecs: str, digits: str = "") -> CallResult:
    """Make one call, and wait until its last webhook has come."""
    before = app.types().count("call.hangup")
    plan = CallPlan(
        uri=f"sip:app@127.0.0.1:{sip_port}",
        codecs=codecs,
        digits=digits,
        duration_s=None if digits else 0.3,
        tail_s=0.2,
    )
    result = await phone.call(plan)
    await app.wait_for(lambda app: app.types().count("call.hangup") > before)
    return result


def told(app: App, event_type: str) -> list[dict[str, Any]]:
    return [event["data"]["payload"] for event in app.events if event["data"]["event_type"] == event_type]


async def test_every_codec_is_agreed_on_told_and_carries_digits(tmp_path: Path) -> None:
    clocks_hz = {
        "PCMU": 8000, "PCMA": 8000, "G722": 8000, "OPUS": 48_000, "AMR-WB": 16_000,
        "L16/8000": 8000, "L16/16000": 16_000, "L16/22050": 22_050, "L16/24000": 24_000, "L16/48000": 48_000,
    }  # fmt: skip
    async with Phone() as phone, offhook(tmp_path, send_silence_when_idle=True) as (app, sip_port):
        for codec in clocks_hz:
            result = await call(phone, app, sip_port, codec, digits="19#D")
            assert (result.outcome, result.codec) == ("answered", codec.partition("/")[0])
            assert result.stats is not None
            assert result.stats["packets_lost"] == 0
            assert result.stats["packets_undecodable"] == 0
            assert result.stats["packets_received"] > 30
    answered = [(payload["codec"], payload["sampling_rate"]) for payload in told(app, "call.answered")]
    assert answered == [(codec.partition("/")[0], hz) for codec, hz in clocks_hz.items()]
    digits: dict[str, str] = {}
    for payload in told(app, "call.dtmf.received"):
        digits[payload["call_leg_id"]] = digits.get(payload["call_leg_id"], "") + payload["digit"]
    assert list(digits.values()) == ["19#D"] * len(clocks_hz)


async def test_the_app_prefers_a_codec_and_else_the_installation_does(tmp_path: Path) -> None:
    async with Phone() as phone, offhook(tmp_path, preferred_codecs="G729,OPUS,G722") as (app, sip_port):
        assert (await call(phone, app, sip_port, "PCMU", "G722", "OPUS")).codec == "OPUS"
        assert (await call(phone, app, sip_port, "PCMU", "G722")).codec == "G722"
        assert (await call(phone, app, sip_port, "OPUS", "PCMA", "PCMU")).codec == "OPUS"
        assert (await call(phone, app, sip_port, "AMR-WB", "PCMA", "PCMU")).codec == "PCMU"
    assert told(app, "call.initiated")[0]["offered_codecs"].startswith("PCMU,G722,OPUS~USEINBANDFEC=1,48000H")
    assert told(app, "call.initiated")[0]["connection_codecs"] == "PCMU,PCMA,G722,OPUS,AMR-WB,L16"


async def test_the_installation_says_which_codecs_there_are_and_in_which_order(tmp_path: Path) -> None:
    config = '[sip]\ncodecs = "G722,PCMU"\ncodec_order = "offer"\n'
    async with Phone() as phone, offhook(tmp_path, config) as (app, sip_port):
        assert (await call(phone, app, sip_port, "OPUS", "PCMU", "G722")).codec == "PCMU"
        assert (await call(phone, app, sip_port, "OPUS", "G722", "PCMU")).codec == "G722"
        refused = await phone.call(CallPlan(uri=f"sip:app@127.0.0.1:{sip_port}", codecs=("OPUS", "PCMA")))
        assert (refused.outcome, refused.status) == ("rejected", 488)


def without_amr_wb(folder: Path) -> dict[str, str]:
    """Return an environment in which the AMR-WB libraries cannot be loaded: broken files stand before them."""
    hidden = folder / "hidden"
    hidden.mkdir()
    for name in ("libopencore-amrwb.so.0", "libvo-amrwbenc.so.0"):
        hidden.joinpath(name).touch()
    return {"LD_LIBRARY_PATH": str(hidden)}


async def test_without_its_libraries_amr_wb_is_passed_on_and_all_else_refused(tmp_path: Path) -> None:
    async with (
        tool("listen", "--port", "0") as listen,
        Phone() as phone,
        offhook(tmp_path, env=without_amr_wb(tmp_path)) as (app, sip_port),
    ):
        url = (await listen.next(event="listening"))["url"]
        assert (await call(phone, app, sip_port, "AMR-WB", "PCMA")).codec == "PCMA"
        over = asyncio.Event()
        plan = CallPlan(uri=f"sip:app@127.0.0.1:{sip_port}", codecs=("AMR-WB",))
        calling = asyncio.ensure_future(phone.call(plan, hang_up_when=over))
        await app.wait_for(lambda app: app.types().count("call.answered") == 2)
        here = told(app, "call.answered")[1]["call_control_id"]
        problems = []
        for action, asked in (
            ("streaming_start", {"stream_url": url, "stream_codec": "PCMU"}),
            (
                "streaming_start",
                {"stream_url": url, "stream_bidirectional_mode": "rtp", "stream_bidirectional_codec": "L16"},
            ),
            ("transcription_start", {}),
        ):
            (problem,) = (await app.act(here, action, **asked))["errors"]
            assert "libopencore-amrwb0" in problem["detail"]
            problems.append((problem["code"], problem.get("source", {}).get("pointer")))
        assert problems[:2] == [("10038", "/stream_codec"), ("10038", "/stream_bidirectional_codec")]
        assert problems[2][0] == "10038"
        assert [status for _, status, _ in app.refused] == [422, 422, 422]
        app.refused.clear()
        await app.act(here, "streaming_start", stream_url=url, stream_track="both_tracks")
        start = await listen.next(event="start")
        assert (start["encoding"], start["sample_rate_hz"]) == ("AMR-WB", 16_000)
        await asyncio.sleep(0.5)
        over.set()
        result = await calling
        closed = await listen.next(event="closed")
        assert (result.outcome, result.codec) == ("answered", "AMR-WB")
        assert closed["malformed_frames"] == 0


class Caller:
    """A caller that can change its codec in mid-call."""

    def __init__(self) -> None:
        self.signalling = SipServer(sip.UserAgentConfig(), self._on_event)
        self.answers: asyncio.Queue[bytes] = asyncio.Queue(8)
        self.engine = NativeEngine(
            workers=1, bind_address="127.0.0.1", port_range=(24_000, 24_099), drain_s=0.0
        )
        self._ports = (0, 0)
        self._version = 0
        self._call = 0

    def _on_event(self, event: sip.UserAgentEvent) -> None:
        if isinstance(event, sip.CallAccepted | sip.OfferAnswered):
            self.answers.put_nowait(event.sdp or b"")

    def _offer(self, codec: str) -> bytes:
        self._version += 1
        rtp_port, rtcp_port = self._ports
        return make_offer(
            (codec,),
            address="127.0.0.1",
            rtp_port=rtp_port,
            rtcp_port=rtcp_port,
            session_id=1,
            version=self._version,
        )

    async def call(self, sip_port: int, codec: str, sound: bytes) -> None:
        """Call, and say `sound` of 16 kHz."""
        await self.signalling.start([Listen("udp", "127.0.0.1", 0)])
        self.engine.attach(asyncio.get_running_loop(), lambda _: None)
        self._ports = self.engine.open_leg(1, rtcp_mux=False)
        uri = f"sip:app@127.0.0.1:{sip_port}"
        flow = await self.signalling.flow_to(uri)
        offer = self._offer(codec)
        request = sip.OutgoingCall(uri=uri, from_uri="sip:caller@127.0.0.1", from_display="", flow=flow)
        self._call = self.signalling.invite(request, offer)
        await self._connect(offer)
        self.engine.play(1, 1, pcm=sound, sample_rate_hz=16_000)

    async def change(self, codec: str) -> None:
        """Offer another codec."""
        offer = self._offer(codec)
        self.signalling.reinvite(self._call, offer)
        await self._connect(offer)

    async def _connect(self, offer: bytes) -> None:
        async with asyncio.timeout(30):
            answer = await self.answers.get()
        agreed = read_answer(SessionDescription.parse(offer), SessionDescription.parse(answer))
        assert agreed is not None
        connect_agreed(self.engine, 1, agreed, silence_when_idle=True)

    async def close(self) -> None:
        self.signalling.hangup(self._call)
        await asyncio.sleep(0.2)
        self.engine.close_leg(1)
        await self.signalling.close()
        self.engine.detach()
        self.engine.shutdown()


SPOKEN_DBFS = 20 * np.log10(8_000 / np.sqrt(2) / 32_768)


@pytest.mark.parametrize(
    "codecs", [("PCMU", "OPUS", "G722"), ("OPUS", "L16/48000", "PCMA"), ("AMR-WB", "PCMU")]
)
async def test_a_call_may_change_its_codec_and_its_streams_do_not(
    tmp_path: Path, codecs: tuple[str, ...]
) -> None:
    hz, played_s = 440, 1.5
    caller = Caller()
    at = np.arange(round(16_000 * played_s * len(codecs))) / 16_000
    sound = np.round(8_000 * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()
    async with tool("listen", "--port", "0", "--record", str(tmp_path / "heard")) as listen:
        url = (await listen.next(event="listening"))["url"]
        stream = {"stream_url": url, "stream_codec": "L16", "stream_bidirectional_sampling_rate": 16_000}
        async with offhook(tmp_path, **stream) as (app, sip_port):
            await caller.call(sip_port, codecs[0], sound)
            for codec in codecs[1:]:
                await asyncio.sleep(played_s)
                await caller.change(codec)
            await asyncio.sleep(played_s)
            await caller.close()
            await app.wait_for(lambda app: "call.hangup" in app.types())
        closed = await listen.next(event="closed")
    assert closed["malformed_frames"] == 0
    (start,) = [event for event in listen.events if event["event"] == "start"]
    assert (start["encoding"], start["sample_rate_hz"]) == ("L16", 16_000)
    (recorded,) = (tmp_path / "heard").rglob("*inbound*.wav")
    with wave.open(str(recorded)) as file:
        pcm = file.readframes(file.getnframes())
    # Somewhere in its part, because a machine that is busy shifts what follows.
    size = len(pcm) // len(codecs) // 2 * 2
    for part, codec in enumerate(codecs):
        spoken = pcm[part * size : (part + 1) * size]
        assert pure_ms(spoken, hz, 16_000, dbfs=SPOKEN_DBFS) >= 400, codec
