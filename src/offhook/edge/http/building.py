"""What the builders of commands share: the common parameters, and refusals in their words."""

from typing import Any, TypedDict

from offhook.call.errors import Problem
from offhook.edge.http.problems import Refusal


class Common(TypedDict):
    """What every command of the domain may carry."""

    client_state: str | None
    command_id: str | None


def common(body: Any) -> Common:
    """Return the parameters of every command."""
    # An empty command_id cannot tell two commands apart; it is what a form field sends for none.
    return {"client_state": body.client_state, "command_id": body.command_id or None}


def not_yet(name: str, instead: str) -> Problem:
    """Return the problem of a valid value that this server does not do."""
    return Problem("10038", f"This server does not do this value of `{name}` yet; {instead}.", f"/{name}")


def refusal(code: str, detail: str, pointer: str) -> Refusal:
    """Return the refusal of one field."""
    return Refusal(422, Problem(code, detail, pointer))
