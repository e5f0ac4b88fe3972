"""Keys that a caller presses, gathered on a running server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, serving, start_offhook, stop_offhook
from tests.fakes.sounds import pcm_wav
from tests.fakes.tones import WINDOW_MS, tone
from tests.interop.test_playback import files, heard_ms, playbacks

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def test_what_the_caller_presses_ends_the_entry_and_its_rest_is_only_told(tmp_path: Path) -> None:
    ready = asyncio.Event()

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        if event["data"]["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif event["data"]["event_type"] == "call.answered":
            await app.act(call, "gather", gather_id="pin", minimum_digits=4, maximum_digits=4)
            ready.set()

    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        plan = CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", digits="49*15", tail_s=0.3)
        async with asyncio.timeout(30):
            await phone.call(plan, play_when=ready)
        await app.wait_for(lambda app: "call.hangup" in app.types())
    assert app.refused == []
    [end] = [event["data"]["payload"] for event in app.events if "gather" in event["data"]["event_type"]]
    assert (end["status"], end["digits"], end["gather_id"]) == ("valid", "49*1", "pin")
    told = [kind for kind in app.types() if kind in ("call.dtmf.received", "call.gather.ended")]
    assert told == [*["call.dtmf.received"] * 4, "call.gather.ended", "call.dtmf.received"]


async def test_a_prompt_is_heard_until_a_key_and_again_after_a_wrong_entry(tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        kind = event["data"]["event_type"]
        if kind == "call.initiated":
            await app.act(call, "answer")
        elif kind == "call.answered":
            await app.act(
                call, "gather_using_audio", audio_url=f"{folder}/pin.wav", invalid_audio_url=f"{folder}/no.wav",
                minimum_digits=4, maximum_digits=4, maximum_tries=2, terminating_digit="#",
            )  # fmt: skip
        elif kind == "call.playback.started":
            await asyncio.sleep(0.5)
            asked.set()

    heard: list[bytes] = []
    sound = pcm_wav(tone(440, 3_000))
    async with (
        files(**{"pin.wav": sound, "no.wav": sound}) as folder,
        running_app(on_event) as app,
        Phone() as phone,
    ):
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = server.api
        try:
            uri = f"sip:app@127.0.0.1:{server.sip_port}"
            plan = CallPlan(uri=uri, codecs=("PCMU",), digits="9#4915", tail_s=0.5, record=heard.append)
            async with asyncio.timeout(30):
                await phone.call(plan, play_when=asked)
            await app.wait_for(lambda app: "call.hangup" in app.types())
        finally:
            assert await stop_offhook(server) == 0
    assert app.refused == []
    [end] = [event["data"]["payload"] for event in app.events if "gather" in event["data"]["event_type"]]
    assert (end["status"], end["digits"]) == ("valid", "4915")
    ends = [status for _, status in playbacks(app) if status != "started"]
    assert ends == ["cancelled"] * 3, "the prompt, the reproach and the prompt again"
    tones_ms = heard_ms(b"".join(heard), 440)
    assert 200 <= len(tones_ms) * WINDOW_MS <= 2_500, "the first key ends it"


@pytest.mark.speech
async def test_a_text_is_said_until_a_key(tmp_path: Path) -> None:
    pytest.importorskip("hibari", reason="needs the extra offhook[voice]")
    asked = asyncio.Event()

    async def on_event(app: App, event: dict[str, Any]) -> None:
        call = event["data"]["payload"]["call_control_id"]
        kind = event["data"]["event_type"]
        if kind == "call.initiated":
            await app.act(call, "answer")
        elif kind == "call.answered":
            text = "Thank you for calling the city library. Please enter the number of your card."
            await app.act(call, "gather_using_speak", payload=text, voice="female", maximum_digits=2)
        elif kind == "call.speak.started":
            asked.set()

    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        plan = CallPlan(uri=f"sip:app@127.0.0.1:{server.sip_port}", digits="42", tail_s=0.5)
        async with asyncio.timeout(40):
            await phone.call(plan, play_when=asked)
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert "library" not in server.log()
    assert app.refused == []
    told = [kind for kind in app.types() if kind != "call.dtmf.received"]
    assert sorted(told[2:5]) == ["call.gather.ended", "call.speak.ended", "call.speak.started"]
    [end] = [event["data"]["payload"] for event in app.events if "gather" in event["data"]["event_type"]]
    assert (end["status"], end["digits"]) == ("valid", "42")
