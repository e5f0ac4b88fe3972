"""The recognisers of one leg, between the leg's effects and the speech service."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from offhook.app.services import Services
from offhook.app.speech import speech_config
from offhook.base.errors import LimitReached
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.commands import TranscriptionOptions
from offhook.call.values import Track
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.speech import protocol as speech
from offhook.edge.speech.handle import SpeechHandle

log = structlog.get_logger(__name__)

SPEECH_CHUNK_MS = 100
_UTTERANCES_KEPT = 16
"""How far back an engine may come to an earlier utterance; a few seconds of speech."""


@dataclass(slots=True)
class _Recogniser:
    """One track of a transcription, and the call's numbers of its last utterances."""

    track: Track
    handle: SpeechHandle | None = None
    numbers: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Transcription:
    """The recognisers of one `OpenTranscription`, one a track."""

    transcription_id: str
    options: TranscriptionOptions
    recognisers: dict[int, _Recogniser] = field(default_factory=dict)
    open_taps: set[int] = field(default_factory=set)
    opening: bool = True
    closing: bool = False
    failure: str | None = None


class LegTranscripts:
    """Opens and closes recognisers; each `OpenTranscription` is answered by one `TranscriptionClosed`.

    Args:
        start: runs something beside the leg's queue.
        remove_tap: asks the media core to end a tap, which it tells by an event.
    """

    def __init__(
        self,
        services: Services,
        media_leg_id: int,
        feed: Callable[[facts.Fact], None],
        *,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        remove_tap: Callable[[int, str], None],
    ) -> None:
        self._services = services
        self._media_leg_id = media_leg_id
        self._feed = feed
        self._start = start
        self._remove_tap = remove_tap
        self._transcriptions: dict[str, _Transcription] = {}
        self._of_taps: dict[int, _Transcription] = {}
        self._utterances = {track: itertools.count() for track in Track}

    def open(self, effect: do.OpenTranscription) -> None:
        """Start one recogniser a track, beside the queue."""
        item = _Transcription(effect.transcription_id, effect.options)
        self._transcriptions[effect.transcription_id] = item
        self._start(self._open_recognisers(item, effect.sample_rate_hz), "open transcription")

    def close(self, transcription_id: str) -> None:
        """Let the recognisers tell their last words, then end them."""
        item = self._transcriptions.get(transcription_id)
        if item is not None and not item.closing:
            self._close_recognisers(item)

    async def close_all(self) -> None:
        """Leave nothing behind."""
        await asyncio.gather(*(_close_all(item) for item in self._transcriptions.values()))

    def on_audio(self, event: media_events.AudioChunk) -> None:
        """Let the recogniser of a tap hear it."""
        item = self._of_taps.get(event.tap_id)
        if item is not None and (handle := item.recognisers[event.tap_id].handle) is not None:
            handle.push(event.pcm, event.at_ms)

    def on_tap_closed(self, tap_id: int) -> None:
        """Take note that no more audio comes from a tap; it may be another's."""
        item = self._of_taps.pop(tap_id, None)
        if item is None:
            return
        item.open_taps.discard(tap_id)
        item.closing = True
        if not item.open_taps:
            self._start(self._finish(item), "finish transcription")

    async def _open_recognisers(self, item: _Transcription, leg_rate_hz: int) -> None:
        for track in item.options.tracks:
            try:
                await self._open_recogniser(item, track, leg_rate_hz)
            except (speech.SpeechError, LimitReached, MediaError) as error:
                item.failure = str(error)
                log.warning("transcription could not start", detail=str(error))
                break
        item.opening = False
        if item.failure is not None or item.closing:
            self._close_recognisers(item)

    async def _open_recogniser(self, item: _Transcription, track: Track, leg_rate_hz: int) -> None:
        tap_id = next(self._services.tap_ids)
        engine = item.options.engine
        rate_hz = self._services.speech.sample_rate_hz(engine, leg_rate_hz)
        recogniser = item.recognisers[tap_id] = _Recogniser(track)
        recogniser.handle = await self._services.speech.open(
            (self._media_leg_id, tap_id),
            speech_config(item.options, track, rate_hz),
            engine,
            partial(self._on_speech, item, recogniser),
        )
        self._services.media.add_speech(
            self._media_leg_id,
            tap_id,
            track=track.value,
            sample_rate_hz=rate_hz,
            chunk_ms=SPEECH_CHUNK_MS,
            skip_own=self._services.settings.speech.echo_gate,
        )
        item.open_taps.add(tap_id)
        self._of_taps[tap_id] = item

    def _close_recognisers(self, item: _Transcription) -> None:
        item.closing = True
        if item.opening:
            return  # the task that opens them looks at `closing` when it is through
        for tap_id in tuple(item.open_taps):
            self._remove_tap(tap_id, "command")
        if not item.open_taps:
            self._start(self._finish(item), "finish transcription")

    async def _finish(self, item: _Transcription) -> None:
        await _close_all(item)
        if self._transcriptions.pop(item.transcription_id, None) is not None:
            self._feed(facts.TranscriptionClosed(item.transcription_id, item.failure))

    def _on_speech(self, item: _Transcription, recogniser: _Recogniser, event: speech.SpeechEvent) -> None:
        match event:
            case speech.Partial() | speech.Final():
                self._feed(self._transcript(item, recogniser, event))
            case speech.Error(recovering=False):
                item.failure = event.reason
                log.error("transcription broke down", detail=event.reason)
                if not item.closing:
                    self._close_recognisers(item)
            case speech.Error():
                log.warning("transcription is recovering", detail=event.reason)
            case speech.Replaced():
                moved = (item.transcription_id, recogniser.track, event.engine, event.reason)
                self._feed(facts.TranscriptionMoved(*moved))
            case _:
                pass

    def _transcript(
        self, item: _Transcription, recogniser: _Recogniser, event: speech.Partial | speech.Final
    ) -> facts.TranscriptReady:
        assert recogniser.handle is not None, "nothing is said before it is open"
        track = recogniser.track
        words = tuple(
            facts.SpokenWord(word.text, word.start_ms, word.end_ms, word.confidence, word.speaker)
            for word in event.words
        )
        return facts.TranscriptReady(
            track=track,
            transcript=event.text,
            confidence=event.confidence,
            is_final=isinstance(event, speech.Final),
            utterance_id=f"{track.telnyx_name}-{self._number(recogniser, event.utterance_id)}",
            start_ms=event.start_ms,
            end_ms=event.end_ms,
            language=event.language,
            engine=item.options.engine,
            served_by=recogniser.handle.engine,
            words=words,
            word_times=recogniser.handle.info.word_times if words else None,
            utterance_end=isinstance(event, speech.Final) and event.utterance_end,
        )

    def _number(self, recogniser: _Recogniser, utterance_id: int) -> int:
        """Return the number of an utterance: unique on its track for the whole call, rising as first heard."""
        numbers = recogniser.numbers
        if utterance_id not in numbers:
            numbers[utterance_id] = next(self._utterances[recogniser.track])
            if len(numbers) > _UTTERANCES_KEPT:
                del numbers[next(iter(numbers))]
        return numbers[utterance_id]


async def _close_all(item: _Transcription) -> None:
    handles = (each.handle for each in item.recognisers.values() if each.handle is not None)
    await asyncio.gather(*(handle.close() for handle in handles), return_exceptions=True)
