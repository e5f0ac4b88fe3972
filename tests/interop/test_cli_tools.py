"""`offhook call`, `listen` and `webhooks` as programs, around a running server and the official SDK."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import telnyx

from offhook.app.demo.compare import compare_audio
from offhook.app.demo.place import free_tcp_port, sentence
from offhook.base.g711 import mulaw_decode, mulaw_encode
from offhook.kit.audio import read_wav, write_wav
from tests.fakes.server import API_KEY, OffhookProcess, free_port, start_offhook, stop_offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

SAID_S = 2


@dataclass
class Tool:
    """A running `offhook ... --json`."""

    process: asyncio.subprocess.Process
    events: list[dict[str, Any]] = field(default_factory=list)

    async def next(self, **wanted: Any) -> dict[str, Any]:
        """Return the next event with these fields."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                self.events.append(event)
                if wanted.items() <= event.items():
                    return event
        raise AssertionError(f"it ended without {wanted}: {self.events}")

    async def rest(self) -> int:
        """Read to the end; return the exit status."""
        out, err = await self.process.communicate()
        self.events += [json.loads(line) for line in out.splitlines()]
        assert err == b""
        assert self.process.returncode is not None
        return self.process.returncode

    async def interrupt(self) -> int:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            return await self.rest()


@asynccontextmanager
async def tool(*arguments: str) -> AsyncIterator[Tool]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "offhook", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TELNYX_")},
    )
    try:
        yield Tool(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def serving(folder: Path, webhook_url: str) -> AsyncIterator[OffhookProcess]:
    server = await start_offhook(folder, sip_port=free_port(), OFFHOOK_WEBHOOK_URL=webhook_url)
    try:
        yield server
    finally:
        await stop_offhook(server)


async def test_call_listen_and_webhooks_work_together(tmp_path: Path) -> None:
    said = sentence()[0].pcm[: SAID_S * 16_000]
    write_wav(tmp_path / "said.wav", said, sample_rate_hz=8_000)
    webhook_port = free_tcp_port()
    async with (
        serving(tmp_path / "server", f"http://127.0.0.1:{webhook_port}/hook") as server,
        tool("webhooks", "--port", str(webhook_port), "--url", server.api) as webhooks,
        tool("listen", "--port", "0", "--record", str(tmp_path / "streams")) as listen,
        telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client,
    ):
        await webhooks.next(event="listening")
        url = (await listen.next(event="listening"))["url"]
        async with tool(
            *("call", f"sip:+15550101@127.0.0.1:{server.sip_port};transport=tcp", "--from", "+15550100"),
            *("--play", str(tmp_path / "said.wav"), "--record", str(tmp_path / "heard.wav"), "--dtmf", "1#"),
        ) as call:
            initiated = await webhooks.next(event_type="call.initiated")
            assert initiated["verified"]
            assert (initiated["payload"]["from"], initiated["payload"]["to"]) == ("+15550100", "+15550101")
            await client.calls.actions.answer(
                initiated["call_control_id"], stream_url=url, stream_track="inbound_track"
            )
            assert await call.rest() == 0
        assert (await webhooks.next(event_type="call.hangup"))["payload"]["hangup_source"] == "caller"
        await listen.next(event="closed")
        assert await listen.interrupt() == 0
        assert await webhooks.interrupt() == 0

    result = call.events[-1]
    assert (result["outcome"], result["ended_by"], result["codec"]) == ("answered", "local", "PCMU")
    assert result["packets_sent"] >= SAID_S * 50
    assert all(event["verified"] for event in webhooks.events if event["event"] == "webhook")
    assert [event["digit"] for event in listen.events if event["event"] == "dtmf"] == ["1", "#"]
    assert listen.events[-1]["malformed_frames"] == 0
    recorded = recording_in(tmp_path / "streams")
    # The stream opens after the answer, so the very beginning may be missing; the rest must be exact.
    late = said[8_000:]
    assert compare_audio(mulaw_decode(mulaw_encode(late)), recorded).identical
    assert read_wav(tmp_path / "heard.wav").sample_rate_hz == 8_000


def recording_in(folder: Path) -> bytes:
    [path] = folder.glob("*-inbound.wav")
    return read_wav(path).pcm


async def test_ctrl_c_hangs_up_and_still_tells_how_the_call_went(tmp_path: Path) -> None:
    webhook_port = free_tcp_port()
    async with (
        serving(tmp_path / "server", f"http://127.0.0.1:{webhook_port}/hook") as server,
        tool("webhooks", "--port", str(webhook_port), "--public-key", server.public_key) as webhooks,
        telnyx.AsyncTelnyx(api_key=API_KEY, base_url=server.api) as client,
        tool("call", f"sip:app@127.0.0.1:{server.sip_port}") as call,
    ):
        initiated = await webhooks.next(event_type="call.initiated")
        await client.calls.actions.answer(initiated["call_control_id"])
        await call.next(event="answered")
        assert await call.interrupt() == 0
        assert (call.events[-1]["event"], call.events[-1]["ended_by"]) == ("result", "local")
        hangup = await webhooks.next(event_type="call.hangup")
        assert hangup["payload"]["hangup_cause"] == "normal_clearing"


async def test_a_rejected_call_is_status_1(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "server", "") as server,
        tool("call", f"sip:app@127.0.0.1:{server.sip_port}") as call,
    ):
        assert await call.rest() == 1
        assert call.events[-1]["outcome"] == "rejected"
        assert call.events[-1]["status"] >= 400
