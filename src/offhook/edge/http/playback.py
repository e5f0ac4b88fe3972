"""From the parameters of `playback_start` and `playback_stop` to commands of the domain."""

import base64
import binascii
from typing import TYPE_CHECKING, Any

from offhook.call import commands as domain
from offhook.call.values import TargetLegs
from offhook.edge.http import schemas
from offhook.edge.http.building import common, refusal

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules

_SOURCES = ("audio_url", "media_name", "playback_content")


def playback_start(body: schemas.PlaybackStart, rules: "Rules") -> domain.StartPlayback:
    """Return the command that plays a sound. Without a bridged party every target is the caller."""
    check_one_source(body, rules)
    if body.audio_url is None and body.media_name is None and body.playback_content is None:
        detail = "One of `audio_url`, `media_name` and `playback_content` is required."
        raise refusal("10004", detail, "/audio_url")
    if body.overlay and body.target_legs != "self":
        raise refusal("10015", "With `overlay` the only target is `self`.", "/target_legs")
    playback = domain.PlaybackOptions(
        url=body.audio_url,
        name=body.media_name,
        content=_content(body),
        loop=body.loop,
        overlay=body.overlay,
        target_legs=TargetLegs(body.target_legs),
        cache=body.cache_audio,
    )
    stop = None if body.stop is None else domain.StopWhich(body.stop)
    return domain.StartPlayback(**common(body), playback=playback, stop=stop)


def playback_stop(body: schemas.PlaybackStop, rules: "Rules") -> domain.StopPlayback:
    """Return the command that stops playing."""
    return domain.StopPlayback(**common(body), stop=domain.StopWhich(body.stop), overlay=body.overlay)


def inline_playback(body: schemas.Dial, rules: "Rules") -> domain.PlaybackOptions | None:
    """Return what the called hears when they answer."""
    check_one_source(body, rules)
    if body.audio_url is None and body.media_name is None:
        return None
    return domain.PlaybackOptions(url=body.audio_url, name=body.media_name)


def check_one_source(body: Any, rules: "Rules") -> None:
    """Refuse two sounds at once, and one by its name on a server that has none."""
    given = [name for name in _SOURCES if getattr(body, name, None) is not None]
    if len(given) > 1:
        raise refusal("10015", f"Give either `{given[0]}` or `{given[1]}`.", f"/{given[1]}")
    if given == ["media_name"]:
        check_sound_folder("media_name", rules)


def check_sound_folder(name: str, rules: "Rules") -> None:
    """Refuse a sound by its name, given in the parameter `name`, on a server that has none."""
    if not rules.has_sound_folder:
        instead = name.replace("media_name", "audio_url")
        detail = f"This server has no sounds of its own: [media] folder is not set. Give `{instead}`."
        raise refusal("10038", detail, f"/{name}")


def _content(body: schemas.PlaybackStart) -> bytes | None:
    if body.playback_content is None:
        return None
    try:
        content = base64.b64decode(body.playback_content, validate=True)
    except (binascii.Error, ValueError):
        raise refusal("10015", "`playback_content` must be base64 text.", "/playback_content") from None
    if not content:
        raise refusal("10015", "`playback_content` is empty.", "/playback_content")
    return content
