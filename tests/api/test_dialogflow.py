"""The resource `dialogflow_connections` through the official SDK, kept in a real database."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import telnyx
from prometheus_client import CollectorRegistry

from offhook.app.dialogflow import Agents
from offhook.app.settings import DEFAULT_APPLICATION_ID, DialogflowSettings
from offhook.base import limits
from offhook.edge.dialogflow.protocol import DialogflowNotConfigured
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.server import HttpServer
from offhook.edge.store import DialogflowConnections, Store
from tests.api.conftest import API_KEY, no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api

ACCOUNT = {"type": "service_account", "project_id": "p", "private_key": "SECRET", "client_email": "a@b"}
PATH = f"/v2/dialogflow_connections/{DEFAULT_APPLICATION_ID}"


@dataclass
class Api:
    url: str
    agents: Agents
    store: Store

    def sdk(self) -> telnyx.AsyncTelnyx:
        return telnyx.AsyncTelnyx(
            api_key=API_KEY, base_url=f"{self.url}/v2", _strict_response_validation=True, max_retries=0
        )

    async def ask(self, method: str, path: str = PATH, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            return await client.request(method, path, json=body or None)


async def nowhere(host: str, port: int) -> list[tuple[str, int]]:
    return [(host, port)]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    service, store = LegService(), Store.open(tmp_path)
    agents = Agents(DialogflowConnections(store), DialogflowSettings(), nowhere)
    app = create_app(
        service,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        dialogflow=agents,
    )
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    yield Api(server.url, agents, store)
    await server.close()
    await agents.close()
    store.close()


async def test_a_connection_is_made_shown_replaced_and_forgotten(api: Api) -> None:
    async with api.sdk() as client:
        connections = client.dialogflow_connections
        made = await connections.create(DEFAULT_APPLICATION_ID, service_account=dict(ACCOUNT))
        assert made.data.model_dump() == {
            "connection_id": DEFAULT_APPLICATION_ID,
            "conversation_profile_id": None,
            "dialogflow_api": "es",
            "environment": None,
            "location": None,
            "record_type": "dialogflow_connections",
            "service_account": "****",
        }
        await connections.update(
            DEFAULT_APPLICATION_ID,
            service_account=ACCOUNT | {"project_id": "other"},
            dialogflow_api="cx",
            conversation_profile_id="profile",
            location="europe-west3",
            environment="live",
        )
        shown = (await connections.retrieve(DEFAULT_APPLICATION_ID)).data
        assert (shown.conversation_profile_id, shown.environment, shown.service_account) == (
            "profile",
            "live",
            "****",
        )
        agent = await api.agents.agent_of(DEFAULT_APPLICATION_ID)
        assert (agent.api, agent.location, agent.service_account["project_id"]) == (
            "cx",
            "europe-west3",
            "other",
        )
        assert await connections.delete(DEFAULT_APPLICATION_ID) is None
        with pytest.raises(telnyx.NotFoundError):
            await connections.retrieve(DEFAULT_APPLICATION_ID)
        with pytest.raises(DialogflowNotConfigured):
            await api.agents.agent_of(DEFAULT_APPLICATION_ID)


async def test_creating_answers_201_and_deleting_204(api: Api) -> None:
    assert (await api.ask("POST", service_account=ACCOUNT)).status_code == 201
    assert (await api.ask("PUT", service_account=ACCOUNT)).status_code == 200
    answer = await api.ask("DELETE")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_connection_outlives_the_server(api: Api, tmp_path: Path) -> None:
    await api.ask("POST", service_account=ACCOUNT)
    api.store.close()
    store = Store.open(tmp_path)
    row = await DialogflowConnections(store).get(DEFAULT_APPLICATION_ID)
    store.close()
    assert row is not None
    assert json.loads(row.service_account) == ACCOUNT
    assert "SECRET" not in repr(row)


@pytest.mark.parametrize(
    "given", [json.dumps(ACCOUNT), base64.b64encode(json.dumps(ACCOUNT).encode()).decode()]
)
async def test_an_account_may_come_as_text(api: Api, given: str) -> None:
    assert (await api.ask("POST", service_account=given)).status_code == 201
    assert (await api.agents.agent_of(DEFAULT_APPLICATION_ID)).service_account == ACCOUNT


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "10004", "/service_account"),
        ({"service_account": "no json"}, "10026", "/service_account"),
        ({"service_account": 7}, "10026", "/service_account"),
        (
            {"service_account": {"x": "y" * limits.DIALOGFLOW_SERVICE_ACCOUNT_BYTES_MAX}},
            "10033",
            "/service_account",
        ),
        ({"service_account": ACCOUNT, "dialogflow_api": "gx"}, "100001", "/dialogflow_api"),
        ({"service_account": ACCOUNT, "dialogflow_api": 1}, "100001", "/dialogflow_api"),
        ({"service_account": ACCOUNT, "location": "evil.example/"}, "10015", "/location"),
        ({"service_account": ACCOUNT, "environment": ""}, "10025", "/environment"),
    ],
)
async def test_a_bad_value_is_refused_by_name_and_never_repeated(
    api: Api, body: dict[str, Any], code: str, pointer: str
) -> None:
    answer = await api.ask("POST", **body)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["source"]["pointer"]) == (422, code, pointer)
    assert "SECRET" not in answer.text
    assert (await api.ask("GET")).status_code == 404


async def test_an_unknown_api_has_telnyxs_title(api: Api) -> None:
    answer = await api.ask("POST", service_account=ACCOUNT, dialogflow_api="gx")
    assert answer.json()["errors"][0]["title"] == "Invalid Dialogflow API"


async def test_cx_needs_a_profile_and_a_location(api: Api) -> None:
    answer = await api.ask("POST", service_account=ACCOUNT, dialogflow_api="cx")
    told = [(error["code"], error["source"]["pointer"]) for error in answer.json()["errors"]]
    assert told == [("10004", "/conversation_profile_id"), ("10004", "/location")]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_not_there_is_not_found(api: Api, method: str) -> None:
    answer = await api.ask(method, **({"service_account": ACCOUNT} if method == "PUT" else {}))
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["source"]["pointer"]) == (404, "10005", "/connection_id")


async def test_an_unknown_application_has_no_agent(api: Api) -> None:
    answer = await api.ask("POST", "/v2/dialogflow_connections/7", service_account=ACCOUNT)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"], error["source"]["pointer"]) == (404, "10005", "/connection_id")


async def test_a_key_is_needed(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        assert (await client.get(PATH)).status_code == 401
        assert (await client.post(PATH, json={"service_account": ACCOUNT})).status_code == 401


async def test_the_description_of_the_api_names_the_resource_and_no_secret(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths["/v2/dialogflow_connections/{connection_id}"]) == {"get", "post", "put", "delete"}
