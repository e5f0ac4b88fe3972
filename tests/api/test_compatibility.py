"""The page about compatibility is what is, every event is in it, and the SDK's models judge every payload."""

import re
from typing import Any

import pytest

from offhook.base.clock import iso_time
from offhook.call.errors import Problem
from offhook.edge.http.commands import ACTIONS, DIAL
from offhook.edge.http.examples import REQUESTS
from offhook.edge.http.schemas import Dial
from tests.api.compatibility import PAGE, page, published_of_resource, resource_rows, rows_of
from tests.api.endpoints import OURS_ALONE, SDK_ANSWERS, operations
from tests.api.reference import sections
from tests.api.shapes import UNKNOWN_TO_THE_SDK, event_models, strict_faults
from tests.fakes.command_samples import COMMANDS
from tests.fakes.lives import payloads_told

pytestmark = pytest.mark.api

EVENTS = sorted(payloads_told())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make compatibility` and read what has changed"


def test_every_event_that_is_documented_is_told_in_the_lives_that_are_checked() -> None:
    rows = [row for row in sections("webhooks.md")["Events"].splitlines() if row.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row.split("|")[1])}
    assert set(EVENTS) == documented, "tests/fakes/lives.py or tests/unit/call/test_payloads.py lacks some"


@pytest.mark.parametrize("event_type", EVENTS)
def test_the_sdk_finds_nothing_unknown_or_mistyped_in_a_webhook(event_type: str) -> None:
    if event_type in UNKNOWN_TO_THE_SDK:
        assert event_type not in event_models(), "the SDK has learnt it"
        return
    excused = {name for name, verdict in rows_of(event_type).items() if verdict == "superset"}
    for payload in payloads_told()[event_type]:
        data: dict[str, Any] = {
            "event_type": event_type,
            "id": "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",
            "occurred_at": iso_time(1_790_000_000.0),
            "payload": payload,
            "record_type": "event",
        }
        faults = strict_faults(event_models()[event_type], data, {f"payload.{name}" for name in excused})
        assert faults == []


@pytest.mark.parametrize(
    ("section", "operation"),
    [
        ("call_control_applications", "POST /call_control_applications"),
        ("dialogflow_connections", "POST /dialogflow_connections/{connection_id}"),
    ],
)
def test_every_parameter_of_a_resource_has_a_row(section: str, operation: str) -> None:
    rows = set(resource_rows(section))
    missing = published_of_resource(operation) - rows
    assert {name for name in missing if not any(row.startswith(f"{name}.") for row in rows)} == set()


def test_every_endpoint_has_a_model_of_the_sdk_or_is_ours_alone() -> None:
    assert {operation.name for operation in operations()} == set(SDK_ANSWERS) | OURS_ALONE


def test_every_command_has_an_example_that_it_accepts() -> None:
    assert set(REQUESTS) == set(COMMANDS), "src/offhook/edge/http/examples.py lacks some"
    for command, members in REQUESTS.items():
        body = Dial if command == DIAL else next(action.body for action in ACTIONS if action.name == command)
        body.model_validate(members)


def test_every_answer_of_every_endpoint_is_described_with_an_example_of_each_error() -> None:
    for operation in operations():
        for status, answer in operation.described["responses"].items():
            assert answer["description"]
            if status == "204" or (operation.name == "recordings.file" and status != "404"):
                continue
            content = answer["content"]["application/json"]
            assert content["schema"], f"{operation.name}: {status}"
            if int(status) >= 400 and operation.name != "healthz":
                entry = content["example"]["errors"][0]
                assert entry["title"] == Problem(entry["code"], "").title or status == "503"
