"""Real call legs behind the HTTP API, with an edge that does at once whatever a leg decides."""

import uuid
from dataclasses import replace
from typing import Any

from offhook.app.stream_book import StreamBook, StreamState
from offhook.base.ids import CallControlIds, uuid4
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.commands import Answer, Bridge, Command, Dial, OtherLeg, Reply
from offhook.call.errors import CommandError
from offhook.call.leg import CallLeg
from offhook.call.values import LegIdentity, LegState, WebhookRoute
from offhook.edge.http.service import UnknownCall
from offhook.proto.sdp import SessionDescription, negotiate

CONNECTION_ID = "1000000000000000001"

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n"
)


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_790_000_000.0

    def now(self) -> float:
        """Return the time set."""
        return self.seconds

    def unix_time(self) -> float:
        """Return the time set."""
        return self.seconds


OTHER_CALL = "v3:other"
"""A call that is always up, to be bridged to."""


class LegService:
    """The `CallService` of tests: every leg is a real `CallLeg`, every effect succeeds at once."""

    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.effects: list[do.Effect] = []
        self.commands: list[tuple[str, Command]] = []
        self.plans: list[Dial] = []
        self.failure: Exception | None = None
        self.healthy = True
        self._legs: dict[str, CallLeg] = {}
        self._ids = CallControlIds(b"testnode", b"a secret of sixteen bytes")
        self._count = 0
        self._book = StreamBook(self.clock, lambda _: {})

    def ring(self, *, answered: bool = False) -> str:
        """Let a call arrive and return its call_control_id."""
        leg = self._new_leg()
        identity = leg.identity
        self._carry_out(leg, leg.handle(self._incoming(), self.clock.now()))
        if answered:
            self.command(identity.call_control_id, "answer", Answer())
            self.commands.clear()
            self.effects.clear()
        return identity.call_control_id

    def stranger(self) -> str:
        """Return a well-formed call_control_id that no call has."""
        return self._ids.mint(uuid.UUID(self._new_id()))

    def command(self, call_control_id: str, action: str, command: Command) -> Reply:
        """Decide the command by the leg and carry out what follows."""
        if self.failure is not None:
            raise self.failure
        leg = self._legs.get(call_control_id)
        if leg is None:
            raise UnknownCall
        if isinstance(command, Bridge) and command.bridge.other == OTHER_CALL:
            command = replace(command, found=OtherLeg(state=LegState.ANSWERED, bridged=False))
        reply, effects = leg.command(command, self.clock.now())
        self.commands.append((action, command))
        self._carry_out(leg, effects)
        return reply

    def status(self, call_control_id: str) -> dict[str, Any] | None:
        """Return the leg's own account of itself."""
        leg = self._legs.get(call_control_id)
        return None if leg is None else leg.status(self.clock.now())

    def dial(self, plan: Dial) -> Reply:
        """Make a leg of ours; its far end does nothing until `pick_up`."""
        if self.failure is not None:
            raise self.failure
        if plan.connection_id != CONNECTION_ID:
            raise CommandError("10015", "no such application", "/connection_id")
        leg = self._new_leg()
        self.plans.append(plan)
        call = facts.OutgoingCall(plan.caller, plan.to[0], "", "", "", plan.headers, plan)
        self._carry_out(leg, leg.handle(call, self.clock.now()))
        return Reply({**leg.status(self.clock.now()), "is_alive": False})

    def pick_up(self, call_control_id: str) -> None:
        """Let the far end of a leg of ours answer."""
        leg = self._legs[call_control_id]
        agreed = negotiate(SessionDescription.parse(OFFER), ("PCMU",))
        self._carry_out(leg, leg.handle(facts.CalleeAnswered("", agreed), self.clock.now()))

    def active_calls(self, connection_id: str) -> list[dict[str, Any]] | None:
        """Return every leg that is up."""
        if connection_id != CONNECTION_ID:
            return None
        found = [leg.status(self.clock.now()) for leg in self._legs.values()]
        return [{**call, "cursor": number} for number, call in enumerate(found, start=1) if call["is_alive"]]

    def public_keys(self) -> dict[str, str]:
        """Return keys of the right shape."""
        return {"public_key": "A" * 43 + "=", "next_public_key": "B" * 43 + "="}

    def streams(
        self, *, call_control_id: str | None, wanted: str, first: int, count: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return what a real book says of the streams that were opened and closed."""
        return self._book.page(call_control_id=call_control_id, wanted=wanted, first=first, count=count)

    def health(self) -> dict[str, Any]:
        """Return what the test has set."""
        return {"status": "ok" if self.healthy else "draining"}

    def effects_of(self, kind: type[Any]) -> list[Any]:
        """Return the effects of one kind so far."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def _carry_out(self, leg: CallLeg, effects: list[do.Effect]) -> None:
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            self.effects.append(effect)
            self._note(effect)
            fact = _outcome(effect)
            if fact is not None:
                waiting += leg.handle(fact, self.clock.now())

    def _note(self, effect: do.Effect) -> None:
        if isinstance(effect, do.OpenStream):
            self._book.opening(effect, 1)
            self._book.moved(effect.stream_id, StreamState.CONNECTED)
        elif isinstance(effect, do.CloseStream):
            self._book.stopped(effect.stream_id, effect.reason)

    def _incoming(self) -> facts.IncomingCall:
        return facts.IncomingCall(
            caller="+15550100001",
            callee="+15550100002",
            caller_name="",
            from_sip_uri="sip:+15550100001@192.0.2.9",
            to_sip_uri="sip:+15550100002@192.0.2.1",
            headers=(),
            offer=SessionDescription.parse(OFFER),
        )

    def _new_leg(self) -> CallLeg:
        leg_id = uuid.UUID(self._new_id())
        identity = LegIdentity(self._ids.mint(leg_id), str(leg_id), self._new_id(), CONNECTION_ID)
        leg = CallLeg(
            identity,
            user_id=self._new_id(),
            route=WebhookRoute("http://127.0.0.1:9/webhooks"),
            codecs=CodecPolicy(("PCMU", "PCMA")),
            new_id=self._new_id,
        )
        self._legs[identity.call_control_id] = leg
        return leg

    def _new_id(self) -> str:
        self._count += 1
        count = self._count
        return uuid4(lambda size: count.to_bytes(size, "big"))


def _outcome(effect: do.Effect) -> facts.Fact | None:
    match effect:
        case do.AcceptCall():
            return facts.AckReceived()
        case do.CloseMedia():
            return facts.MediaClosed()
        case do.OpenStream():
            return facts.StreamConnected(effect.stream_id)
        case do.CloseStream():
            return facts.StreamClosed(effect.stream_id, effect.reason)
        case do.OpenFork():
            return facts.ForkOpened(effect.fork_id)
        case do.CloseFork():
            return facts.ForkClosed(effect.fork_id)
        case do.JoinLegs():
            return facts.Bridged(effect.bridge.other)
        case do.OpenPlayback() | do.OpenSpeak():
            return facts.PlaybackStarted(effect.playback_id)
        case do.ClosePlayback():
            return facts.PlaybackEnded(effect.playback_id, "cancelled")
        case do.CloseRecording():
            return facts.RecordingEnded(effect.recording_id, "command")
        case do.CloseTranscription():
            return facts.TranscriptionClosed(effect.transcription_id)
        case _:
            return None
