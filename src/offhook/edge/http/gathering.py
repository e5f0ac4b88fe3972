"""The parameters of `gather` and `gather_stop` (contract 2.4), and the commands they become."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from offhook.base import limits
from offhook.call import commands as domain
from offhook.edge.http.building import common, refusal
from offhook.edge.http.fields import refuse
from offhook.edge.http.schemas import CommandBody

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

_KEYS = re.compile(r"[0-9A-D*#]*", re.ASCII)
_KEYS_MAX = 64
"""Longer than any list of the 16 keys has a reason to be."""


def _integer(name: str, code: str, most: int) -> BeforeValidator:
    """Refuse with a code of its own what is not from 1 to `most`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse("10026", f"`{name}` must be an integer.")
        if not 1 <= value <= most:
            raise refuse(code, f"`{name}` must be from 1 to {most}.")
        return value

    return BeforeValidator(check)


def _keys(name: str, code: str, least: int, most: int) -> AfterValidator:
    wanted = f"{least} to {most} of 0-9, A-D, * and #"
    detail = f"`{name}` must be one of 0-9, A-D, * and #, or empty for none." if most == 1 else ""

    def check(text: str) -> str:
        if not least <= len(text) <= most or not _KEYS.fullmatch(text):
            raise refuse(code, detail or f"`{name}` must be {wanted}.")
        return text

    return AfterValidator(check)


def _millis(name: str, code: str) -> BeforeValidator:
    return _integer(name, code, limits.GATHER_MS_MAX)


GatherId = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.GATHER_ID_CHARACTERS_MAX), Field(examples=["pin"])
]


class EntryBody(CommandBody):
    """What may be asked of an entry, however the caller is asked for it."""

    minimum_digits: Annotated[int, _integer("minimum_digits", "90022", limits.GATHER_DIGITS_MAX)] = 1
    maximum_digits: Annotated[int, _integer("maximum_digits", "90023", limits.GATHER_DIGITS_MAX)] = (
        limits.GATHER_DIGITS_MAX
    )
    timeout_millis: Annotated[int, _millis("timeout_millis", "90025")] = 60_000
    inter_digit_timeout_millis: Annotated[int, _millis("inter_digit_timeout_millis", "90026")] = 5_000
    terminating_digit: Annotated[str, _keys("terminating_digit", "90007", 0, 1)] = "#"
    valid_digits: Annotated[str, _keys("valid_digits", "90008", 1, _KEYS_MAX)] = "0123456789#*"


class GatherBody(EntryBody):
    """gather."""

    gather_id: GatherId | None = None
    initial_timeout_millis: Annotated[int, _millis("initial_timeout_millis", "90056")] = 5_000


def gather(body: GatherBody, rules: "Rules") -> domain.Gather:
    """Return the command that waits for keys."""
    del rules
    return domain.Gather(
        **common(body),
        **_entry(body),
        gather_id=body.gather_id,
        initial_timeout_s=body.initial_timeout_millis / 1000,
    )


def gather_stop(body: CommandBody, rules: "Rules") -> domain.StopGather:
    """Return the command that waits for no more keys."""
    del rules
    return domain.StopGather(**common(body))


def _entry(body: EntryBody) -> dict[str, Any]:
    """Return what every way to gather has in common."""
    if body.minimum_digits > body.maximum_digits:
        detail = "`maximum_digits` must not be less than `minimum_digits`."
        raise refusal("90023", detail, "/maximum_digits")
    return {
        "minimum_digits": body.minimum_digits,
        "maximum_digits": body.maximum_digits,
        "terminating_digit": body.terminating_digit,
        "valid_digits": body.valid_digits,
        "timeout_s": body.timeout_millis / 1000,
        "inter_digit_timeout_s": body.inter_digit_timeout_millis / 1000,
    }
