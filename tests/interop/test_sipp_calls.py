"""sipp as an independent caller against the whole server, with an app that answers over the API."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fakes.server import App, OffhookProcess, free_port, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

OPEN_THINGS = (
    "offhook_calls_open",
    "offhook_sip_calls",
    "offhook_sip_transactions",
    "offhook_media_legs_open",
    "offhook_media_taps_open",
    "offhook_media_stream_sockets_open",
    "offhook_media_ports_in_use",
    "offhook_media_ports_draining",
    "offhook_webhook_in_memory",
)

SCENARIOS = Path(__file__).parent / "sip"


async def answer_each(app: App, event: dict[str, Any]) -> None:
    if event["data"]["event_type"] == "call.initiated":
        await app.act(event["data"]["payload"]["call_control_id"], "answer")


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running_app() as app:
        yield app


@pytest.fixture
async def server(app: App, tmp_path: Path) -> AsyncIterator[OffhookProcess]:
    server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
    app.api = server.api
    yield server
    assert await stop_offhook(server) == 0


async def sipp(
    server: OffhookProcess, tmp_path: Path, *arguments: str, timeout_s: int = 120
) -> dict[str, int]:
    """Run sipp to its end; return how many calls succeeded and failed."""
    statistics = tmp_path / "sipp.csv"
    process = await asyncio.create_subprocess_exec(
        "sipp",
        f"127.0.0.1:{server.sip_port}",
        "-i",
        "127.0.0.1",
        "-p",
        str(free_port()),
        "-mp",
        str(free_port()),
        "-nostdin",
        "-timeout",
        f"{timeout_s}s",
        "-trace_stat",
        "-stf",
        str(statistics),
        *arguments,
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(timeout_s + 10):
        await process.wait()
    names, *rows = [line.split(";") for line in statistics.read_text().splitlines() if line]
    last = dict(zip(names, rows[-1], strict=False))
    return {"ok": int(last["SuccessfulCall(C)"]), "failed": int(last["FailedCall(C)"])}


async def all_hung_up(app: App, count: int) -> None:
    await app.wait_for(lambda app: app.types().count("call.hangup") >= count, timeout_s=40)


async def gauges(server: OffhookProcess) -> dict[str, float]:
    """Return every gauge that must be zero when no call is up."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.api.removesuffix("/v2") + "/metrics") as answer,
    ):
        text = await answer.text()
    values = {name: float(value) for name, value in re.findall(r"^(offhook_\w+) (\S+)$", text, re.MULTILINE)}
    return {name: values[name] for name in OPEN_THINGS}


async def nothing_left(server: OffhookProcess) -> None:
    async with asyncio.timeout(45):
        while any((await gauges(server)).values()):
            await asyncio.sleep(0.2)


async def test_five_hundred_calls_at_fifty_a_second_all_succeed(
    server: OffhookProcess, app: App, tmp_path: Path
) -> None:
    app.on_event = answer_each
    result = await sipp(server, tmp_path, "-sn", "uac", "-r", "50", "-m", "500", "-d", "500")
    assert result == {"ok": 500, "failed": 0}
    await all_hung_up(app, 500)
    assert not app.refused
    for leg in {event["data"]["payload"]["call_leg_id"] for event in app.events}:
        assert app.types(leg) == ["call.initiated", "call.answered", "call.hangup"]
    await nothing_left(server)


async def test_every_call_succeeds_though_one_packet_in_twenty_is_lost_and_others_are_cancelled(
    server: OffhookProcess, app: App, tmp_path: Path
) -> None:
    """Both at once, because both leave SIP transactions that rest for half a minute."""

    async def answer_but_not(app: App, event: dict[str, Any]) -> None:
        if not event["data"]["payload"]["to"].startswith("sip:cancelled@"):
            await answer_each(app, event)

    app.on_event = answer_but_not
    cancelled = ("-sf", str(SCENARIOS / "cancel.xml"), "-s", "cancelled", "-r", "10", "-m", "20")
    for folder in ("lossy", "cancelled"):
        (tmp_path / folder).mkdir()
    told = await asyncio.gather(
        sipp(server, tmp_path / "lossy", "-sn", "uac", "-r", "20", "-m", "300", "-d", "300", "-lost", "5"),
        sipp(server, tmp_path / "cancelled", *cancelled),
    )
    assert told == [{"ok": 300, "failed": 0}, {"ok": 20, "failed": 0}]
    await all_hung_up(app, 320)
    ends = [event["data"]["payload"] for event in app.events if event["data"]["event_type"] == "call.hangup"]
    given_up = [end for end in ends if end["to"].startswith("sip:cancelled@")]
    assert len(given_up) == 20
    assert {end["hangup_cause"] for end in given_up} == {"originator_cancel"}
    assert {end["sip_hangup_cause"] for end in given_up} == {"487"}
    await nothing_left(server)
