"""Deepgram's official SDK against the fake: what our adapter is tested with is what the SDK understands."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendors.deepgram import FakeDeepgram
from tests.fakes.vendors.host import KEY
from tests.fakes.vendors.talk import say, silence
from tests.interop.vendors.sdk import needs_sdks, run_client

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), needs_sdks]

NOVA = {
    "model": "nova-3",
    "language": "en",
    "encoding": "linear16",
    "sample_rate": 8000,
    "interim_results": "true",
    "vad_events": "true",
    "smart_format": "true",
    "endpointing": 300,
    "utterance_end_ms": 1000,
    "keyterm": ["Offhook"],
}
FLUX = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": 8000, "eot_threshold": 0.8}
SPEECH = silence(400) + say("hello world") + silence(1_500) + say("yes please")


async def talk(
    tmp_path: Path, version: str, query: dict[str, Any], *tell: str, key: str = KEY
) -> list[dict[str, Any]]:
    """Say `SPEECH` with the SDK; return what it printed."""
    audio = tmp_path / "speech.raw"
    audio.write_bytes(SPEECH)
    async with FakeDeepgram().serving() as fake:
        return await run_client(
            "deepgram_live.py", version, fake.address, key, str(audio), json.dumps(query), json.dumps(tell)
        )


async def test_the_sdk_reads_every_message_of_the_first_version(tmp_path: Path) -> None:
    heard = await talk(tmp_path, "v1", NOVA, "keep_alive", "close_stream")
    kinds = {line["kind"] for line in heard}
    assert kinds == {"ListenV1Results", "ListenV1SpeechStarted", "ListenV1UtteranceEnd", "ListenV1Metadata"}
    finals = [
        line["body"]["channel"]["alternatives"][0]["transcript"]
        for line in heard
        if line["kind"] == "ListenV1Results" and line["body"]["is_final"]
    ]
    assert [final for final in finals if final] == ["Hello world.", "Yes please."]


async def test_the_sdk_gets_a_final_at_once_when_it_asks(tmp_path: Path) -> None:
    heard = await talk(tmp_path, "v1", NOVA, "finalize", "close_stream")
    forced = [line["body"] for line in heard if line.get("body", {}).get("from_finalize")]
    assert [body["channel"]["alternatives"][0]["transcript"] for body in forced] == ["Yes please."]


async def test_the_sdk_reads_every_turn_of_the_second_version(tmp_path: Path) -> None:
    heard = await talk(tmp_path, "v2", FLUX, "force_end_turn", "close_stream")
    assert {line["kind"] for line in heard} == {"ListenV2Connected", "ListenV2TurnInfo"}
    turns = [line["body"] for line in heard if line["kind"] == "ListenV2TurnInfo"]
    assert {turn["event"] for turn in turns} == {"StartOfTurn", "Update", "EndOfTurn"}
    ends = [(turn["transcript"], turn["trigger"]) for turn in turns if turn["event"] == "EndOfTurn"]
    assert ends == [("hello world", "model"), ("yes please", "manual")]


@pytest.mark.parametrize(
    ("version", "query", "key", "status"),
    [
        ("v1", NOVA, "wrong", 401),
        ("v1", NOVA | {"model": "flux-general-en"}, KEY, 400),
        ("v2", FLUX | {"eot_threshold": 3}, KEY, 400),
    ],
)
async def test_the_sdk_is_refused_as_we_are(
    tmp_path: Path, version: str, query: dict[str, Any], key: str, status: int
) -> None:
    assert await talk(tmp_path, version, query, key=key) == [{"refused": status}]
