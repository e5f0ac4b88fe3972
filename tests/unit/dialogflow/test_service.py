"""A server without Google's libraries, or without room."""

import sys
from pathlib import Path

import pytest

from offhook.base import limits
from offhook.base.errors import ConfigError, LimitReached
from offhook.edge.dialogflow.protocol import Agent, DialogflowNotConfigured, SessionConfig
from offhook.edge.dialogflow.service import DialogflowService

pytestmark = pytest.mark.unit

AGENT = Agent(service_account={"private_key": "SECRET"})
CONFIG = SessionConfig(session_id="s", sample_rate_hz=8000, language="en")


async def resolve(host: str, port: int) -> list[tuple[str, int]]:
    raise AssertionError("nothing is looked up")


async def test_without_the_extra_the_app_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    service = DialogflowService(resolve)
    with pytest.raises(DialogflowNotConfigured, match=r"offhook\[dialogflow\]") as refused:
        await service.open(AGENT, CONFIG, lambda _: None)
    assert refused.value.reason == "dialogflow_not_configured"
    assert service.numbers()["sessions_total"] == 0


async def test_the_number_of_conversations_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIALOGFLOW_SESSIONS_MAX", 0)
    with pytest.raises(LimitReached):
        await DialogflowService(resolve).open(AGENT, CONFIG, lambda _: None)


def test_authorities_that_cannot_be_read_are_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dialogflow\.ca_file"):
        DialogflowService(resolve, ca_file=str(tmp_path / "none.pem"))


def test_an_agent_does_not_show_its_account() -> None:
    assert "SECRET" not in repr(AGENT)
