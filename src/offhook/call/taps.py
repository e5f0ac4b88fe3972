"""The taps of a leg: streams, forks and transcriptions, from their `Open*` to their last fact.

One rule for what the app is told: what really opened is told, and so is its end, once; what never
opened is told only when it failed by itself (`streaming.failed`). A stream or fork that was
stopped before it opened is told nowhere.

| tap | `Open*`, then | told | then one of | told |
| --- | --- | --- | --- | --- |
| stream | StreamConnected | streaming.started | StreamClosed | streaming.stopped |
| | | | StreamFailed | streaming.failed, or stopped when it was being closed |
| | StreamFailed, StreamClosed | streaming.failed, unless it was being closed | | |
| fork | ForkOpened | call.fork.started | ForkClosed | call.fork.stopped |
| | ForkClosed | nothing | | |
| transcription | TranscriptReady | call.transcription | TranscriptionClosed | nothing when asked for |
| | TranscriptionMoved | call.transcription.failed | | else call.transcription.failed |

Facts about a tap that is unknown, or whose last fact has come, are ignored.

Where a call has room for one stream or fork (`Compat.single_stream`), the next one asks whatever
runs to end with the reason `replaced`, and is held until that has reported its end, so that the app
is told the end before the beginning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from offhook.call.ability import Tell
from offhook.call.commands import ForkType, TranscriptionOptions
from offhook.call.effects import (
    BeginStream,
    CloseFork,
    CloseStream,
    CloseTranscription,
    Effect,
    OpenDialogflow,
    OpenFork,
    OpenStream,
    OpenTranscription,
)
from offhook.call.facts import (
    AgentAnswered,
    ForkClosed,
    ForkOpened,
    Payload,
    StreamClosed,
    StreamConnected,
    StreamFailed,
    TranscriptionClosed,
    TranscriptionMoved,
    TranscriptReady,
)
from offhook.call.payloads import agent_answer, stream_track, transcription, transcription_failed
from offhook.call.values import Track, WebhookRoute

TapFact = (
    StreamConnected
    | StreamClosed
    | StreamFailed
    | ForkOpened
    | ForkClosed
    | TranscriptReady
    | TranscriptionMoved
    | TranscriptionClosed
    | AgentAnswered
)

CONNECTION_FAILED = "connection_failed"


def speaks_rtp(app_codec: str | None) -> bool:
    """Tell whether an app that sends this takes the call's one place for raw audio; mp3 does not."""
    return app_codec not in (None, "MP3")


@dataclass(slots=True)
class Stream:
    """A stream between its `OpenStream` or `OpenDialogflow` and its last fact.

    `url` is None for one to Dialogflow.
    """

    stream_id: str
    url: str | None
    tracks: tuple[Track, ...]
    codec: str
    two_way: bool = False
    callback: tuple[WebhookRoute, Payload] | None = None
    """Where it tells of itself beside the webhooks, and what it says there each time."""
    early: bool = False
    """Its socket is opened before the call has begun; until then nothing is told of it but a failure."""
    ready: bool = False
    """Of an early one: the socket is open."""
    connected: bool = False
    closing: bool = False
    held: OpenStream | OpenDialogflow | None = None
    """Set while it waits for the tap whose place it takes to be gone."""

    @property
    def told(self) -> Payload:
        """Return what `streaming.started` says, and `.stopped` with the reason."""
        told: Payload = {"stream_id": self.stream_id, "stream_track": stream_track(self.tracks)}
        if self.url is None:
            return {**told, "stream_type": self.stream_type}
        return {**told, "stream_url": self.url}

    @property
    def stream_type(self) -> str:
        """Return what `streaming.failed` calls this kind of stream."""
        return "dialogflow" if self.url is None else "websocket"

    def started(self) -> list[Tell]:
        """Return the `streaming.started` of this stream."""
        return [Tell("streaming.started", self.told), *self._called_back("stream-started")]

    def stopped(self, reason: str) -> list[Tell]:
        """Return the `streaming.stopped` of this stream."""
        told = Tell("streaming.stopped", {**self.told, "stop_reason": reason})
        return [told, *self._called_back("stream-stopped")]

    def failure(self, reason: str, detail: str) -> list[Tell]:
        """Return the `streaming.failed` of this stream."""
        params: Payload = {"track": stream_track(self.tracks)}
        if self.url is not None:
            params["stream_url"] = self.url
        told = Tell(
            "streaming.failed",
            {
                "failure_detail": detail,
                "failure_reason": reason,
                "stream_id": self.stream_id,
                "stream_params": params,
                "stream_type": self.stream_type,
            },
        )
        return [told, *self._called_back("stream-failed", StreamError=f"{reason}: {detail}")]

    def _called_back(self, event: str, **more: str) -> list[Tell]:
        if self.callback is None:
            return []
        route, payload = self.callback
        return [Tell(event, {**payload, "StreamEvent": event, **more}, route)]


@dataclass(slots=True)
class Fork:
    """A fork between its `OpenFork` and its `ForkClosed`. `told` is what its webhooks say."""

    fork_id: str
    fork_type: ForkType
    told: Payload
    opened: bool = False
    closing: bool = False
    held: OpenFork | None = None
    """Set while it waits for the tap whose place it takes to be gone."""


@dataclass(slots=True)
class Transcription:
    """A transcription between its `OpenTranscription` and its `TranscriptionClosed`."""

    transcription_id: str
    options: TranscriptionOptions
    closing: bool = False


@dataclass(slots=True)
class Taps:
    """All taps of one leg that may still report something."""

    streams: dict[str, Stream] = field(default_factory=dict)
    forks: dict[str, Fork] = field(default_factory=dict)
    transcriptions: dict[str, Transcription] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.streams) + len(self.forks) + len(self.transcriptions)

    def running_streams(self) -> Iterator[Stream]:
        """Yield the streams that nobody has asked to end."""
        return (stream for stream in self.streams.values() if not stream.closing)

    def running_forks(self, fork_type: ForkType | None = None) -> Iterator[Fork]:
        """Yield the forks, of one type perhaps, that nobody has asked to end."""
        return (
            fork for fork in self.forks.values() if not fork.closing and fork_type in (None, fork.fork_type)
        )

    def running_transcription(self) -> Transcription | None:
        """Return the transcription that nobody has asked to end; there is at most one."""
        return next((each for each in self.transcriptions.values() if not each.closing), None)

    def opening_early(self) -> bool:
        """Return whether a stream that should be there before its call is not open yet."""
        return any(stream.early and not stream.ready for stream in self.streams.values())

    def begin_early(self, stream_id: str) -> list[Effect | Tell]:
        """Let an early stream begin: its call has been answered."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return []  # it has failed, which was told
        stream.early = False
        return self._connected(stream) if stream.ready else []

    def refuse_early(self, stream_id: str, detail: str) -> list[Effect | Tell]:
        """End an early stream that the call, now that it is answered, leaves no way for."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return []
        stream.closing = True
        return [*stream.failure(CONNECTION_FAILED, detail), CloseStream(stream_id, "failed")]

    def open_stream(
        self,
        effect: OpenStream,
        callback: tuple[WebhookRoute, Payload] | None = None,
        *,
        early: bool = False,
    ) -> list[Effect]:
        """Keep book of a stream from now on."""
        self.streams[effect.stream_id] = Stream(
            effect.stream_id,
            effect.url,
            effect.tracks,
            effect.codec,
            two_way=speaks_rtp(effect.app_codec),
            callback=callback,
            early=early,
        )
        return [effect]

    def open_dialogflow(self, effect: OpenDialogflow) -> list[Effect]:
        """Keep book of a conversation with an agent from now on."""
        self.streams[effect.stream_id] = Stream(effect.stream_id, None, effect.tracks, "L16")
        return [effect]

    def open_fork(self, effect: OpenFork, told: Payload) -> list[Effect]:
        """Keep book of a fork from now on; `told` is what its webhooks will say."""
        self.forks[effect.fork_id] = Fork(effect.fork_id, effect.fork_type, told)
        return [effect]

    def replace_by_stream(
        self, effect: OpenStream, callback: tuple[WebhookRoute, Payload] | None = None
    ) -> list[Effect]:
        """Let a stream take the place of every stream and fork; it opens when the last of them is gone."""
        effects = self._make_room()
        opening = self.open_stream(effect, callback)
        if not self._must_wait():
            return effects + opening
        self.streams[effect.stream_id].held = effect
        return effects

    def replace_by_dialogflow(self, effect: OpenDialogflow) -> list[Effect]:
        """Let an agent take the place of every stream and fork; it opens when the last of them is gone."""
        effects = self._make_room()
        opening = self.open_dialogflow(effect)
        if not self._must_wait():
            return effects + opening
        self.streams[effect.stream_id].held = effect
        return effects

    def replace_by_fork(self, effect: OpenFork, told: Payload) -> list[Effect]:
        """Let a fork take the place of every stream and fork; it opens when the last of them is gone."""
        effects = self._make_room()
        opening = self.open_fork(effect, told)
        if not self._must_wait():
            return effects + opening
        self.forks[effect.fork_id].held = effect
        return effects

    def _make_room(self) -> list[Effect]:
        return [*self.close_streams(None, "replaced"), *self.close_forks(None)]

    def _in_the_room(self) -> list[Stream | Fork]:
        return [*self.streams.values(), *self.forks.values()]

    def _must_wait(self) -> bool:
        return any(tap.closing for tap in self._in_the_room())

    def _release_held(self) -> list[Effect]:
        """Open the tap that waited for others to be gone; there is at most one."""
        if self._must_wait():
            return []
        for tap in self._in_the_room():
            if tap.held is not None:
                effect, tap.held = tap.held, None
                return [effect]
        return []

    def open_transcription(self, effect: OpenTranscription) -> list[Effect]:
        """Keep book of a transcription from now on."""
        self.transcriptions[effect.transcription_id] = Transcription(effect.transcription_id, effect.options)
        return [effect]

    def close_streams(
        self, stream_id: str | None, reason: str, hangup_cause: str | None = None
    ) -> list[Effect]:
        """Ask one running stream to end, or all of them."""
        effects: list[Effect] = []
        for stream in tuple(self.running_streams()):
            if stream_id not in (None, stream.stream_id):
                continue
            if stream.held is not None:
                del self.streams[stream.stream_id]
                continue
            stream.closing = True
            effects.append(CloseStream(stream.stream_id, reason, hangup_cause))
        return effects

    def close_forks(self, fork_type: ForkType | None) -> list[Effect]:
        """Ask the running forks of one type to end, or all of them."""
        effects: list[Effect] = []
        for fork in tuple(self.running_forks(fork_type)):
            if fork.held is not None:
                del self.forks[fork.fork_id]
                continue
            fork.closing = True
            effects.append(CloseFork(fork.fork_id))
        return effects

    def close_transcription(self) -> list[Effect]:
        """Ask the running transcription to end, if there is one."""
        running = self.running_transcription()
        if running is None:
            return []
        running.closing = True
        return [CloseTranscription(running.transcription_id)]

    def close_all(self, hangup_cause: str) -> list[Effect]:
        """Ask every tap to end because the call has."""
        return [
            *self.close_streams(None, "call_ended", hangup_cause),
            *self.close_forks(None),
            *self.close_transcription(),
        ]

    def abandon(self) -> list[Tell]:
        """Forget taps that did not report their end in time; tell the ends that are owed."""
        connected = [stream for stream in self.streams.values() if stream.connected]
        told = [each for stream in connected for each in stream.stopped("call_ended")]
        told += [Tell("call.fork.stopped", fork.told) for fork in self.forks.values() if fork.opened]
        self.streams.clear()
        self.forks.clear()
        self.transcriptions.clear()
        return told

    def handle(self, fact: TapFact) -> list[Effect | Tell]:
        """Take a fact about one tap and say what follows from it."""
        return [*self._handle(fact), *self._release_held()]

    def _handle(self, fact: TapFact) -> list[Effect | Tell]:
        match fact:
            case StreamConnected():
                return self._stream_connected(fact)
            case StreamClosed():
                return self._stream_closed(fact)
            case StreamFailed():
                return self._stream_failed(fact)
            case ForkOpened():
                return self._fork_opened(fact)
            case ForkClosed():
                return self._fork_closed(fact)
            case TranscriptReady():
                return [Tell("call.transcription", transcription(fact))] if self._wanted(fact) else []
            case AgentAnswered():
                stream = self.streams.get(fact.stream_id)
                connected = stream is not None and stream.connected
                return [Tell("dialogflow.detectintent.response", agent_answer(fact))] if connected else []
            case TranscriptionMoved():
                return self._transcription_moved(fact)
            case _:
                return self._transcription_closed(fact)

    def _stream_connected(self, fact: StreamConnected) -> list[Effect | Tell]:
        stream = self.streams.get(fact.stream_id)
        if stream is None or stream.connected or stream.held:
            return []
        if stream.early:
            stream.ready = True
            return []
        return self._connected(stream)

    def _connected(self, stream: Stream) -> list[Effect | Tell]:
        stream.connected = True
        told = stream.started()
        return [*told] if stream.closing else [*told, BeginStream(stream.stream_id)]

    def _take_stream(self, stream_id: str) -> Stream | None:
        stream = self.streams.get(stream_id)
        if stream is None or stream.held:  # one that never opened cannot have ended
            return None
        return self.streams.pop(stream_id)

    def _stream_closed(self, fact: StreamClosed) -> list[Effect | Tell]:
        stream = self._take_stream(fact.stream_id)
        if stream is None:
            return []
        if stream.connected:
            return [*stream.stopped(fact.reason)]
        if stream.closing:
            return []
        return [*stream.failure(CONNECTION_FAILED, f"ended before it was connected: {fact.reason}")]

    def _stream_failed(self, fact: StreamFailed) -> list[Effect | Tell]:
        stream = self._take_stream(fact.stream_id)
        if stream is None:
            return []
        if not stream.closing:
            return [*stream.failure(fact.reason, fact.detail)]
        return [*stream.stopped(fact.reason)] if stream.connected else []

    def _fork_opened(self, fact: ForkOpened) -> list[Effect | Tell]:
        fork = self.forks.get(fact.fork_id)
        if fork is None or fork.opened or fork.held:
            return []
        fork.opened = True
        return [Tell("call.fork.started", fork.told)]

    def _fork_closed(self, fact: ForkClosed) -> list[Effect | Tell]:
        fork = self.forks.get(fact.fork_id)
        if fork is None or fork.held:
            return []
        del self.forks[fact.fork_id]
        return [Tell("call.fork.stopped", fork.told)] if fork.opened else []

    def _transcription_moved(self, fact: TranscriptionMoved) -> list[Effect | Tell]:
        moved = self.transcriptions.get(fact.transcription_id)
        if moved is None or moved.closing:
            return []
        options = moved.options
        told = transcription_failed(options, (fact.track,), fact.reason, fallback=fact.engine)
        return [Tell("call.transcription.failed", told)]

    def _transcription_closed(self, fact: TranscriptionClosed) -> list[Effect | Tell]:
        closed = self.transcriptions.pop(fact.transcription_id, None)
        if closed is None or closed.closing or fact.detail is None:
            return []
        options = closed.options
        return [Tell("call.transcription.failed", transcription_failed(options, options.tracks, fact.detail))]

    def _wanted(self, fact: TranscriptReady) -> bool:
        return any(
            fact.track in each.options.tracks and (fact.is_final or each.options.interim_results)
            for each in self.transcriptions.values()
        )
