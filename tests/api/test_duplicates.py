"""Ten thousand repeated commands: each is answered as the first one was, and has no effect of its own."""

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message

from offhook.call.effects import Effect
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import ACTIONS, DIAL, Rules
from tests.api.conftest import API_KEY, Api
from tests.fakes.command_samples import BEFORE, COMMANDS, LEAST, WHILE_RINGING
from tests.fakes.runners import HandClock, House

pytestmark = pytest.mark.api

REPEATS_IN_ALL = 10_000
REPEATS = -(-REPEATS_IN_ALL // len(COMMANDS))


async def ask(app: ASGIApp, command: str, call: str, members: dict[str, Any]) -> tuple[int, bytes, bool]:
    """Send a command straight into the application; return status, body, and whether it was a repetition."""
    method = next((action.method for action in ACTIONS if action.name == command), "POST")
    path = "/v2/calls" if command == DIAL else f"/v2/calls/{call}/actions/{command}"
    body = json.dumps(members).encode()
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {API_KEY}".encode()), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    await app({**scope, "headers": headers, "root_path": "", "scheme": "http"}, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], answer, (b"offhook-duplicate", b"true") in sent[0]["headers"]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {DIAL}))
async def test_a_repeated_command_is_answered_like_the_first_and_has_no_effect(
    api: Api, command: str
) -> None:
    call = api.service.ring(answered=command not in WHILE_RINGING)
    for earlier in BEFORE.get(command, ()):
        assert (await ask(api.app, earlier, call, LEAST[earlier]))[0] == 200
    members = {**LEAST[command], "command_id": "the-same"}
    before = len(api.service.effects)
    status, first, repeated = await ask(api.app, command, call, members)
    assert (status, repeated) == (200, False), first
    effects: list[Effect] = list(api.service.effects[before:])
    for _ in range(REPEATS):
        assert await ask(api.app, command, call, members) == (200, first, True)
        api.service.clock.seconds += 59 / REPEATS
    assert api.service.effects[before:] == effects, "one effect each"
    api.service.clock.seconds += 61
    assert (await ask(api.app, command, call, members))[2] is False, "forgotten after a minute"


async def test_repeated_commands_for_many_calls_are_not_taken_for_one_another(api: Api) -> None:
    calls = [api.service.ring(answered=True) for _ in range(100)]
    members = {**LEAST["streaming_start"], "command_id": "the-same"}
    first = {call: (await ask(api.app, "streaming_start", call, members))[1] for call in calls}
    assert len(set(first.values())) == len(calls), "each call has a stream of its own"
    for call in calls * 3:
        assert await ask(api.app, "streaming_start", call, members) == (200, first[call], True)


async def test_a_repeated_dial_makes_one_call() -> None:
    house = House()
    house.egress.answer.set()
    clock = house.clock
    assert isinstance(clock, HandClock)
    app = create_app(
        house.calls,
        auth=ApiKeys([API_KEY]),
        rules=Rules(check_ip=lambda ip: None),
        clock=clock,
        registry=CollectorRegistry(),
    )
    members = {**LEAST[DIAL], "to": "sip:alice@192.0.2.21:5070", "command_id": "the-same"}
    status, first, repeated = await ask(app, DIAL, "", members)
    assert (status, repeated) == (200, False), first
    for _ in range(REPEATS):
        assert await ask(app, DIAL, "", members) == (200, first, True)
        clock.at_s += 29 / REPEATS
    await house.settle()
    assert (len(house.calls), len(house.sip.invites), house.journal.done.count("call.initiated")) == (1, 1, 1)
    clock.at_s += 61
    assert (await ask(app, DIAL, "", members))[1] != first
