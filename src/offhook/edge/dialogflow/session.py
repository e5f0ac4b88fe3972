"""One conversation: turn after turn of StreamingDetectIntent, for as long as the call wants.

Google ends every turn with its answer and limits it to a minute of audio, so a session opens a
stream a turn, and anew when a minute passes in silence. What the caller says between two turns
waits. While a reply plays that must not be interrupted nothing is sent, but the last moment before
its end is kept, because people answer early.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import structlog
from google.api_core.exceptions import GoogleAPICallError, RetryError

from offhook.base import limits
from offhook.base.errors import OffhookError
from offhook.base.tasks import TaskSet
from offhook.edge.dialogflow.api import AgentApi, Metadata
from offhook.edge.dialogflow.protocol import (
    Answered,
    Connected,
    DialogflowError,
    Ended,
    Failed,
    Heard,
    Interrupted,
    Item,
    ReplyAudio,
    SessionConfig,
    SessionEvent,
    UtteranceEnded,
)

log = structlog.get_logger(__name__)

CONNECTION_FAILED, CONNECTION_LOST = "connection_failed", "connection_lost"

_HOPELESS = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "UNIMPLEMENTED",
    }
)
"""What will not be better the next time."""
_DETAIL_CHARACTERS_MAX = 300
_OVERLAP_CHUNKS = 4


class _State(Enum):
    LISTENING = auto()
    WAITING = auto()  # for the answer; no more audio is sent
    ANSWERED = auto()


class _TurnFailed(Exception):
    def __init__(self, status: str, text: str) -> None:
        super().__init__(f"{status}: {text}"[:_DETAIL_CHARACTERS_MAX])
        self.status = status


class _Turn:
    """One stream: what was sent and what came of it."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self.deadline = deadline
        self.state = _State.LISTENING
        self.sent_ms = 0
        self.responses = 0
        self.answers = 0
        self.recent: deque[bytes] = deque(maxlen=_OVERLAP_CHUNKS)
        self.heard = False
        self.ends = False
        self.half_closed = asyncio.Event()

    def go_on(self, state: _State, timeout_s: float) -> None:
        self.state = state
        self.deadline.reschedule(asyncio.get_running_loop().time() + timeout_s)

    def half_close(self) -> None:
        """Send no more audio and wait for the answer."""
        if self.state is _State.LISTENING:
            self.go_on(_State.WAITING, limits.DIALOGFLOW_ANSWER_TIMEOUT_S)
        self.half_closed.set()


class DialogflowSession:
    """A caller's conversation with one agent. Made by `DialogflowService.open`.

    Events come on the event loop's thread. After `Ended` or `Failed` nothing more comes, nor after
    `close` was called.
    """

    def __init__(
        self,
        config: SessionConfig,
        connect: Callable[
            [], Awaitable[tuple[AgentApi, Callable[[], Metadata], Callable[[], Awaitable[Any]]]]
        ],
        on_event: Callable[[SessionEvent], None],
        counters: Counter[str],
    ) -> None:
        self._config = config
        self._connect = connect
        self._on_event = on_event
        self._counters = counters
        self._tasks = TaskSet()
        self._audio: deque[bytes] = deque()
        self._queued_bytes = 0
        self._more = asyncio.Event()
        self._playing_until = 0.0
        self._interruptible = True
        self._cancellable = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._played = asyncio.Event()
        self._played.set()
        self._wake: asyncio.TimerHandle | None = None
        self._answers = 0
        self._closed = False

    def start(self) -> None:
        """Connect and converse in the background."""
        self._tasks.start(self._run(), name="dialogflow session")

    def push(self, pcm: bytes) -> None:
        """Take s16le audio of the caller; never blocks, drops the oldest when too much waits."""
        if self._closed:
            return
        self._audio.append(pcm)
        self._queued_bytes += len(pcm)
        self._more.set()
        bound_ms = limits.DIALOGFLOW_QUEUED_MS if self._quiet.is_set() else limits.DIALOGFLOW_PREROLL_MS
        dropped = 0
        while self._audio_ms(self._queued_bytes) > bound_ms and len(self._audio) > 1:
            dropped += self._take_audio_bytes()
        if dropped and self._quiet.is_set():
            self._counters["audio_dropped_ms_total"] += self._audio_ms(dropped)

    def reply_ended(self) -> None:
        """Take it that nothing of the replies is being played any more."""
        self._playing_until = 0.0
        self._interruptible = True
        self._cancellable = False
        self._quiet.set()
        self._played.set()

    async def close(self) -> None:
        """End the conversation; safe to call twice."""
        self._closed = True
        await self._tasks.close()
        if self._wake is not None:
            self._wake.cancel()
        self._audio.clear()

    # The conversation

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(limits.DIALOGFLOW_CONNECT_TIMEOUT_S):
                api, metadata, close_channel = await self._connect()
        except TimeoutError:
            self._fail(CONNECTION_FAILED, "Dialogflow could not be reached in time")
            return
        except (GoogleAPICallError, RetryError) as error:
            self._fail(CONNECTION_FAILED, str(_failure(error)))
            return
        except DialogflowError as error:
            self._fail(error.reason, str(error))
            return
        except OffhookError as error:  # the egress gate
            self._fail(CONNECTION_FAILED, str(error))
            return
        except Exception:
            log.exception("dialogflow session broke down", session=self._config.session_id)
            self._fail(CONNECTION_FAILED, "an internal error")
            return
        try:
            self._tell(Connected())
            await self._converse(api, metadata)
        except Exception:
            log.exception("dialogflow session broke down", session=self._config.session_id)
            self._fail(CONNECTION_LOST, "an internal error")
        finally:
            await close_channel()

    async def _converse(self, api: AgentApi, metadata: Callable[[], Metadata]) -> None:
        opening = self._config.welcome_event
        failures = 0
        while True:
            await self._quiet.wait()
            try:
                turn = await self._take_turn(api, metadata(), opening)
            except _TurnFailed as error:
                self._counters["turns_failed_total"] += 1
                hopeless = error.status in _HOPELESS
                log.warning("dialogflow turn failed", session=self._config.session_id, status=error.status)
                if hopeless or failures == len(limits.DIALOGFLOW_RETRY_S):
                    self._fail(CONNECTION_LOST if self._answers else CONNECTION_FAILED, str(error))
                    return
                await asyncio.sleep(limits.DIALOGFLOW_RETRY_S[failures])
                failures += 1
                continue
            self._counters["turns_total"] += 1
            opening = ""
            if turn.responses:
                failures = 0
            if turn.ends:
                await self._until_played()
                self._tell(Ended())
                return

    async def _take_turn(self, api: AgentApi, metadata: Metadata, event: str) -> _Turn:
        stream: Any = None
        turn: _Turn | None = None
        try:
            async with asyncio.timeout(limits.DIALOGFLOW_TURN_MAX_S) as deadline:
                turn = _Turn(deadline)
                requests = self._event_request(api, turn, event) if event else self._requests(api, turn)
                stream = await api.stream(requests, metadata, limits.DIALOGFLOW_TURN_MAX_S * 2)
                async for response in stream:
                    turn.responses += 1
                    for item in api.read(response):
                        self._take(turn, item)
        except TimeoutError:
            assert turn is not None
            if turn.state is _State.WAITING:
                raise _TurnFailed("DEADLINE_EXCEEDED", "the agent did not answer in time") from None
            if turn.state is _State.LISTENING:
                self._counters["turns_without_speech_total"] += 1
        except (GoogleAPICallError, RetryError) as error:
            assert turn is not None
            failed = _failure(error)
            if turn.state is not _State.ANSWERED and not _too_long(turn, failed.status):
                raise failed from None
            turn.responses += 1
        except DialogflowError as error:
            raise _TurnFailed("FAILED_PRECONDITION", str(error)) from None
        finally:
            if turn is not None:
                turn.half_closed.set()
            if stream is not None:
                stream.cancel()
        if turn.state is _State.LISTENING and not turn.deadline.expired() and not turn.responses:
            raise _TurnFailed("UNAVAILABLE", "the agent ended the stream without an answer")
        return turn

    async def _event_request(self, api: AgentApi, turn: _Turn, event: str) -> AsyncIterator[Any]:
        yield api.event(event)
        turn.half_close()

    async def _requests(self, api: AgentApi, turn: _Turn) -> AsyncIterator[Any]:
        loop = asyncio.get_running_loop()
        playing_ms = max(0, round((self._playing_until - loop.time()) * 1000))
        yield api.hello(playing_ms=playing_ms)
        while (pcm := await self._next_audio(turn)) is not None:
            turn.sent_ms += self._audio_ms(len(pcm))
            turn.recent.append(pcm)
            yield api.audio(pcm)
            if turn.sent_ms >= limits.DIALOGFLOW_TURN_AUDIO_MS:
                self._end_for_length(turn)
                await turn.half_closed.wait()
                return

    def _end_for_length(self, turn: _Turn) -> None:
        if turn.heard:
            turn.half_close()
            return
        # Nobody spoke, and an answer to that would make the agent say that it heard nothing: the
        # stream is cancelled, not half-closed. Its last moment is sent again, for somebody may just have begun.
        for pcm in reversed(turn.recent):
            self._audio.appendleft(pcm)
            self._queued_bytes += len(pcm)
        turn.deadline.reschedule(asyncio.get_running_loop().time())

    async def _next_audio(self, turn: _Turn) -> bytes | None:
        """Return the audio that waits; None when this turn wants no more."""
        while not turn.half_closed.is_set():
            if self._audio and self._quiet.is_set():
                pcm = self._audio.popleft()
                self._queued_bytes -= len(pcm)
                return pcm
            self._more.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (self._more, turn.half_closed)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        return None

    def _take(self, turn: _Turn, item: Item) -> None:
        match item:
            case Heard():
                turn.heard = turn.heard or bool(item.transcript)
                if item.transcript and self._may_interrupt():
                    self._counters["replies_interrupted_total"] += 1
                    self._interrupt()
                if item.is_final:
                    turn.half_close()
            case UtteranceEnded():
                turn.half_close()
            case Answered():
                self._answers += 1
                turn.answers += 1
                if turn.answers > limits.DIALOGFLOW_ANSWERS_PER_TURN_MAX:
                    raise _TurnFailed("RESOURCE_EXHAUSTED", "the agent answers without end")
                turn.ends = turn.ends or item.ends
                if item.is_final:
                    turn.go_on(_State.ANSWERED, limits.DIALOGFLOW_TAIL_TIMEOUT_S)
                    turn.half_closed.set()
                elif turn.state is _State.WAITING:
                    turn.go_on(_State.WAITING, limits.DIALOGFLOW_ANSWER_TIMEOUT_S)
                if item.messages or item.transcript or item.intent:
                    self._tell(item)
            case ReplyAudio():
                self._say(item)

    # Replies

    def _say(self, reply: ReplyAudio) -> None:
        if self._cancellable and self._playing():
            self._interrupt()
        loop = asyncio.get_running_loop()
        length_s = len(reply.pcm) / 2 / reply.sample_rate_hz
        self._playing_until = max(loop.time(), self._playing_until) + length_s
        self._interruptible = {"always": True, "never": False, "agent": reply.interruptible}[
            self._config.barge_in
        ]
        self._cancellable = reply.cancellable
        self._played.clear()
        if self._interruptible:
            self._quiet.set()
        else:
            self._quiet.clear()
        if self._wake is not None:
            self._wake.cancel()
        # Should nobody say that the reply has ended, the conversation still goes on.
        late_s = self._playing_until - loop.time() + limits.DIALOGFLOW_REPLY_GRACE_S
        self._wake = loop.call_later(late_s, self.reply_ended)
        self._tell(reply)

    def _playing(self) -> bool:
        return asyncio.get_running_loop().time() < self._playing_until

    def _may_interrupt(self) -> bool:
        return self._interruptible and self._playing()

    def _interrupt(self) -> None:
        self.reply_ended()
        self._tell(Interrupted())

    async def _until_played(self) -> None:
        wait_s = self._playing_until - asyncio.get_running_loop().time() + limits.DIALOGFLOW_REPLY_GRACE_S
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._played.wait()

    # Helpers

    def _tell(self, event: SessionEvent) -> None:
        if not self._closed:
            self._on_event(event)

    def _fail(self, reason: str, detail: str) -> None:
        self._counters["sessions_failed_total"] += 1
        self._tell(Failed(reason, detail))

    def _take_audio_bytes(self) -> int:
        size = len(self._audio.popleft())
        self._queued_bytes -= size
        return size

    def _audio_ms(self, size_bytes: int) -> int:
        return size_bytes * 500 // self._config.sample_rate_hz


def _too_long(turn: _Turn, status: str) -> bool:
    """Say whether Google ended the turn because it was longer, or silent for longer, than may be."""
    if status == "OUT_OF_RANGE":
        return turn.sent_ms >= limits.DIALOGFLOW_LIMIT_AFTER_MS
    # gRPC loses the status when it was just writing to the stream that ended.
    return status == "INTERNAL" and turn.sent_ms >= limits.DIALOGFLOW_LIMIT_LOST_AFTER_MS


def _failure(error: GoogleAPICallError | RetryError) -> _TurnFailed:
    status = getattr(error, "grpc_status_code", None)
    return _TurnFailed(
        getattr(status, "name", "UNKNOWN"), getattr(error, "message", "") or "no reason was given"
    )
