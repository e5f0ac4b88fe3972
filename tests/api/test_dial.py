"""Calls out through the official SDK, with strict validation of our answers."""

import asyncio
from typing import Any

import pytest
import telnyx

from offhook.call import commands as domain
from offhook.call import effects as do
from tests.api.conftest import Api
from tests.fakes.call_service import CONNECTION_ID, OTHER_CALL

pytestmark = pytest.mark.api

PLAIN: dict[str, Any] = {"connection_id": CONNECTION_ID, "to": "+15550100002", "from_": "+15550100001"}


async def dialled(api: Api, **parameters: Any) -> str:
    """Dial, and return the call_control_id."""
    async with api.sdk() as client:
        data = (await client.calls.dial(**{**PLAIN, **parameters})).data
        assert data is not None
        return data.call_control_id


async def test_a_whole_call_out_through_the_sdk(api: Api) -> None:
    async with api.sdk() as client:
        made = (await client.calls.dial(**PLAIN, client_state="eA==", timeout_secs=20)).data
        assert made is not None
        assert (made.is_alive, made.record_type, made.client_state) == (False, "call", "eA==")
        call = made.call_control_id
        with pytest.raises(telnyx.UnprocessableEntityError):
            await client.calls.actions.answer(call)
        api.service.pick_up(call)
        status = (await client.calls.retrieve_status(call)).data
        assert status is not None
        assert (status.is_alive, status.call_session_id) == (True, made.call_session_id)
        await client.calls.actions.start_streaming(call, stream_url="ws://127.0.0.1:9/media")
        await client.calls.actions.hangup(call)
    told = api.service.effects_of(do.Notify)
    assert [effect.event_type for effect in told] == [
        "call.initiated",
        "call.answered",
        "streaming.started",
        "streaming.stopped",
        "call.hangup",
    ]
    assert told[0].payload["direction"] == "outgoing"
    model = telnyx.types.CallInitiatedWebhookEvent.model_validate(
        {
            "data": {
                "event_type": "call.initiated",
                "id": "x",
                "payload": told[0].payload,
                "record_type": "event",
            }
        }
    )
    assert model.data is not None


async def test_the_parameters_of_the_sdk_reach_the_plan(api: Api) -> None:
    await dialled(
        api,
        to=["sip:a@192.0.2.1", "sip:b@192.0.2.2"],
        from_display_name="Shop",
        custom_headers=[{"name": "X-A", "value": "1"}],
        sip_headers=[{"name": "User-to-User", "value": "00"}],
        sip_auth_username="us",
        sip_auth_password="secret",
        send_digits_on_answer="12w",
        stream_url="ws://127.0.0.1:9/media",
        stream_track="both_tracks",
        stream_bidirectional_mode="rtp",
        stream_auth_token="token",
        transcription=True,
        transcription_config={"transcription_engine": "Telnyx"},
        privacy="none",
        sip_region="Europe",
        sip_transport_protocol="UDP",
        media_encryption="disabled",
        answering_machine_detection="disabled",
        preferred_codecs="PCMA",
    )
    [plan] = api.service.plans
    assert plan.to == ("sip:a@192.0.2.1", "sip:b@192.0.2.2")
    assert [header.name for header in plan.headers] == ["User-to-User", "X-A"]
    assert (plan.username, plan.password, plan.transport) == ("us", "secret", domain.Transport.UDP)
    assert plan.stream is not None
    assert plan.stream.auth_token == "token"
    assert plan.transcription is not None


async def test_a_request_that_the_sdk_sends_again_makes_one_call(api: Api) -> None:
    body = {"connection_id": CONNECTION_ID, "to": "+15550100002", "from": "+15550100001"}
    async with api.http() as client:
        first = await client.post("/v2/calls", json=body)
        again = await client.post("/v2/calls", json=body, headers={"x-stainless-retry-count": "1"})
    assert first.json() == again.json()
    assert again.headers["offhook-duplicate"] == "true"
    assert len(api.service.plans) == 1


async def test_active_calls_come_in_pages_by_number(api: Api) -> None:
    calls = [await dialled(api) for _ in range(5)]
    async with api.sdk() as client:
        await client.calls.actions.hangup(calls[2])
        found = [each async for each in client.connections.list_active_calls(CONNECTION_ID, page_size=2)]
    assert [each.call_control_id for each in found] == [*calls[:2], *calls[3:]]
    assert {each.record_type for each in found} == {"call"}


async def test_active_calls_come_by_cursors_while_calls_come_and_go(api: Api) -> None:
    calls = [await dialled(api) for _ in range(5)]
    path = f"/v2/connections/{CONNECTION_ID}/active_calls"
    async with api.http() as client:
        first = (await client.get(path, params={"page[limit]": 2})).json()
        assert [each["call_control_id"] for each in first["data"]] == calls[:2]
        assert first["meta"]["total_items"] == 5
        assert first["meta"]["previous"] is None
        await client.post(f"/v2/calls/{calls[1]}/actions/hangup")
        second = (await client.get(first["meta"]["next"])).json()
        assert [each["call_control_id"] for each in second["data"]] == calls[2:4]
        third = (await client.get(second["meta"]["next"])).json()
        assert [each["call_control_id"] for each in third["data"]] == calls[4:]
        assert third["meta"]["next"] is None
        back = (await client.get(third["meta"]["previous"])).json()
        assert [each["call_control_id"] for each in back["data"]] == calls[2:4]
        none = (await client.get(path, params={"page[after]": third["meta"]["cursors"]["after"]})).json()
        assert (none["data"], none["meta"]["cursors"]) == ([], {"after": None, "before": None})


async def test_the_blocking_sdk_dials_just_as_well(api: Api) -> None:
    def use() -> str:
        with api.blocking_sdk() as client:
            data = client.calls.dial(**PLAIN).data
            assert data is not None
            return data.call_leg_id

    assert await asyncio.to_thread(use)


async def test_a_bridge_and_a_transfer_through_the_sdk(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        joined = await client.calls.actions.bridge(
            call,
            call_control_id_to_bridge_with=OTHER_CALL,
            park_after_unbridge="self",
            mute_dtmf="opposite",
            prevent_double_bridge=True,
            command_id="b1",
        )
        assert joined.data is not None
        assert joined.data.result == "ok"
        moved = await client.calls.actions.transfer(
            call,
            to="sip:a@192.0.2.1",
            timeout_secs=20,
            early_media=False,
            target_leg_client_state="Yg==",
            custom_headers=[{"name": "X-A", "value": "1"}],
        )
        assert moved.data is not None
        assert moved.data.result == "ok"
    (told,) = [effect for effect in api.service.effects_of(do.Notify) if effect.event_type == "call.bridged"]
    event = {"event_type": "call.bridged", "id": "x", "payload": told.payload, "record_type": "event"}
    model = telnyx.types.CallBridgedWebhookEvent.model_validate({"data": event})
    assert model.data is not None
    assert model.data.payload is not None
    assert model.data.payload.to == told.payload["to"]
    bridge, transfer = (command for _, command in api.service.commands)
    assert isinstance(bridge, domain.Bridge)
    assert bridge.bridge.after is domain.AfterBridge.PARK
    assert isinstance(transfer, domain.Transfer)
    assert (transfer.plan.to, transfer.plan.client_state) == (("sip:a@192.0.2.1",), "Yg==")
    assert transfer.plan.bridge is not None
    assert not transfer.plan.bridge.early_media


async def test_a_bridge_with_a_call_that_does_not_exist_is_refused_at_its_field(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await client.calls.actions.bridge(call, call_control_id_to_bridge_with=api.service.stranger())
    (error,) = caught.value.body["errors"]  # type: ignore[index]
    assert (error["code"], error["source"]) == ("90015", {"pointer": "/call_control_id"})


async def test_what_a_dialled_bridge_needs_is_named(api: Api) -> None:
    for name in ("bridge_intent", "bridge_on_answer"):
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await dialled(api, **{name: True})
        (error,) = caught.value.body["errors"]  # type: ignore[index]
        assert (error["code"], error["source"]) == ("10004", {"pointer": "/link_to"})
