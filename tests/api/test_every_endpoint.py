"""Every endpoint of a whole server through the official SDK, whose models judge each answer and webhook strictly."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import telnyx

from offhook.edge.http.commands import DIAL
from tests.api.compatibility import faults_of, faults_of_event
from tests.api.endpoints import LISTS, OURS_ALONE, operations
from tests.api.reference import sdk_arguments, sdk_method
from tests.fakes.call_service import CONNECTION_ID
from tests.fakes.command_samples import BEFORE, LEAST, WHILE_RINGING
from tests.fakes.server import API_KEY
from tests.fakes.world import World, localised, running_world

pytestmark = [pytest.mark.api, pytest.mark.timeout(120)]

Client = telnyx.AsyncTelnyx
AGENT = {"service_account": {"type": "service_account"}}
HOOK = "https://app.example/hook"


class Visit:
    """One visit to every endpoint; what each has answered is kept."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: list[tuple[str, Any]] = []
        self.asked: dict[str, Any] = {}
        http = httpx.AsyncClient(event_hooks={"response": [self._keep]})
        options: dict[str, Any] = {"_strict_response_validation": True, "http_client": http, "max_retries": 0}
        self.client = Client(api_key=API_KEY, base_url=world.server.api, **options)

    async def _keep(self, response: httpx.Response) -> None:
        content = await response.aread()
        told = json.loads(content) if content else None
        self.answers.append((f"{response.request.method} {response.status_code}", told))

    async def act(self, command: str) -> None:
        """Send a command to a call that is in the right state for it, then end the call."""
        await asyncio.to_thread(self.world.keep_calls_up)
        call = (self.world.ringing if command in WHILE_RINGING else self.world.answered)[0]
        for name in (*BEFORE.get(command, ()), command):
            members = sdk_arguments(name, localised(LEAST[name], self.world, call=call))
            await getattr(self.client.calls.actions, sdk_method(name))(call, **members)
        kept = self.answers[-1]
        if command not in ("hangup", "reject"):
            await self.client.calls.actions.hangup(call)
        await asyncio.to_thread(self.world.wait_until, lambda: call in self.world.ended)
        self.answers.append(kept)

    async def application(self) -> str:
        """Return the id of an application that exists."""
        made = await self.client.call_control_applications.create(
            application_name="mine", webhook_event_url=HOOK
        )
        assert made.data is not None
        return str(made.data.id)

    async def agent(self) -> str:
        """Return the id of an application that has an agent."""
        found = await self.application()
        await self.client.dialogflow_connections.create(found, **AGENT)
        return found

    async def stream(self) -> tuple[str, str]:
        """Return a call and its stream."""
        await asyncio.to_thread(self.world.keep_calls_up)
        call = self.world.answered[0]
        made = await self.client.texml.accounts.calls.streams_json(
            call, account_sid="a", url=f"ws://{self.world.url}/media"
        )
        return call, str(made.sid)


async def _dial(visit: Visit) -> None:
    await visit.client.calls.dial(**sdk_arguments(DIAL, localised(LEAST[DIAL], visit.world)))


async def _stop_stream(visit: Visit) -> None:
    call, sid = await visit.stream()
    await visit.client.texml.accounts.calls.streams.streaming_sid_json(
        sid, account_sid="a", call_sid=call, status="stopped"
    )


async def _delivery(visit: Visit) -> None:
    found = [delivery async for delivery in visit.client.webhook_deliveries.list()]
    await visit.client.webhook_deliveries.retrieve(str(found[0].id))


async def _update_application(visit: Visit) -> None:
    resource = visit.client.call_control_applications
    await resource.update(await visit.application(), application_name="other", webhook_event_url=HOOK)


async def _recording(visit: Visit) -> str:
    """Return the id of a recording that is complete."""
    await asyncio.to_thread(visit.world.keep_calls_up)
    call = visit.world.answered[0]
    await visit.client.calls.actions.start_recording(call, format="wav", channels="dual")
    recording_id = str(visit.answers[-1][1]["data"]["recording_id"])
    await visit.client.calls.actions.stop_recording(call)

    def saved() -> bool:
        return any(
            event["data"]["payload"].get("recording_id") == recording_id for event in visit.world.events
        )

    await asyncio.to_thread(visit.world.wait_until, saved)
    return recording_id


async def _list_recordings(visit: Visit) -> None:
    await _recording(visit)
    await visit.client.recordings.list()


async def _show_recording(visit: Visit) -> None:
    await visit.client.recordings.retrieve(await _recording(visit))


async def _delete_recording(visit: Visit) -> None:
    await visit.client.recordings.delete(await _recording(visit))


async def _delete_recordings(visit: Visit) -> None:
    await visit.client.recordings.actions.delete(ids=[await _recording(visit)])


VISITS: dict[str, Callable[[Visit], Awaitable[Any]]] = {
    "calls.dial": _dial,
    "calls.retrieve_status": lambda v: v.client.calls.retrieve_status(v.world.ended[0]),
    "connections.list_active_calls": lambda v: v.client.connections.list_active_calls(CONNECTION_ID),
    "connections.list": lambda v: v.client.connections.list(),
    "connections.retrieve": lambda v: v.client.connections.retrieve(CONNECTION_ID),
    "recordings.list": _list_recordings,
    "recordings.retrieve": _show_recording,
    "recordings.delete": _delete_recording,
    "recordings.actions.delete": _delete_recordings,
    "texml.streams.start": lambda v: v.stream(),
    "texml.streams.update": _stop_stream,
    "webhook_deliveries.list": lambda v: v.client.webhook_deliveries.list(),
    "webhook_deliveries.retrieve": _delivery,
    "call_control_applications.list": lambda v: v.client.call_control_applications.list(),
    "call_control_applications.create": lambda v: v.application(),
    "call_control_applications.retrieve": lambda v: v.client.call_control_applications.retrieve(
        CONNECTION_ID
    ),
    "call_control_applications.update": _update_application,
}


async def _delete_application(visit: Visit) -> None:
    await visit.client.call_control_applications.delete(await visit.application())


async def _show_agent(visit: Visit) -> None:
    await visit.client.dialogflow_connections.retrieve(await visit.agent())


async def _change_agent(visit: Visit) -> None:
    await visit.client.dialogflow_connections.update(await visit.agent(), **AGENT)


async def _delete_agent(visit: Visit) -> None:
    await visit.client.dialogflow_connections.delete(await visit.agent())


VISITS |= {
    "call_control_applications.delete": _delete_application,
    "dialogflow_connections.create": lambda v: v.agent(),
    "dialogflow_connections.retrieve": _show_agent,
    "dialogflow_connections.update": _change_agent,
    "dialogflow_connections.delete": _delete_agent,
}


async def test_every_answer_and_every_webhook_of_a_server_fits_the_models_of_the_sdk(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world, AsyncExitStack() as stack:
        visit = Visit(world)
        stack.push_async_callback(visit.client.close)
        faults: dict[str, Any] = {}
        # A call that has ended comes first, for what is asked about one.
        await visit.act("hangup")
        for operation in operations():
            if operation.name in OURS_ALONE:
                continue
            if operation.path.startswith("/v2/calls/") and "/actions/" in operation.path:
                await visit.act(operation.name)
            else:
                assert operation.name in VISITS, f"{operation.name} needs a visit"
                await asyncio.to_thread(world.keep_calls_up)
                await VISITS[operation.name](visit)
            told = visit.answers[-1][1]
            assert operation.name not in LISTS or told["data"], "an empty list proves nothing"
            if found := faults_of(operation, told):
                faults[operation.name] = found
        assert faults == {}
        kinds = {event["data"]["event_type"] for event in world.events}
        assert {"call.initiated", "call.answered", "call.hangup"} < kinds
        for event in world.events:
            if found := faults_of_event(event["data"]):
                faults[event["data"]["event_type"]] = found
        assert faults == {}
        assert "Traceback" not in world.server.log()
