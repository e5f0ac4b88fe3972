"""Recordings of real calls: whose voice is on which channel at which time, by their tones."""

import asyncio
import io
import subprocess
import wave
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import telnyx

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import API_KEY, App, OffhookProcess, serving
from tests.fakes.sounds import pcm_wav
from tests.fakes.tones import purity_db, tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PHONE_HZ, APP_HZ = 500, 1_000
WINDOW_MS = 20


def channels_of(content: bytes) -> tuple[int, list[bytes]]:
    """Return the rate of a WAV file and its channels as s16le."""
    with wave.open(io.BytesIO(content)) as file:
        count, rate_hz = file.getnchannels(), file.getframerate()
        pcm = file.readframes(file.getnframes())
    samples = memoryview(pcm).cast("h")
    return rate_hz, [
        bytes(samples[at::count]) if count == 1 else samples[at::count].tobytes() for at in range(count)
    ]


def heard(pcm: bytes, hz: int, rate_hz: int = 8000) -> list[tuple[int, int]]:
    """Return from when to when a tone is heard, in ms; gaps of a window are passed over."""
    size = rate_hz // 1000 * WINDOW_MS * 2
    windows = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    there = [n for n, window in enumerate(windows) if any(window) and purity_db(window, hz) > 10]
    parts: list[list[int]] = []
    for n in there:
        if parts and n - parts[-1][1] <= 2:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return [(first * WINDOW_MS, (last + 1) * WINDOW_MS) for first, last in parts]


def span(parts: list[tuple[int, int]], *, least_ms: int) -> tuple[int, int]:
    """Return from when to when all parts together are; a busy machine may have torn a hole into one."""
    assert sum(end - begin for begin, end in parts) >= least_ms, parts
    return parts[0][0], parts[-1][1]


async def fetch(url: str) -> tuple[int, bytes, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read(), answer.headers.get("content-disposition", "")


def payload_of(app: App, event_type: str) -> dict[str, Any]:
    [found] = [event["data"]["payload"] for event in app.events if event["data"]["event_type"] == event_type]
    payload: dict[str, Any] = found
    return payload


async def call(app: App, server: OffhookProcess, phone: Phone, play: bytes, **plan: Any) -> None:
    app.api = server.api
    await phone.call(
        CallPlan(
            uri=f"sip:app@127.0.0.1:{server.sip_port}",
            codecs=("PCMU",),
            play=Sound(play, 8_000) if play else None,
            hang_up_after_play=False,
            **{"duration_s": 15, **plan},
        )
    )
    await app.wait_for(lambda app: "call.recording.saved" in app.types())


async def test_each_side_is_on_its_channel_at_its_time_and_a_pause_is_left_out(tmp_path: Path) -> None:
    at_s: dict[str, float] = {}

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        leg = data["payload"]["call_control_id"]
        loop = asyncio.get_running_loop()
        if data["event_type"] == "call.initiated":
            await app.act(leg, "answer", client_state="Zmlyc3Q=")
        elif data["event_type"] == "call.answered":
            started = await app.act(
                leg, "record_start", format="wav", channels="dual", custom_file_name="my call"
            )
            at_s["begun"] = loop.time()
            recording_id = started["data"]["recording_id"]
            await asyncio.sleep(1.0)
            at_s["played"] = loop.time()
            await app.act(leg, "playback_start", playback_content=content)
            await asyncio.sleep(1.5)
            await app.act(leg, "record_pause", recording_id=recording_id)
            at_s["paused"] = loop.time()
            await asyncio.sleep(1.0)
            at_s["resumed"] = loop.time()
            await app.act(leg, "record_resume", recording_id=recording_id)
            await asyncio.sleep(0.5)
            await app.act(leg, "record_stop", client_state="bGFzdA==")
            at_s["stopped"] = loop.time()
            await asyncio.sleep(0.5)
            await app.act(leg, "hangup")

    import base64

    content = base64.b64encode(pcm_wav(tone(APP_HZ, 500))).decode()
    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        await call(app, server, phone, tone(PHONE_HZ, 10_000))
        await app.wait_for(lambda app: "call.hangup" in app.types())
        told = payload_of(app, "call.recording.saved")
        status, file, called = await fetch(told["recording_urls"]["wav"])
        forged, _, _ = await fetch(told["recording_urls"]["wav"].replace("expires=1", "expires=2"))
        async with telnyx.AsyncTelnyx(
            api_key=API_KEY, base_url=server.api, _strict_response_validation=True
        ) as sdk:
            known = (await sdk.recordings.retrieve(told["recording_id"])).data
            listed = await sdk.recordings.list(filter={"call_leg_id": told["call_leg_id"]})
            assert known is not None
            assert known.download_urls is not None
            assert known.download_urls.wav
            assert (await fetch(known.download_urls.wav))[1] == file
            deleted = (await sdk.recordings.delete(told["recording_id"])).data
            assert deleted is not None
            with pytest.raises(telnyx.NotFoundError):
                await sdk.recordings.retrieve(told["recording_id"])
        gone, _, _ = await fetch(told["recording_urls"]["wav"])
        assert app.refused == []
    assert (status, forged, gone) == (200, 404, 404)
    assert called.startswith('attachment; filename="my_call-')
    assert (told["channels"], told["format"], told["client_state"]) == ("dual", "wav", "bGFzdA==")
    assert [each.id for each in listed.data or []] == [told["recording_id"]]
    assert (known.channels, known.status, known.source) == ("dual", "completed", "call")
    rate_hz, (left, right) = channels_of(file)
    assert rate_hz == 8000
    length_ms = len(left) // 16
    assert known.duration_millis is not None
    assert abs(known.duration_millis - length_ms) <= 1
    # As the app saw it; a request of a busy machine takes its time.
    wanted_ms = 1000 * (at_s["paused"] - at_s["begun"] + at_s["stopped"] - at_s["resumed"])
    assert length_ms == pytest.approx(wanted_ms, abs=400), "without the second of the pause"
    phone_parts, app_parts = heard(left, PHONE_HZ), heard(right, APP_HZ)
    assert sum(end - begin for begin, end in phone_parts) >= length_ms * 0.6
    assert heard(left, APP_HZ) == []
    assert heard(right, PHONE_HZ) == []
    begin, end = span(app_parts, least_ms=300)
    assert begin == pytest.approx(1000 * (at_s["played"] - at_s["begun"]) + 100, abs=600)
    assert abs(end - begin - 500) <= 200


async def test_one_channel_of_mp3_is_decoded_by_others_to_both_voices(tmp_path: Path) -> None:
    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        leg = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            answered = await app.act(
                leg, "answer", record="record-from-answer", record_channels="single", record_format="mp3"
            )
            recording_ids.append(answered["data"]["recording_id"])

    recording_ids: list[str] = []
    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        await call(app, server, phone, tone(PHONE_HZ, 1_500), duration_s=2.0)
        told = payload_of(app, "call.recording.saved")
        status, file, _ = await fetch(told["recording_urls"]["mp3"])
        assert app.refused == []
    assert status == 200
    assert recording_ids == [told["recording_id"]]
    assert app.types().index("call.recording.saved") > app.types().index("call.answered")
    (tmp_path / "a.mp3").write_bytes(file)
    decoded = await asyncio.to_thread(
        subprocess.run,
        ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mp3"), "-f", "s16le", "-"],
        check=True,
        capture_output=True,
        timeout=20,
    )
    assert abs(len(decoded.stdout) / 16 - 2_000) < 1_000
    begin, end = span(heard(decoded.stdout, PHONE_HZ), least_ms=900)
    assert abs(end - begin - 1_500) <= 400
    assert list((tmp_path / "data" / "recordings").iterdir()) == [
        tmp_path / "data" / "recordings" / f"{told['recording_id']}.mp3"
    ], "the wav file has gone"


async def test_a_beep_is_heard_and_the_length_is_limited(tmp_path: Path) -> None:
    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        leg = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(leg, "answer")
        elif data["event_type"] == "call.answered":
            await app.act(leg, "record_start", format="wav", channels="single", play_beep=True, max_length=1)
        elif data["event_type"] == "call.recording.saved":
            await app.act(leg, "hangup")

    heard_by_phone: list[bytes] = []
    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        await call(app, server, phone, b"", record=heard_by_phone.append)
        told = payload_of(app, "call.recording.saved")
        _, file, _ = await fetch(told["recording_urls"]["wav"])
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert app.refused == []
    rate_hz, [mono] = channels_of(file)
    assert len(mono) == rate_hz * 2, "one second"
    begin, end = span(heard(mono, 1_000), least_ms=180)
    assert begin <= 200
    assert abs(end - begin - 250) <= 100
    assert heard(b"".join(heard_by_phone), 1_000), "the phone hears it, too"
