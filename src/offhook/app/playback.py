"""The sounds that one leg plays: each is fetched, then given to the media core a little ahead of time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from offhook.app.services import Services
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.edge.media.engine import MediaError
from offhook.edge.sounds import Sound, SoundError

log = structlog.get_logger(__name__)

PIECE_S = 0.5
AHEAD_S = 1.0
"""How much of a sound waits in the core at most: what is stopped or said in between is heard soon."""
LAST_PIECE_GRACE_S = 0.5
"""How much later than by the clock the core may tell that it has played everything."""


class LegPlayback:
    """Plays one sound at a time, as the leg decides; each that is opened reports its end exactly once.

    Args:
        services: the edges.
        media_leg_id: where to play.
        feed: takes the facts.
        held: whether the far end does not want to hear anything now; a sound waits until it does.
    """

    def __init__(
        self,
        services: Services,
        media_leg_id: int,
        feed: Callable[[facts.Fact], None],
        held: Callable[[], bool],
    ) -> None:
        self._services = services
        self._media_leg_id = media_leg_id
        self._feed = feed
        self._held = held
        self._tasks = TaskSet()
        self._playing: tuple[str, asyncio.Task[None]] | None = None
        self._heard = False
        self._all_played = asyncio.Event()

    def open(self, effect: do.OpenPlayback) -> None:
        """Get the sound and play it, beside the queue of effects."""
        self._heard = False
        playing = self._tasks.start(self._run(effect), name="play sound")
        self._playing = (effect.playback_id, playing)

    def stop(self, playback_id: str) -> None:
        """Stop at once; the end is reported whatever the sound was doing."""
        if self._playing is None or self._playing[0] != playback_id:
            return  # it has reported its end already
        self._playing[1].cancel()
        self._playing = None
        if self._heard:
            self._clear()
        self._feed(facts.PlaybackEnded(playback_id, "cancelled"))

    def on_play_ended(self) -> None:
        """Take it that the core has nothing left to play."""
        self._all_played.set()

    async def close(self) -> None:
        """Leave nothing behind."""
        self._playing = None
        await self._tasks.close()

    async def _run(self, effect: do.OpenPlayback) -> None:
        status, detail = "completed", ""
        options = effect.options
        try:
            async with self._services.sounds.sound(
                url=options.url, content=options.content, cache=options.cache
            ) as sound:
                self._feed(facts.PlaybackStarted(effect.playback_id))
                await self._play(sound, options.loop)
        except SoundError as error:
            status, detail = error.status, str(error)
        except MediaError as error:
            status, detail = "failed", str(error)
        except Exception:
            status, detail = "failed", "a fault of the server"
            log.exception("a sound broke down")
        if status != "completed":
            self._services.counters["playbacks_failed_total"] += 1
            log.warning("a sound was not played", status=status, detail=detail)
        self._playing = None
        self._feed(facts.PlaybackEnded(effect.playback_id, status, detail))

    async def _play(self, sound: Sound, loop: int | None) -> None:
        clock, rate_hz = self._services.clock, sound.sample_rate_hz
        size = int(PIECE_S * rate_hz) * 2
        at, total = 0, None if loop is None else len(sound.pcm) * loop
        pcm = sound.pcm * (1 + size // len(sound.pcm)) if len(sound.pcm) < size else sound.pcm
        due = clock.now()
        while total is None or at < total:
            while self._held():
                await asyncio.sleep(PIECE_S)
                due = max(due, clock.now())
            piece = _piece(pcm, at, size if total is None else min(size, total - at))
            self._heard = True
            self._all_played.clear()
            self._services.media.play(self._media_leg_id, pcm=piece, sample_rate_hz=rate_hz)
            at += len(piece)
            due = max(due, clock.now()) + len(piece) / 2 / rate_hz
            last = total is not None and at >= total
            if not last:
                await asyncio.sleep(max(0.0, due - AHEAD_S + PIECE_S - clock.now()))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - clock.now()) + LAST_PIECE_GRACE_S):
                await self._all_played.wait()

    def _clear(self) -> None:
        with suppress(MediaError):  # the leg is going
            self._services.media.clear(self._media_leg_id)


def _piece(pcm: bytes, at: int, size: int) -> bytes:
    """Return `size` bytes from position `at` of `pcm` repeated for ever; `pcm` is no shorter than `size`."""
    start = at % len(pcm)
    piece = pcm[start : start + size]
    return piece + pcm[: size - len(piece)]
