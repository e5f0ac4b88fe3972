"""Dialogflow agents in calls: where their accounts are kept, and one leg's talks with them."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import structlog

from offhook.app.plays import PlayEvent
from offhook.app.settings import DEFAULT_APPLICATION_ID, DialogflowSettings
from offhook.app.stream_book import StreamState
from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.base.tasks import TaskSet
from offhook.call import effects as do
from offhook.call import facts
from offhook.edge.dialogflow import protocol as dialogflow
from offhook.edge.dialogflow.service import DialogflowService, Resolve
from offhook.edge.http.dialogflow import DialogflowConnection, DialogflowConnectionResource
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.store import DialogflowConnections, DialogflowRow, StoreError

if TYPE_CHECKING:
    from offhook.app.services import Services
    from offhook.edge.dialogflow.session import DialogflowSession

log = structlog.get_logger(__name__)

CHUNK_MS = 100


class Agents:
    """The agents of this server's applications; the `DialogflowService` of the HTTP API."""

    def __init__(
        self,
        connections: DialogflowConnections | None,
        settings: DialogflowSettings,
        resolve: Resolve,
        has_application: Callable[[str], bool] = lambda connection_id: (
            connection_id == DEFAULT_APPLICATION_ID
        ),
    ) -> None:
        self.talks = DialogflowService(resolve, endpoint=settings.endpoint, ca_file=settings.ca_file)
        self._connections = connections
        self._tasks = TaskSet()
        self._settings = settings
        self._has_application = has_application

    # For the HTTP API

    def has_application(self, connection_id: str) -> bool:
        """Tell whether there is such an application."""
        return self._has_application(connection_id)

    async def get(self, connection_id: str) -> DialogflowConnectionResource | None:
        """Return a connection without its secret."""
        row = await self._kept.get(connection_id)
        if row is None:
            return None
        return DialogflowConnectionResource(
            connection_id=row.connection_id,
            dialogflow_api=row.dialogflow_api,
            conversation_profile_id=row.conversation_profile_id,
            location=row.location,
            environment=row.environment,
        )

    async def put(self, connection_id: str, connection: DialogflowConnection, *, new: bool) -> bool:
        """Keep a connection."""
        row = DialogflowRow(
            connection_id,
            connection.dialogflow_api,
            json.dumps(connection.service_account),
            connection.conversation_profile_id,
            connection.location,
            connection.environment,
        )
        kept = await self._kept.put(row, new=new)
        if kept:
            self._tasks.start(self.warm_up(), name="warm up dialogflow")
        return kept

    async def delete(self, connection_id: str) -> bool:
        """Forget a connection."""
        return await self._kept.delete(connection_id)

    @property
    def _kept(self) -> DialogflowConnections:
        if self._connections is None:
            raise StoreError("this server keeps nothing")
        return self._connections

    # For legs

    async def agent_of(self, connection_id: str) -> dialogflow.Agent:
        """Return the agent of an application.

        Raises:
            DialogflowNotConfigured: it has none.
        """
        try:
            row = await self._kept.get(connection_id)
        except StoreError as error:
            raise dialogflow.DialogflowNotConfigured(str(error)) from None
        if row is None:
            raise dialogflow.DialogflowNotConfigured(
                f"the application {connection_id} has no dialogflow connection"
            )
        return dialogflow.Agent(
            api=cast(Literal["es", "cx"], row.dialogflow_api),
            service_account=json.loads(row.service_account),
            conversation_profile_id=row.conversation_profile_id,
            location=row.location,
            environment=row.environment,
        )

    def config_of(self, effect: do.OpenDialogflow) -> dialogflow.SessionConfig:
        """Return how a talk goes: what the command says, else the settings."""
        return dialogflow.SessionConfig(
            session_id=effect.stream_id,
            sample_rate_hz=effect.sample_rate_hz,
            language=effect.options.language or self._settings.language,
            analyze_sentiment=effect.options.analyze_sentiment,
            partial_replies=effect.options.partial_replies,
            barge_in=self._settings.barge_in,
            welcome_event=self._settings.welcome_event,
        )

    async def close(self) -> None:
        """End every talk."""
        await self._tasks.close()
        await self.talks.close_all()

    async def warm_up(self) -> None:
        """Import Google's libraries while nobody waits for them, where there is an agent at all."""
        with suppress(StoreError, dialogflow.DialogflowNotConfigured):
            if await self._kept.count():
                await self.talks.load()


@dataclass(slots=True)
class _Talk:
    effect: do.OpenDialogflow
    tap_id: int
    session: "DialogflowSession | None" = None
    tapped: bool = False
    plays: set[int] = field(default_factory=set)
    """Its replies that have not been heard to their end."""


class LegTalks:
    """The talks of one leg with agents: at most one that goes on, and those that are ending."""

    def __init__(
        self, services: "Services", media_leg_id: int, feed: Callable[[facts.Fact], None], tasks: TaskSet
    ) -> None:
        self._services = services
        self._agents = services.agents
        self._media_leg_id = media_leg_id
        self._feed = feed
        self._tasks = tasks
        self._talks: dict[str, _Talk] = {}
        self._by_tap: dict[int, _Talk] = {}

    def __contains__(self, stream_id: str) -> bool:
        return stream_id in self._talks

    def open(self, effect: do.OpenDialogflow) -> None:
        """Find the agent and connect, beside the queue."""
        talk = _Talk(effect, next(self._services.tap_ids))
        self._talks[effect.stream_id] = talk
        self._services.stream_book.opening(effect, self._media_leg_id)
        self._tasks.start(self._open(talk), name="open dialogflow")

    async def _open(self, talk: _Talk) -> None:
        effect = talk.effect
        try:
            agent = await self._agents.agent_of(effect.identity.connection_id)
            session = await self._agents.talks.open(
                agent, self._agents.config_of(effect), partial(self._on_event, talk)
            )
        except dialogflow.DialogflowError as error:
            self._failed(talk, error.reason, str(error))
            return
        except LimitReached as error:
            self._failed(talk, "connection_failed", str(error))
            return
        talk.session = session
        if effect.stream_id not in self._talks:  # closed in the meantime
            await self._agents.talks.close(session)
        else:
            self._listen(talk)

    def close(self, stream_id: str, reason: str) -> None:
        """End a talk, connected or not."""
        talk = self._talks.get(stream_id)
        if talk is not None:
            self._end(talk)
            self._services.stream_book.stopped(stream_id, reason)
            self._feed(facts.StreamClosed(stream_id, reason))

    def on_audio(self, event: media_events.AudioChunk) -> bool:
        """Take audio of a tap; return whether the tap is ours."""
        talk = self._by_tap.get(event.tap_id)
        if talk is not None and talk.session is not None:
            talk.session.push(event.pcm)
        return talk is not None

    def on_tap_closed(self, tap_id: int) -> bool:
        """Take the end of a tap; return whether it was ours."""
        return self._by_tap.pop(tap_id, None) is not None

    async def close_all(self) -> None:
        """Leave nothing behind."""
        sessions = [talk.session for talk in self._talks.values() if talk.session is not None]
        self._talks.clear()
        await asyncio.gather(
            *(self._agents.talks.close(session) for session in sessions), return_exceptions=True
        )

    # What an agent tells

    def _on_event(self, talk: _Talk, event: dialogflow.SessionEvent) -> None:
        stream_id = talk.effect.stream_id
        if stream_id not in self._talks:
            return
        match event:
            case dialogflow.Connected():
                self._services.stream_book.moved(stream_id, StreamState.CONNECTED)
                self._services.stream_book.moved(stream_id, StreamState.BEGUN)
                self._feed(facts.StreamConnected(stream_id))
            case dialogflow.Answered():
                self._feed(_fact(stream_id, event))
            case dialogflow.ReplyAudio():
                self._play(talk, event)
            case dialogflow.Interrupted():
                self._be_quiet(talk)
            case dialogflow.Ended():
                self.close(stream_id, "agent_ended")
            case dialogflow.Failed():
                self._failed(talk, event.reason, event.detail)

    def _listen(self, talk: _Talk) -> None:
        """Take audio from now on: what is said while the agent is being connected is heard, too."""
        effect = talk.effect
        try:
            self._services.media.add_speech(
                self._media_leg_id,
                talk.tap_id,
                track=effect.options.track.value,
                sample_rate_hz=effect.sample_rate_hz,
                chunk_ms=CHUNK_MS,
            )
        except MediaError as error:
            self._failed(talk, "connection_failed", str(error))
            return
        talk.tapped = True
        self._by_tap[talk.tap_id] = talk
        self._services.stream_book.opened_tap(effect.stream_id, talk.tap_id)

    def _play(self, talk: _Talk, reply: dialogflow.ReplyAudio) -> None:
        most = limits.DIALOGFLOW_REPLY_MS_MAX * reply.sample_rate_hz // 1000 * 2
        try:
            play_id = self._services.plays.start(
                self._media_leg_id,
                partial(self._on_play, talk),
                pcm=reply.pcm[:most],
                sample_rate_hz=reply.sample_rate_hz,
            )
        except MediaError as error:
            self._agents.talks.counters["replies_refused_total"] += 1
            log.warning("a reply cannot be played", stream=talk.effect.stream_id, detail=str(error))
            if talk.session is not None and not talk.plays:
                talk.session.reply_ended()
        else:
            talk.plays.add(play_id)

    def _on_play(self, talk: _Talk, event: PlayEvent) -> None:
        if isinstance(event, media_events.PlayEnded):
            talk.plays.discard(event.play_id)
            if talk.session is not None and not talk.plays:
                talk.session.reply_ended()

    def _be_quiet(self, talk: _Talk) -> None:
        for play_id in tuple(talk.plays):
            self._services.plays.stop(play_id)

    def _failed(self, talk: _Talk, reason: str, detail: str) -> None:
        stream_id = talk.effect.stream_id
        if stream_id in self._talks:
            self._end(talk)
            log.warning("dialogflow failed", stream=stream_id, reason=reason)
            self._services.stream_book.failed(stream_id, reason, detail)
            self._feed(facts.StreamFailed(stream_id, reason, detail))

    def _end(self, talk: _Talk) -> None:
        del self._talks[talk.effect.stream_id]
        if talk.tapped:
            with suppress(MediaError):  # it has closed already
                self._services.media.remove_tap(self._media_leg_id, talk.tap_id, reason="command")
        if talk.session is not None:
            # The leg may be released before Google lets go of the channel.
            self._services.tasks.start(self._agents.talks.close(talk.session), name="close dialogflow")


def _fact(stream_id: str, event: dialogflow.Answered) -> facts.AgentAnswered:
    sentiment = event.sentiment
    return facts.AgentAnswered(
        stream_id=stream_id,
        transcript=event.transcript,
        confidence=event.confidence,
        is_final=event.is_final,
        messages=event.messages,
        intent=event.intent,
        language=event.language,
        sentiment=None if sentiment is None else (sentiment.score, sentiment.magnitude),
    )
