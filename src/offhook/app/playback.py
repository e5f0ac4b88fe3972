"""The sounds that one leg plays: each is fetched when the one before it begins, and then queued in the core."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from offhook.app.plays import PlayEvent
from offhook.app.services import Services
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.sounds import Sound, SoundError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Item:
    """A playback from its effect to the report of its end."""

    effect: do.OpenPlayback
    task: asyncio.Task[None] | None = None
    plays: set[int] = field(default_factory=set)
    """In the core, one for each leg that hears it, until each has ended."""
    completed: bool = True
    """No play of it was stopped."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It is heard, or never will be: the next one may be fetched."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Each play of it has ended: the sound may be forgotten."""


class LegPlayback:
    """Plays the sounds that the leg has opened, in order; each of them reports its end exactly once.

    Overlays are a queue of their own. In each queue one sound is heard and one more is fetched and waits in
    the core, so that it follows without a gap.

    Args:
        services: the edges.
        feed: takes the facts.
        targets: the media legs that shall hear a sound, by the playback's `target_legs`.
    """

    def __init__(
        self,
        services: Services,
        feed: Callable[[facts.Fact], None],
        targets: Callable[[do.OpenPlayback], tuple[int, ...]],
    ) -> None:
        self._services = services
        self._feed = feed
        self._targets = targets
        self._tasks = TaskSet()
        self._items: dict[str, _Item] = {}

    def open(self, effect: do.OpenPlayback) -> None:
        """Get the sound and play it, beside the queue of effects."""
        queue = [
            item for item in self._items.values() if item.effect.options.overlay == effect.options.overlay
        ]
        item = self._items[effect.playback_id] = _Item(effect)
        item.task = self._tasks.start(self._run(item, queue[-1] if queue else None), name="play sound")

    def stop(self, playback_id: str) -> None:
        """Stop at once; the end is reported whatever the sound was doing."""
        item = self._items.get(playback_id)
        if item is None:
            return  # it has reported its end already
        if item.plays:
            for play_id in tuple(item.plays):
                self._services.plays.stop(play_id)
            return
        assert item.task is not None, "an item is made with its task"
        item.task.cancel()
        self._ended(item, "cancelled")

    async def close(self) -> None:
        """Leave nothing behind."""
        self._items.clear()
        await self._tasks.close()

    async def _run(self, item: _Item, before: _Item | None) -> None:
        options = item.effect.options
        if before is not None:
            await before.begun.wait()
        try:
            async with self._services.sounds.sound(
                url=options.url, name=options.name, content=options.content, cache=options.cache
            ) as sound:
                self._play(item, sound)
                await item.over.wait()
        except SoundError as error:
            self._failed(item, error.status, str(error))
        except MediaError as error:
            self._failed(item, "failed", str(error))
        except Exception:
            log.exception("a sound broke down")
            self._failed(item, "failed", "a fault of the server")

    def _play(self, item: _Item, sound: Sound) -> None:
        options = item.effect.options
        try:
            for media_leg_id in self._targets(item.effect):
                play_id = self._services.plays.start(
                    media_leg_id,
                    lambda event: self._on_event(item, event),
                    pcm=sound.pcm,
                    sample_rate_hz=sound.sample_rate_hz,
                    loops=options.loop or 0,
                    overlay=options.overlay,
                )
                item.plays.add(play_id)
        except MediaError:
            for play_id in tuple(item.plays):
                self._services.plays.stop(play_id)
            raise

    def _on_event(self, item: _Item, event: PlayEvent) -> None:
        if isinstance(event, media_events.PlayStarted):
            if not item.begun.is_set():
                item.begun.set()
                self._feed(facts.PlaybackStarted(item.effect.playback_id))
            return
        item.plays.discard(event.play_id)
        item.completed &= event.completed
        if not item.plays:
            # At once, or the start of the next sound would be told first. Nothing but a command, which the
            # leg knows of, or the end of a leg stops a play.
            self._ended(item, "completed" if item.completed else "call_hangup")
            item.over.set()

    def _failed(self, item: _Item, status: str, detail: str) -> None:
        self._services.counters["playbacks_failed_total"] += 1
        log.warning("a sound was not played", status=status, detail=detail)
        self._ended(item, status, detail)

    def _ended(self, item: _Item, status: str, detail: str = "") -> None:
        item.begun.set()
        if self._items.pop(item.effect.playback_id, None) is not None:
            self._feed(facts.PlaybackEnded(item.effect.playback_id, status, detail))
