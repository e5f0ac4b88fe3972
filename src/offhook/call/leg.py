"""One call leg: what it may do in each state and what follows from what happens to it.

| state | by | next | effects, in order |
| --- | --- | --- | --- |
| new | IncomingCall | parked | Notify call.initiated |
| | OutgoingCall | dialling | Notify call.initiated, OpenMedia, PlaceCall |
| parked | Answer | answering | OpenMedia, AcceptCall |
| | Reject, Hangup, time | ending | RejectCall |
| | CallerCancelled | ending | |
| | BYE; dialog or media broke | ending | RejectCall 487; 500 |
| answering | AckReceived | answered | ConnectMedia if due, Notify call.answered, taps of the answer |
| | MediaFailed | ending | RejectCall 500 |
| | CallerCancelled, BYE | ending | |
| | Hangup, anything else that breaks, time | ending | EndCall |
| dialling | CalleeRinging | dialling | ConnectMedia if it brings audio |
| | CalleeAnswered | answered | ConnectMedia if due, Notify call.answered, taps and keys of the plan |
| | CalleeAnswered without audio | ending | EndCall |
| | CalleeRefused | ending | |
| | Hangup, anything that breaks, time | ending | EndCall |
| answered | Hangup, media lost, dialog broke, time | ending | EndCall |
| | BYE | ending | |
| ending | entered | | Close* of every tap, CloseMedia |
| | the last report has come, or time | ended | Notify call.hangup, Release |

Everything that is not in the table is ignored as a fact and refused as a command, and a refused
command changes nothing: `_check` looks and raises, only then `_carry_out` acts. The causes of
`call.hangup` are in `verdicts`, its taps in `taps`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from offhook.base import limits
from offhook.base.clock import iso_time
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts, payloads, tap_commands, verdicts
from offhook.call.codecs import CodecPolicy
from offhook.call.dedupe import CommandMemory
from offhook.call.dialpad import Dialpad
from offhook.call.errors import CommandError
from offhook.call.payloads import CallRecord
from offhook.call.playbacks import Playbacks
from offhook.call.tap_commands import Compat
from offhook.call.taps import Taps, Tell
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
        self.identity = identity
        self.route = route
        self.state = LegState.NEW
        self.client_state: str | None = None
        self.media: NegotiatedMedia | None = None
        self._user_id = user_id
        self._codecs = codecs
        self._new_id = new_id
        self._compat = compat or Compat()
        self._ring_timeout_s = ring_timeout_s
        self._first_command_timeout_s = first_command_timeout_s
        self._ring_until: float | None = None
        self._time_limit_s = time_limit_s
        self._record: CallRecord | None = None
        self._answer: ask.Answer | None = None
        self._plan: ask.Dial | None = None
        self.inline_streams: dict[str, str] = {}
        """The ids of what begins with the answer, as the reply to the answer or the dial tells them."""
        self._taps = Taps()
        self._dialpad = Dialpad()
        self._playbacks = Playbacks()
        self._memory = CommandMemory()
        self._media_open = False
        self._quality: QualityStats | None = None
        self._verdict: Verdict | None = None
        self._farewell: tuple[Header, ...] = ()
        self._ended_at: float | None = None
        self._deadline: float | None = None

    @property
    def incoming(self) -> bool:
        """Whether the far end made the call."""
        return self._record is None or self._record.direction is Direction.INCOMING

    # What may be asked

    def command(self, command: ask.Command, now: float) -> tuple[ask.Reply, list[do.Effect]]:
        """Decide a command at once: its reply, and what must be done for it.

        A repetition within a minute of an accepted `command_id` gets the first reply and does
        nothing, whatever the state.

        Raises:
            CommandError: refused; nothing has changed, not even the memory of `command_id`s.
        """
        known = self._memory.recall(command, now)
        if known is not None:
            return known, []
        self._check(command, now)
        if command.client_state is not None:
            self.client_state = command.client_state
        if self.state is LegState.PARKED:
            self._deadline = self._ring_until
        data, effects = self._carry_out(command, now)
        reply = ask.Reply({"result": "ok", **data})
        self._memory.remember(command, reply, now)
        return reply, effects

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
        if self._record is not None:
            until = now if self._ended_at is None else self._ended_at
            status["call_duration"] = max(0, int(until - self._record.started_at))
            status["start_time"] = iso_time(self._record.started_at)
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
                if self.state is LegState.ANSWERED:
                    self.media = fact.media
                return []
            case facts.DigitReceived():
                return self._digit(fact, now)
            case facts.PlaybackStarted() | facts.PlaybackEnded():
                return self._all_told(self._playbacks.handle(fact), now) + self._finish_when_done(now)
            case _:
                effects = self._all_told(self._taps.handle(fact), now)
                return effects + self._finish_when_done(now)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called next."""
        return self._deadline

    def handle_timeout(self, now: float) -> list[do.Effect]:
        """Let time pass. Safe to call early, late, or twice."""
        if self._deadline is None or now < self._deadline:
            return []
        match self.state:
            case LegState.PARKED:
                return self._end(verdicts.NOBODY_ANSWERED, now, do.RejectCall(480))
            case LegState.DIALLING:
                assert self._plan is not None, "a leg that dials has a plan"
                verdict = verdicts.rang_too_long(487, retry_on_timeout=self._plan.retry_on_timeout)
                return self._end(verdict, now, do.EndCall())
            case LegState.ANSWERING:
                return self._end(verdicts.NO_ACK, now, do.EndCall())
            case LegState.ANSWERED:
                return self._end(verdicts.TIME_LIMIT_REACHED, now, do.EndCall())
            case _:
                self._media_open = False
                told = self._all_told([*self._taps.abandon(), *self._playbacks.abandon()], now)
                return told + self._finish_when_done(now)

    # Commands: first whether

    def _check(self, command: ask.Command, now: float) -> None:
        if isinstance(command, ask.Answer | ask.Reject | ask.Hangup | ask.UpdateClientState):
            self._check_call_command(command)
        elif self.state in _OVER:
            raise _ended()
        elif self.state is not LegState.ANSWERED:
            wait = "wait until it is answered" if self.state is LegState.DIALLING else "answer it first"
            raise CommandError("90034", f"the call is {self.state.value}; {wait}")
        else:
            tap_commands.check(command, self._taps, self._compat)
            match command:
                case ask.StartStream():
                    self._check_audio(self.media, stream=command.stream, dialogflow=command.dialogflow)
                case ask.StartTranscription():
                    self._check_audio(self.media, transcription=command.transcription)
                case ask.SendDigits():
                    self._dialpad.check(command, self.media, self._codecs.opaque, now)
                case ask.StartPlayback() | ask.Speak():
                    self._playbacks.check(command, self.media, self._codecs.opaque)
                case _:
                    pass

    def _check_call_command(
        self, command: ask.Answer | ask.Reject | ask.Hangup | ask.UpdateClientState
    ) -> None:
        if self.state in _OVER:
            raise _ended()
        if self.state is LegState.NEW:
            raise CommandError("90034", "the call has not arrived yet")
        outgoing = self._record is not None and self._record.direction is Direction.OUTGOING
        if isinstance(command, ask.Answer | ask.Reject) and outgoing:
            raise CommandError("90102", "this call was made by the app and cannot be answered or rejected")
        if isinstance(command, ask.Answer | ask.Reject) and self.state is not LegState.PARKED:
            raise CommandError("10027", "the call has already been answered")
        if isinstance(command, ask.Answer) and self._offered():
            media = self._agree(command)
            if media is None:
                raise CommandError("10027", "the caller offers no codec that this server speaks")
            self._check_audio(
                media,
                stream=command.stream,
                dialogflow=command.dialogflow,
                transcription=command.transcription,
            )

    def _check_audio(
        self,
        media: NegotiatedMedia | None,
        *,
        stream: ask.StreamOptions | None = None,
        dialogflow: ask.DialogflowOptions | None = None,
        transcription: ask.TranscriptionOptions | None = None,
    ) -> None:
        if media is not None:
            tap_commands.check_audio(
                media,
                self._codecs.opaque,
                stream=stream,
                dialogflow=dialogflow,
                transcription=transcription,
            )

    # Commands: then how

    def _carry_out(self, command: ask.Command, now: float) -> tuple[dict[str, Any], list[do.Effect]]:
        taps = self._taps
        match command:
            case ask.Answer():
                return self._take_call(command, now)
            case ask.Reject():
                status, verdict = verdicts.REJECTIONS[command.cause]
                return {}, self._end(verdict, now, do.RejectCall(status))
            case ask.Hangup():
                return {}, self._hang_up(command, now)
            case ask.StartStream():
                data = self._stream_ids(command)
                return data, self._open_streams(command, data)
            case ask.StopStream():
                return {}, taps.close_streams(command.stream_id, "command")
            case ask.StartFork():
                return {}, self._open_fork(command)
            case ask.StopFork():
                return {}, taps.close_forks(command.fork_type)
            case ask.StartTranscription():
                return {}, self._open_transcription(command.transcription)
            case ask.StopTranscription():
                return {}, taps.close_transcription()
            case ask.SendDigits():
                return {}, [self._dialpad.press(command, self._known()[1], now)]
            case ask.StartPlayback() | ask.Speak():
                return {}, self._all_told(self._playbacks.start(self._new_id(), command), now)
            case ask.StopPlayback():
                return {}, self._all_told(self._playbacks.stop(command.stop), now)
            case _:
                assert isinstance(command, ask.UpdateClientState)
                return {}, []

    def _take_call(self, command: ask.Answer, now: float) -> tuple[dict[str, Any], list[do.Effect]]:
        self.state = LegState.ANSWERING
        self._deadline = now + limits.ACK_TIMEOUT_S
        self._answer = command
        self.media = self._agree(command)
        self._media_open = True
        self.route = command.webhooks.applied_to(self.route)
        data = self.inline_streams = self._stream_ids(command)
        codecs = self._codecs.offered(command.preferred_codecs)
        return data, [
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

    def _stream_ids(self, command: ask.Answer | ask.Dial | ask.StartStream) -> dict[str, str]:
        """Return the ids of what a command opens, as its answer tells them."""
        ids = {}
        if command.stream is not None:
            ids["stream_id"] = self._new_id()
        if command.dialogflow is not None:
            ids["dialogflow_stream_id" if ids else "stream_id"] = self._new_id()
        return ids

    def _open_streams(
        self, command: ask.Answer | ask.Dial | ask.StartStream, ids: dict[str, str]
    ) -> list[do.Effect]:
        effects: list[do.Effect] = []
        if command.stream is not None:
            effects += self._open_stream(ids["stream_id"], command.stream)
        if command.dialogflow is not None:
            stream_id = ids.get("dialogflow_stream_id", ids["stream_id"])
            alone = command.stream is None
            effects += self._open_dialogflow(stream_id, command.dialogflow, alone=alone)
        return effects

    def _open_dialogflow(
        self, stream_id: str, options: ask.DialogflowOptions, *, alone: bool
    ) -> list[do.Effect]:
        record, media = self._known()
        effect = tap_commands.opened_dialogflow(stream_id, options, record=record, media=media)
        if self._compat.single_stream and alone:
            return self._taps.replace_by_dialogflow(effect)
        return self._taps.open_dialogflow(effect)

    def _open_stream(self, stream_id: str, options: ask.StreamOptions) -> list[do.Effect]:
        record, media = self._known()
        effect = tap_commands.opened_stream(
            stream_id,
            options,
            record=record,
            media=media,
            user_id=self._user_id,
            client_state=self.client_state,
            opaque=self._codecs.opaque,
            compat=self._compat,
        )
        if self._compat.single_stream:
            return self._taps.replace_by_stream(effect)
        return self._taps.open_stream(effect)

    def _open_fork(self, command: ask.StartFork) -> list[do.Effect]:
        _, media = self._known()
        effect, told = tap_commands.opened_fork(self._new_id(), command, media)
        if self._compat.single_stream:
            return self._taps.replace_by_fork(effect, told)
        return self._taps.open_fork(effect, told)

    def _open_transcription(self, options: ask.TranscriptionOptions) -> list[do.Effect]:
        return self._taps.open_transcription(do.OpenTranscription(self._new_id(), options))

    # Facts

    def _ring(self, call: facts.IncomingCall, now: float) -> list[do.Effect]:
        self.state = LegState.PARKED
        self._ring_until = self._deadline = now + self._ring_timeout_s
        if self._first_command_timeout_s is not None:
            self._deadline = min(self._ring_until, now + self._first_command_timeout_s)
        self._record = CallRecord(self.identity, Direction.INCOMING, call, now)
        return [self._notify("call.initiated", payloads.initiated(self._record, self._codecs.spoken), now)]

    def _acknowledged(self, fact: facts.AckReceived, now: float) -> list[do.Effect]:
        answer = self._answer
        if self.state is not LegState.ANSWERING or answer is None:
            return []
        effects: list[do.Effect] = []
        if self.media is None:
            self.media = fact.media
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
        record, media = self._known()
        told = payloads.answered(record, headers, media)
        if plan.stream is not None:
            told["stream_url"] = plan.stream.url
            told["stream_track"] = payloads.stream_track(plan.stream.tracks)
        effects: list[do.Effect] = [self._notify("call.answered", told, now)]
        effects += self._open_streams(plan, self.inline_streams)
        if plan.transcription is not None:
            effects += self._open_transcription(plan.transcription)
        return effects

    def _dial(self, call: facts.OutgoingCall, now: float) -> list[do.Effect]:
        plan = self._plan = call.plan
        self.state = LegState.DIALLING
        self._deadline = now + plan.timeout_s
        self._time_limit_s = plan.time_limit_s
        self.client_state = plan.client_state
        self.route = plan.webhooks.applied_to(self.route)
        self.inline_streams = self._stream_ids(plan)
        self._record = CallRecord(self.identity, Direction.OUTGOING, call, now)
        self._media_open = True
        codecs = self._codecs.offered(plan.preferred_codecs)
        told = payloads.initiated(self._record, self._codecs.spoken, codecs)
        return [
            self._notify("call.initiated", told, now),
            do.OpenMedia(None, codecs, plan.silence_when_idle),
            do.PlaceCall(plan),
        ]

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
        if fact.media is not None and fact.media != self.media:
            self.media = fact.media
            effects.append(do.ConnectMedia(fact.media))
        if isinstance(fact, facts.CalleeRinging):
            return effects
        if fact.media is None:
            return self._end(verdicts.NO_COMMON_MEDIA, now, do.EndCall())
        assert self._record is not None, "a leg that dials has a call"
        self._record = replace(self._record, call=replace(self._record.call, callee=fact.callee))
        effects += self._answered(plan, fact.headers, now)
        if plan.digits:
            effects.append(self._dialpad.press(ask.SendDigits(digits=plan.digits), fact.media, now))
        return effects

    def _ended_by(
        self,
        fact: facts.CallerCancelled
        | facts.PeerHungUp
        | facts.SignallingFailed
        | facts.MediaFailed
        | facts.MediaTimedOut,
        now: float,
    ) -> list[do.Effect]:
        ringing = self.state is LegState.PARKED
        match fact:
            case _ if self.state not in _UP:
                return []
            case facts.CallerCancelled() if self.state is LegState.ANSWERED:
                return []  # a CANCEL after the final answer has no effect (RFC 3261 9.2)
            case facts.CallerCancelled() | facts.PeerHungUp() if self.state is LegState.DIALLING:
                return []  # there is no dialog yet that could end
            case facts.CallerCancelled():
                return self._end(verdicts.CANCELLED, now)
            case facts.PeerHungUp():
                self._farewell = fact.headers
                if ringing:
                    return self._end(verdicts.CANCELLED, now, do.RejectCall(487))
                outgoing = self._plan is not None
                verdict = verdicts.ENDED_BY_CALLED_PHONE if outgoing else verdicts.ENDED_BY_CALLER
                return self._end(verdict, now)
            case facts.SignallingFailed():
                verdict = verdicts.dialog_broken(fact.sip_status)
                return self._end(verdict, now, do.RejectCall(500) if ringing else do.EndCall())
            case facts.MediaFailed() if self.state is LegState.DIALLING:
                return self._end(verdicts.MEDIA_REFUSED, now, do.EndCall())
            case facts.MediaFailed() if self.state is not LegState.ANSWERED:
                return self._end(verdicts.MEDIA_REFUSED, now, do.RejectCall(500))
            case facts.MediaFailed():
                return self._end(verdicts.MEDIA_LOST, now, do.EndCall())
            case facts.MediaTimedOut() if self.state is LegState.ANSWERED:
                return self._end(verdicts.MEDIA_LOST, now, do.EndCall())
            case _:
                return []  # no media is expected before the answer

    def _media_closed(self, fact: facts.MediaClosed, now: float) -> list[do.Effect]:
        if not self._media_open:
            return []
        self._media_open = False
        self._quality = fact.quality
        if self.state in _UP:
            return self._end(verdicts.MEDIA_LOST, now, do.EndCall())
        return self._finish_when_done(now)

    def _digit(self, fact: facts.DigitReceived, now: float) -> list[do.Effect]:
        record = self._record
        if self.state is not LegState.ANSWERED or record is None:
            return []
        told = {"digit": fact.digit, **payloads.parties(record)}
        return [self._notify("call.dtmf.received", told, now)]

    # The end

    def _end(self, verdict: Verdict, now: float, *first: do.Effect) -> list[do.Effect]:
        self.state = LegState.ENDING
        self._deadline = now + limits.ENDING_TIMEOUT_S
        self._verdict = verdict
        self._ended_at = now
        effects = [*first, *self._taps.close_all(verdict.cause.value)]
        effects += self._all_told(self._playbacks.close_all(), now)
        if self._media_open:
            effects.append(do.CloseMedia())
        return effects + self._finish_when_done(now)

    def _finish_when_done(self, now: float) -> list[do.Effect]:
        if self.state is not LegState.ENDING or self._media_open or len(self._taps) or len(self._playbacks):
            return []
        assert self._record is not None
        assert self._verdict is not None
        assert self._ended_at is not None
        headers = (*(self._answer.headers if self._answer else ()), *self._farewell)
        told = payloads.hangup(self._record, headers, self._verdict, self._ended_at, self._quality)
        farewell = self._notify("call.hangup", told, now)
        self.state = LegState.ENDED
        self._deadline = None
        # `status` answers for minutes after the end; headers and SDP need not wait with it.
        call = replace(self._record.call, headers=(), offer=None)
        self._record = replace(self._record, call=call)
        if isinstance(call, facts.OutgoingCall):
            self._plan = replace(call.plan, password=None, headers=(), stream=None)
            self._record = replace(self._record, call=replace(call, plan=self._plan))
        self._answer = None
        self._farewell = ()
        return [farewell, do.Release()]

    # Helpers

    def _offered(self) -> bool:
        return self._record is not None and self._record.call.offer is not None

    def _agree(self, command: ask.Answer) -> NegotiatedMedia | None:
        """Return what the offer and the app's preference leave: the preference decides if it can."""
        offer = None if self._record is None else self._record.call.offer
        return None if offer is None else self._codecs.choose(offer, command.preferred_codecs)

    def _known(self) -> tuple[CallRecord, NegotiatedMedia]:
        assert self._record is not None, "a leg that is up has a call"
        assert self.media is not None, "a leg that is answered has media"
        return self._record, self.media

    def _all_told(self, items: Iterable[do.Effect | Tell], now: float) -> list[do.Effect]:
        return [
            self._notify(item.event_type, item.payload, now) if isinstance(item, Tell) else item
            for item in items
        ]

    def _notify(self, event_type: str, payload: facts.Payload, now: float) -> do.Notify:
        assert self._record is not None, "nothing is told before the call"
        common = payloads.common(self._record, self.client_state)
        return do.Notify(event_type, {**common, **payload}, now, self.route)


def _ended() -> CommandError:
    return CommandError("90018", "the call has ended")
