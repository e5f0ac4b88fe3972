"""Refusals as Telnyx words them: the error envelope and the way from a bad field to its code.

A detail names the field and what is allowed; it never repeats the value, which may be a secret.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from offhook.base import limits
from offhook.base.errors import OffhookError
from offhook.call.errors import Problem

ERROR_URL = "https://developers.telnyx.com/docs/overview/errors/"

_CODES = {
    "missing": "10004",
    "greater_than": "10033",
    "greater_than_equal": "10033",
    "less_than": "10033",
    "less_than_equal": "10033",
    "finite_number": "10033",
    "too_long": "10033",
    "too_short": "10033",
    "string_too_long": "10025",
    "string_too_short": "10025",
}
_POINTER_PART_CHARACTERS_MAX = 64


class Refusal(OffhookError):
    """A request is answered with an error and nothing has changed."""

    def __init__(self, status: int, *problems: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} " + ", ".join(problem.code for problem in problems))
        self.status = status
        self.problems = problems
        self.headers = dict(headers or {})


def envelope(problems: Sequence[Problem], status: int) -> dict[str, Any]:
    """Return the body of an error answer (contract 1.1)."""
    return {"errors": [_entry(problem, status) for problem in problems[: limits.PROBLEMS_PER_ANSWER_MAX]]}


def _entry(problem: Problem, status: int) -> dict[str, Any]:
    # Telnyx has one code for both and tells them apart by the title (contract 1.2).
    unavailable = status == 503 and problem.code == "10007"
    entry: dict[str, Any] = {
        "code": problem.code,
        "title": "Service unavailable" if unavailable else problem.title,
        "detail": problem.detail,
        "meta": {"url": ERROR_URL + problem.code},
    }
    if problem.pointer is not None:
        entry["source"] = {"pointer": problem.pointer}
    return entry


def problems_of(error: ValidationError, prefix: str = "") -> list[Problem]:
    """Return one problem for each field that pydantic refused, below the JSON pointer `prefix`."""
    found = error.errors(include_url=False)[: limits.PROBLEMS_PER_ANSWER_MAX]
    return [_problem(item["type"], item, prefix) for item in found]


def _problem(kind: str, item: Mapping[str, Any], prefix: str) -> Problem:
    location = item["loc"]
    pointer = prefix + "".join("/" + _pointer_part(part) for part in location)
    name = next((str(part) for part in reversed(location) if isinstance(part, str)), "body")
    name = name[:_POINTER_PART_CHARACTERS_MAX]
    context = item.get("ctx", {})
    if kind.isdigit():  # our own validators raise with the code as the type
        return Problem(kind, item["msg"], pointer)
    if kind == "missing":
        return Problem("10004", f"The parameter `{name}` is required.", pointer)
    if kind == "literal_error":
        if not isinstance(item["input"], str):
            return Problem("10026", f"The parameter `{name}` must be a string.", pointer)
        return Problem("10032", f"The parameter `{name}` must be one of {context['expected']}.", pointer)
    code = _CODES.get(kind)
    if code is None:
        code = "10026" if kind.endswith("_type") else "10015"
    # Pydantic's messages of these kinds name the limit or the type wanted, never the input.
    wanted = item["msg"][:1].lower() + item["msg"][1:]
    return Problem(code, f"The parameter `{name}` is invalid: {wanted}.", pointer)


def _pointer_part(part: object) -> str:
    return str(part)[:_POINTER_PART_CHARACTERS_MAX].replace("~", "~0").replace("/", "~1")
