"""One call leg: what it may do in each state and what follows from what happens to it.

| state | by | next | effects, in order |
| --- | --- | --- | --- |
| new | IncomingCall | parked | Notify call.initiated |
| | OutgoingCall | dialling | Notify call.initiated, OpenMedia, PlaceCall or first what is to be ready |
| parked | Answer, Bridge | answering | OpenMedia, AcceptCall |
| | Reject, Hangup, time | ending | RejectCall |
| | CallerCancelled | ending | |
| | BYE; dialog or media broke | ending | RejectCall 487; 500 |
| answering | AckReceived | answered | ConnectMedia if due, Notify call.answered, taps of the answer |
| | MediaFailed | ending | RejectCall 500 |
| | CallerCancelled, BYE | ending | |
| | Hangup, anything else that breaks, time | ending | EndCall |
| dialling | all is ready, or time | dialling | PlaceCall |
| | CalleeRinging | dialling | ConnectMedia if it brings audio |
| | CalleeAnswered | answered | ConnectMedia if due, Notify call.answered, what the plan begins with it |
| | CalleeAnswered without audio | ending | EndCall |
| | CalleeRefused | ending | |
| | Hangup, anything that breaks, time | ending | EndCall |
| answered | Hangup, media lost, dialog broke, time | ending | EndCall |
| | BYE | ending | |
| | Unbridged, and nobody wants to keep it | ending | EndCall |
| ending | entered | | Close* of every tap, CloseMedia |
| | the last report has come, or time | ended | Notify call.hangup, Release |

Everything that is not in the table is ignored as a fact and refused as a command, and a refused
command changes nothing: `check` looks and raises, only then `_carry_out` acts. The causes of
`call.hangup` are in `verdicts`, what brings them about in `endings`. What an answered leg can do is in
the files that `abilities` lists.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from offhook.base import limits
from offhook.base.clock import iso_time
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts, payloads, verdicts
from offhook.call.abilities import Abilities
from offhook.call.ability import Compat, Decision, LegContext, Tell
from offhook.call.bridging import Bridging
from offhook.call.codecs import CodecPolicy
from offhook.call.dedupe import CommandMemory
from offhook.call.endings import Ending, EndingFact, ending_by, ending_by_time
from offhook.call.errors import CommandError
from offhook.call.keypresses import Keypresses
from offhook.call.payloads import CallRecord
from offhook.call.recordings import Recordings
from offhook.call.values import (
    Direction,
    Header,
    LegIdentity,
    LegState,
    QualityStats,
    WebhookRoute,
)
from offhook.call.verdicts import Verdict
from offhook.proto.sdp import NegotiatedMedia

__all__ = ["CallLeg", "Compat"]

_OVER = (LegState.ENDING, LegState.ENDED)
_UP = (LegState.PARKED, LegState.DIALLING, LegState.ANSWERING, LegState.ANSWERED)


class CallLeg:
    """Decides everything about one call leg, that came in or that we made. Does nothing itself.

    Args:
        identity: the leg's names.
        user_id: the account's id, told in start and stop frames.
        route: where the leg's webhooks go until an answer says otherwise.
        codecs: which codecs the call may be in.
        new_id: makes the ids of taps.
        compat: where to follow Telnyx to the letter.
        ring_timeout_s: how long the call may wait for an answer.
        first_command_timeout_s: how long it may wait for any command; None: as long as for an answer.
        time_limit_s: how long it may last after the answer; a call that we make has its own limits.
    """

    def __init__(
        self,
        identity: LegIdentity,
        *,
        user_id: str,
        route: WebhookRoute,
        codecs: CodecPolicy,
        new_id: Callable[[], str],
        compat: Compat | None = None,
        ring_timeout_s: float = limits.RING_TIMEOUT_S,
        first_command_timeout_s: float | None = None,
        time_limit_s: float = limits.CALL_TIME_LIMIT_S,
    ) -> None:
        self.route = route
        self.state = LegState.NEW
        self.inline_ids: dict[str, str] = {}
        """The ids of what begins with the answer, as the reply to the answer or the dial tells them."""
        self._context = LegContext(identity, user_id, codecs, new_id, compat or Compat())
        self._abilities = Abilities(self._context)
        self._ring_timeout_s = ring_timeout_s
        self._first_command_timeout_s = first_command_timeout_s
        self._ring_until: float | None = None
        self._time_limit_s = time_limit_s
        self._answer: ask.Answer | None = None
        self._plan: ask.Dial | None = None
        self._placed = False
        self._memory = CommandMemory()
        self._keys = Keypresses()
        self._media_open = False
        self._quality: QualityStats | None = None
        self._verdict: Verdict | None = None
        self._farewell: tuple[Header, ...] = ()
        self._ended_at: float | None = None
        self._deadline: float | None = None

    @property
    def identity(self) -> LegIdentity:
        """The leg's names."""
        return self._context.identity

    @property
    def client_state(self) -> str | None:
        """What the app gave last, in base64."""
        return self._context.client_state

    @property
    def media(self) -> NegotiatedMedia | None:
        """What was agreed on for audio, if anything yet."""
        return self._context.media

    @property
    def incoming(self) -> bool:
        """Whether the far end made the call."""
        return self._context.record is None or self._context.record.direction is Direction.INCOMING

    @property
    def _bridging(self) -> Bridging:
        return self._abilities.the(Bridging)

    @property
    def _recordings(self) -> Recordings:
        return self._abilities.the(Recordings)

    @property
    def bridged_to(self) -> str | None:
        """The call_control_id of the leg it is bridged to."""
        return self._bridging.other

    @property
    def after_bridge(self) -> ask.AfterBridge:
        """What becomes of the leg behind a bridge."""
        return self._bridging.after

    @property
    def caller(self) -> str:
        """Who calls."""
        return "" if self._context.record is None else self._context.record.call.caller

    @property
    def callee(self) -> str:
        """Who is called."""
        return "" if self._context.record is None else self._context.record.call.callee

    def told_by_all(self) -> facts.Payload:
        """Return what every webhook of the leg says, now and after its end."""
        assert self._context.record is not None, "nothing is told before the call"
        return payloads.common(self._context.record, self.client_state)

    # What may be asked

    def command(self, command: ask.Command, now: float) -> tuple[ask.Reply, list[do.Effect]]:
        """Decide a command at once: its reply, and what must be done for it.

        A repetition within a minute of an accepted `command_id` gets the first reply and does
        nothing, whatever the state.

        Raises:
            CommandError: refused; nothing has changed, not even the memory of `command_id`s.
        """
        known = self.recall(command, now)
        if known is not None:
            return known, []
        self.check(command, now)
        if command.client_state is not None:
            self._context.client_state = command.client_state
        if self.state is LegState.PARKED:
            self._deadline = self._ring_until
        data, effects = self._carry_out(command, now)
        reply = ask.Reply({"result": "ok", **data})
        self._memory.remember(command, reply, now)
        return reply, effects

    def recall(self, command: ask.Command, now: float) -> ask.Reply | None:
        """Return the first reply to a command that was accepted before under its `command_id`."""
        return self._memory.recall(command, now)

    def repeats(self, command: ask.Command, now: float) -> bool:
        """Say whether `command` was accepted before and will only be answered again."""
        return self._memory.recall(command, now) is not None

    def status(self, now: float) -> facts.Payload:
        """Return the call resource of `GET /v2/calls/{id}` (contract 2.3)."""
        status: facts.Payload = {
            "call_control_id": self.identity.call_control_id,
            "call_leg_id": self.identity.call_leg_id,
            "call_session_id": self.identity.call_session_id,
            "record_type": "call",
            "is_alive": self.state in _UP,
            "client_state": self.client_state,
            "call_duration": 0,
        }
        if self._context.record is not None:
            until = now if self._ended_at is None else self._ended_at
            status["call_duration"] = max(0, int(until - self._context.record.started_at))
            status["start_time"] = iso_time(self._context.record.started_at)
        if self._ended_at is not None:
            status["end_time"] = iso_time(self._ended_at)
        return status

    # What happens

    def handle(self, fact: facts.Fact, now: float) -> list[do.Effect]:
        """Take what has happened and return what must be done. Late and repeated facts are ignored."""
        if isinstance(fact, facts.IncomingCall):
            return self._ring(fact, now) if self.state is LegState.NEW else []
        if isinstance(fact, facts.OutgoingCall):
            return self._dial(fact, now) if self.state is LegState.NEW else []
        if self.state in (LegState.NEW, LegState.ENDED):
            return []
        match fact:
            case facts.AckReceived():
                return self._acknowledged(fact, now)
            case facts.CalleeRinging() | facts.CalleeAnswered() | facts.CalleeRefused():
                return self._far_end(fact, now) if self.state is LegState.DIALLING else []
            case (
                facts.CallerCancelled()
                | facts.PeerHungUp()
                | facts.SignallingFailed()
                | facts.MediaFailed()
                | facts.MediaTimedOut()
            ):
                return self._ended_by(fact, now)
            case facts.MediaClosed():
                return self._media_closed(fact, now)
            case facts.MediaRenegotiated():
                return self._renegotiated(fact, now) if self.state is LegState.ANSWERED else []
            case facts.Bridged() if self.state is not LegState.ANSWERED:
                return []
            case facts.Unbridged():
                return self._unbridged(fact, now) if self.state is LegState.ANSWERED else []
            case facts.DigitReceived():
                return self._digit(fact, now)
            case _:
                effects = self._by_ability(fact, now) + self._place_when_ready(now)
                return effects + self._finish_when_done(now)

    def _by_ability(self, fact: facts.Fact, now: float) -> list[do.Effect]:
        return self._all_told(self._abilities.handle(fact, now), now)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called next."""
        asked = (self._deadline, self._abilities.poll_timeout())
        return min((at for at in asked if at is not None), default=None)

    def handle_timeout(self, now: float) -> list[do.Effect]:
        """Let time pass. Safe to call early, late, or twice."""
        effects = self._all_told(self._abilities.handle_timeout(now), now)
        if self._deadline is None or now < self._deadline:
            return effects
        return effects + self._time_is_up(now)

    def _time_is_up(self, now: float) -> list[do.Effect]:
        if self.state is LegState.DIALLING and not self._placed:
            return self._place(now)
        if self.state is LegState.ENDING:
            self._media_open = False
            return self._all_told(self._abilities.abandon(), now) + self._finish_when_done(now)
        retried = self._plan is None or self._plan.retry_on_timeout
        return self._end_as(ending_by_time(self.state, retry_on_timeout=retried), now)

    # Commands: first whether

    def check(self, command: ask.Command, now: float) -> None:
        """Raise the `CommandError` that a new `command` would raise now; nothing changes."""
        if isinstance(command, ask.Answer | ask.Reject | ask.Hangup | ask.UpdateClientState):
            self._check_call_command(command)
        elif self.state in _OVER:
            raise _ended()
        elif self.state is LegState.PARKED and isinstance(command, ask.Bridge | ask.Transfer):
            self._check_call_command(_answer_for(command))
            self._bridging.check(command, now)
        elif self.state is not LegState.ANSWERED:
            wait = "wait until it is answered" if self.state is LegState.DIALLING else "answer it first"
            raise CommandError("90034", f"the call is {self.state.value}; {wait}")
        else:
            self._abilities.that_does(command).check(command, now)
            if isinstance(command, ask.Bridge) and command.recording is not None:
                self._recordings.check(ask.StartRecording(recording=command.recording), now)

    def _check_call_command(
        self, command: ask.Answer | ask.Reject | ask.Hangup | ask.UpdateClientState
    ) -> None:
        if self.state in _OVER:
            raise _ended()
        if self.state is LegState.NEW:
            raise CommandError("90034", "the call has not arrived yet")
        outgoing = self._context.record is not None and self._context.record.direction is Direction.OUTGOING
        if isinstance(command, ask.Answer | ask.Reject) and outgoing:
            raise CommandError("90102", "this call was made by the app and cannot be answered or rejected")
        if isinstance(command, ask.Answer | ask.Reject) and self.state is not LegState.PARKED:
            raise CommandError("10027", "the call has already been answered")
        if isinstance(command, ask.Answer) and self._offered():
            media = self._agree(command)
            if media is None:
                raise CommandError("10027", "the caller offers no codec that this server speaks")
            self._abilities.check_plan(command, media)

    # Commands: then how

    def _carry_out(self, command: ask.Command, now: float) -> tuple[dict[str, Any], list[do.Effect]]:
        match command:
            case ask.Answer():
                return self._take_call(command, now)
            case ask.Reject():
                status, verdict = verdicts.REJECTIONS[command.cause]
                return {}, self._end(verdict, now, do.RejectCall(status))
            case ask.Hangup():
                return {}, self._hang_up(command, now)
            case ask.UpdateClientState():
                return {}, []
            case ask.Bridge() if self.state is LegState.PARKED:
                return {}, self._take_call(_answer_for(command), now)[1]
            case _:
                data, decided = self._abilities.that_does(command).carry_out(command, now)
                if isinstance(command, ask.Bridge) and command.recording is not None:
                    decided = [*decided, self._recordings.begin_beside(command.recording)]
                return data, self._all_told(decided, now)

    def _take_call(self, command: ask.Answer, now: float) -> tuple[dict[str, Any], list[do.Effect]]:
        self.state = LegState.ANSWERING
        self._deadline = now + limits.ACK_TIMEOUT_S
        self._answer = command
        self._context.media = self._agree(command)
        self._media_open = True
        self.route = command.webhooks.applied_to(self.route)
        self._reserve(command)
        codecs = self._context.codecs.offered(command.preferred_codecs)
        return self.inline_ids, [
            do.OpenMedia(self.media, codecs, command.silence_when_idle),
            do.AcceptCall(self.media, command.headers),
        ]

    def _hang_up(self, command: ask.Hangup, now: float) -> list[do.Effect]:
        if self.state is LegState.PARKED:
            return self._end(verdicts.DECLINED, now, do.RejectCall(603, headers=command.headers))
        if self.state is LegState.DIALLING:
            return self._end(verdicts.GIVEN_UP, now, do.EndCall(command.headers, command.reason))
        verdict = verdicts.ENDED_BY_APP if self._plan is None else verdicts.ENDED_BY_CALLING_APP
        return self._end(verdict, now, do.EndCall(command.headers))

    def _reserve(self, plan: ask.Answer | ask.Dial) -> None:
        self.inline_ids = self._abilities.reserve(plan)

    # Facts

    def _ring(self, call: facts.IncomingCall, now: float) -> list[do.Effect]:
        self.state = LegState.PARKED
        self._ring_until = self._deadline = now + self._ring_timeout_s
        if self._first_command_timeout_s is not None:
            self._deadline = min(self._ring_until, now + self._first_command_timeout_s)
        self._context.record = CallRecord(self.identity, Direction.INCOMING, call, now)
        return [
            self._notify(
                "call.initiated", payloads.initiated(self._context.record, self._context.codecs.spoken), now
            )
        ]

    def _acknowledged(self, fact: facts.AckReceived, now: float) -> list[do.Effect]:
        answer = self._answer
        if self.state is not LegState.ANSWERING or answer is None:
            return []
        effects: list[do.Effect] = []
        if self.media is None:
            self._context.media = fact.media
            if fact.media is None:
                return self._end(verdicts.MEDIA_LOST, now, do.EndCall())
            effects.append(do.ConnectMedia(fact.media))
        return effects + self._answered(answer, answer.headers, now)

    def _answered(
        self, plan: ask.Answer | ask.Dial, headers: tuple[Header, ...], now: float
    ) -> list[do.Effect]:
        """Tell that the call is up, and begin what the app wanted to begin with it."""
        self.state = LegState.ANSWERED
        self._deadline = now + self._time_limit_s
        record, media = self._context.known()
        told = payloads.answered(record, headers, media)
        if plan.stream is not None:
            told["stream_url"] = plan.stream.url
            told["stream_track"] = payloads.stream_track(plan.stream.tracks)
        effects: list[do.Effect] = [self._notify("call.answered", told, now)]
        return effects + self._all_told(self._abilities.begin(plan, self.inline_ids, now), now)

    def _dial(self, call: facts.OutgoingCall, now: float) -> list[do.Effect]:
        plan = self._plan = call.plan
        self.state = LegState.DIALLING
        self._time_limit_s = plan.time_limit_s
        self._context.client_state = plan.client_state
        self.route = plan.webhooks.applied_to(self.route)
        self._reserve(plan)
        self._context.record = CallRecord(self.identity, Direction.OUTGOING, call, now)
        self._media_open = True
        codecs = self._context.codecs.offered(plan.preferred_codecs)
        told = payloads.initiated(self._context.record, self._context.codecs.spoken, codecs)
        effects: list[do.Effect] = [
            self._notify("call.initiated", told, now),
            do.OpenMedia(None, codecs, plan.silence_when_idle),
        ]
        prepared = self._abilities.prepare(plan, self.inline_ids, codecs)
        self._deadline = now + limits.PREPARING_TIMEOUT_S
        return effects + self._all_told(prepared, now) + self._place_when_ready(now)

    def _place_when_ready(self, now: float) -> list[do.Effect]:
        """Place a call of ours once, when what should be ready before it is."""
        if self.state is not LegState.DIALLING or self._placed:
            return []
        if self._abilities.preparing():
            return []
        return self._place(now)

    def _place(self, now: float) -> list[do.Effect]:
        assert self._plan is not None, "a leg that dials has a plan"
        self._placed = True
        self._deadline = now + self._plan.timeout_s
        return [do.PlaceCall(self._plan)]

    def _far_end(
        self, fact: facts.CalleeRinging | facts.CalleeAnswered | facts.CalleeRefused, now: float
    ) -> list[do.Effect]:
        plan = self._plan
        assert plan is not None, "a leg that dials has a plan"
        if isinstance(fact, facts.CalleeRefused):
            verdict = verdicts.refused_by_callee(
                fact.sip_status, by_peer=fact.by_peer, retry_on_timeout=plan.retry_on_timeout
            )
            return self._end(verdict, now)
        effects: list[do.Effect] = []
        if isinstance(fact, facts.CalleeRinging) and plan.stream_first:
            return []  # the stream is open already, and what it is sent begins with the answer
        if fact.media is not None and fact.media != self.media:
            self._context.media = fact.media
            effects.append(do.ConnectMedia(fact.media))
        if isinstance(fact, facts.CalleeRinging):
            return effects + self._all_told(self._bridging.ringing(plan, fact), now)
        if fact.media is None:
            return self._end(verdicts.NO_COMMON_MEDIA, now, do.EndCall())
        assert self._context.record is not None, "a leg that dials has a call"
        self._context.record = replace(
            self._context.record, call=replace(self._context.record.call, callee=fact.callee)
        )
        return effects + self._answered(plan, fact.headers, now)

    def _ended_by(self, fact: EndingFact, now: float) -> list[do.Effect]:
        if self.state not in _UP:
            return []
        ending = ending_by(fact, self.state, outgoing=self._plan is not None)
        if ending is None:
            return []
        if isinstance(fact, facts.PeerHungUp):
            self._farewell = fact.headers
        return self._end_as(ending, now)

    def _media_closed(self, fact: facts.MediaClosed, now: float) -> list[do.Effect]:
        if not self._media_open:
            return []
        self._media_open = False
        self._quality = fact.quality
        if self.state in _UP:
            return self._end(verdicts.MEDIA_LOST, now, do.EndCall())
        return self._finish_when_done(now)

    def _digit(self, fact: facts.DigitReceived, now: float) -> list[do.Effect]:
        record = self._context.record
        if self.state is not LegState.ANSWERED or record is None:
            return []
        if not self._keys.is_new(fact.digit, by_info=fact.by_info, now=now):
            return []
        told = {"digit": fact.digit, **payloads.parties(record)}
        return [self._notify("call.dtmf.received", told, now), *self._by_ability(fact, now)]

    def _renegotiated(self, fact: facts.MediaRenegotiated, now: float) -> list[do.Effect]:
        record, media = self._context.known()
        self._context.media = fact.media
        if fact.media.held is media.held:
            return []
        if fact.media.held:
            return [self._notify("call.hold", payloads.parties(record), now)]
        return [self._notify("call.unhold", payloads.parties(record), now)]

    def _unbridged(self, fact: facts.Unbridged, now: float) -> list[do.Effect]:
        if self._bridging.other is None:
            return []
        effects = self._by_ability(fact, now)
        if self._bridging.stays:
            return effects
        verdict = verdicts.ENDED_BY_APP if self._plan is None else verdicts.ENDED_BY_CALLING_APP
        return effects + self._end(verdict, now, do.EndCall())

    # The end

    def _end_as(self, ending: Ending, now: float) -> list[do.Effect]:
        farewell = () if ending.farewell is None else (ending.farewell,)
        return self._end(ending.verdict, now, *farewell)

    def _end(self, verdict: Verdict, now: float, *first: do.Effect) -> list[do.Effect]:
        self.state = LegState.ENDING
        self._deadline = now + limits.ENDING_TIMEOUT_S
        self._verdict = verdict
        self._ended_at = now
        effects = [*first, *self._all_told(self._abilities.close(verdict.cause.value, now), now)]
        if self._media_open:
            effects.append(do.CloseMedia())
        return effects + self._finish_when_done(now)

    def _finish_when_done(self, now: float) -> list[do.Effect]:
        if self.state is not LegState.ENDING or self._media_open or len(self._abilities):
            return []
        assert self._context.record is not None
        assert self._verdict is not None
        assert self._ended_at is not None
        headers = (*(self._answer.headers if self._answer else ()), *self._farewell)
        told = payloads.hangup(self._context.record, headers, self._verdict, self._ended_at, self._quality)
        farewell = self._notify("call.hangup", told, now)
        self.state = LegState.ENDED
        self._deadline = None
        # `status` answers for minutes after the end; headers and SDP need not wait with it.
        call = replace(self._context.record.call, headers=(), offer=None)
        self._context.record = replace(self._context.record, call=call)
        if isinstance(call, facts.OutgoingCall):
            self._plan = replace(call.plan, password=None, headers=(), stream=None)
            self._context.record = replace(self._context.record, call=replace(call, plan=self._plan))
        self._answer = None
        self._farewell = ()
        return [farewell, do.Release()]

    # Helpers

    def _offered(self) -> bool:
        return self._context.record is not None and self._context.record.call.offer is not None

    def _agree(self, command: ask.Answer) -> NegotiatedMedia | None:
        """Return what the offer and the app's preference leave: the preference decides if it can."""
        offer = None if self._context.record is None else self._context.record.call.offer
        return None if offer is None else self._context.codecs.choose(offer, command.preferred_codecs)

    def _all_told(self, items: Iterable[Decision], now: float) -> list[do.Effect]:
        return [
            self._notify(item.event_type, item.payload, now, item.route) if isinstance(item, Tell) else item
            for item in items
        ]

    def _notify(
        self, event_type: str, payload: facts.Payload, now: float, route: WebhookRoute | None = None
    ) -> do.Notify:
        if route is not None:
            return do.Notify(event_type, {**payload, "Timestamp": iso_time(now)}, now, route)
        return do.Notify(event_type, {**self.told_by_all(), **payload}, now, self.route)


def _answer_for(command: ask.Bridge | ask.Transfer) -> ask.Answer:
    """Return the answer to a call that is answered only to be bridged."""
    if isinstance(command, ask.Transfer):
        return ask.Answer()
    return ask.Answer(bridge=command.bridge, recording=command.recording)


def _ended() -> CommandError:
    return CommandError("90018", "the call has ended")
