"""What is being played to any leg, and who wants to hear of it."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count

from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaEngine, MediaError

PlayEvent = media_events.PlayStarted | media_events.PlayEnded


class Plays:
    """Gives audio to the media core and brings what becomes of it to whoever gave it.

    A play is known until its `PlayEnded` was told, which comes exactly once, at the latest with the end
    of its media leg.
    """

    def __init__(self, media: MediaEngine) -> None:
        self._media = media
        self._ids = count(1)
        self._open: dict[int, tuple[int, Callable[[PlayEvent], None]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def start(
        self,
        media_leg_id: int,
        told: Callable[[PlayEvent], None],
        *,
        pcm: bytes,
        sample_rate_hz: int,
        loops: int = 1,
        overlay: bool = False,
    ) -> int:
        """Play s16le mono audio after what that leg plays already, or over it; return the id of the play.

        Raises:
            MediaError: the leg is going, or too much waits there.
        """
        play_id = next(self._ids)
        self._media.play(
            media_leg_id, play_id, pcm=pcm, sample_rate_hz=sample_rate_hz, loops=loops, overlay=overlay
        )
        self._open[play_id] = media_leg_id, told
        return play_id

    def stop(self, play_id: int) -> None:
        """End a play; nothing happens when it has ended."""
        known = self._open.get(play_id)
        if known is not None:
            with suppress(MediaError):  # its end is on the way
                self._media.stop_play(known[0], play_id)

    def on_media_event(self, event: PlayEvent) -> None:
        """Tell whoever started it."""
        known = self._open.get(event.play_id)
        if known is None:
            return
        if isinstance(event, media_events.PlayEnded):
            del self._open[event.play_id]
        known[1](event)
