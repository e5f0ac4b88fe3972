"""The text that one leg lets a voice say: made sentence by sentence, and given to the media core a sentence ahead."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import structlog

from offhook.app.services import Services
from offhook.base.errors import LimitReached
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.commands import SpeakOptions
from offhook.edge.media.engine import MediaError
from offhook.edge.media.events import PlayEnded, PlayStarted
from offhook.edge.voice.protocol import VoiceError

log = structlog.get_logger(__name__)

PIECES_AHEAD = 2
"""Pieces that the core holds: one is heard and the next follows it without a gap."""


class LegSpeaking:
    """Says one text at a time, as the leg decides; each that is opened reports its end exactly once.

    Args:
        services: the edges.
        media_leg_id: where to speak.
        feed: takes the facts.
    """

    def __init__(self, services: Services, media_leg_id: int, feed: Callable[[facts.Fact], None]) -> None:
        self._services = services
        self._media_leg_id = media_leg_id
        self._feed = feed
        self._tasks = TaskSet()
        self._speaking: tuple[str, asyncio.Task[None]] | None = None
        self._plays: set[int] = set()
        self._play_ended = asyncio.Event()
        self._told_start = False

    def open(self, effect: do.OpenSpeak) -> None:
        """Begin to make the text and to say it, beside the queue of effects."""
        self._told_start = False
        self._speaking = (effect.playback_id, self._tasks.start(self._run(effect), name="speak"))

    def stop(self, playback_id: str) -> None:
        """Stop at once what is said under that id, if anything; its end is reported."""
        if self._speaking is None or self._speaking[0] != playback_id:
            return
        self._speaking[1].cancel()
        self._speaking = None
        self._silence()
        self._feed(facts.PlaybackEnded(playback_id, "cancelled"))

    def on_media_event(self, event: PlayStarted | PlayEnded) -> None:
        """Take what the core tells of a play; those of others are ignored."""
        if event.play_id not in self._plays or self._speaking is None:
            return
        if isinstance(event, PlayStarted):
            self._tell_start(self._speaking[0])
        else:
            self._plays.discard(event.play_id)
            self._play_ended.set()

    async def close(self) -> None:
        """Leave nothing behind."""
        self._speaking = None
        self._plays.clear()
        await self._tasks.close()

    async def _run(self, effect: do.OpenSpeak) -> None:
        status, detail = "completed", ""
        try:
            await self._say(effect.options)
        except (VoiceError, LimitReached, MediaError) as error:
            status, detail = "failed", str(error)
        except Exception:
            status, detail = "failed", "a fault of the server"
            log.exception("a text broke down")
        if status != "completed":
            self._services.counters["playbacks_failed_total"] += 1
            log.warning("a text was not said", status=status, detail=detail)
        else:
            self._tell_start(effect.playback_id)
        self._speaking = None
        self._silence()
        self._feed(facts.PlaybackEnded(effect.playback_id, status, detail))

    async def _say(self, options: SpeakOptions) -> None:
        voice, media = self._services.voice, self._services.media
        rate_hz = voice.check(options.voice, options.language).sample_rate_hz
        async with aclosing(self._pieces(options)) as pieces:
            async for pcm in pieces:
                # The core ends each play exactly once; while the call is on hold that may take long.
                await self._until_at_most(PIECES_AHEAD - 1)
                play_id = next(self._services.play_ids)
                self._plays.add(play_id)
                media.play(self._media_leg_id, play_id, pcm=pcm, sample_rate_hz=rate_hz)
        await self._until_at_most(0)

    async def _pieces(self, options: SpeakOptions) -> AsyncGenerator[bytes, None]:
        """Yield the audio of the text, as often as it is to be heard; a text without words is heard once."""
        times = 0
        while options.loop is None or times < options.loop:
            times += 1
            silent = True
            async with aclosing(self._services.voice.speak(options.script, options.voice)) as pieces:
                async for pcm in pieces:
                    silent = False
                    yield pcm
            if silent:
                return

    async def _until_at_most(self, plays: int) -> None:
        while len(self._plays) > plays:
            self._play_ended.clear()
            await self._play_ended.wait()

    def _tell_start(self, playback_id: str) -> None:
        if not self._told_start:
            self._told_start = True
            self._feed(facts.PlaybackStarted(playback_id))

    def _silence(self) -> None:
        for play_id in self._plays:
            with suppress(MediaError):  # it has ended, or the leg is going
                self._services.media.stop_play(self._media_leg_id, play_id)
        self._plays.clear()
