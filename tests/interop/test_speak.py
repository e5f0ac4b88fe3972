"""Texts that an app lets a call hear, judged by what the phone at its other end understands."""

import asyncio
import base64
import os
import re
import signal
from array import array
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offhook.edge.speech.moonshine import ENGINE as EARS
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from offhook.kit.wer import word_error_rate
from tests.fakes.server import App, serving
from tests.fakes.sounds import pcm_wav
from tests.fakes.tones import purity_db, tone

pytest.importorskip("hibari", reason="needs the extra offhook[voice]")
pytest.importorskip("moonshine_voice", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(120)]

RATE_HZ = 8_000
WINDOW = RATE_HZ // 50 * 2
FIRST = "Thank you for calling the city library."
SECOND = "All of our agents are busy at the moment, please stay on the line."
Scene = Callable[[App, str, dict[str, Any]], Awaitable[None]]


async def heard_by_the_phone(tmp_path: Path, scene: Scene, codec: str = "PCMU") -> tuple[bytes, App]:
    """Make one call, let `scene` answer each webhook after `call.answered`, and return what was heard."""

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        if data["event_type"] == "call.initiated":
            await app.act(call, "answer")
        elif data["event_type"] != "call.hangup":
            await scene(app, call, data)

    heard: list[bytes] = []
    async with serving(tmp_path, on_event) as (app, server), Phone() as phone:
        plan = CallPlan(
            uri=f"sip:app@127.0.0.1:{server.sip_port}",
            codecs=(codec,),
            record=heard.append,
            record_rate_hz=RATE_HZ,
            hang_up_after_play=False,
            duration_s=30,
        )
        await phone.call(plan)
        await app.wait_for(lambda app: "call.hangup" in app.types())
        assert app.refused == []
        log = server.log()
        assert "library" not in log
        assert "Traceback" not in log
    return b"".join(heard), app


def told(app: App, *kinds: str) -> list[tuple[str, str | None]]:
    return [
        (event["data"]["event_type"], event["data"]["payload"].get("status"))
        for event in app.events
        if event["data"]["event_type"].startswith(kinds)
    ]


def silences(pcm: bytes) -> list[tuple[float, int]]:
    """Return how long each silence between two sounds lasts, and where its middle is."""
    windows = [array("h", pcm[at : at + WINDOW]) for at in range(0, len(pcm) - WINDOW, WINDOW)]
    loud = [number for number, samples in enumerate(windows) if max(map(abs, samples)) > 300]
    return [((then - now - 1) / 50, (then + now) // 2 * WINDOW) for now, then in pairwise(loud)]


@pytest.mark.parametrize("codec", ["PCMU", "OPUS"])
async def test_two_sentences_and_the_pause_between_them_are_heard(tmp_path: Path, codec: str) -> None:
    async def scene(app: App, call: str, data: dict[str, Any]) -> None:
        if data["event_type"] == "call.answered":
            text = f'<speak>{FIRST}<break time="1500ms"/>{SECOND}</speak>'
            await app.act(call, "speak", payload=text, payload_type="ssml", voice="AWS.Polly.Joanna")
        elif data["event_type"] == "call.speak.ended":
            await app.act(call, "hangup")

    pcm, app = await heard_by_the_phone(tmp_path, scene, codec)
    assert told(app, "call.speak") == [("call.speak.started", None), ("call.speak.ended", "completed")]
    pause_s, middle = max(silences(pcm))
    assert 1.4 < pause_s < 3
    ears = EARS.load({})
    understood = " ".join(ears.transcribe(part, RATE_HZ).text for part in (pcm[:middle], pcm[middle:]))
    assert word_error_rate(f"{FIRST} {SECOND}", understood) <= 0.2


def repetitions(pcm: bytes) -> int:
    """Return how often what is heard first is heard: a text that is said again sounds the same."""
    samples = np.frombuffer(pcm, np.int16).astype(float)
    begin = int(np.argmax(np.abs(samples) > 1000))
    piece = samples[begin : begin + RATE_HZ // 2]
    energy = np.convolve(samples**2, np.ones(piece.size), mode="valid")
    alike = np.correlate(samples, piece, mode="valid") / np.sqrt(energy * np.sum(piece**2) + 1)
    places = np.flatnonzero(alike > 0.7)
    return 1 + int(np.count_nonzero(np.diff(places) > piece.size // 2))


async def test_a_text_without_end_gives_way_to_the_sound_behind_it_when_it_is_stopped(tmp_path: Path) -> None:
    async def scene(app: App, call: str, data: dict[str, Any]) -> None:
        match data["event_type"]:
            case "call.answered":
                await app.act(call, "speak", payload="Please hold.", voice="female", loop="infinity")
                content = base64.b64encode(pcm_wav(tone(500, 600))).decode()
                await app.act(call, "playback_start", playback_content=content)
                await app.act(call, "speak", payload="Goodbye.", voice="female")
            case "call.speak.started" if told(app, "call.speak.started") == [("call.speak.started", None)]:
                await asyncio.sleep(4.0)
                await app.act(call, "playback_stop", stop="current")
            case "call.speak.ended" if len(told(app, "call.speak.ended")) == 2:
                await app.act(call, "hangup")
            case _:
                pass

    pcm, app = await heard_by_the_phone(tmp_path, scene)
    assert told(app, "call.speak", "call.playback") == [
        ("call.speak.started", None),
        ("call.speak.ended", "completed"),
        ("call.playback.started", None),
        ("call.playback.ended", "completed"),
        ("call.speak.started", None),
        ("call.speak.ended", "completed"),
    ]
    window = RATE_HZ // 10 * 2
    parts = [pcm[at : at + window] for at in range(0, len(pcm) - window, window)]
    tones = [number for number, part in enumerate(parts) if any(part) and purity_db(part, 500) > 15]
    assert 3 <= len(tones) <= 7
    assert tones[-1] - tones[0] <= 9, "the tone is one piece"
    before, after = pcm[: tones[0] * window], pcm[(tones[-1] + 1) * window :]
    assert repetitions(before) >= 2
    ears = EARS.load({})
    assert re.search("b(ye|uy)", ears.transcribe(after, RATE_HZ).text.lower())


def voice_workers() -> list[int]:
    """Return the voice workers of the server that this test has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
            if (
                grandparent == os.getpid()
                and b"offhook.edge.voice.worker" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
    return found


async def test_a_voice_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    killed: list[int] = []

    async def scene(app: App, call: str, data: dict[str, Any]) -> None:
        if data["event_type"] == "call.answered":
            text = f"{FIRST} Here is the second sentence. Now comes the third one. {SECOND}"
            await app.act(call, "speak", payload=text, voice="female")
        elif data["event_type"] == "call.speak.started":
            killed.extend(voice_workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        elif data["event_type"] == "call.speak.ended":
            await app.act(call, "hangup")

    pcm, app = await heard_by_the_phone(tmp_path, scene)
    assert len(killed) == 1
    assert told(app, "call.speak") == [("call.speak.started", None), ("call.speak.ended", "completed")]
    understood = EARS.load({}).transcribe(pcm[: RATE_HZ * 2 * 15], RATE_HZ).text.lower()
    assert [word in understood for word in ("library", "second", "third", "stay on the line")] == [True] * 4


async def test_a_text_ends_with_the_call(tmp_path: Path) -> None:
    async def scene(app: App, call: str, data: dict[str, Any]) -> None:
        if data["event_type"] == "call.answered":
            for _ in range(2):
                await app.act(call, "speak", payload=f"{FIRST} {SECOND}", voice="female", loop=9)
        elif data["event_type"] == "call.speak.started":
            await asyncio.sleep(1.0)
            await app.act(call, "hangup")

    _, app = await heard_by_the_phone(tmp_path, scene)
    assert told(app, "call.speak", "call.hangup") == [
        ("call.speak.started", None),
        ("call.speak.ended", "call_hangup"),
        ("call.speak.ended", "call_hangup"),
        ("call.hangup", None),
    ]
