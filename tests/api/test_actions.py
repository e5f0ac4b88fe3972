"""Actions on a call through the official SDK: what reaches the leg, and what is refused with which code."""

from typing import Any

import pytest
import telnyx

from offhook.call import effects as do
from tests.api.conftest import Api

pytestmark = pytest.mark.api


def problem(error: telnyx.APIStatusError) -> tuple[str, str | None]:
    body: Any = error.body
    [entry] = body["errors"]
    return entry["code"], entry.get("source", {}).get("pointer")


async def test_keys_are_pressed_once_a_command_id(api: Api) -> None:
    call = api.service.ring(answered=True)
    async with api.sdk() as client:
        for _ in range(2):
            pressed = await client.calls.actions.send_dtmf(
                call, digits="1www2WABCDw9", duration_millis=500, client_state="c3RhdGU=", command_id="once"
            )
            assert pressed.data is not None
            assert pressed.data.result == "ok"
        status = (await client.calls.retrieve_status(call)).data
    assert status is not None
    assert status.client_state == "c3RhdGU="
    [press] = api.service.effects_of(do.SendDigits)
    assert (press.digits, press.duration_ms) == ("1www2WABCDw9", 500)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, ("10004", "/digits")),
        ({"digits": ""}, ("90014", "/digits")),
        ({"digits": "12E"}, ("90014", "/digits")),
        ({"digits": "1 2"}, ("90014", "/digits")),
        ({"digits": "\u0661"}, ("90014", "/digits")),
        ({"digits": 12}, ("10026", "/digits")),
        ({"digits": "1" * 129}, ("10025", "/digits")),
        ({"digits": "1", "duration_millis": 99}, ("90027", "/duration_millis")),
        ({"digits": "1", "duration_millis": 501}, ("90027", "/duration_millis")),
        ({"digits": "1", "duration_millis": "250"}, ("10026", "/duration_millis")),
        ({"digits": "1", "duration_millis": True}, ("10026", "/duration_millis")),
    ],
)
async def test_keys_that_are_none_are_refused_by_name(
    api: Api, members: dict[str, Any], expected: tuple[str, str]
) -> None:
    call = api.service.ring(answered=True)
    async with api.http() as client:
        answer = await client.post(f"/v2/calls/{call}/actions/send_dtmf", json=members)
    [entry] = answer.json()["errors"]
    assert (answer.status_code, entry["code"], entry["source"]["pointer"]) == (422, *expected)
    assert api.service.effects_of(do.SendDigits) == []


@pytest.mark.parametrize(("answered", "code"), [(False, "90034"), (True, "90018")])
async def test_keys_need_a_call_that_is_up(api: Api, answered: bool, code: str) -> None:
    call = api.service.ring(answered=answered)
    async with api.sdk() as client:
        if answered:
            await client.calls.actions.hangup(call)
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await client.calls.actions.send_dtmf(call, digits="1")
    assert problem(caught.value) == (code, None)


async def test_the_client_state_alone_is_set_by_put_while_the_call_rings_and_no_more_when_it_ended(
    api: Api,
) -> None:
    call = api.service.ring()
    async with api.sdk() as client:
        actions = client.calls.actions
        await actions.update_client_state(call, client_state="b25l")
        assert (await client.calls.retrieve_status(call)).data.client_state == "b25l"  # type: ignore[union-attr]
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.update_client_state(call, client_state="not base64!")
        assert problem(caught.value) == ("90017", "/client_state")
        assert (await client.calls.retrieve_status(call)).data.client_state == "b25l"  # type: ignore[union-attr]
        await actions.answer(call)
        told = [effect.payload["client_state"] for effect in api.service.effects_of(do.Notify)]
        assert told == [None, "b25l"]
        await actions.hangup(call)
        with pytest.raises(telnyx.UnprocessableEntityError) as caught:
            await actions.update_client_state(call, client_state="dHdv")
    assert problem(caught.value) == ("90018", None)
