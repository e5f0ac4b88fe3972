"""From the bytes of a request to a JSON object, with bounds on size, time and depth."""

import asyncio
from typing import Any

import pydantic_core
from starlette.requests import ClientDisconnect, Request

from offhook.base import limits
from offhook.call.errors import Problem
from offhook.edge.http.problems import Refusal


async def read_body(request: Request) -> bytes:
    """Return the request's body.

    Raises:
        Refusal: the body is too large, or did not come in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.COMMAND_BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(limits.HTTP_BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > limits.COMMAND_BODY_BYTES_MAX:
                    raise _too_large()
    except TimeoutError:
        problem = Problem("10008", "The body of the request did not arrive in time.")
        raise Refusal(408, problem, headers={"connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, Problem("10015", "The connection ended within the request.")) from None
    return bytes(body)


def parse_object(body: bytes, *, keep_nulls: bool = False) -> dict[str, Any]:
    """Return the JSON object in `body` without its null members; an empty body is an empty object.

    Node's SDK sends no body for a command without parameters, and null means absent (contract 0,
    1.1), unless `keep_nulls` says that it means something.
    """
    if not body.strip():
        return {}
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Refusal(400, Problem("10028", "The body is not UTF-8.")) from None
    try:
        # Also refuses what json.loads would let through: lone surrogates, NaN, endless nesting.
        value = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Refusal(400, Problem("10023", "The body is not valid JSON.")) from None
    if not isinstance(value, dict):
        raise Refusal(400, Problem("10015", "The body must be a JSON object."))
    members: dict[str, Any] = value if keep_nulls else _without_nulls(value)
    return members


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value]
    return value


def _too_large() -> Refusal:
    detail = f"The body is larger than {limits.COMMAND_BODY_BYTES_MAX} bytes."
    return Refusal(413, Problem("10015", detail))
