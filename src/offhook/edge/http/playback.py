"""From the parameters of `playback_start` and `playback_stop` to commands of the domain."""

import base64
import binascii
from typing import TYPE_CHECKING

from offhook.call import commands as domain
from offhook.edge.http import schemas
from offhook.edge.http.building import common, not_yet, refusal
from offhook.edge.http.problems import Refusal

if TYPE_CHECKING:
    from offhook.edge.http.commands import Rules


def playback_start(body: schemas.PlaybackStart, rules: "Rules") -> domain.StartPlayback:
    """Return the command that plays a sound. Without a bridged party every target is the caller."""
    if body.media_name is not None:
        raise Refusal(422, not_yet("media_name", "give `audio_url` or `playback_content`"))
    if body.overlay:
        raise Refusal(422, not_yet("overlay", "leave it out"))
    if body.audio_url is None and body.playback_content is None:
        raise refusal("10004", "One of `audio_url` and `playback_content` is required.", "/audio_url")
    if body.audio_url is not None and body.playback_content is not None:
        raise refusal("10015", "Give either `audio_url` or `playback_content`.", "/playback_content")
    playback = domain.PlaybackOptions(
        url=body.audio_url, content=_content(body), loop=body.loop, cache=body.cache_audio
    )
    stop = None if body.stop is None else domain.StopWhich(body.stop)
    return domain.StartPlayback(**common(body), playback=playback, stop=stop)


def playback_stop(body: schemas.PlaybackStop, rules: "Rules") -> domain.StopPlayback:
    """Return the command that stops playing."""
    if body.overlay:
        raise Refusal(422, not_yet("overlay", "leave it out"))
    return domain.StopPlayback(**common(body), stop=domain.StopWhich(body.stop))


def _content(body: schemas.PlaybackStart) -> bytes | None:
    if body.playback_content is None:
        return None
    try:
        content = base64.b64decode(body.playback_content, validate=True)
    except (binascii.Error, ValueError):
        raise refusal("10015", "`playback_content` must be base64 text.", "/playback_content") from None
    if not content:
        raise refusal("10015", "`playback_content` is empty.", "/playback_content")
    if not content.startswith(b"RIFF"):
        raise Refusal(422, not_yet("playback_content", "give a wav file"))
    return content
