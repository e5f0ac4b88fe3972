"""An app that speaks mp3, the default mode of Telnyx: what the phone hears of its files."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import serve

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.tones import pure_ms
from tests.interop.test_two_way import Script, Talk, TimedCapture, offhook

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

DATA = Path(__file__).parents[1] / "data" / "mp3"
TONE_HZ, LENGTH_MS = 440, 1000
"""What the files hold."""


@dataclass
class Call:
    """A call whose app has one default stream and is free to speak."""

    script: Script
    capture: TimedCapture

    async def errors(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(30):
            while (
                len(found := [f["payload"] for _, f in self.script.frames if f["event"] == "error"]) < count
            ):
                await asyncio.sleep(0.01)
        return found


async def talk_over(
    folder: Path, speak: Callable[[Call], Awaitable[None]], codec: str = "PCMU", **stream: Any
) -> Call:
    """Hold a call while `speak` does what the app does."""
    call = Call(Script(asyncio.get_running_loop().create_future()), TimedCapture())
    hang_up = asyncio.Event()
    async with serve(call.script.take, "127.0.0.1", 0) as streams, Phone() as phone:
        url = f"ws://127.0.0.1:{next(iter(streams.sockets)).getsockname()[1]}/"
        talk = Talk({"stream_url": url, "stream_bidirectional_mode": "mp3", **stream})

        async def say() -> None:
            await talk.ready.wait()
            await speak(call)
            hang_up.set()

        async with offhook(folder, talk) as (app, sip_port), asyncio.TaskGroup() as group:
            group.create_task(say())
            await phone.call(
                CallPlan(uri=f"sip:app@127.0.0.1:{sip_port}", codecs=(codec,), hang_up_after_play=False),
                hang_up_when=hang_up,
                capture=call.capture,
            )
            await app.wait_for(lambda app: "call.hangup" in app.types())
    return call


@pytest.mark.parametrize(
    ("codec", "name", "played_dbfs"),
    [
        ("PCMU", "tone-24000-mono.mp3", -9.3),
        ("PCMA", "tone-44100-stereo.mp3", -12.3),
        ("PCMU", "tone-48000-mono-vbr.mp3", -9.0),
    ],
)
async def test_a_phone_hears_an_mp3_file(tmp_path: Path, codec: str, name: str, played_dbfs: float) -> None:
    back: list[float] = []

    async def speak(call: Call) -> None:
        await call.script.say((DATA / name).read_bytes())
        await call.script.send("mark", mark={"name": "end"})
        back.append(await call.script.mark("end"))
        await asyncio.sleep(0.2)

    call = await talk_over(tmp_path, speak, codec)
    heard = call.capture.loud(call.capture.received, codec)
    assert abs(len(heard) * 20 - LENGTH_MS) <= 100
    pcm = b"".join(pcm for _, pcm in heard)
    assert pure_ms(pcm, TONE_HZ, least_db=25, dbfs=played_dbfs) >= LENGTH_MS // 2
    assert abs(back[0] - heard[-1][0]) < 0.5, "the mark came at the end, not at the beginning"
    assert not [frame for _, frame in call.script.frames if frame["event"] == "error"]


async def test_an_mp3_file_is_cut_off_by_clear(tmp_path: Path) -> None:
    cut: list[float] = []

    async def speak(call: Call) -> None:
        await call.script.say((DATA / "tone-32000-mono.mp3").read_bytes())
        await call.script.send("mark", mark={"name": "end"})
        await asyncio.sleep(0.4)
        cut.append(await call.script.send("clear"))
        await call.script.mark("end")
        await asyncio.sleep(0.3)

    call = await talk_over(tmp_path, speak)
    heard = call.capture.loud(call.capture.received)
    assert 10 <= len(heard) <= 40, "not the whole second"
    assert heard[-1][0] - cut[0] < 0.4


async def test_what_an_app_does_wrong_in_mp3_mode_is_told(tmp_path: Path) -> None:
    errors: list[dict[str, Any]] = []

    async def speak(call: Call) -> None:
        file = (DATA / "tone-16000-mono.mp3").read_bytes()
        # No error is told before the start frame.
        await call.script.send("mark", mark={"name": "begun"})
        await call.script.mark("begun")
        await call.script.say(b"\xff" * 160)
        await call.script.say(file)
        await call.script.say(file)
        errors.extend(await call.errors(2))

    await talk_over(tmp_path, speak)
    assert [(error["code"], error["title"]) for error in errors] == [
        (100004, "invalid_media"),
        (100005, "rate_limit_reached"),
    ]
    assert "stream_bidirectional_mode" in errors[0]["detail"]
