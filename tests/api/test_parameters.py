"""Every parameter of every command does what the reference says of it, and every one is in the reference."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from offhook.call.commands import Command
from offhook.edge.http import schemas
from offhook.edge.http.commands import ACTIONS, DIAL, Rules, dial
from offhook.edge.http.problems import Refusal
from tests.api.reference import of_sdk, operation_of, ours, published, words_of
from tests.fakes.command_samples import COMMANDS, LEAST, REFUSED_VALUES, Sample, request_with, sample_of

pytestmark = pytest.mark.api

LENIENT = Rules(check_ip=lambda ip: None, ignore_unsupported=True, has_sound_folder=True)
STRICT = Rules(check_ip=lambda ip: None, has_sound_folder=True)
UNTOLD = {"as below": "same"}
"""Rows of streams inside other commands point to `streaming_start`."""

PARAMETERS = [(command, parameter) for command in COMMANDS for parameter in sorted(ours(command))]


def built(command: str, members: dict[str, Any], rules: Rules = STRICT) -> Command:
    """Return what a request becomes."""
    if command == DIAL:
        return dial(schemas.Dial.model_validate(members), rules)
    action = next(action for action in ACTIONS if action.name == command)
    body: BaseModel = action.body.model_validate(members)
    return action.build(body, rules)


def word_for(command: str, parameter: str) -> str:
    word = words_of(command).get(parameter)
    assert word, f"docs/reference/commands.md has no row for `{parameter}` of {command}"
    return UNTOLD.get(word, word)


def sampled(command: str, parameter: str) -> Sample:
    sample = sample_of(command, parameter)
    assert sample, f"tests/fakes/command_samples.py has no value for `{parameter}` of {command}"
    return sample


def refused(command: str, members: dict[str, Any]) -> list[tuple[str, str | None]]:
    with pytest.raises(Refusal) as caught:
        built(command, members)
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_sample_request_that_is_accepted(command: str) -> None:
    assert command in LEAST, f"tests/fakes/command_samples.py has no request for {command}"
    assert isinstance(built(command, LEAST[command]), Command)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_parameter_of_telnyx_or_its_sdk_is_unknown(command: str) -> None:
    theirs = set(published()[operation_of(command)].get("properties", ())) | of_sdk(command)
    assert theirs - ours(command) == set(), "each must be done, refused, or documented as without effect"


@pytest.mark.parametrize(("command", "parameter"), PARAMETERS)
def test_a_parameter_does_what_the_reference_says(command: str, parameter: str) -> None:
    word = word_for(command, parameter)
    sample = sampled(command, parameter)
    without, given = request_with(command, parameter, sample.value, sample)
    if word == "refused":
        assert ("10038", f"/{parameter}") in refused(command, given)
        return
    if word == "partial":
        odd = REFUSED_VALUES.get((command, parameter))
        assert odd is not None, "tests/fakes/command_samples.py has no value that is refused in part"
        assert ("10038", f"/{parameter}") in refused(command, {**without, parameter: odd})
        if sample.value == odd:
            return
    if word == "no effect":
        # What a parameter is beside may be refused itself.
        assert built(command, given, LENIENT) == built(command, without, LENIENT)
        return
    after = built(command, given)
    assert after == built(command, given), "what is built compares by value"
    try:
        before = built(command, without)
    except Refusal:
        return  # without it the request says nothing at all
    assert after != before, f"`{parameter}` of {command} is accepted and changes nothing"


@pytest.mark.parametrize(("command", "parameter"), PARAMETERS)
def test_what_is_refused_can_be_ignored_instead(command: str, parameter: str) -> None:
    if word_for(command, parameter) != "refused":
        return
    sample = sampled(command, parameter)
    without, given = request_with(command, parameter, sample.value, sample)
    assert built(command, given, LENIENT) == built(command, without, LENIENT)


@pytest.mark.parametrize("command", COMMANDS)
def test_null_is_the_same_as_absent(command: str) -> None:
    from offhook.edge.http.body import parse_object

    nulls = ",".join(f'"{name}": null' for name in sorted(ours(command) - set(LEAST[command])))
    assert built(command, {**parse_object(f"{{{nulls}}}".encode()), **LEAST[command]}) == built(
        command, LEAST[command]
    )


TWO_FORMS = {"from", "to", "answering_machine_detection"}
"""Parameters that a transfer takes more forms of than a dial does, and turns into those of a dial."""


@pytest.mark.parametrize("parameter", sorted(ours("transfer") & ours(DIAL) - TWO_FORMS))
@pytest.mark.parametrize("value", ["\U000fffff", "", "x y", -1, [], {"a": 1}, True])
def test_a_value_that_a_dial_refuses_is_refused_by_a_transfer_alike(parameter: str, value: Any) -> None:
    def fate(command: str, model: type[BaseModel]) -> tuple[str, list[str]]:
        members = {**LEAST[command], parameter: value}
        try:
            model.model_validate(members)
        except ValidationError as error:
            return "schema", [found["type"] for found in error.errors() if found["loc"][0] == parameter]
        try:
            built(command, members)
        except Refusal as refusal:
            return "rules", [problem.code for problem in refusal.problems]
        return "accepted", []

    transfer = next(action for action in ACTIONS if action.name == "transfer").body
    assert fate("transfer", transfer) == fate(DIAL, schemas.Dial)
