"""Keys that come as tones within the audio, told like any other."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import serving
from tests.interop.test_cli_tools import tool
from tests.interop.test_two_way import Talk

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

KEYS = "159D*0#"
LOW_HZ, HIGH_HZ = (697, 770, 852, 941), (1_209, 1_336, 1_477, 1_633)
PAD = ("123A", "456B", "789C", "*0#D")


def pressed(keys: str) -> bytes:
    """Return each key as a pair of tones of 80 ms with a pause of 80 ms (ITU-T Q.23), at 8 kHz."""
    time_s = np.arange(640) / 8_000
    pieces = [np.zeros(4_000)]
    for key in keys:
        row = next(number for number, line in enumerate(PAD) if key in line)
        pair = (LOW_HZ[row], HIGH_HZ[PAD[row].index(key)])
        low, high = (3_000 * np.sin(2 * np.pi * hz * time_s) for hz in pair)
        pieces += [low + high, np.zeros(640)]
    return np.round(np.concatenate(pieces)).astype("<i2").tobytes()


@pytest.mark.parametrize(("setting", "heard"), [("on", KEYS), ("auto", ""), ("off", "")])
async def test_keys_within_the_audio_are_told_where_they_are_looked_for(
    tmp_path: Path, setting: str, heard: str
) -> None:
    """The phone agrees on telephone-event, so that "auto" has no reason to look for tones."""
    config = tmp_path / "offhook.toml"
    config.write_text(f'[media]\ninband_dtmf = "{setting}"\n', encoding="utf-8")
    async with tool("listen", "--port", "0") as listen, Phone() as phone:
        talk = Talk({"stream_url": (await listen.next(event="listening"))["url"]})
        async with serving(tmp_path, talk.on_event, OFFHOOK_CONFIG=str(config)) as (app, server):
            plan = CallPlan(
                uri=f"sip:app@127.0.0.1:{server.sip_port}", play=Sound(pressed(KEYS), 8_000), tail_s=0.5
            )
            async with asyncio.timeout(30):
                await phone.call(plan, play_when=talk.ready)
            await app.wait_for(lambda app: "call.hangup" in app.types())
            await listen.next(event="closed")
    told = [event["data"] for event in app.events if event["data"]["event_type"] == "call.dtmf.received"]
    assert "".join(event["payload"]["digit"] for event in told) == heard
    assert "".join(event["digit"] for event in listen.events if event["event"] == "dtmf") == heard
