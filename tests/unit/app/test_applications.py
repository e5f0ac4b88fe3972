"""Which application a call is for, and what becomes of the call then."""

from pathlib import Path
from typing import Any

import pytest

from offhook.app.applications import Applications
from offhook.app.settings import DEFAULT_APPLICATION_ID, load_settings
from offhook.app.trunk_addresses import TrunkAddresses
from offhook.base.errors import ConfigError
from offhook.call import commands as ask
from offhook.edge.http.applications import Application
from offhook.edge.store import ApplicationTable, Store, StoreError
from offhook.proto import sip
from tests.fakes.runners import HandClock, House

pytestmark = pytest.mark.unit

HOOK = "https://app.example/hook"


def application(name: str = "billing", **members: Any) -> Application:
    return Application.model_validate({"application_name": name, "webhook_event_url": HOOK} | members)


async def made(house: House, name: str = "billing", **members: Any) -> str:
    return (await house.services.applications.create(application(name, **members))).id


async def called(house: House, user: str, host: str = "192.0.2.1") -> str | int:
    """Return the application that a call goes to, or the status that refuses it."""
    before = len(house.sip.rejected)
    house.invite(number=house.calls.calls_total + before + 1, request_uri=f"sip:{user}@{host}")
    await house.settle()
    if len(house.sip.rejected) > before:
        return house.sip.rejected[-1]
    status = house.calls.command(house.call_control_id, "x", ask.UpdateClientState(client_state="eA=="))
    assert status.data["result"] == "ok"
    return house.newest.identity.connection_id


TRUNKS = [
    {"name": "carrier", "address": "sbc.carrier.example"},
    {"name": "office", "address": "192.0.2.9:5070"},
]


async def test_a_route_may_name_the_trunk_that_calls_come_from() -> None:
    asked: list[str] = []
    found = {"sbc.carrier.example": ["192.0.2.44", "2001:db8::1"]}

    async def look_up(host: str) -> list[str]:
        asked.append(host)
        if host not in found:
            raise OSError("no such name")
        return found[host]

    settings = load_settings(
        environment={},
        flags={
            "trunks": TRUNKS,
            "routes": [{"application": "billing", "sources": ["carrier", "10.0.0.0/8"]}],
        },
    )
    trunks = TrunkAddresses(settings.trunks, ["carrier"], look_up)
    applications = Applications(settings, HandClock(), trunks=trunks)
    billing = (await applications.create(application())).id

    def taken(source: str) -> bool:
        found = applications.of_call(incoming_call(source))
        return found is not None and found.id == billing

    assert not taken("192.0.2.44"), "nothing is known yet"
    await trunks.refresh()
    assert asked == ["sbc.carrier.example"], "no route asks about the office"
    assert [taken(each) for each in ("192.0.2.44", "::ffff:192.0.2.44", "2001:db8::1", "10.9.9.9")] == [
        True
    ] * 4
    assert not taken("192.0.2.9")
    found["sbc.carrier.example"] = ["192.0.2.45"]
    await trunks.refresh()
    assert (taken("192.0.2.44"), taken("192.0.2.45")) == (False, True)
    found.clear()
    await trunks.refresh()
    assert taken("192.0.2.45"), "a resolver that fails takes no route away"


def test_a_source_that_is_nothing_is_told_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"routes\.sources: 'carier' is no address, no network and no name"):
        load_settings(
            environment={}, flags={"trunks": TRUNKS, "routes": [{"application": "x", "sources": ["carier"]}]}
        )


def incoming_call(source: str) -> sip.IncomingCall:
    flow = sip.Flow("udp", ("192.0.2.1", 5060), (source, 5060))
    return sip.IncomingCall(
        call=sip.CallHandle(1),
        request_uri="sip:+4930@192.0.2.1",
        from_uri="sip:a@b.example",
        to_uri="sip:+4930@192.0.2.1",
        call_id="one",
        from_display="",
        headers=(),
        sdp=None,
        source=flow,
    )


async def test_what_nobody_claims_is_the_default_applications() -> None:
    house = House()
    await made(house)
    assert await called(house, "+15550002222") == DEFAULT_APPLICATION_ID


async def test_the_first_route_that_fits_decides() -> None:
    routes = [
        {"application": "support", "called": ["+49301234", "+4989*"]},
        {"application": "billing", "called": ["+49*", "Alice"], "sources": ["192.0.2.0/24"]},
        {"application": DEFAULT_APPLICATION_ID, "called": ["anna"], "sources": ["198.51.100.1"]},
        {"application": "nobody", "called": ["lost"]},
    ]
    house = House(flags={"routes": routes})
    billing, support = await made(house), await made(house, "support")
    assert await called(house, "+49301234") == support
    assert await called(house, "4989777") == support
    assert await called(house, "+493012345") == billing
    assert await called(house, "alice") == billing
    assert await called(house, "%61lice;cpc=ordinary") == billing
    assert await called(house, "anna") == DEFAULT_APPLICATION_ID
    assert await called(house, "+15550002222") == DEFAULT_APPLICATION_ID
    assert await called(house, "lost") == 404
    assert house.calls.refused_total == {"no_application": 1}


async def test_a_number_may_be_called_by_tel_and_what_names_nobody_is_the_default_applications() -> None:
    house = House(flags={"routes": [{"application": "billing", "called": ["1*"]}]})
    billing = await made(house)
    for number, (uri, wanted) in enumerate([("sip:@", DEFAULT_APPLICATION_ID), ("tel:+123", billing)]):
        house.invite(number=number, request_uri=uri)
        await house.settle()
        assert house.newest.identity.connection_id == wanted


async def test_an_application_that_the_disk_does_not_take_is_not_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    house = House()
    applications = Applications(house.services.settings, house.clock, ApplicationTable(store))
    kept = await applications.create(application())
    store.close()
    with pytest.raises(StoreError):
        await applications.create(application("two"))
    with pytest.raises(StoreError):
        await applications.update(kept.id, lambda _: application("three"))
    with pytest.raises(StoreError):
        await applications.delete(kept.id)
    assert [item.application_name for item in applications.all()] == ["default", "billing"]


async def test_a_route_without_conditions_takes_all() -> None:
    house = House(flags={"routes": [{"application": "billing"}]})
    assert await called(house, "x") == 404
    billing = await made(house)
    assert await called(house, "x") == billing


async def test_an_application_is_called_by_its_id_or_its_subdomain() -> None:
    house = House()
    billing = await made(house, inbound={"sip_subdomain": "Billing"})
    assert await called(house, billing) == billing
    assert await called(house, "anyone", "billing.sip.example") == billing
    assert await called(house, "anyone", "billing") == DEFAULT_APPLICATION_ID
    assert await called(house, "anyone", "other.sip.example") == DEFAULT_APPLICATION_ID


@pytest.mark.parametrize(("source", "status"), [("192.0.2.2", None), ("192.0.2.3", 404)])
async def test_a_closed_subdomain_takes_calls_of_known_sources_only(source: str, status: int | None) -> None:
    house = House(flags={"routes": [{"application": "x", "called": ["y"], "sources": [source]}]})
    inbound = {"sip_subdomain": "billing", "sip_subdomain_receive_settings": "only_my_connections"}
    billing = await made(house, inbound=inbound)
    assert await called(house, "anyone", "billing.sip.example") == (status or billing)


async def test_an_inactive_application_takes_no_call() -> None:
    house = House()
    billing = await made(house, active=False)
    assert await called(house, billing) == 403
    assert house.calls.refused_total == {"application_inactive": 1}


async def test_no_more_calls_come_in_than_the_channel_limit_says() -> None:
    house = House()
    billing = await made(house, inbound={"channel_limit": 1})
    assert await called(house, billing) == billing
    first = house.call_control_id
    assert await called(house, billing) == 403
    assert await called(house, "other") == DEFAULT_APPLICATION_ID
    house.calls.command(first, "hangup", ask.Hangup())
    await house.settle()
    assert await called(house, billing) == billing
    assert house.calls.refused_total == {"channel_limit": 1}


async def test_events_go_where_the_application_says() -> None:
    house = House()
    other = await made(house, webhook_event_failover_url="https://backup.example/", webhook_timeout_secs=7)
    assert await called(house, other) == other
    route = house.newest.route
    assert (route.url, route.failover_url, route.timeout_s) == (HOOK, "https://backup.example/", 7)
    assert await called(house, "x") == DEFAULT_APPLICATION_ID
    assert house.newest.route.url == "http://192.0.2.3/webhooks"


async def test_a_changed_application_leaves_running_calls_alone() -> None:
    house = House()
    other = await made(house)
    await called(house, other)
    leg = house.newest
    await house.services.applications.update(
        other, lambda _: application(webhook_event_url="http://x.example/")
    )
    assert leg.route.url == HOOK
    await called(house, other)
    assert house.newest.route.url == "http://x.example/"


async def test_a_call_without_a_first_command_ends_in_time() -> None:
    house = House()
    other = await made(house, first_command_timeout=True, first_command_timeout_secs=5)
    house.invite(request_uri=f"sip:{other}@192.0.2.1")
    await house.settle()
    deadline = house.newest.poll_timeout()
    assert isinstance(house.clock, HandClock)
    assert deadline == house.clock.now() + 5
    house.calls.command(house.call_control_id, "x", ask.UpdateClientState(client_state="eA=="))
    assert house.newest.poll_timeout() == house.clock.now() + 180


@pytest.mark.parametrize(
    "route",
    [
        {},
        {"application": ""},
        {"application": "a", "called": [""]},
        {"application": "a", "called": ["1", "+*"]},
        {"application": "a", "sources": ["nowhere"]},
        {"application": "a", "sources": ["192.0.2.1/24"]},
        {"application": "a", "numbers": ["1"]},
    ],
)
async def test_a_route_that_makes_no_sense_keeps_the_server_from_starting(route: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        House(flags={"routes": [route]})
