"""How a server ends while calls are up, and what a dead speech worker costs."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.audio import read_wav
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, OffhookProcess, running_app, start_offhook, stop_offhook

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

SPEECH = Path(__file__).parent.parent / "data" / "speech"


async def answer(app: App, event: dict[str, Any]) -> None:
    """Answer and transcribe every call."""
    data = event["data"]
    call = data["payload"]["call_control_id"]
    if data["event_type"] == "call.initiated":
        await app.act(call, "answer", send_silence_when_idle=True)
    elif data["event_type"] == "call.answered":
        await app.act(call, "transcription_start", transcription_engine="Google")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition: Any, timeout_s: float = 10) -> None:
    """Return when `condition` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def open_ended(server: OffhookProcess, user: str = "a") -> CallPlan:
    """Return a call that the phone does not end."""
    return CallPlan(uri=f"sip:{user}@127.0.0.1:{server.sip_port}", hang_up_after_play=False, duration_s=60)


async def test_sigterm_lets_calls_end_and_takes_no_new_one(tmp_path: Path) -> None:
    async with running_app(answer) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            hang_up = asyncio.Event()
            call = asyncio.create_task(phone.call(open_ended(server), hang_up_when=hang_up))
            await app.wait_for(lambda app: "call.answered" in app.types())
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: "draining" in server.log())
            refused = await phone.call(open_ended(server, "b"))
            assert (refused.outcome, refused.status) == ("rejected", 503)
            assert server.process.returncode is None, "the call goes on"
            hang_up.set()
            assert (await call).ended_by == "local"
            async with asyncio.timeout(30):
                assert await server.process.wait() == 0
        finally:
            await server.kill()
        assert app.types()[-1] == "call.hangup"
        assert app.refused == []


async def test_a_second_sigterm_ends_the_calls_at_once_and_leaves_no_process(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    tmp_path.joinpath("offhook.toml").write_text("[speech]\nwarm_up = true\n")
    async with running_app(answer) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            calls = [asyncio.create_task(phone.call(open_ended(server, f"u{n}"))) for n in range(3)]
            await app.wait_for(lambda app: app.types().count("call.answered") == 3)
            await until(lambda: "speech worker ready" in server.log(), 60)
            workers = children_of(server.pid)
            assert workers, "there is a worker to be left behind"
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: "draining" in server.log())
            begun_at = asyncio.get_running_loop().time()
            server.process.send_signal(signal.SIGTERM)
            assert {(await call).ended_by for call in calls} == {"remote"}, "each got a BYE"
            async with asyncio.timeout(30):
                assert await server.process.wait() == 0
            assert asyncio.get_running_loop().time() - begun_at < 20
        finally:
            await server.kill()
        await until(lambda: not any(is_alive(pid) for pid in workers))
        assert app.types().count("call.hangup") == 3
        assert "Traceback" not in server.log()


async def test_no_worker_outlives_a_killed_server(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    tmp_path.joinpath("offhook.toml").write_text("[speech]\nwarm_up = true\n")
    async with running_app(answer) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        hang_up = asyncio.Event()
        call = asyncio.create_task(phone.call(open_ended(server), hang_up_when=hang_up))
        try:
            await until(lambda: "speech worker ready" in server.log(), 60)
            workers = children_of(server.pid)
            assert workers
        finally:
            await server.kill()
            hang_up.set()
            await call
        await until(lambda: not any(is_alive(pid) for pid in workers))


async def test_a_killed_speech_worker_costs_the_call_no_word(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    name = "cold_hearted"
    words = json.loads((SPEECH / "transcripts.json").read_text())[f"{name}.wav"]

    async with running_app(answer) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            hang_up = asyncio.Event()
            call = asyncio.create_task(
                phone.call(
                    CallPlan(
                        uri=f"sip:a@127.0.0.1:{server.sip_port}",
                        play=read_wav(SPEECH / f"{name}.wav"),
                        tail_s=30,
                    ),
                    hang_up_when=hang_up,
                )
            )
            await until(lambda: "speech worker ready" in server.log(), 60)
            await asyncio.sleep(1.5)
            for pid in children_of(server.pid):
                os.kill(pid, signal.SIGKILL)
            await until(lambda: server.log().count("speech worker ready") == 2, 60)
            await app.wait_for(lambda app: len(heard(app)) >= 0.7 * len(words.split()), 30)
            await asyncio.sleep(1.0)
            hang_up.set()
            assert (await call).outcome == "answered"
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    told = heard(app)
    missing = set(words.lower().split()) - set(told)
    assert len(missing) <= 0.2 * len(words.split()), f"{missing} of {words!r}, heard {told}"
    assert len(told) <= 1.2 * len(words.split()), f"nothing twice: {told}"


def heard(app: App) -> list[str]:
    """Return the words of all finals."""
    return [
        word.strip(".,?!").lower()
        for event in app.events
        if event["data"]["event_type"] == "call.transcription"
        for word in event["data"]["payload"]["transcription_data"]["transcript"].replace("-", " ").split()
    ]
