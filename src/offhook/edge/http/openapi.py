"""The OpenAPI description, made whole: bodies of commands, examples, and every error each path can answer.

The routes read bodies themselves, for Telnyx's error codes, so FastAPI cannot know them; and what
holds for all paths (keys, rates, limits, faults) is said once, here.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from offhook.call.errors import Problem
from offhook.edge.http.commands import ACTIONS, DIAL
from offhook.edge.http.examples import REQUESTS
from offhook.edge.http.problems import envelope
from offhook.edge.http.schemas import Dial

_Json = dict[str, Any]

_ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}
_ANSWERS: dict[int, tuple[str, Problem]] = {
    400: (
        "The body is not JSON, not UTF-8 or not an object",
        Problem("10023", "The body is not valid JSON."),
    ),
    401: ("No or a wrong API key", Problem("10009", "The API key is not one of this server's.")),
    404: ("There is no such thing", Problem("10005", "There is no such call.", "/call_control_id")),
    408: ("The body did not arrive in time", Problem("10008", "The body did not arrive in time.")),
    413: ("The body is too large", Problem("10015", "The body is larger than 262144 bytes.")),
    422: (
        "Refused; nothing has changed",
        Problem("10004", "The parameter `stream_url` is required.", "/stream_url"),
    ),
    429: ("The API key has sent too many requests", Problem("10011", "Try again later.")),
    500: ("A fault of the server", Problem("10007", "The server failed to handle the request.")),
    503: ("A limit is reached", Problem("10007", "STREAMS_MAX is reached")),
}
"""What an error answer means, with one of its kind as the example."""
_OF_ALL = (429, 500, 503)
_OF_BODIES = (400, 408, 413, 422)
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
}


def complete_openapi(app: FastAPI) -> None:
    """Make the app's OpenAPI description tell all that can be asked and answered."""
    generate: Callable[[], _Json] = app.openapi

    def openapi() -> _Json:
        if app.openapi_schema is None:
            description = generate()
            _add_commands(description)
            for unused in ("HTTPValidationError", "ValidationError"):
                description["components"]["schemas"].pop(unused, None)
            for operation in _operations(description):
                _add_errors(operation)
            app.openapi_schema = description
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for this


def _add_commands(description: _Json) -> None:
    asked: list[tuple[str, str, str, type[BaseModel]]] = [
        (action.name, f"/v2/calls/{{call_control_id}}/actions/{action.name}", action.method, action.body)
        for action in ACTIONS
    ]
    asked.append((DIAL, "/v2/calls", "POST", Dial))
    _, definitions = models_json_schema(
        [(body, "validation") for *_, body in asked], ref_template="#/components/schemas/{model}"
    )
    description["components"]["schemas"].update(definitions["$defs"])
    for name, path, method, body in asked:
        content: _Json = {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
        if name in REQUESTS:
            content["example"] = REQUESTS[name]
        required = any(field.is_required() for field in body.model_fields.values())
        description["paths"][path][method.lower()]["requestBody"] = {
            "required": required,
            "content": {"application/json": content},
        }


def _operations(description: _Json) -> Iterator[_Json]:
    for methods in description["paths"].values():
        yield from methods.values()


def _add_errors(operation: _Json) -> None:
    answers: _Json = operation["responses"]
    if "security" in operation:
        for status in (401, *_OF_ALL, *(_OF_BODIES if "requestBody" in operation else ())):
            answers.setdefault(str(status), {})
    for status, answer in answers.items():
        # FastAPI's own 422 is never sent: the routes read what they are given themselves.
        if status == "422" or (int(status) in _ANSWERS and "content" not in answer):
            answer["content"] = {"application/json": {"schema": _ERROR}}
        content: _Json = answer.get("content", {}).get("application/json", {})
        if int(status) in _ANSWERS and content.get("schema") == _ERROR:
            _explain(int(status), answer)


def _explain(status: int, answer: _Json) -> None:
    text, problem = _ANSWERS[status]
    answer["description"] = text
    answer["content"]["application/json"]["example"] = envelope([problem], status)
    if status in (429, 503):
        answer["headers"] = _RETRY_AFTER
