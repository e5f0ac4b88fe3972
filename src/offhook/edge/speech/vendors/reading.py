"""Reads what vendors say, which may be anything. Pure; nothing here raises."""

import json
import math
import re
from typing import Any

from offhook.base.limits import VENDOR_TIME_MS_MAX, VENDOR_WORDS_MAX
from offhook.edge.speech.vendors.dialect import Wire

_LANGUAGE_CHARACTERS_MAX = 35
_TAG = re.compile(r"\[[^\[\]]{1,40}\]")


def json_object(message: Wire) -> dict[str, Any] | None:
    """Return a JSON object, or None for anything else."""
    if not isinstance(message, str | bytes):
        return None
    try:
        value = json.loads(message)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, as many as are believed."""
    items = value[:VENDOR_WORDS_MAX] if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


def text(value: Any) -> str:
    """Return a text in one line; empty when it is none."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def spoken(value: Any) -> str:
    """Return what somebody said: a text without tags such as [Music]; empty when it holds no word."""
    said = " ".join(_TAG.sub(" ", value).split()) if isinstance(value, str) else ""
    return said if any(character.isalnum() for character in said) else ""


def milliseconds(value: Any) -> int | None:
    """Return a time that can be one; None for the rest."""
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= VENDOR_TIME_MS_MAX else None


def seconds(value: Any) -> int | None:
    """Return a time that is told in seconds, in milliseconds; None for what can be none."""
    number = _number(value)
    return None if number is None else milliseconds(number * 1000 + 0.5)


def share(value: Any) -> float | None:
    """Return a number from 0 to 1; None for the rest."""
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None


def whole(value: Any) -> int | None:
    """Return a whole number; None for the rest."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def language(value: Any) -> str | None:
    """Return what looks like a language tag; None for the rest."""
    return value if isinstance(value, str) and 0 < len(value) <= _LANGUAGE_CHARACTERS_MAX else None


def mean(shares: list[float]) -> float | None:
    """Return the mean; None of nothing."""
    return sum(shares) / len(shares) if shares else None


def likelihood(logprobs: Any) -> float | None:
    """Return the mean probability of tokens, by the geometric mean; None without any."""
    numbers = [_number(item.get("logprob")) for item in objects(logprobs)]
    known = [min(number, 0.0) for number in numbers if number is not None]
    return math.exp(sum(known) / len(known)) if known else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
