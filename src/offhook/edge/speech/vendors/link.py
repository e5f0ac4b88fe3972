"""One connection of a session: opened, spoken to and listened to, each with a time limit."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from offhook.base.limits import (
    VENDOR_MESSAGES_PER_S_MAX,
    VENDOR_OPEN_TIMEOUT_S,
    VENDOR_REPLAY_SPEED,
    VENDOR_SILENT_S,
    VENDOR_WRITE_TIMEOUT_S,
)
from offhook.base.tasks import TaskSet
from offhook.edge.speech.vendors.backlog import Piece, Timeline, is_loud
from offhook.edge.speech.vendors.dialect import (
    Connection,
    ConnectionLost,
    ConnectionRefused,
    Dialect,
    Ready,
    Transport,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)

log = structlog.get_logger(__name__)


class LinkLost(Exception):
    """The connection is of no more use, or never was."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.reason)
        self.trouble = trouble


class Link:
    """A connection, its dialect, and what has been sent on it."""

    def __init__(self, dialect: Dialect, connection: Connection, sample_rate_hz: int) -> None:
        self._dialect = dialect
        self._connection = connection
        self._rate_hz = sample_rate_hz
        self._loop = asyncio.get_running_loop()
        self._loud_s = 0.0
        self._due_s = 0.0
        self._second = 0
        self._messages = 0
        self.timeline = Timeline(sample_rate_hz)
        self.opened_at_s = self.sent_at_s = self._heard_at_s = self._loop.time()
        self.floor_ms = 0
        """What lies before it on the leg's clock has been told by connections before this one."""

    @property
    def owes_nothing(self) -> bool:
        """True while no speech was sent without an answer."""
        return self._loud_s == 0

    @property
    def keep_alive_at_s(self) -> float | None:
        """When the vendor must be told that we are still here."""
        every_s = self._dialect.keep_alive_s
        return None if every_s is None else self.sent_at_s + every_s

    def rotate_from_s(self) -> tuple[float, float] | None:
        """Return from when and until when another connection has to take over; None: never."""
        max_s = self._dialect.session_max_s
        return None if max_s is None else (self.opened_at_s + max_s * 0.8, self.opened_at_s + max_s * 0.95)

    async def greet(self) -> None:
        """Say hello and wait until audio may go.

        Raises:
            LinkLost: the vendor complains or is gone.
        """
        await self._write(self._dialect.opening())
        while self._dialect.greets:
            for event in await self.listen():
                if isinstance(event, Ready):
                    return
                if isinstance(event, Trouble):
                    raise LinkLost(event)

    async def send_piece(self, piece: Piece) -> None:
        """Send audio no faster than the vendor likes it, or ask for the end of the utterance.

        Raises:
            LinkLost: it takes no audio, or has heard speech for long and says nothing.
        """
        if not piece.pcm:
            await self._write(self._dialect.flush())
            return
        if self._dialect.realtime:
            pause_s = self._due_s - self._loop.time()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            self._due_s = (
                max(self._due_s, self._loop.time() - 0.5) + self._seconds(piece) / VENDOR_REPLAY_SPEED
            )
        self.timeline.add(piece)
        if self._dialect.answers and is_loud(piece.pcm):
            self._loud_s += self._seconds(piece)
            # Of audio that is heard again at once nothing can have been said yet.
            if min(self._loud_s, self._loop.time() - self._heard_at_s) > VENDOR_SILENT_S:
                raise LinkLost(Trouble("the service hears speech and says nothing", retry=True))
        await self._write(self._dialect.audio(piece.pcm))

    async def keep_alive(self) -> None:
        """Say that we are still here, with silence where the vendor wants audio."""
        messages = self._dialect.keep_alive()
        if not messages:
            silence = bytes(self._dialect.chunk_ms * self._rate_hz // 1000 * 2)
            self.timeline.pad(len(silence) // 2)
            messages = self._dialect.audio(silence)
        await self._write(messages)
        self.sent_at_s = self._loop.time()

    async def finish(self) -> None:
        """Say that no audio follows."""
        await self._write(self._dialect.finish())

    async def listen(self) -> Sequence[VendorEvent]:
        """Return what the next message means; nothing when it cannot be read.

        Raises:
            LinkLost: the connection is closed, or the vendor says far too much.
        """
        try:
            message = await self._connection.receive()
        except ConnectionLost as lost:
            raise LinkLost(self._dialect.closed(lost.code, lost.reason)) from None
        self._loud_s = 0.0
        self._heard_at_s = self._loop.time()
        second = int(self._loop.time())
        self._messages = self._messages + 1 if second == self._second else 1
        self._second = second
        if self._messages > VENDOR_MESSAGES_PER_S_MAX:
            raise LinkLost(Trouble("the service sends far too many messages", retry=True))
        return self._read(message)

    async def close(self) -> None:
        """Close the connection, for at most a second."""
        await self._connection.close()

    def _read(self, message: Wire) -> Sequence[VendorEvent]:
        try:
            return self._dialect.receive(message)
        except Exception as err:  # noqa: BLE001 - a service's message must not end the session
            # Without the exception's text: it may hold what was said.
            log.error("a dialect failed on a message", error=type(err).__name__)
            return (Unreadable(),)

    async def _write(self, messages: Sequence[Wire]) -> None:
        if not messages:
            return
        self.sent_at_s = self._loop.time()
        try:
            async with asyncio.timeout(VENDOR_WRITE_TIMEOUT_S):
                for message in messages:
                    await self._connection.send(message)
        except TimeoutError:
            raise LinkLost(Trouble("the service takes no audio", retry=True)) from None
        except ConnectionLost as lost:
            # Why it was closed may still wait to be read, and is the better reason.
            await asyncio.sleep(VENDOR_WRITE_TIMEOUT_S)
            raise LinkLost(self._dialect.closed(lost.code, lost.reason)) from None

    def _seconds(self, piece: Piece) -> float:
        return piece.samples / self._rate_hz


async def open_link(
    make_dialect: Callable[[], Dialect], transport: Transport, sample_rate_hz: int, tasks: TaskSet
) -> Link:
    """Connect and wait until audio may go.

    Raises:
        LinkLost: it did not come to that in time.
    """
    dialect = make_dialect()
    link: Link | None = None
    try:
        async with asyncio.timeout(VENDOR_OPEN_TIMEOUT_S):
            link = Link(dialect, await transport(dialect.dial()), sample_rate_hz)
            await link.greet()
    except ConnectionRefused as refused:
        trouble = dialect.refused(refused.status, refused.body)
        pause_s = max(trouble.retry_after_s, refused.retry_after_s)
        raise LinkLost(Trouble(trouble.reason, trouble.retry, pause_s)) from None
    except TimeoutError:
        _drop(link, tasks)
        raise LinkLost(Trouble("the service does not answer", retry=True)) from None
    except BaseException:
        _drop(link, tasks)
        raise
    return link


def _drop(link: Link | None, tasks: TaskSet) -> None:
    if link is not None:
        tasks.start(link.close(), name="speech vendor close")
