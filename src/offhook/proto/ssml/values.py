"""The values that attributes of SSML may have, and what they mean for a voice."""

import re

from offhook.proto.ssml.script import GAIN_DB_MAX, GAIN_DB_MIN, RATE_MAX, RATE_MIN

PAUSE_MS_MAX = 10_000
"""The longest pause of one `break`; a longer one is shortened to it."""

_STRENGTHS_MS = {"none": 0, "x-weak": 100, "weak": 250, "medium": 400, "strong": 700, "x-strong": 1200}
_RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.3, "x-fast": 1.7}
_VOLUMES_DB = {"x-soft": -12.0, "soft": -6.0, "medium": 0.0, "default": 0.0, "loud": 4.0, "x-loud": 6.0}
_TIME = re.compile(r"\+?([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})(ms|s)", re.ASCII)
_PERCENT = re.compile(r"([+-]?)([0-9]{1,4}(?:\.[0-9]{1,4})?)%", re.ASCII)
_FACTOR = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?", re.ASCII)
_DECIBELS = re.compile(r"[+-]?[0-9]{1,4}(?:\.[0-9]{1,4})?dB", re.ASCII)


class SsmlError(ValueError):
    """The markup cannot be spoken; the text is one sentence that names the element and holds no content."""


def pause_ms(time: str | None, strength: str | None) -> int:
    """Return how long a `break` is; its time wins over its strength (SSML 1.1, 3.2.3)."""
    if time is not None:
        found = _TIME.fullmatch(time.strip())
        if found is None:
            raise SsmlError("the time of `break` must be like `500ms` or `1.5s`")
        scale = 1.0 if found[2] == "ms" else 1000.0
        return min(round(float(found[1]) * scale), PAUSE_MS_MAX)
    if strength is None:
        strength = "medium"
    if strength not in _STRENGTHS_MS:
        raise SsmlError(f"the strength of `break` must be one of {', '.join(_STRENGTHS_MS)}")
    return _STRENGTHS_MS[strength]


def rate_of(asked: str) -> float:
    """Return the factor of a `prosody` rate: a name, `80%`, `+20%` or `1.2`."""
    asked = asked.strip()
    if asked in _RATES:
        return _RATES[asked]
    if found := _PERCENT.fullmatch(asked):
        share = float(found[2]) / 100
        return clamped_rate({"": share, "+": 1 + share, "-": 1 - share}[found[1]])
    if _FACTOR.fullmatch(asked):
        return clamped_rate(float(asked))
    raise SsmlError(f"the rate of `prosody` must be one of {', '.join(_RATES)}, a percentage or a factor")


def clamped_rate(factor: float) -> float:
    """Return the nearest rate that voices are asked for."""
    return min(max(factor, RATE_MIN), RATE_MAX)


def volume_db(asked: str) -> float | None:
    """Return the gain of a `prosody` volume: a name or `+6dB`; None for silent."""
    asked = asked.strip()
    if asked == "silent":
        return None
    if asked in _VOLUMES_DB:
        return _VOLUMES_DB[asked]
    if _DECIBELS.fullmatch(asked):
        return clamped_gain_db(float(asked[:-2]))
    raise SsmlError(f"the volume of `prosody` must be silent, one of {', '.join(_VOLUMES_DB)} or like `-6dB`")


def clamped_gain_db(gain_db: float) -> float:
    """Return the nearest gain that voices are asked for."""
    return min(max(gain_db, GAIN_DB_MIN), GAIN_DB_MAX)


def said_as(kind: str, text: str) -> str:
    """Return the words for the content of `say-as`; kinds that need no help are read as they stand."""
    bare = " ".join(text.split())
    match kind:
        case "characters" | "spell-out" | "verbatim":
            return ", ".join(_CHARACTERS.get(each, each.upper()) for each in bare if not each.isspace())
        case "digits":
            return " ".join(each for each in bare if each.isalnum())
        case "telephone":
            return _telephone(bare)
        case "ordinal" if bare.isascii() and bare.isdigit():
            return bare + _ordinal_ending(int(bare[-2:]))
        case "expletive" | "bleep":
            return ""
        case _:
            return bare


_CHARACTERS = {
    ".": "dot",
    ",": "comma",
    "-": "dash",
    "_": "underscore",
    "@": "at",
    "#": "pound",
    "*": "star",
    "+": "plus",
    "/": "slash",
    ":": "colon",
    "a": "ay",
    "A": "ay",
}
"""What a lone character is called where a voice would skip it, or read it as a word."""


def _telephone(bare: str) -> str:
    groups = re.findall(r"[0-9]+|\+|\*|#", bare)
    words = [" ".join(_CHARACTERS.get(each, each) for each in group) for group in groups]
    return ", ".join(words)


def _ordinal_ending(last_two: int) -> str:
    if 10 < last_two < 20:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(last_two % 10, "th")
