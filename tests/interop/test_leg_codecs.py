"""Calls in each codec through the whole server: what is agreed, told and pressed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan, CallResult
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.interop.test_cli_tools import tool

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


@asynccontextmanager
async def offhook(
    folder: Path, config: str = "", env: dict[str, str] | None = None, **answer: Any
) -> AsyncIterator[tuple[App, int]]:
    """Run a server whose app answers every call."""

    async def on_event(app: App, event: dict[str, Any]) -> None:
        if event["data"]["event_type"] == "call.initiated":
            await app.act(event["data"]["payload"]["call_control_id"], "answer", **answer)

    folder.joinpath("offhook.toml").write_text(config, encoding="utf-8")
    async with running_app(on_event) as app:
        server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url, **(env or {}))
        app.api = server.api
        try:
            yield app, server.sip_port
        finally:
            assert await stop_offhook(server) == 0
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


async def test_the_app_prefers_a_codec_and_else_the_caller_does(tmp_path: Path) -> None:
    async with Phone() as phone, offhook(tmp_path, preferred_codecs="G729,OPUS,G722") as (app, sip_port):
        assert (await call(phone, app, sip_port, "PCMU", "G722", "OPUS")).codec == "OPUS"
        assert (await call(phone, app, sip_port, "PCMU", "G722")).codec == "G722"
        assert (await call(phone, app, sip_port, "PCMA", "PCMU")).codec == "PCMA"
    assert told(app, "call.initiated")[0]["offered_codecs"].startswith("PCMU,G722,OPUS~USEINBANDFEC=1,48000H")
    assert told(app, "call.initiated")[0]["connection_codecs"] == "PCMU,PCMA,G722,OPUS,AMR-WB,L16"


async def test_the_installation_says_which_codecs_there_are_and_in_which_order(tmp_path: Path) -> None:
    config = '[sip]\ncodecs = "G722,PCMU"\ncodec_order = "ours"\n'
    async with Phone() as phone, offhook(tmp_path, config) as (app, sip_port):
        assert (await call(phone, app, sip_port, "PCMU", "OPUS", "G722")).codec == "G722"
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
