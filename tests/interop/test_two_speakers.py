"""Two people on a bridged call, each heard on a track of its own: by both legs, with the real engine."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from offhook.kit.wer import normalise, word_error_rate
from tests.fakes.server import App
from tests.interop.test_bridges import server, told

for extra in ("hibari", "moonshine_voice"):
    pytest.importorskip(extra, reason="needs the extras offhook[speech,voice]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(120)]

SAID = {
    "a": ["My parcel was left with a neighbour on Tuesday.", "Please send the receipt to my office."],
    "b": [
        "The heating has been broken since last weekend.",
        "Can somebody come before nine tomorrow morning?",
    ],
}
# They begin at different moments and talk at the same time now and then.
LEAD_MS = {"a": 200, "b": 1500}
PAUSE_MS = 1300
OTHER = {"a": "b", "b": "a"}


def talk(speaker: str) -> Sound:
    """Return what one of the two says, twice over."""
    from offhook.edge.voice.local import ENGINE, SAMPLE_RATE_HZ

    voice = ENGINE.load({})
    pause = bytes(SAMPLE_RATE_HZ * PAUSE_MS // 1000 * 2)
    spoken = b"".join(b"".join(voice.say(text, 1.0, 0.0)) + pause for text in SAID[speaker])
    return Sound(bytes(SAMPLE_RATE_HZ * LEAD_MS[speaker] // 1000 * 2) + 2 * spoken, SAMPLE_RATE_HZ)


def finals(app: App, call: str, track: str) -> list[str]:
    """Return the final texts of one track of one leg."""
    found = [
        payload["transcription_data"]
        for payload in told(app, "call.transcription")
        if payload["call_control_id"] == call
    ]
    return [data["transcript"] for data in found if data["is_final"] and data["transcription_track"] == track]


def heard(app: App, call: str, track: str, speaker: str) -> bool:
    """Say whether every sentence of a speaker was understood on this track."""
    texts = finals(app, call, track)
    return all(any(word_error_rate(said, text) <= 0.3 for text in texts) for said in SAID[speaker])


def shared_words(text: str, speaker: str) -> int:
    return len(set(normalise(text)) & set(normalise(" ".join(SAID[speaker]))))


async def test_each_speaker_is_heard_on_the_right_track_of_both_legs(tmp_path: Path) -> None:
    calls: dict[str, str] = {}
    bridged, ready = asyncio.Event(), asyncio.Event()

    async def on_event(app: App, event: dict[str, Any]) -> None:
        data = event["data"]
        call = data["payload"]["call_control_id"]
        match data["event_type"]:
            case "call.initiated":
                await app.act(call, "answer")
            case "call.answered":
                calls[data["payload"]["from"].removeprefix("sip:").partition("@")[0]] = call
                if len(calls) == 2:
                    await app.act(calls["a"], "bridge", call_control_id=calls["b"])
            case "call.bridged" if app.types().count("call.bridged") == 2 and not bridged.is_set():
                bridged.set()
                for leg in calls.values():
                    await app.act(leg, "transcription_start", transcription_tracks="both")
                ready.set()
            case _:
                pass

    def all_heard(app: App) -> bool:
        return all(
            heard(app, leg, track, speaker)
            for who, leg in calls.items()
            for track, speaker in (("inbound", who), ("outbound", OTHER[who]))
        )

    async with server(tmp_path, on_event) as (app, uri), Phone() as phone, asyncio.TaskGroup() as both:
        for who in SAID:
            plan = CallPlan(uri=uri, caller=who, play=talk(who), hang_up_after_play=False, duration_s=90)
            both.create_task(phone.call(plan, play_when=ready))
        await app.wait_for(lambda app: len(calls) == 2 and all_heard(app), timeout_s=80)
        await app.act(calls["a"], "hangup")
        await app.wait_for(lambda app: app.types().count("call.hangup") == 2)
    for who, leg in calls.items():
        for track, speaker in (("inbound", who), ("outbound", OTHER[who])):
            for text in finals(app, leg, track):
                assert shared_words(text, speaker) > shared_words(text, OTHER[speaker]), (who, track)
