"""From the parameters of `speak`, and of what else speaks, to what the domain lets a voice say."""

import re
from typing import TYPE_CHECKING, Any

import structlog

from offhook.call import commands as domain
from offhook.call.values import TargetLegs
from offhook.edge.http import schemas
from offhook.edge.http.building import common, not_yet, refusal
from offhook.edge.http.problems import Refusal
from offhook.proto.ssml import Script, SsmlError, parse_ssml, script_of_text

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

log = structlog.get_logger(__name__)

SPEED_MIN, SPEED_MAX = 0.5, 2.0
_SPEEDS = ("voice_speed", "speed")
"""Members of `voice_settings` that say how fast, in the words of one vendor or another."""
_VOICE_LANGUAGE = re.compile(r"azure\.([a-z]{2,3}-[a-z]{2,4})-.*", re.ASCII | re.IGNORECASE)
"""Names of voices that tell their language."""
_POLLY = re.compile(r"(aws\.)?polly(\..*)?", re.ASCII | re.IGNORECASE)


def speak(body: schemas.Speak, rules: "Rules") -> domain.Speak:
    """Return the command that says a text. Without a bridged party every target is the caller."""
    stop = None if body.stop is None else domain.StopWhich(body.stop)
    options = speak_options(body, rules, loop=body.loop, target_legs=TargetLegs(body.target_legs))
    return domain.Speak(**common(body), speak=options, stop=stop)


def speak_options(
    body: schemas.SpeakBody,
    rules: "Rules",
    *,
    loop: int | None = 1,
    target_legs: TargetLegs = TargetLegs.SELF,
    name: str = "payload",
) -> domain.SpeakOptions:
    """Return what is to be said, by which voice and in which language; `name` is the text's parameter.

    Raises:
        Refusal: the markup cannot be spoken, or a value has no effect here.
    """
    if body.service_level == "basic":
        _check_basic(body)
    speed = _speed(body.voice_settings or {}, rules)
    return domain.SpeakOptions(
        script=_script(body, speed, name),
        voice=body.voice,
        language=_language(body),
        loop=loop,
        target_legs=target_legs,
    )


def _check_basic(body: schemas.SpeakBody) -> None:
    if body.payload_type != "text":
        detail = "With `service_level` basic `payload_type` can only be text."
        raise refusal("10015", detail, "/payload_type")
    if body.language is not None and body.language.replace("_", "-").lower() != "en-us":
        raise refusal("10015", "With `service_level` basic `language` can only be en-US.", "/language")


def _script(body: schemas.SpeakBody, speed: float, name: str) -> Script:
    if body.payload_type == "text":
        return script_of_text(body.payload, rate=speed)
    try:
        return parse_ssml(body.payload, rate=speed)
    except SsmlError as error:
        raise refusal("90010", f"`{name}` cannot be spoken: {error}.", f"/{name}") from None


def _language(body: schemas.SpeakBody) -> str:
    if found := _VOICE_LANGUAGE.fullmatch(body.voice):
        return found[1]
    if body.language is None or _POLLY.fullmatch(body.voice):
        return "en-US"
    return body.language


def _speed(settings: dict[str, Any], rules: "Rules") -> float:
    """Return how fast the voice shall speak; the other settings have no effect here and are refused."""
    asked = {name: value for name, value in settings.items() if value is not None and name != "type"}
    speed = 1.0
    for name in _SPEEDS:
        if name in asked:
            speed = _factor(name, asked.pop(name))
    if asked and rules.ignore_unsupported:
        log.warning(
            "what this server does not do yet is ignored", parameters=[name[:64] for name in asked][:10]
        )
    elif asked:
        named = ", ".join(f"`{name[:64]}`" for name in sorted(asked)[:5])
        raise Refusal(422, not_yet("voice_settings", f"leave out {named}"))
    return speed


def _factor(name: str, value: Any) -> float:
    pointer = f"/voice_settings/{name}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal("10026", f"`{name}` must be a number.", pointer)
    if not SPEED_MIN <= value <= SPEED_MAX:
        raise refusal("10033", f"`{name}` must be from {SPEED_MIN} to {SPEED_MAX}.", pointer)
    return float(value)
