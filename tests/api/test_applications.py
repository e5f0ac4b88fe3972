"""`call_control_applications` and `connections` through the official SDK, kept in a real database."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import telnyx
from prometheus_client import CollectorRegistry

from offhook.app.applications import Applications
from offhook.app.settings import DEFAULT_APPLICATION_ID, load_settings
from offhook.base import limits
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.server import HttpServer
from offhook.edge.store import ApplicationTable, DialogflowConnections, DialogflowRow, Store
from tests.api.conftest import API_KEY, no_private
from tests.fakes.call_service import LegService

pytestmark = pytest.mark.api

PATH = "/v2/call_control_applications"
HOOK = "https://app.example/hook"


@dataclass
class Api:
    url: str
    applications: Applications
    store: Store
    service: LegService

    def sdk(self) -> telnyx.AsyncTelnyx:
        return telnyx.AsyncTelnyx(
            api_key=API_KEY, base_url=f"{self.url}/v2", _strict_response_validation=True, max_retries=0
        )

    async def ask(self, method: str, path: str = PATH, **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            return await client.request(method, path, json=body or None)

    async def make(self, name: str = "billing", **members: Any) -> str:
        """Make an application and return its id."""
        members = {"application_name": name, "webhook_event_url": HOOK} | members
        answer = await self.ask("POST", **members)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["id"])


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    service, store = LegService(), Store.open(tmp_path)
    settings = load_settings(environment={"OFFHOOK_WEBHOOK_URL": "http://127.0.0.1:9/default"})
    applications = Applications(settings, service.clock, ApplicationTable(store))
    await applications.load()
    app = create_app(
        service,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=no_private),
        clock=service.clock,
        registry=CollectorRegistry(),
        applications=applications,
    )
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    yield Api(server.url, applications, store, service)
    await server.close()
    store.close()


async def test_an_application_is_made_shown_changed_and_forgotten(api: Api) -> None:
    async with api.sdk() as client:
        applications = client.call_control_applications
        made = (await applications.create(application_name="billing", webhook_event_url=HOOK)).data
        assert made is not None
        assert made.id is not None
        assert len(made.id) == 19
        assert made.id.isdigit()
        assert made.model_dump() == {
            "id": made.id,
            "active": True,
            "anchorsite_override": "Latency",
            "application_name": "billing",
            "call_cost_in_webhooks": False,
            "created_at": "2026-09-21T14:13:20.000000Z",
            "dtmf_type": "RFC 2833",
            "first_command_timeout": False,
            "first_command_timeout_secs": 30,
            "inbound": {
                "channel_limit": None,
                "shaken_stir_enabled": False,
                "sip_subdomain": None,
                "sip_subdomain_receive_settings": "from_anyone",
            },
            "outbound": {"channel_limit": None, "outbound_voice_profile_id": None},
            "record_type": "call_control_application",
            "redact_dtmf_debug_logging": False,
            "tags": [],
            "updated_at": "2026-09-21T14:13:20.000000Z",
            "webhook_api_version": "2",
            "webhook_event_failover_url": "",
            "webhook_event_url": HOOK,
            "webhook_timeout_secs": None,
        }
        api.service.clock.seconds += 60
        changed = (
            await applications.update(
                made.id,
                application_name="billing",
                webhook_event_url=f"{HOOK}/2",
                webhook_event_failover_url="https://backup.example/",
                webhook_timeout_secs=7,
                first_command_timeout=True,
                first_command_timeout_secs=5,
                inbound={"channel_limit": 3, "sip_subdomain": "billing"},
            )
        ).data
        assert changed is not None
        assert changed.inbound is not None
        assert (changed.webhook_event_url, changed.inbound.channel_limit) == (f"{HOOK}/2", 3)
        assert (changed.created_at, changed.updated_at) == (made.created_at, "2026-09-21T14:14:20.000000Z")
        assert (await applications.retrieve(made.id)).data == changed
        assert (await applications.delete(made.id)).data is not None
        with pytest.raises(telnyx.NotFoundError) as gone:
            await applications.retrieve(made.id)
        body: Any = gone.value.body
        assert body["errors"][0]["code"] == "10005"
        with pytest.raises(telnyx.NotFoundError):
            await applications.delete(made.id)


async def test_a_change_touches_what_it_names_and_null_empties(api: Api) -> None:
    made = await api.make(
        webhook_event_failover_url=HOOK, webhook_timeout_secs=9, inbound={"channel_limit": 2}
    )
    path = f"{PATH}/{made}"
    changed = (await api.ask("PATCH", path, active=False, inbound={"shaken_stir_enabled": True})).json()[
        "data"
    ]
    assert (changed["active"], changed["webhook_timeout_secs"]) == (False, 9)
    assert (changed["inbound"]["channel_limit"], changed["inbound"]["shaken_stir_enabled"]) == (2, True)
    emptied = await api.ask(
        "PATCH",
        path,
        webhook_event_failover_url=None,
        webhook_timeout_secs=None,
        inbound={"channel_limit": None},
        application_name=None,
        unknown=1,
    )
    data = emptied.json()["data"]
    assert (data["webhook_event_failover_url"], data["webhook_timeout_secs"]) == (None, None)
    assert (data["inbound"]["channel_limit"], data["application_name"]) == (None, "billing")
    assert "unknown" not in data


async def test_lists_are_filtered_sorted_and_paged(api: Api) -> None:
    for name in ("beta", "Alphabet", "gamma"):
        api.service.clock.seconds += 1
        await api.make(name, outbound={"outbound_voice_profile_id": f"profile-{name}"})
    async with api.sdk() as client:
        applications = client.call_control_applications

        async def names(**options: Any) -> list[str | None]:
            return [item.application_name async for item in applications.list(**options)]

        assert await names() == ["gamma", "Alphabet", "beta", "default"]
        assert await names(page_size=1) == ["gamma", "Alphabet", "beta", "default"]
        assert await names(sort="connection_name") == ["Alphabet", "beta", "default", "gamma"]
        assert await names(filter={"application_name": {"contains": "ALPHA"}}) == ["Alphabet"]
        profile = {"outbound.outbound_voice_profile_id": "profile-beta"}
        answer = await api.ask("GET", f"{PATH}?filter[{next(iter(profile))}]=profile-beta")
        assert [item["application_name"] for item in answer.json()["data"]] == ["beta"]
    answer = await api.ask("GET", f"{PATH}?page[number]=2&page[size]=3")
    assert answer.json()["meta"] == {"page_number": 2, "page_size": 3, "total_pages": 2, "total_results": 4}


async def test_connections_are_the_applications(api: Api) -> None:
    made = await api.make(outbound={"outbound_voice_profile_id": "7"})
    async with api.sdk() as client:
        page = await client.connections.list(filter={"connection_name": {"contains": "billing"}})
        (listed,) = page.data or []
        shown = (await client.connections.retrieve(made)).data
        assert shown is not None
        assert shown == listed
        assert (shown.id, shown.connection_name, shown.outbound_voice_profile_id, shown.active) == (
            made,
            "billing",
            "7",
            True,
        )
        with pytest.raises(telnyx.NotFoundError):
            await client.connections.retrieve("7")
    assert (await api.ask("GET", "/v2/connections")).json()["meta"]["page_size"] == 250
    assert (await api.ask("GET", "/v2/connections?filter[fqdn]=x.example")).json()["data"] == []


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"application_name": None}, "10004", "/application_name"),
        ({"webhook_event_url": None}, "10004", "/webhook_event_url"),
        ({"application_name": ""}, "10025", "/application_name"),
        ({"webhook_event_url": "app.example/hook"}, "10003", "/webhook_event_url"),
        ({"webhook_event_failover_url": "ftp://x"}, "10003", "/webhook_event_failover_url"),
        ({"webhook_api_version": "1"}, "10038", "/webhook_api_version"),
        ({"webhook_api_version": "3"}, "10032", "/webhook_api_version"),
        ({"webhook_timeout_secs": 31}, "10033", "/webhook_timeout_secs"),
        ({"webhook_timeout_secs": "5"}, "10026", "/webhook_timeout_secs"),
        ({"first_command_timeout_secs": 0}, "10033", "/first_command_timeout_secs"),
        ({"active": "yes"}, "10026", "/active"),
        ({"dtmf_type": "RFC 4733"}, "10032", "/dtmf_type"),
        ({"anchorsite_override": "Moon"}, "10032", "/anchorsite_override"),
        ({"inbound": {"channel_limit": 0}}, "10033", "/inbound/channel_limit"),
        ({"inbound": {"sip_subdomain": "a.b"}}, "10015", "/inbound/sip_subdomain"),
        ({"inbound": {"sip_subdomain_receive_settings": "x"}}, "10032", "/inbound/sip_subdomain_receive_settings"),
        ({"outbound": {"channel_limit": "1"}}, "10026", "/outbound/channel_limit"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_and_nothing_is_made(
    api: Api, members: dict[str, Any], code: str, pointer: str
) -> None:
    body = {"application_name": "billing", "webhook_event_url": HOOK} | members
    answer = await api.ask("POST", **body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["code"], error["source"]["pointer"]) == (code, pointer)
    assert len(api.applications.all()) == 1


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("filter[application_name][contains]=ab", "10025"),
        ("sort=name", "10032"),
        ("page[size]=251", "10033"),
        ("page[number]=x", "10026"),
    ],
)
async def test_a_wrong_query_is_refused(api: Api, query: str, code: str) -> None:
    answer = await api.ask("GET", f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


async def test_a_refused_change_changes_nothing(api: Api) -> None:
    made = await api.make()
    before = api.applications.find(made)
    answer = await api.ask("PATCH", f"{PATH}/{made}", active=False, webhook_timeout_secs=99)
    assert answer.status_code == 422
    assert api.applications.find(made) is before


async def test_two_applications_never_share_a_subdomain(api: Api) -> None:
    first = await api.make(inbound={"sip_subdomain": "Billing"})
    answer = await api.ask(
        "POST", application_name="two", webhook_event_url=HOOK, inbound={"sip_subdomain": "billing"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["source"] == {"pointer": "/inbound/sip_subdomain"}
    assert (await api.ask("PATCH", f"{PATH}/{first}", active=False)).status_code == 200


async def test_the_default_application_can_be_changed_until_the_end_and_never_deleted(api: Api) -> None:
    path = f"{PATH}/{DEFAULT_APPLICATION_ID}"
    shown = (await api.ask("GET", path)).json()["data"]
    assert shown["webhook_event_url"] == "http://127.0.0.1:9/default"
    assert (await api.ask("PATCH", path, webhook_event_url=HOOK)).json()["data"]["webhook_event_url"] == HOOK
    answer = await api.ask("DELETE", path)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "10038")
    again = await restarted(api)
    found = again.find(DEFAULT_APPLICATION_ID)
    assert found is not None
    assert found.webhook_event_url == "http://127.0.0.1:9/default"


async def restarted(api: Api) -> Applications:
    settings = load_settings(environment={"OFFHOOK_WEBHOOK_URL": "http://127.0.0.1:9/default"})
    again = Applications(settings, api.service.clock, ApplicationTable(api.store))
    await again.load()
    return again


async def test_applications_outlive_the_server(api: Api) -> None:
    kept, gone = await api.make(inbound={"channel_limit": 4}), await api.make("gone")
    await api.ask("PATCH", f"{PATH}/{kept}", active=False)
    await api.ask("DELETE", f"{PATH}/{gone}")
    again = await restarted(api)
    assert again.find(kept) == api.applications.find(kept)
    assert [item.id for item in again.all()] == [DEFAULT_APPLICATION_ID, kept]


async def test_the_secrets_of_an_application_go_with_it(api: Api) -> None:
    made = await api.make()
    connections = DialogflowConnections(api.store)
    await connections.put(DialogflowRow(made, "es", "{}"), new=True)
    await api.ask("DELETE", f"{PATH}/{made}")
    assert await connections.get(made) is None


async def test_a_full_server_makes_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "APPLICATIONS_MAX", 1)
    await api.make()
    answer = await api.ask("POST", application_name="two", webhook_event_url=HOOK)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "10007")


async def test_the_sdks_own_retry_makes_no_second_one(api: Api) -> None:
    headers = {"authorization": f"Bearer {API_KEY}", "x-stainless-retry-count": "1"}
    body = {"application_name": "billing", "webhook_event_url": HOOK}
    async with httpx.AsyncClient(base_url=api.url, headers=headers) as client:
        first, second = await client.post(PATH, json=body), await client.post(PATH, json=body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["offhook-duplicate"] == "true"
    assert len(api.applications.all()) == 2


async def test_the_description_of_the_api_is_whole(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        text = (await client.get("/openapi.json")).text
    described = json.loads(text)
    wanted = set(re.findall(r'"\$ref":\s*"([^"]+)"', text))
    assert "#/components/schemas/Inbound" in wanted
    assert wanted <= {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    body = described["paths"]["/v2/call_control_applications/{id}"]["patch"]["requestBody"]
    assert body["content"]["application/json"]["schema"]["required"] == []


async def test_nothing_is_shown_without_a_key(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as client:
        for path in (PATH, f"{PATH}/1", "/v2/connections", "/v2/connections/1"):
            assert (await client.get(path)).status_code == 401
