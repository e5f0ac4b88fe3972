"""AssemblyAI's own SDK takes the fake for AssemblyAI: what the adapter is tested with is no invention of ours."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendors.assemblyai import AssemblyAiConnection, FakeAssemblyAi
from tests.fakes.vendors.host import KEY, Plan
from tests.fakes.vendors.talk import say, silence
from tests.interop.vendors.sdk import needs_sdks, run_client

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), needs_sdks]

PRO = "universal-3-5-pro"


@pytest.fixture
def speech(tmp_path: Path) -> str:
    path = tmp_path / "speech.pcm"
    path.write_bytes(silence(200) + say("one two") + silence(880) + say("yes"))
    return str(path)


def turns(told: list[dict[str, Any]]) -> list[tuple[str, bool, bool]]:
    return [(item["text"], item["end"], item["formatted"]) for item in told if item["event"] == "turn"]


async def test_the_sdk_hears_turns_with_words_and_ends_well(speech: str) -> None:
    async with FakeAssemblyAi().serving() as host:
        told = await run_client("assemblyai_client.py", host.address, KEY, PRO, "60", speech)
    assert [item["event"] for item in told][:2] == ["begin", "speech"]
    assert turns(told) == [
        ("one", False, False),
        ("one two", False, False),
        ("One two.", True, True),
        ("yes", False, False),
        ("Yes.", True, True),
    ]
    assert told[4]["words"] == [["One", 200, 360, 0.95], ["two.", 440, 600, 0.95]]
    assert told[-1]["event"] == "termination"
    (connection,) = host.connections
    assert isinstance(connection, AssemblyAiConnection)
    kinds = [message["type"] for message in connection.messages]
    assert kinds == ["KeepAlive", "ForceEndpoint", "Terminate"]


async def test_the_sdk_hears_a_turn_of_the_older_models_twice_at_last_formatted(speech: str) -> None:
    model = "universal-streaming-english"
    async with FakeAssemblyAi().serving() as host:
        told = await run_client("assemblyai_client.py", host.address, KEY, model, "100", speech)
    ends = [turn for turn in turns(told) if turn[1]]
    assert ends[:2] == [("one two", True, False), ("One two.", True, True)]


@pytest.mark.parametrize(
    ("key", "chunk_ms", "sessions_max", "code"),
    [("wrong", "60", 1, 401), (KEY, "20", 1, 3007), (KEY, "60", 0, 3009)],
)
async def test_the_sdk_understands_what_is_refused(
    speech: str, key: str, chunk_ms: str, sessions_max: int, code: int
) -> None:
    async with FakeAssemblyAi(sessions_max=sessions_max).serving() as host:
        told = await run_client("assemblyai_client.py", host.address, key, PRO, chunk_ms, speech)
    assert [item["code"] for item in told if item["event"] == "error"] == [code]


async def test_the_sdk_understands_a_close_without_an_error(speech: str) -> None:
    async with FakeAssemblyAi(Plan(close_after_ms=500, close_code=4031)).serving() as host:
        told = await run_client("assemblyai_client.py", host.address, KEY, PRO, "60", speech)
    assert [item["code"] for item in told if item["event"] == "error"] == [4031]
