"""Agents that others have written for Telnyx, as they are."""

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.tones import TONE_DBFS, TONE_HZ, pure_ms, purity_db, tone
from tests.interop.test_cli_tools import Tool
from tests.interop.test_two_way import Talk, TimedCapture, offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PIPECAT_PYTHON = ROOT / "build" / "pipecat-venv" / "bin" / "python"
"""Made by `make interop`: Pipecat is too heavy for the environment of all tests."""
AGENT = Path(__file__).parent / "clients" / "pipecat_agent.py"
AGENT_HZ = 1_300


@asynccontextmanager
async def agent() -> AsyncIterator[Tool]:
    process = await asyncio.create_subprocess_exec(
        PIPECAT_PYTHON, AGENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield Tool(process)
    finally:
        process.kill()
        await process.wait()


async def until_key(agent: Tool, seen: asyncio.Event) -> None:
    await agent.next(event="interrupted")
    seen.set()


@pytest.mark.skipif(not PIPECAT_PYTHON.exists(), reason="`make interop` installs Pipecat")
@pytest.mark.parametrize("leg_codec", ["PCMU", "PCMA"])
async def test_a_pipecat_agent_hears_speaks_and_is_interrupted(tmp_path: Path, leg_codec: str) -> None:
    capture = TimedCapture()
    async with agent() as pipecat, Phone() as phone:
        port = (await pipecat.next(event="listening"))["port"]
        talk = Talk({"stream_url": f"ws://127.0.0.1:{port}/", "stream_bidirectional_codec": "PCMU"})
        async with offhook(tmp_path, talk) as (app, sip_port), asyncio.TaskGroup() as group:
            interrupted = asyncio.Event()
            hang_up = asyncio.Event()

            async def end_after_the_interruption() -> None:
                await until_key(pipecat, interrupted)
                await asyncio.sleep(1)
                hang_up.set()

            group.create_task(end_after_the_interruption())
            quiet = bytes(16 * 500)
            result = await phone.call(
                CallPlan(
                    uri=f"sip:app@127.0.0.1:{sip_port}",
                    codecs=(leg_codec,),
                    play=Sound(quiet + tone(TONE_HZ, 1000) + quiet * 2, 8_000),
                    digits="1",
                    hang_up_after_play=False,
                ),
                play_when=talk.ready,
                hang_up_when=hang_up,
                capture=capture,
            )
            await app.wait_for(lambda app: "call.hangup" in app.types())
    (told,) = [event for event in pipecat.events if event["event"] == "call"]
    assert told["kind"] == "telnyx"
    assert told["encoding"] == leg_codec
    assert result.outcome == "answered"
    heard = capture.loud(capture.received, leg_codec)
    echoed = [(at, pcm) for at, pcm in heard if purity_db(pcm, TONE_HZ) > 10]
    talked = [(at, pcm) for at, pcm in heard if purity_db(pcm, AGENT_HZ) > 10]
    # One second of its own tone, at its own level.
    assert 40 <= len(echoed) <= 60
    # Packet by packet, as Pipecat sends by its own clock and may be late for one.
    assert statistics.median(purity_db(pcm, TONE_HZ) for _, pcm in echoed) > 20
    assert pure_ms(b"".join(pcm for _, pcm in echoed), TONE_HZ, dbfs=TONE_DBFS) >= 300
    delays = [
        back[0] - out[0] for out, back in zip(capture.loud(capture.sent, leg_codec), echoed, strict=False)
    ]
    assert 0 < statistics.median(delays) < 2
    # Ten seconds were to be said; the interruption came after one.
    assert 30 <= len(talked) <= 400
    assert statistics.median(purity_db(pcm, AGENT_HZ) for _, pcm in talked) > 20
