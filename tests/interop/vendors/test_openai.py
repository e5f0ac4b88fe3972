"""OpenAI's own SDK takes the fake for OpenAI: what the adapter is tested with is no invention of ours."""

from pathlib import Path
from typing import Any

import pytest

from offhook.base.g711 import mulaw_encode
from tests.fakes.vendors.host import KEY, Plan
from tests.fakes.vendors.openai import FakeOpenAi
from tests.fakes.vendors.talk import say, silence
from tests.interop.vendors.sdk import needs_sdks, run_client

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), needs_sdks]

LIVE, WITH_VAD = "gpt-live-transcribe", "gpt-4o-transcribe"


@pytest.fixture
def speech(tmp_path: Path) -> str:
    path = tmp_path / "speech.ulaw"
    path.write_bytes(mulaw_encode(silence(400) + say("one two") + silence(800) + say("yes")))
    return str(path)


def texts(told: list[dict[str, Any]], event: str) -> list[str]:
    return [item["text"] for item in told if item["event"] == event]


async def test_the_sdk_hears_words_as_they_come_and_whole_when_it_commits(speech: str) -> None:
    async with FakeOpenAi().serving() as host:
        told = await run_client("openai_client.py", host.url, KEY, LIVE, speech)
    assert [item["event"] for item in told][:2] == ["session.created", "session.updated"]
    assert texts(told, "delta") == ["one", " two", " yes"]
    assert texts(told, "completed") == ["one two yes"]
    errors = [item["code"] for item in told if item["event"] == "error"]
    assert errors == ["input_audio_buffer_commit_empty"]
    assert told[-1] == {"event": "input_audio_buffer.cleared"}


async def test_the_sdk_hears_pauses_that_the_service_finds_and_how_sure_it_is(speech: str) -> None:
    async with FakeOpenAi().serving() as host:
        told = await run_client("openai_client.py", host.url, KEY, WITH_VAD, speech)
    assert [item["at"] for item in told if item["event"] == "started"] == [100, 1380]
    assert [item["at"] for item in told if item["event"] == "stopped"] == [1300]
    completed = [item for item in told if item["event"] == "completed"]
    assert [(item["text"], item["logprobs"]) for item in completed] == [
        ("one two", [-0.1, -0.1]),
        ("yes", [-0.1]),
    ]


async def test_the_sdk_understands_errors_that_leave_the_session_open(speech: str) -> None:
    async with FakeOpenAi(failures=1).serving() as host:
        told = await run_client("openai_client.py", host.url, KEY, LIVE, speech)
        assert [item["code"] for item in told if item["event"] == "failed"] == ["audio_unintelligible"]
        told = await run_client("openai_client.py", host.url, KEY, "no-such-model", speech)
        assert next(item["code"] for item in told if item["event"] == "error") == "model_not_found"


@pytest.mark.parametrize(
    ("key", "plan", "limits", "last"),
    [
        ("wrong", Plan(), {}, "refused"),
        (KEY, Plan(), {"session_max_ms": 900}, "error"),
        (KEY, Plan(close_after_ms=500, close_code=1011), {}, "refused"),
    ],
)
async def test_the_sdk_understands_that_it_is_over(
    speech: str, key: str, plan: Plan, limits: dict[str, int], last: str
) -> None:
    async with FakeOpenAi(plan, **limits).serving() as host:
        told = await run_client("openai_client.py", host.url, key, LIVE, speech)
    assert last in [item["event"] for item in told]
    if limits:
        assert "session_expired" in [item.get("code") for item in told]
