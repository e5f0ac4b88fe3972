"""The sounds and texts that one leg plays: each is got when the one before it begins, then queued in the core."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from offhook.app.plays import PlayEvent
from offhook.app.services import Services
from offhook.app.speaking import PIECES_AHEAD, spoken_pieces
from offhook.base.errors import LimitReached
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.commands import PlaybackOptions
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.sounds import SoundError
from offhook.edge.voice.protocol import VoiceError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Item:
    """A playback from its effect to the report of its end."""

    effect: do.OpenPlayback | do.OpenSpeak
    task: asyncio.Task[None] | None = None
    plays: set[int] = field(default_factory=set)
    """In the core, one for each leg that hears it and piece of a text, until each has ended."""
    play_ended: asyncio.Event = field(default_factory=asyncio.Event)
    whole: bool = False
    """Nothing more of it will be given to the core."""
    heard: bool = False
    completed: bool = True
    """No play of it was stopped; of a text: somebody is left who hears it."""
    gone: set[int] = field(default_factory=set)
    """Legs where a play of it was stopped."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It is heard, or never will be, and of a text all is in the core: the next one may be fetched."""


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
        targets: Callable[[do.OpenPlayback | do.OpenSpeak], tuple[int, ...]],
    ) -> None:
        self._services = services
        self._feed = feed
        self._targets = targets
        self._tasks = TaskSet()
        self._items: dict[str, _Item] = {}

    def open(self, effect: do.OpenPlayback | do.OpenSpeak) -> None:
        """Get the sound or the text and play it, beside the queue of effects."""
        queue = [
            item for item in self._items.values() if item.effect.options.overlay == effect.options.overlay
        ]
        item = self._items[effect.playback_id] = _Item(effect)
        item.task = self._tasks.start(self._run(item, queue[-1] if queue else None), name="play sound")

    def stop(self, playback_id: str) -> None:
        """Stop at once; the end is reported whatever the sound or the text was doing."""
        item = self._items.get(playback_id)
        if item is None:
            return  # it has reported its end already
        if item.plays and item.whole:
            self._be_quiet(item)
            return
        assert item.task is not None, "an item is made with its task"
        item.task.cancel()
        self._be_quiet(item)
        self._ended(item, "cancelled")

    async def close(self) -> None:
        """Leave nothing behind."""
        self._items.clear()
        await self._tasks.close()

    async def _run(self, item: _Item, before: _Item | None) -> None:
        if before is not None:
            await before.begun.wait()
        try:
            if isinstance(item.effect, do.OpenSpeak):
                await self._say(item, item.effect)
            else:
                await self._sound(item, item.effect.options)
        except SoundError as error:
            self._failed(item, error.status, str(error))
        except (VoiceError, LimitReached, MediaError) as error:
            self._failed(item, "failed", str(error))
        except Exception:
            log.exception("a sound broke down")
            self._failed(item, "failed", "a fault of the server")

    async def _sound(self, item: _Item, options: PlaybackOptions) -> None:
        async with self._services.sounds.sound(
            url=options.url, name=options.name, content=options.content, cache=options.cache
        ) as sound:
            item.whole = True
            targets = self._targets(item.effect)
            self._play(item, targets, sound.pcm, sound.sample_rate_hz, loops=options.loop or 0)
            await self._until_at_most(item, 0)

    async def _say(self, item: _Item, effect: do.OpenSpeak) -> None:
        """Give the core one piece ahead of the one that is heard, until all have been."""
        options, voice = effect.options, self._services.voice
        rate_hz = voice.check(options.voice, options.language).sample_rate_hz
        targets = self._targets(effect)
        async with aclosing(spoken_pieces(voice, options)) as pieces:
            async for pcm in pieces:
                await self._until_at_most(item, (PIECES_AHEAD - 1) * len(targets))
                # Who hung up hears no more of it; the others hear it to its end.
                targets = tuple(leg for leg in targets if leg not in item.gone)
                if not targets:
                    break
                self._play(item, targets, pcm, rate_hz)
        item.whole = True
        item.completed = bool(targets)
        item.begun.set()
        self._end_when_heard(item)

    async def _until_at_most(self, item: _Item, plays: int) -> None:
        # The core ends each play exactly once; while the call is on hold that may take long.
        while len(item.plays) > plays:
            item.play_ended.clear()
            await item.play_ended.wait()

    def _play(
        self, item: _Item, targets: tuple[int, ...], pcm: bytes, sample_rate_hz: int, *, loops: int = 1
    ) -> None:
        try:
            for media_leg_id in targets:
                play_id = self._services.plays.start(
                    media_leg_id,
                    lambda event: self._on_event(item, event),
                    pcm=pcm,
                    sample_rate_hz=sample_rate_hz,
                    loops=loops,
                    overlay=item.effect.options.overlay,
                )
                item.plays.add(play_id)
        except MediaError:
            self._be_quiet(item)
            raise

    def _be_quiet(self, item: _Item) -> None:
        for play_id in tuple(item.plays):
            self._services.plays.stop(play_id)

    def _on_event(self, item: _Item, event: PlayEvent) -> None:
        if isinstance(event, media_events.PlayStarted):
            self._tell_heard(item)
            if item.whole:
                item.begun.set()
            return
        item.plays.discard(event.play_id)
        item.completed &= event.completed
        if not event.completed:
            item.gone.add(event.leg_id)
        item.play_ended.set()
        # At once, or the start of the next sound would be told first.
        self._end_when_heard(item)

    def _tell_heard(self, item: _Item) -> None:
        if not item.heard and item.effect.playback_id in self._items:
            item.heard = True
            self._feed(facts.PlaybackStarted(item.effect.playback_id))

    def _end_when_heard(self, item: _Item) -> None:
        if item.whole and not item.plays:
            if item.completed:  # a text without words is over without having been heard
                self._tell_heard(item)
            # Nothing but a command, which the leg knows of, or the end of a leg stops a play.
            self._ended(item, "completed" if item.completed else "call_hangup")

    def _failed(self, item: _Item, status: str, detail: str) -> None:
        self._services.counters["playbacks_failed_total"] += 1
        log.warning("a sound was not played", status=status, detail=detail)
        self._ended(item, status, detail)

    def _ended(self, item: _Item, status: str, detail: str = "") -> None:
        item.begun.set()
        if self._items.pop(item.effect.playback_id, None) is not None:
            self._feed(facts.PlaybackEnded(item.effect.playback_id, status, detail))
