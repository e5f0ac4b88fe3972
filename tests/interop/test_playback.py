"""Sounds that an app lets a call hear, as the phone at its other end hears them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from offhook.kit.answering import AnsweringPhone, AnswerPlan, Listen
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, serving, start_offhook, stop_offhook
from tests.fakes.sounds import pcm_wav
from tests.fakes.tones import TONE_DBFS, WINDOW_MS, tone, tone_dbfs

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

MP3 = (Path(__file__).parents[1] / "data/mp3/tone-44100-stereo.mp3").read_bytes()
"""A second of 440 Hz."""
MP3_HZ, MP3_DBFS = 440, -12.5


def lasted(found: list[int], lasts_ms: int) -> bool:
    """Say whether windows are as long as what was played, less those in which a busy machine made a rest."""
    return lasts_ms * 0.6 <= len(found) * WINDOW_MS <= lasts_ms + 2 * WINDOW_MS


def heard_ms(pcm: bytes, hz: float, played_dbfs: float = TONE_DBFS) -> list[int]:
    """Return when a frequency was heard about as loud as it was played."""
    size = WINDOW_MS * 16
    windows = range(0, len(pcm) - size, size)
    return [at // 16 for at in windows if abs(tone_dbfs(pcm[at : at + size], hz) - played_dbfs) < 1.5]


@asynccontextmanager
async def files(**content: bytes) -> AsyncIterator[str]:
    """Serve files; give the URL of their folder."""

    async def file(request: web.Request) -> web.Response:
        return web.Response(body=content[request.match_info["name"]])

    application = web.Application()
    application.router.add_get("/{name}", file)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def playbacks(app: App, call_leg_id: str | None = None) -> list[tuple[str, str]]:
    """Return what was told of which sound: started, or the status of the end."""
    told = []
    for event in app.events:
        data = event["data"]
        payload = data["payload"]
        if data["event_type"].startswith("call.playback") and call_leg_id in (None, payload["call_leg_id"]):
            what = payload["media_url"] or payload["media_name"] or "content"
            told.append((what.rpartition("/")[2], payload.get("status", "started")))
    return told


async def play_to_phone(
    tmp_path: Path, scene: Callable[[App, str], Awaitable[None]], *, codec: str = "PCMU"
) -> tuple[bytes, App]:
    """Let a phone call, play the scene once it is answered, hang up; return what the phone heard."""
    heard: list[bytes] = []

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            await scene(app, call)
            await app.act(call, "hangup")

    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        await phone.call(
            CallPlan(
                uri=f"sip:app@127.0.0.1:{server.sip_port}",
                codecs=(codec,),
                record=heard.append,
                hang_up_after_play=False,
                duration_s=20,
            )
        )
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert app.refused == []
    return b"".join(heard), app


@pytest.mark.parametrize("codec", ["PCMU", "G722"])
async def test_files_of_every_source_are_heard_in_order_whole_and_at_their_level(
    tmp_path: Path, codec: str
) -> None:
    (tmp_path / "offhook.toml").write_text(f'[media]\nfolder = "{tmp_path}/sounds"\n')
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds/thrice.wav").write_bytes(pcm_wav(tone(2_000, 200, 16_000), rate_hz=16_000))
    wav = pcm_wav(tone(1_000, 1_000, 44_100), rate_hz=44_100)

    async def scene(app: App, call: str) -> None:
        content = base64.b64encode(pcm_wav(tone(500, 300))).decode()
        await app.act(call, "playback_start", audio_url=f"{url}/tone.wav", cache_audio=False)
        await app.act(call, "playback_start", audio_url=f"{url}/tone.mp3", audio_type="mp3")
        await app.act(call, "playback_start", media_name="thrice", loop=3)
        await app.act(call, "playback_start", playback_content=content)
        await app.wait_for(lambda app: ("content", "completed") in playbacks(app))
        await asyncio.sleep(0.3)

    async with files(**{"tone.wav": wav, "tone.mp3": MP3}) as url:
        pcm, app = await play_to_phone(tmp_path, scene, codec=codec)
    names = ["tone.wav", "tone.mp3", "thrice", "content"]
    assert playbacks(app) == [(name, what) for name in names for what in ("started", "completed")]
    times = [heard_ms(pcm, 1_000), heard_ms(pcm, MP3_HZ, MP3_DBFS), heard_ms(pcm, 2_000), heard_ms(pcm, 500)]
    for found, lasts_ms in zip(times, (1_000, 1_000, 600, 300), strict=True):
        assert lasted(found, lasts_ms), times
    assert times == sorted(times), "one after the other"
    assert times[-1][-1] - times[0][0] <= 2_900 + 500, "one is ready when the one before it ends"


async def test_an_overlay_is_heard_with_an_endless_sound_and_each_is_stopped_by_itself(
    tmp_path: Path,
) -> None:
    async def scene(app: App, call: str) -> None:
        ground = base64.b64encode(pcm_wav(tone(500, 500))).decode()
        await app.act(call, "playback_start", playback_content=ground, loop="infinity")
        await app.wait_for(lambda app: ("content", "started") in playbacks(app))
        await asyncio.sleep(0.5)
        await app.act(call, "playback_start", audio_url=f"{url}/over.wav", overlay=True)
        await app.act(call, "playback_start", audio_url=f"{url}/over.wav", overlay=True, loop="infinity")
        await asyncio.sleep(1.2)
        await app.act(call, "playback_stop", overlay=True)
        await asyncio.sleep(0.5)
        await app.act(call, "playback_stop", stop="current")
        await asyncio.sleep(0.5)

    async with files(**{"over.wav": pcm_wav(tone(1_000, 600))}) as url:
        pcm, app = await play_to_phone(tmp_path, scene)
    assert playbacks(app) == [
        ("content", "started"),
        ("over.wav", "started"),
        ("over.wav", "completed"),
        ("over.wav", "started"),
        ("over.wav", "cancelled"),
        ("content", "cancelled"),
    ]
    ground, over = heard_ms(pcm, 500), heard_ms(pcm, 1_000)
    assert len(set(over) - set(ground)) <= 4, "over and with, not instead"
    assert 800 <= len(over) * WINDOW_MS <= 2_000, "once, and until it was stopped"
    assert 1_600 <= len(ground) * WINDOW_MS <= 4_000, "until it was stopped"
    assert not any(pcm[(ground[-1] + 3 * WINDOW_MS) * 16 : (ground[-1] + 8 * WINDOW_MS) * 16]), (
        "silence after it"
    )


async def test_a_call_that_ends_ends_what_it_hears(tmp_path: Path) -> None:
    async def scene(app: App, call: str) -> None:
        content = base64.b64encode(pcm_wav(tone(500, 500))).decode()
        for overlay in (False, True):
            await app.act(call, "playback_start", playback_content=content, loop="infinity", overlay=overlay)
        await app.wait_for(lambda app: len(playbacks(app)) == 2)
        await app.act(call, "playback_start", playback_content=content)

    _, app = await play_to_phone(tmp_path, scene)
    assert playbacks(app) == [("content", "started")] * 2 + [("content", "call_hangup")] * 3
    assert app.types()[-1] == "call.hangup"


async def test_the_called_is_played_the_sound_of_the_dial(tmp_path: Path) -> None:
    async with (
        running_app() as app,
        files(**{"hello.wav": pcm_wav(tone(1_000, 800))}) as url,
        AnsweringPhone(AnswerPlan(), Listen("udp", "127.0.0.1", 0)) as phone,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            await dial(app, to=phone.uri, audio_url=f"{url}/hello.wav")
            await app.wait_for(lambda app: ("hello.wav", "completed") in playbacks(app))
            [call] = {event["data"]["payload"]["call_control_id"] for event in app.events}
            await app.act(call, "hangup")
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    assert app.types()[1:4] == ["call.answered", "call.playback.started", "call.playback.ended"]
    started, ended = (datetime.fromisoformat(event["data"]["occurred_at"]) for event in app.events[2:4])
    assert 0.75 <= (ended - started).total_seconds() <= 2, "the last packet is sent 20 ms before its end"


async def dial(app: App, **parameters: Any) -> None:
    """Let the app call somebody."""
    assert app._session is not None
    body = {"connection_id": "1000000000000000001", "from": "+15550100001", **parameters}
    async with app._session.post(f"{app.api}/calls", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def test_the_two_parties_of_a_bridge_hear_what_each_is_to_hear(tmp_path: Path) -> None:
    sounds = {"self": 500, "opposite": 1_000, "both": 2_000}
    up: list[str] = []

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] == "call.answered":
            up.append(call)
            if len(up) == 2:
                await app.act(up[0], "bridge", call_control_id=call)
        elif data["event_type"] == "call.bridged" and call == up[0]:
            for target_legs, hz in sounds.items():
                content = base64.b64encode(pcm_wav(tone(hz, 500))).decode()
                await app.act(call, "playback_start", playback_content=content, target_legs=target_legs)
        elif playbacks(app).count(("content", "completed")) == 3 and "call.hangup" not in app.types():
            await app.act(up[0], "hangup")

    heard: dict[str, list[bytes]] = {"a": [], "b": []}
    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        async with asyncio.TaskGroup() as calls:
            for caller, ear in heard.items():
                plan = CallPlan(
                    uri=f"sip:app@127.0.0.1:{server.sip_port}",
                    caller=caller,
                    codecs=("PCMU",),
                    record=ear.append,
                    hang_up_after_play=False,
                    duration_s=15,
                )
                calls.create_task(phone.call(plan))
                await app.wait_for(lambda app: "call.answered" in app.types())
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
        assert app.refused == []
    for caller, wanted in (("a", {"self", "both"}), ("b", {"opposite", "both"})):
        pcm = b"".join(heard[caller])
        for target_legs, hz in sounds.items():
            found = heard_ms(pcm, hz)
            assert lasted(found, 500 if target_legs in wanted else 0), (
                f"{caller} hears {target_legs}: {found}"
            )
