"""kill -9 of a server that records: what was said is in a file, and the next start tells it."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import App, running_app, start_offhook, stop_offhook
from tests.fakes.tones import tone
from tests.interop.test_recording import PHONE_HZ, channels_of, fetch, heard, payload_of

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

SAID_S = 4.0
LOST_MS_MAX = 1_400
"""What the file is behind by, and the time of a busy machine."""


async def record(app: App, event: dict[str, Any]) -> None:
    data = event["data"]
    if data["event_type"] == "call.initiated":
        await app.act(
            data["payload"]["call_control_id"], "answer", record="record-from-answer", record_format="wav"
        )


async def test_a_recording_is_saved_although_the_server_is_killed(tmp_path: Path) -> None:
    async with running_app(record) as app, Phone() as phone:
        first = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = first.api
        plan = CallPlan(
            uri=f"sip:app@127.0.0.1:{first.sip_port}",
            codecs=("PCMU",),
            play=Sound(tone(PHONE_HZ, 20_000), 8_000),
            hang_up_after_play=False,
        )
        calling = asyncio.create_task(phone.call(plan))
        await app.wait_for(lambda app: "call.answered" in app.types())
        await asyncio.sleep(SAID_S)
        await first.kill()
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling
        [left] = (tmp_path / "data/recordings").iterdir()
        channels_of(left.read_bytes())
        second = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        app.api = second.api
        try:
            await app.wait_for(lambda app: {"call.hangup", "call.recording.saved"} <= set(app.types()))
            told = payload_of(app, "call.recording.saved")
            status, file, _ = await fetch(told["recording_urls"]["wav"])
        finally:
            assert await stop_offhook(second) == 0
    assert status == 200
    assert told["call_leg_id"] == payload_of(app, "call.answered")["call_leg_id"]
    _, (left_channel, _) = channels_of(file)
    spoken_ms = sum(end - begin for begin, end in heard(left_channel, PHONE_HZ))
    assert spoken_ms >= SAID_S * 1000 - LOST_MS_MAX
