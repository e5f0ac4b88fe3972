"""Whom a session trusts: the name asked for, at an address that has passed the gate."""

import asyncio
from pathlib import Path

import pytest

from offhook.base import limits
from offhook.edge.dialogflow.protocol import Agent, Answered, Failed, SessionConfig, SessionEvent
from offhook.edge.dialogflow.service import DialogflowService
from tests.fakes.google_dialogflow import Turn, certificate, google_server, service_account
from tests.fakes.tones import tone

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def first_words(folder: Path, host: str, *, trusted: bool) -> list[SessionEvent]:
    """Return what a session with `host` tells until an answer or a failure."""
    asked: list[str] = []

    async def act(turn: Turn) -> None:
        if await turn.utterance():
            await turn.end_of_utterance()
            await turn.answer_es("hello", "Hi!")

    async def resolve(name: str, port: int) -> list[tuple[str, int]]:
        asked.append(name)
        return [("127.0.0.1", port)]

    events: list[SessionEvent] = []
    async with google_server(act, certificate(folder, "df.example")) as google:
        port = google.url.rpartition(":")[2]
        service = DialogflowService(
            resolve,
            endpoint=f"https://{host}:{port}",
            ca_file=str(folder / "cert.pem") if trusted else "",
        )
        session = await service.open(
            Agent(service_account=service_account()),
            SessionConfig(session_id="s", sample_rate_hz=8000, language="en"),
            events.append,
        )
        session.push(tone(440, 300))
        session.push(bytes(16 * 600))
        async with asyncio.timeout(30):
            while not any(isinstance(event, Answered | Failed) for event in events):
                await asyncio.sleep(0.01)
        await service.close(session)
    assert asked == [host]
    return events


async def test_a_server_with_the_right_name_is_believed(tmp_path: Path) -> None:
    events = await first_words(tmp_path, "df.example", trusted=True)
    assert isinstance(events[-1], Answered)


@pytest.mark.parametrize(
    ("host", "trusted"), [("other.example", True), ("df.example", False)], ids=["name", "authority"]
)
async def test_an_impostor_hears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool
) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_CONNECT_TIMEOUT_S", 1.0)
    assert await first_words(tmp_path, host, trusted=trusted) == [
        Failed("connection_failed", "Dialogflow could not be reached in time")
    ]
