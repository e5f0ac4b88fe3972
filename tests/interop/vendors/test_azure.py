"""Azure's own SDK takes the fake for Azure: what the adapter is tested with is no invention of ours."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vendors.azure import KEY, AzureServer, azure_server
from tests.fakes.vendors.talk import say, silence
from tests.interop.vendors.sdk import needs_sdks, run_client

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), needs_sdks]


@pytest.fixture
async def azure() -> AsyncIterator[AzureServer]:
    async with azure_server() as server:
        yield server


@pytest.fixture
def speech(tmp_path: Path) -> str:
    path = tmp_path / "speech.pcm"
    path.write_bytes(say("one two") + silence(1000) + say("three"))
    return str(path)


def finals(told: list[dict[str, Any]]) -> list[str]:
    return [item["text"] for item in told if item["kind"] == "final"]


async def test_the_sdk_hears_partials_and_finals_with_words_and_ends_well(
    azure: AzureServer, speech: str
) -> None:
    told = await run_client("azure_client.py", azure.url, KEY, speech)
    assert finals(told) == ["One two.", "Three."]
    first = next(item for item in told if item["kind"] == "final")
    assert first["start_ms"] == 0
    assert first["words"] == [["one", 0], ["two", 240]]
    assert any(item["kind"] == "partial" for item in told)
    assert {"kind": "canceled", "reason": "EndOfStream", "code": "NoError"} in told
    assert told[-1] == {"kind": "end", "quick": True}
    assert azure.violations == []


async def test_the_sdk_begins_another_turn_when_the_service_ends_one(azure: AzureServer, speech: str) -> None:
    azure.phrases_per_turn = 1
    told = await run_client("azure_client.py", azure.url, KEY, speech)
    assert finals(told) == ["One two.", "Three."]
    assert len(azure.clients[0].turns) >= 2
    assert azure.violations == []


async def test_the_sdk_has_the_language_found_out(azure: AzureServer, speech: str) -> None:
    told = await run_client("azure_client.py", azure.url, KEY, speech, "auto")
    assert [item["language"] for item in told if item["kind"] == "final"] == ["de-DE", "de-DE"]
    assert azure.violations == []


@pytest.mark.parametrize(("status", "code"), [(401, "AuthenticationFailure"), (429, "TooManyRequests")])
async def test_the_sdk_understands_refusals(azure: AzureServer, speech: str, status: int, code: str) -> None:
    azure.refuse.extend([status] * 20)
    told = await run_client("azure_client.py", azure.url, KEY, speech)
    assert {"kind": "canceled", "reason": "Error", "code": code} in told
