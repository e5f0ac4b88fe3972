"""Requests made up by schemathesis from our own OpenAPI description, on a server with calls that are up."""

import random
from collections import Counter
from dataclasses import dataclass, field

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api import endpoints
from tests.api.compatibility import faults_of, faults_of_event
from tests.api.endpoints import OURS_ALONE
from tests.fakes.call_service import CONNECTION_ID
from tests.fakes.command_samples import LEAST, sample_of
from tests.fakes.world import KEY, World, localised

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FAILURES_MAX = 20
"""After so many the run ends: more of the same help nobody."""


@dataclass
class Report:
    """What a run found."""

    statuses: Counter[int] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    """How often each operation was accepted."""
    failures: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """Return how many requests were answered."""
        return self.statuses.total()


def fuzz(world: World, *, requests_in_all: int, seed: int) -> Report:
    """Send made-up requests for every operation and check each answer against the description."""
    host = world.server.api.removesuffix("/v2")
    description = requests.get(f"{host}/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=host)
    operations = [found.ok() for found in schema.get_all_operations()]
    described = {operation.name: operation for operation in endpoints.operations()}
    report = Report()
    session = requests.Session()
    choice = random.Random(seed)
    each = -(-requests_in_all // len(operations))
    for number, operation in enumerate(operations):

        @hypothesis.seed(seed + number)
        @settings(
            max_examples=each,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=_cases(operation), chance=st.integers(min_value=0))
        def send(case: schemathesis.Case, chance: int) -> None:
            if len(report.failures) >= FAILURES_MAX:
                return
            world.keep_calls_up()
            _make_telling(case, world, random.Random(chance ^ choice.getrandbits(32)))
            answer = case.call(session=session, headers=KEY, timeout=10)
            report.statuses[answer.status_code] += 1
            if answer.status_code < 300:
                report.reached[case.operation.definition.raw["operationId"]] += 1
            try:
                case.validate_response(answer, checks=CHECKS)
            except (Failure, FailureGroup) as found:
                report.failures.append(f"{found}\n{case.as_curl_command()}\n{answer.text[:1000]}")
            name = case.operation.definition.raw["operationId"]
            if answer.status_code < 300 and name not in OURS_ALONE:
                told = answer.json() if answer.content else None
                if name == "call_control_applications.create":
                    world.applications.append(told["data"]["id"])
                for fault in faults_of(described[name], told):
                    report.failures.append(f"{fault}\n{case.as_curl_command()}\n{answer.text[:1000]}")

        send()
    for event in world.events:
        report.failures += [f"{fault}\n{event}" for fault in faults_of_event(event["data"])]
    return report


def _cases(operation: schemathesis.APIOperation) -> st.SearchStrategy[schemathesis.Case]:
    """Return requests that fit the description, and where it can be hurt some that do not."""
    fitting = operation.as_strategy(GenerationMode.POSITIVE, headers=KEY)
    if not (operation.body or operation.query or operation.path_parameters):
        return fitting
    hurt = operation.as_strategy(GenerationMode.NEGATIVE, headers=KEY)
    return st.one_of(fitting, fitting, fitting, hurt)


def _make_telling(case: schemathesis.Case, world: World, choice: random.Random) -> None:
    """Put values that mean something here in the place of some that were made up."""
    name = case.operation.definition.raw["operationId"].removeprefix("calls.")
    for parameter in ("call_control_id", "call_sid"):
        if parameter in case.path_parameters and choice.random() < 0.9:
            case.path_parameters[parameter] = world.call_for(name, choice)
    for parameter in ("connection_id", "id"):
        if parameter in case.path_parameters and choice.random() < 0.5:
            # The application whose calls these are must stay as it is.
            others = world.applications or ["none"]
            changes = case.method in ("PATCH", "DELETE")
            case.path_parameters[parameter] = choice.choice(others) if changes else CONNECTION_ID
    if name not in LEAST or not isinstance(case.body, dict) or choice.random() < 0.3:
        return
    body = {**LEAST[name], **{key: case.body[key] for key in case.body if choice.random() < 0.3}}
    for key in case.operation.body[0].optimized_schema.get("properties", {}) if choice.random() < 0.5 else ():
        sample = sample_of(name, key)
        if sample is not None and choice.random() < 0.15:
            body = {**body, **sample.beside, key: sample.value}
    case.body = localised(body, world)
