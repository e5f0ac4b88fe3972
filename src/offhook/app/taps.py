"""The taps of one leg: streams, forks and recognisers, between the leg's effects and the edges."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from offhook import __version__
from offhook.app.dialogflow import LegTalks
from offhook.app.services import Services
from offhook.app.stream_book import StreamState
from offhook.app.transcripts import LegTranscripts
from offhook.base import limits
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.values import Track
from offhook.edge.egress import EgressRefused, EgressUnresolved
from offhook.edge.media import events as media_events
from offhook.edge.media.agreed import join_address
from offhook.edge.media.engine import MediaError
from offhook.edge.webhook.outbox import Receipt
from offhook.proto.stream import AUTH_TOKEN_KEY, ConnectedFrame, format_server_frame

log = structlog.get_logger(__name__)


class LegTaps:
    """Opens and closes taps; every opened one is answered by its facts, whatever goes wrong."""

    def __init__(self, services: Services, media_leg_id: int, feed: Callable[[facts.Fact], None]) -> None:
        self._services = services
        self._media_leg_id = media_leg_id
        self._feed = feed
        self._book = services.stream_book
        self._tasks = TaskSet()
        self._stream_taps: dict[str, int] = {}
        self._streams: dict[int, do.OpenStream] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._fork_taps: dict[str, int] = {}
        self._fork_ids: dict[int, str] = {}
        self._transcripts = LegTranscripts(
            services, media_leg_id, feed, start=self._start, remove_tap=self._remove_tap
        )
        self._talks = LegTalks(services, media_leg_id, feed, self._tasks)

    def on_media_event(self, event: media_events.MediaEvent) -> None:
        """Take an event of one tap."""
        match event:
            case media_events.StreamConnected():
                if (stream := self._streams.get(event.tap_id)) is not None:
                    self._book.moved(stream.stream_id, StreamState.CONNECTED)
                    self._feed(facts.StreamConnected(stream.stream_id))
            case media_events.StreamReconnecting():
                if (stream := self._streams.get(event.tap_id)) is not None:
                    log.warning("stream lost its socket", stream=stream.stream_id, detail=event.detail)
                    self._book.moved(stream.stream_id, StreamState.RECONNECTING)
            case media_events.StreamReconnected():
                if (stream := self._streams.get(event.tap_id)) is not None:
                    log.info("stream reconnected", stream=stream.stream_id, tries=event.tries)
                    self._book.moved(stream.stream_id, StreamState.CONNECTED)
            case media_events.StreamClosed():
                if (stream_id := self._forget_stream(event.tap_id)) is not None:
                    self._stream_stopped(stream_id, event.reason, event.stats)
            case media_events.StreamFailed():
                if (stream_id := self._forget_stream(event.tap_id)) is not None:
                    self._stream_failed(stream_id, event.reason, event.detail)
            case media_events.AudioChunk():
                if not self._talks.on_audio(event):
                    self._transcripts.on_audio(event)
            case media_events.TapClosed():
                if not self._talks.on_tap_closed(event.tap_id):
                    self._on_tap_closed(event.tap_id)
            case _:
                log.debug("media event of no tap", kind=type(event).__name__)

    async def close(self) -> None:
        """Leave nothing behind."""
        await self._tasks.close()
        await self._talks.close_all()
        self._book.leg_released(self._media_leg_id)
        await self._transcripts.close_all()

    # Streams

    def open_stream(self, effect: do.OpenStream) -> None:
        """Look the host up and connect, beside the queue."""
        self._book.opening(effect, self._media_leg_id)
        self._connecting[effect.stream_id] = self._start(self._connect_stream(effect), "connect stream")

    def open_dialogflow(self, effect: do.OpenDialogflow) -> None:
        """Let an agent listen and speak, beside the queue."""
        self._talks.open(effect)

    async def _connect_stream(self, effect: do.OpenStream) -> None:
        stream_id = effect.stream_id
        url = urlsplit(effect.url)
        try:
            port = url.port or (443 if url.scheme == "wss" else 80)
            addresses = await self._services.egress.resolve(url.hostname or "", port)
        except (EgressRefused, EgressUnresolved) as error:
            self._connecting.pop(stream_id, None)
            self._stream_failed(stream_id, "connection_failed", str(error))
            return
        tap_id = next(self._services.tap_ids)
        try:
            self._add_stream(tap_id, effect, [join_address(*address) for address in addresses])
        except MediaError as error:
            self._stream_failed(stream_id, "connection_failed", str(error))
        else:
            self._stream_taps[stream_id] = tap_id
            self._streams[tap_id] = effect
            self._book.opened_tap(stream_id, tap_id)
        finally:
            self._connecting.pop(stream_id, None)

    def _add_stream(self, tap_id: int, effect: do.OpenStream, addresses: list[str]) -> None:
        _warn_of_two_codecs(effect)
        settings = self._services.settings.stream
        headers = [("User-Agent", f"offhook/{__version__}")]
        if effect.auth_token is not None:
            headers.append((AUTH_TOKEN_KEY, effect.auth_token))
        self._services.media.add_stream(
            self._media_leg_id,
            tap_id,
            url=effect.url,
            addresses=addresses,
            headers=headers,
            rx=Track.RX in effect.tracks,
            tx=Track.TX in effect.tracks,
            codec=effect.codec,
            sample_rate_hz=effect.sample_rate_hz,
            frame_ms=settings.frame_ms,
            stream_id=effect.stream_id,
            connected_json=format_server_frame(ConnectedFrame(effect.auth_token)),
            start_json=json.dumps(_start_of(effect, settings.l16_byte_order), separators=(",", ":")),
            stop_json=json.dumps(effect.stop, separators=(",", ":")),
            connect_timeout_ms=round(settings.connect_timeout_s * 1000),
            connect_retry_ms=_ms(settings.connect_retry_s),
            buffer_ms=settings.buffer_ms,
            ping_ms=round(settings.ping_s * 1000),
            fill_gaps=settings.fill_gaps == "silence",
            app_codec=effect.app_codec,
            app_sample_rate_hz=effect.app_sample_rate_hz,
            app_heard=effect.app_heard,
            binary_media=settings.binary_media,
            l16_byte_order=settings.l16_byte_order,
            reconnect_ms=_ms(limits.STREAM_RECONNECT_S if effect.reconnect else ()),
            reconnect_total_ms=round(limits.STREAM_RECONNECT_TOTAL_S * 1000),
        )

    def begin_stream(self, stream_id: str, *, after: Receipt | None) -> None:
        """Let the start frame out once `streaming.started` has been tried, or after a short while.

        The audio of the meantime is kept by the media core, so the app misses none of it.
        """
        self._start(self._begin(stream_id, after), "begin stream")

    async def _begin(self, stream_id: str, after: Receipt | None) -> None:
        if after is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.STREAM_START_HOLD_S):
                    await asyncio.shield(after.first_attempt)
        if (tap_id := self._stream_taps.get(stream_id)) is not None:
            with suppress(MediaError):  # it closed in the meantime, and says so by its own event
                self._services.media.begin_stream(self._media_leg_id, tap_id)
                self._book.moved(stream_id, StreamState.BEGUN)

    def close_stream(self, effect: do.CloseStream) -> None:
        """End a stream, connected or not."""
        stream_id, reason = effect.stream_id, effect.reason
        task = self._connecting.pop(stream_id, None)
        if stream_id in self._talks:
            self._talks.close(stream_id, reason)
        elif task is not None:
            task.cancel()
            self._stream_stopped(stream_id, reason)
        elif (tap_id := self._stream_taps.get(stream_id)) is not None:
            self._book.moved(stream_id, StreamState.CLOSING)
            self._remove_tap(tap_id, reason, effect.hangup_cause)

    def _stream_stopped(
        self, stream_id: str, reason: str, stats: media_events.TapStats | None = None
    ) -> None:
        self._book.stopped(stream_id, reason, stats)
        self._feed(facts.StreamClosed(stream_id, reason))

    def _stream_failed(self, stream_id: str, reason: str, detail: str) -> None:
        log.warning("stream failed", stream=stream_id, reason=reason, detail=detail)
        self._book.failed(stream_id, reason, detail)
        self._feed(facts.StreamFailed(stream_id, reason, detail))

    def _forget_stream(self, tap_id: int) -> str | None:
        stream = self._streams.pop(tap_id, None)
        if stream is None:
            return None
        del self._stream_taps[stream.stream_id]
        return stream.stream_id

    # Forks

    def open_fork(self, effect: do.OpenFork, call_leg_id: str) -> None:
        """Begin to copy packets."""
        tap_id = next(self._services.tap_ids)
        rx, tx, strep_leg_id = effect.rx, effect.tx, None
        if effect.target is not None:
            rx, tx, strep_leg_id = effect.target, effect.target, UUID(call_leg_id).bytes
        try:
            self._services.media.add_fork(
                self._media_leg_id,
                tap_id,
                rx=None if rx is None else str(rx),
                tx=None if tx is None else str(tx),
                strep_leg_id=strep_leg_id,
            )
        except MediaError as error:
            log.warning("fork refused by the media core", detail=str(error))
            self._feed(facts.ForkClosed(effect.fork_id))
            return
        self._fork_taps[effect.fork_id] = tap_id
        self._fork_ids[tap_id] = effect.fork_id
        self._feed(facts.ForkOpened(effect.fork_id))

    def close_fork(self, fork_id: str) -> None:
        """Stop copying."""
        if (tap_id := self._fork_taps.get(fork_id)) is not None:
            self._remove_tap(tap_id, "command")

    # Transcription

    def open_transcription(self, effect: do.OpenTranscription) -> None:
        """Start one recogniser a track, beside the queue."""
        self._transcripts.open(effect)

    def close_transcription(self, transcription_id: str) -> None:
        """Let the recognisers tell their last words, then end them."""
        self._transcripts.close(transcription_id)

    # Both

    def _on_tap_closed(self, tap_id: int) -> None:
        fork_id = self._fork_ids.pop(tap_id, None)
        if fork_id is not None:
            del self._fork_taps[fork_id]
            self._feed(facts.ForkClosed(fork_id))
        self._transcripts.on_tap_closed(tap_id)

    def _remove_tap(self, tap_id: int, reason: str, hangup_cause: str | None = None) -> None:
        with suppress(MediaError):  # it has closed already, and says so by its own event
            self._services.media.remove_tap(
                self._media_leg_id, tap_id, reason=reason, hangup_cause=hangup_cause
            )

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._tasks.start(work, name=name)


def _ms(pauses_s: Sequence[float]) -> list[int]:
    return [round(pause_s * 1000) for pause_s in pauses_s]


def _start_of(effect: do.OpenStream, l16_byte_order: str) -> dict[str, Any]:
    """Return what the start frame says; apps expect little-endian L16, so only the other order is told."""
    if effect.codec != "L16" or l16_byte_order == "little":
        return effect.start
    return effect.start | {"media_format": effect.start["media_format"] | {"byte_order": l16_byte_order}}


def _warn_of_two_codecs(effect: do.OpenStream) -> None:
    """Say what is most often taken for static: the app is sent one codec and is to speak another."""
    if effect.app_codec in (None, "MP3", effect.codec):
        return
    log.warning(
        "the app is sent one codec and is to speak another; if it hears static, set stream_codec",
        stream=effect.stream_id,
        to_app=effect.codec,
        from_app=effect.app_codec,
    )
