"""Calls out to sipp as the phone and as the trunk, from the request to the last webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request

from offhook.edge.sip import Listen
from offhook.kit.answering import AnsweringPhone, AnswerPlan
from offhook.kit.audio import Sound
from tests.fakes.server import (
    API_KEY,
    App,
    OffhookProcess,
    free_port,
    running_app,
    start_offhook,
    stop_offhook,
)
from tests.fakes.tones import tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

SCENARIOS = Path(__file__).parent / "sip"
CONNECTION_ID = "1000000000000000001"


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running_app() as app:
        yield app


@asynccontextmanager
async def running_server(app: App, folder: Path, toml: str = "", **env: str) -> AsyncIterator[OffhookProcess]:
    (folder / "offhook.toml").write_text(toml)
    server = await start_offhook(folder, OFFHOOK_WEBHOOK_URL=app.url, **env)
    app.api = server.api
    try:
        yield server
    finally:
        assert await stop_offhook(server) == 0
    assert "Traceback" not in server.log()


@asynccontextmanager
async def callee(folder: Path, *arguments: str, count: int = 1, timeout_s: int = 40) -> AsyncIterator[int]:
    """Run sipp as the called side; it must end well. Yields its port."""
    port = free_port()
    log = folder / f"sipp{port}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("sipp", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(port), "-m", str(count)),
            *("-nostdin", "-timeout", str(timeout_s), "-timeout_error", *arguments),
            stdout=output,
            stderr=output,
            cwd=folder,
        )
        try:
            await asyncio.sleep(0.5)
            yield port
            async with asyncio.timeout(30):
                status = await process.wait()
            assert status == 0, log.read_text(errors="replace")[-3000:]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def scenario(folder: Path, name: str, **words: str) -> list[str]:
    """Return the arguments that make sipp play a scenario with these words in it."""
    text = (SCENARIOS / f"{name}.xml").read_text()
    for word, value in ({"more": ""} | words).items():
        text = text.replace(f"[{word}]", value)  # sipp takes no keyword in a status line
    made = folder / f"{'-'.join((name, *words.values()))[:80].replace('/', '')}.xml"
    made.write_text(text)
    return ["-sf", str(made)]


async def dial(server: OffhookProcess, to: str | list[str], **parameters: Any) -> dict[str, Any]:
    body = {"connection_id": CONNECTION_ID, "to": to, "from": "+15550001111", **parameters}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session,
        session.post(f"{server.api}/calls", json=body) as answer,
    ):
        told: dict[str, Any] = await answer.json()
        assert answer.status == 200, told
        return dict(told["data"])


async def hangup_of(app: App) -> dict[str, Any]:
    await app.wait_for(lambda app: "call.hangup" in app.types())
    payload: dict[str, Any] = app.events[-1]["data"]["payload"]
    return payload


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_answers_and_the_app_hangs_up(app: App, tmp_path: Path, transport: str) -> None:
    way = {"udp": "u1", "tcp": "t1"}[transport]
    async with running_server(app, tmp_path) as server, callee(tmp_path, "-sn", "uas", "-t", way) as port:
        call = await dial(server, f"sip:bob@127.0.0.1:{port};transport={transport}", client_state="eA==")
        await app.wait_for(lambda app: "call.answered" in app.types())
        await app.act(call["call_control_id"], "hangup")
        hangup = await hangup_of(app)
    assert app.types() == ["call.initiated", "call.answered", "call.hangup"]
    assert (hangup["hangup_cause"], hangup["hangup_source"]) == ("normal_clearing", "caller")
    assert {event["data"]["payload"]["client_state"] for event in app.events} == {"eA=="}
    assert app.refused == []


async def test_a_phone_that_only_rings_is_cancelled_by_hangup(app: App, tmp_path: Path) -> None:
    async with running_server(app, tmp_path) as server, callee(tmp_path, *scenario(tmp_path, "ring")) as port:
        call = await dial(server, f"sip:bob@127.0.0.1:{port}")
        await asyncio.sleep(0.3)
        await app.act(call["call_control_id"], "hangup", reason="never mind")
        hangup = await hangup_of(app)
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == ("originator_cancel", "487")


async def test_of_two_phones_the_one_that_answers_gets_the_call(app: App, tmp_path: Path) -> None:
    async with (
        running_server(app, tmp_path) as server,
        callee(tmp_path, *scenario(tmp_path, "ring")) as ringing,
        callee(tmp_path, "-sn", "uas") as answering,
    ):
        to = [f"sip:a@127.0.0.1:{ringing}", f"sip:b@127.0.0.1:{answering}"]
        call = await dial(server, to)
        await app.wait_for(lambda app: "call.answered" in app.types())
        await app.act(call["call_control_id"], "hangup")
        await hangup_of(app)
    assert app.events[1]["data"]["payload"]["to"] == to[1]


async def test_a_number_goes_through_a_trunk_that_asks_who_we_are(app: App, tmp_path: Path) -> None:
    trunk = scenario(tmp_path, "trunk")
    async with callee(tmp_path, *trunk) as port:
        toml = (
            f'[[trunks]]\nname = "carrier"\naddress = "127.0.0.1:{port}"\nnumbers = ["+1"]\n'
            'username = "us"\npassword_env = "TRUNK_PASSWORD"\n'
        )
        async with running_server(app, tmp_path, toml, TRUNK_PASSWORD="secret") as server:
            await dial(server, "+15550002222")
            hangup = await hangup_of(app)
            assert "secret" not in server.log()
            assert "15550002222" not in server.log()
    assert app.types() == ["call.initiated", "call.answered", "call.hangup"]
    answered = app.events[1]["data"]["payload"]
    assert (answered["codec"], answered["to"]) == ("PCMA", "+15550002222")
    assert answered["custom_headers"] == [{"name": "X-Trunk", "value": "yes"}]
    assert (hangup["hangup_cause"], hangup["hangup_source"]) == ("normal_clearing", "callee")


async def test_a_wrong_password_is_a_rejected_call(app: App, tmp_path: Path) -> None:
    trunk = scenario(tmp_path, "trunk")
    async with running_server(app, tmp_path) as server, callee(tmp_path, *trunk) as port:
        await dial(server, f"sip:bob@127.0.0.1:{port}", sip_auth_username="us", sip_auth_password="wrong")
        hangup = await hangup_of(app)
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == ("call_rejected", "403")


async def test_a_stream_is_open_before_anybody_is_rung_and_hears_from_the_answer_on(
    app: App, tmp_path: Path
) -> None:
    order: list[str] = []
    frames: list[dict[str, Any]] = []

    def opening(connection: ServerConnection, request: Request) -> None:
        order.append("open")

    async def listen(connection: ServerConnection) -> None:
        async for message in connection:
            frame = json.loads(message)
            frames.append(frame)
            if frame["event"] != "media":
                order.append(frame["event"])

    plan = AnswerPlan(ring_s=2.0, play=Sound(tone(440, 1_000), 8_000), duration_s=2.0)
    phone = AnsweringPhone(
        plan, Listen("udp", "127.0.0.1", 0), on_event=lambda event: order.append(f"phone {event.kind}")
    )
    async with (
        phone,
        serve(listen, "127.0.0.1", 0, process_request=opening) as streams,
        running_server(app, tmp_path) as server,
    ):
        port = next(iter(streams.sockets)).getsockname()[1]
        await dial(
            server,
            phone.uri,
            stream_url=f"ws://127.0.0.1:{port}/",
            stream_establish_before_call_originate=True,
        )
        await hangup_of(app)
    steps = [step for step in order if step in ("open", "start", "stop", "phone ringing", "phone answered")]
    assert steps[:2] == ["open", "phone ringing"]
    assert steps.index("phone answered") < steps.index("start") < steps.index("stop")
    media = [frame["media"] for frame in frames if frame["event"] == "media"]
    assert int(media[0]["timestamp"]) < 500, "time counts from the answer"
    assert int(media[0]["chunk"]) == 1
    assert 1_000 <= len(media) * 20 <= 2_500, "nothing was kept of the ringing"
    assert app.types() == [
        "call.initiated", "call.answered", "streaming.started", "streaming.stopped", "call.hangup",
    ]  # fmt: skip


async def test_a_call_is_made_though_its_stream_cannot_be_opened(app: App, tmp_path: Path) -> None:
    async with running_server(app, tmp_path) as server, callee(tmp_path, "-sn", "uas") as port:
        call = await dial(
            server,
            f"sip:bob@127.0.0.1:{port}",
            stream_url=f"ws://127.0.0.1:{free_port()}/",
            stream_establish_before_call_originate=True,
        )
        await app.wait_for(lambda app: "call.answered" in app.types())
        await app.act(call["call_control_id"], "hangup")
        await hangup_of(app)
    assert app.types() == ["call.initiated", "streaming.failed", "call.answered", "call.hangup"]
