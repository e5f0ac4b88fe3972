"""The parameters of the commands that gather keys (contract 2.4), and the commands they become."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from offhook.base import limits
from offhook.call import commands as domain
from offhook.edge.http import fields
from offhook.edge.http.building import common, refusal
from offhook.edge.http.fields import refuse
from offhook.edge.http.playback import check_sound_folder
from offhook.edge.http.schemas import CommandBody, SpeakBody
from offhook.edge.http.speaking import speak_options

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


class PromptedBody(EntryBody):
    """What may be asked of an entry that the caller is asked for."""

    maximum_tries: Annotated[int, _integer("maximum_tries", "90024", limits.GATHER_TRIES_MAX)] = 3


class GatherUsingAudio(PromptedBody):
    """gather_using_audio: one of `audio_url` and `media_name`."""

    audio_url: fields.WebUrl | None = None
    media_name: str | None = None
    invalid_audio_url: fields.WebUrl | None = None
    invalid_media_name: str | None = None


class GatherUsingSpeak(PromptedBody, SpeakBody):
    """gather_using_speak."""

    invalid_payload: fields.SpokenText | None = None


def gather(body: GatherBody, rules: "Rules") -> domain.Gather:
    """Return the command that waits for keys."""
    del rules
    return domain.Gather(
        **common(body),
        **_entry(body),
        gather_id=body.gather_id,
        initial_timeout_s=body.initial_timeout_millis / 1000,
    )


def gather_using_audio(body: GatherUsingAudio, rules: "Rules") -> domain.Gather:
    """Return the command that plays a sound and waits for keys."""
    prompt = _sound(body, "audio_url", "media_name", rules)
    if prompt is None:
        detail = "One of `audio_url` and `media_name` is required."
        raise refusal("10004", detail, "/audio_url")
    invalid = _sound(body, "invalid_audio_url", "invalid_media_name", rules)
    return _prompted(body, prompt, invalid)


def gather_using_speak(body: GatherUsingSpeak, rules: "Rules") -> domain.Gather:
    """Return the command that says a text and waits for keys."""
    prompt = speak_options(body, rules)
    invalid = None
    if body.invalid_payload is not None:
        other = body.model_copy(update={"payload": body.invalid_payload})
        invalid = speak_options(other, rules, name="invalid_payload")
    return _prompted(body, prompt, invalid)


def gather_stop(body: CommandBody, rules: "Rules") -> domain.StopGather:
    """Return the command that waits for no more keys."""
    del rules
    return domain.StopGather(**common(body))


def _prompted(
    body: PromptedBody,
    prompt: domain.PlaybackOptions | domain.SpeakOptions,
    invalid_prompt: domain.PlaybackOptions | domain.SpeakOptions | None,
) -> domain.Gather:
    # `timeout_millis` is the wait after a prompt here; the keys have no time in common.
    entry = {**_entry(body), "timeout_s": limits.CALL_TIME_LIMIT_S}
    return domain.Gather(
        **common(body),
        **entry,
        initial_timeout_s=body.timeout_millis / 1000,
        prompt=prompt,
        invalid_prompt=invalid_prompt,
        tries=body.maximum_tries,
    )


def _sound(
    body: GatherUsingAudio, url_field: str, name_field: str, rules: "Rules"
) -> domain.PlaybackOptions | None:
    url, name = getattr(body, url_field), getattr(body, name_field)
    if url is not None and name is not None:
        raise refusal("10015", f"Give either `{url_field}` or `{name_field}`.", f"/{name_field}")
    if name is not None:
        check_sound_folder(name_field, rules)
    return None if url is None and name is None else domain.PlaybackOptions(url=url, name=name)


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
