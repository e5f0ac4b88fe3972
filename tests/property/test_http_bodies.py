"""Whatever JSON an app sends, it gets an answer of the table and a refusal changes nothing."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import ACTIONS, Rules
from offhook.edge.http.transcription import ENGINES
from tests.api.conftest import no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.property

ACTION_NAMES = {action.name: action for action in ACTIONS}
FIELDS = sorted({name for action in ACTIONS for name in action.body.model_fields})
CONFIG_FIELDS = sorted(
    {name for engine in ENGINES.values() for name in (*engine.fields, engine.model_field)}
    | {"transcription_engine", "language", "interim_results"}
)
LIKELY = st.sampled_from(
    [
        *ENGINES,
        *(model for engine in ENGINES.values() for model in engine.models),
        "en",
        "ws://h/x",
        "udp:192.0.2.1:9",
        "udp:10.0.0.1:9",
        "both",
        "both_tracks",
        "default",
        "OPUS",
        "rtp",
        "USER_BUSY",
        "YQ==",
        "record-from-answer",
    ]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | LIKELY
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=8,
)
CONFIGS = st.dictionaries(st.sampled_from(CONFIG_FIELDS), JSON, max_size=5)
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON | CONFIGS, max_size=6)


class Caller:
    """Sends commands to the application itself, without a socket."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.service = LegService()
        self._runner = runner
        self._app = create_app(
            self.service,
            auth=ApiKeys(["KEY"]),
            rules=Rules(check_ip=no_private),
            clock=self.service.clock,
            registry=CollectorRegistry(),
        )

    def send(self, action: str, call: str, content: bytes) -> httpx.Response:
        return self._runner.run(self._send(action, call, content))

    async def _send(self, action: str, call: str, content: bytes) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        headers = {"authorization": "Bearer KEY"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://offhook", headers=headers
        ) as client:
            method = ACTION_NAMES[action].method
            return await client.request(method, f"/v2/calls/{call}/actions/{action}", content=content)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with asyncio.Runner() as runner:
        yield Caller(runner)


def check(caller: Caller, action: str, content: bytes) -> None:
    call = caller.service.ring(answered=action not in ("answer", "reject"))
    caller.service.commands.clear()
    before = (caller.service.status(call), list(caller.service.effects))
    answer = caller.send(action, call, content)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["data"]["result"] == "ok"
        assert len(caller.service.commands) == 1
    else:
        errors = answer.json()["errors"]
        assert errors
        assert all(entry["code"].isdigit() and entry["title"] and entry["detail"] for entry in errors)
        assert (caller.service.status(call), caller.service.effects) == before
    caller.service.effects.clear()


@given(action=st.sampled_from(sorted(ACTION_NAMES)), body=BODIES)
def test_any_values_in_known_fields_get_an_answer_of_the_table(
    caller: Caller, action: str, body: dict[str, Any]
) -> None:
    check(caller, action, json.dumps(body).encode())


@given(action=st.sampled_from(sorted(ACTION_NAMES)), body=JSON)
def test_any_json_gets_an_answer_of_the_table(caller: Caller, action: str, body: Any) -> None:
    check(caller, action, json.dumps(body).encode())


@given(action=st.sampled_from(sorted(ACTION_NAMES)), content=st.binary(max_size=200))
def test_any_bytes_get_an_answer_of_the_table(caller: Caller, action: str, content: bytes) -> None:
    check(caller, action, content)


@given(config=CONFIGS, engine=st.sampled_from([*ENGINES, None]))
def test_any_engine_configuration_gets_an_answer_of_the_table(
    caller: Caller, config: dict[str, Any], engine: str | None
) -> None:
    body = {"transcription_engine": engine, "transcription_engine_config": config}
    check(caller, "transcription_start", json.dumps(body).encode())
