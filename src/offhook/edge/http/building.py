"""What the builders of commands share: the common parameters, and refusals in their words."""

from typing import Any, TypedDict

import structlog

from offhook.call.errors import Problem
from offhook.edge.http.problems import Refusal

log = structlog.get_logger(__name__)


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


def refuse_asked(asked: dict[str, bool], *, ignored: bool) -> None:
    """Refuse the values that are asked for and not done here, unless such values are `ignored`.

    Raises:
        Refusal: names them.
    """
    later = [name for name, active in asked.items() if active]
    if later and ignored:
        log.warning("what this server does not do yet is ignored", parameters=later)
    elif later:
        raise Refusal(422, *(not_yet(name, "leave it out") for name in later))


def refusal(code: str, detail: str, pointer: str) -> Refusal:
    """Return the refusal of one field."""
    return Refusal(422, Problem(code, detail, pointer))
