"""No history of commands, facts and waiting breaks the promises a leg makes.

A history is random and hostile: commands in every state, facts twice, too late, in the wrong
order, and about taps that never were. Nothing plays the far end's part correctly, except that
facts about taps are mostly about taps that the leg opened.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from offhook.call.tap_commands import Compat
from offhook.call.values import LegState, Track
from tests.fakes.legs import (
    QUALITY,
    Desk,
    incoming,
    media,
    memory,
    outgoing,
    plan,
    sdp,
    start_fork,
    start_stream,
    start_transcription,
    stream,
    transcript,
)

pytestmark = pytest.mark.property

command_ids = st.none() | st.sampled_from(["a", "b"])
client_states = st.none() | st.sampled_from(["eA==", "eQ=="])
tracks = st.sampled_from([(Track.RX,), (Track.TX,), (Track.RX, Track.TX)])
RECORD = ask.RecordingOptions(format=ask.RecordingFormat.WAV, dual=True)
BRIDGE = ask.Bridge(
    bridge=ask.BridgeOptions(other="v3:other", after=ask.AfterBridge.PARK),
    found=ask.OtherLeg(state=LegState.ANSWERED, bridged=False),
)
TRANSFER = ask.Transfer(plan=plan())
plain_commands = st.one_of(
    st.builds(
        ask.Answer,
        preferred_codecs=st.sampled_from([(), ("PCMA",), ("G722",)]),
        stream=st.none() | st.builds(stream, tracks=tracks),
        dialogflow=st.none() | st.builds(ask.DialogflowOptions, tracks=tracks),
        transcription=st.none() | st.builds(ask.TranscriptionOptions, tracks=tracks),
        recording=st.none() | st.just(RECORD),
    ),
    st.builds(ask.Reject, cause=st.sampled_from(ask.RejectCause)),
    st.builds(ask.Hangup),
    st.builds(start_stream, tracks=tracks),
    st.builds(
        ask.StartStream,
        stream=st.none() | st.builds(stream, tracks=tracks),
        dialogflow=st.builds(ask.DialogflowOptions, tracks=tracks),
    ),
    st.builds(ask.StopStream, stream_id=st.none() | st.sampled_from(["id-1", "id-2", "id-9"])),
    st.builds(start_fork, st.sampled_from(ask.ForkType)),
    st.builds(ask.StopFork, fork_type=st.none() | st.sampled_from(ask.ForkType)),
    st.builds(start_transcription, interim=st.booleans(), tracks=tracks),
    st.builds(ask.StopTranscription),
    st.builds(ask.UpdateClientState),
    st.builds(ask.Gather, maximum_digits=st.integers(1, 3), timeout_s=st.floats(0.001, 14_400.0)),
    st.builds(ask.StopGather),
    st.just(BRIDGE),
    st.just(replace(BRIDGE, bridge=ask.BridgeOptions(other="v3:other"))),
    st.just(replace(BRIDGE, found=None)),
    st.just(TRANSFER),
    st.builds(ask.SendInfo, content_type=st.just("text/plain"), body=st.binary(max_size=2)),
    st.builds(ask.Refer, target=st.just("sip:a@b")),
    st.builds(ask.SendDigits, digits=st.text("019#*ADwW", min_size=1, max_size=9)),
)
PLAY = ask.StartPlayback(playback=ask.PlaybackOptions(url="https://app.example/hello.wav"))
OVERLAY = ask.StartPlayback(
    playback=ask.PlaybackOptions(name="bell", overlay=True), stop=ask.StopWhich.CURRENT
)
SPEAK = ask.Speak(speak=ask.SpeakOptions(script=(), voice="female"))
tap_commands = st.sampled_from(
    [
        start_stream(),
        ask.StartStream(dialogflow=ask.DialogflowOptions()),
        start_fork(),
        start_transcription(interim=True),
        ask.StopStream(),
        ask.StopFork(),
        ask.StopTranscription(),
        ask.SendDigits(digits="1w2"),
        PLAY,
        PLAY,
        replace(PLAY, stop=ask.StopWhich.CURRENT),
        replace(PLAY, stop=ask.StopWhich.ALL),
        SPEAK,
        SPEAK,
        replace(SPEAK, stop=ask.StopWhich.CURRENT),
        OVERLAY,
        ask.StopPlayback(),
        ask.StopPlayback(overlay=True),
        ask.StopPlayback(stop=ask.StopWhich.CURRENT),
        ask.StartRecording(recording=RECORD),
        ask.StartRecording(recording=RECORD),
        ask.PauseRecording(),
        ask.ResumeRecording(),
        ask.PauseRecording(recording_id="id-2"),
        ask.StopRecording(recording_id="id-1"),
        ask.StopRecording(),
        ask.SendDigits(digits="W" * 100),
        ask.Gather(maximum_digits=2),
        ask.Gather(timeout_s=0.5),
        ask.Gather(prompt=PLAY.playback, invalid_prompt=SPEAK.speak, tries=3, minimum_digits=2),
        ask.StopGather(),
        ask.SendInfo(content_type="text/plain", body=b"x"),
        ask.Refer(target="sip:a@b"),
        BRIDGE,
        replace(BRIDGE, bridge=replace(BRIDGE.bridge, after=ask.AfterBridge.HOLD)),
        TRANSFER,
    ]
)
ids = st.sampled_from([f"id-{number}" for number in range(1, 6)])
call_facts = st.one_of(
    st.builds(incoming, offer=st.none() | st.just(sdp())),
    st.builds(facts.AckReceived, st.none() | st.just(media())),
    st.builds(outgoing),
    st.builds(facts.CalleeRinging, st.none() | st.just(media())),
    st.builds(facts.CalleeAnswered, st.just("x"), st.none() | st.just(media())),
    st.builds(facts.CalleeRefused, st.none() | st.sampled_from([486, 503]), st.booleans()),
    st.builds(facts.CallerCancelled),
    st.builds(facts.PeerHungUp),
    st.builds(facts.SignallingFailed, st.just("x"), st.none() | st.just(503)),
    st.builds(facts.MediaFailed, st.just("x")),
    st.builds(facts.MediaTimedOut),
    st.builds(facts.MediaClosed, st.none() | st.just(QUALITY)),
    st.builds(facts.DigitReceived, st.just("1")),
    st.just(facts.Bridged("v3:other")),
    st.just(facts.Unbridged()),
    st.just(facts.MediaRenegotiated(replace(media(), sending=False))),
    st.just(facts.MediaRenegotiated(media())),
)
tap_facts = st.one_of(
    st.builds(facts.StreamConnected, ids),
    st.builds(facts.StreamClosed, ids, st.just("app_closed")),
    st.builds(facts.StreamFailed, ids, st.just("connection_lost"), st.just("x")),
    st.builds(facts.AgentAnswered, ids, st.just("hi"), st.just(1.0), st.booleans(), st.just((("hello",),))),
    st.builds(facts.ForkOpened, ids),
    st.builds(facts.ForkClosed, ids),
    st.builds(transcript, is_final=st.booleans(), track=st.sampled_from(Track)),
    st.builds(facts.TranscriptionMoved, ids, st.sampled_from(Track), st.just("local"), st.just("x")),
    st.builds(facts.TranscriptionClosed, ids, st.none() | st.just("x")),
    st.builds(facts.PlaybackStarted, ids),
    st.builds(facts.PlaybackEnded, ids, st.just("completed")),
    st.builds(facts.RecordingEnded, ids, st.sampled_from(["max_length", "failed"])),
    st.builds(facts.DigitReceived, st.sampled_from("12#"), st.booleans()),
    st.builds(facts.InfoReceived, st.just("text/plain"), st.just("x")),
    st.builds(facts.InfoAnswered, st.sampled_from([200, 408])),
    st.builds(facts.ReferAnswered, st.sampled_from([202, 403])),
    st.builds(facts.ReferNotified, st.none() | st.sampled_from([100, 200, 503]), st.booleans()),
)

TERMINAL = {
    facts.StreamClosed: lambda fact: ("stream", fact.stream_id),
    facts.StreamFailed: lambda fact: ("stream", fact.stream_id),
    facts.ForkClosed: lambda fact: ("fork", fact.fork_id),
    facts.TranscriptionClosed: lambda fact: ("transcription", fact.transcription_id),
    facts.PlaybackEnded: lambda fact: ("playback", fact.playback_id),
    facts.RecordingEnded: lambda fact: ("recording", fact.recording_id),
    facts.MediaClosed: lambda _: ("media", ""),
}
OPENS = {
    do.OpenStream: lambda effect: ("stream", effect.stream_id),
    do.OpenDialogflow: lambda effect: ("stream", effect.stream_id),
    do.OpenFork: lambda effect: ("fork", effect.fork_id),
    do.OpenTranscription: lambda effect: ("transcription", effect.transcription_id),
    do.OpenPlayback: lambda effect: ("playback", effect.playback_id),
    do.OpenRecording: lambda effect: ("recording", effect.recording_id),
    do.OpenSpeak: lambda effect: ("playback", effect.playback_id),
    do.OpenMedia: lambda _: ("media", ""),
}
CLOSES = {
    do.CloseStream: lambda effect: ("stream", effect.stream_id),
    do.CloseFork: lambda effect: ("fork", effect.fork_id),
    do.CloseTranscription: lambda effect: ("transcription", effect.transcription_id),
    do.ClosePlayback: lambda effect: ("playback", effect.playback_id),
    do.CloseRecording: lambda effect: ("recording", effect.recording_id),
    do.CloseMedia: lambda _: ("media", ""),
}
TAP_BOUND = (
    limits.STREAMS_PER_LEG_MAX
    + limits.FORKS_PER_LEG_MAX
    + limits.TRANSCRIPTIONS_PER_LEG_MAX
    + limits.RECORDINGS_PER_LEG_MAX
)


@dataclass
class Observer:
    """Watches one leg from outside, knowing only what it was told and what it decided."""

    desk: Desk = field(default_factory=Desk)
    opened: list[tuple[str, str]] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    reported: set[tuple[str, str]] = field(default_factory=set)
    accepted: dict[tuple[type, str], tuple[float, ask.Reply]] = field(default_factory=dict)
    ending_at: float | None = None
    entries_accepted: int = 0
    referrals_accepted: int = 0

    def command(self, command: ask.Command) -> None:
        """Ask, and hold the leg to what it promises about refusals and repetitions."""
        desk = self.desk
        before = memory(desk.leg)
        key = (type(command), command.command_id or "")
        known = self.accepted.get(key) if command.command_id else None
        replayed = known is not None and desk.now < known[0] + limits.COMMAND_IDS_KEPT_S
        try:
            reply, effects = desk.command_for_reply(command)
        except CommandError:
            assert not replayed, "an accepted command_id is never refused within its time"
            assert memory(desk.leg) == before, "a refused command must leave no trace"
            return
        assert reply.duplicate is replayed
        if replayed:
            assert known is not None
            assert (reply.data, effects) == (known[1].data, []), "a repetition has no effect of its own"
            assert memory(desk.leg) == before
            return
        self.accepted[key] = (desk.now, reply)
        self.referrals_accepted += isinstance(command, ask.Refer)
        self.entries_accepted += isinstance(command, ask.Gather)
        assert before["state"] not in (LegState.NEW, LegState.ENDING, LegState.ENDED)
        if command.client_state is not None:
            assert desk.leg.client_state == command.client_state
        self.look(effects)

    def tell(self, fact: facts.Fact) -> None:
        """Tell a fact, and remember what it says about taps."""
        meaningless = self.means_nothing(fact)
        before = memory(self.desk.leg) if meaningless else {}
        if type(fact) in TERMINAL:
            self.reported.add(TERMINAL[type(fact)](fact))
        effects = self.desk.tell(fact)
        if meaningless:
            assert (effects, memory(self.desk.leg)) == ([], before), "a late or early fact changes nothing"
        self.look(effects)

    def means_nothing(self, fact: facts.Fact) -> bool:
        """Say whether a fact comes where it cannot change anything."""
        state = self.desk.leg.state
        if isinstance(fact, facts.IncomingCall | facts.OutgoingCall):
            return state is not LegState.NEW
        if state in (LegState.NEW, LegState.ENDED):
            return True
        match fact:
            case facts.AckReceived():
                return state is not LegState.ANSWERING
            case facts.CalleeRinging() | facts.CalleeAnswered() | facts.CalleeRefused():
                return state is not LegState.DIALLING
            case facts.PeerHungUp() if state is LegState.DIALLING:
                return True
            case facts.CallerCancelled():
                return state in (LegState.DIALLING, LegState.ANSWERED, LegState.ENDING)
            case facts.DigitReceived() | facts.MediaTimedOut():
                return state is not LegState.ANSWERED
            case facts.TranscriptReady():
                return not any(kind == "transcription" for kind, _ in self.opened)
            case facts.TranscriptionMoved():
                moved = ("transcription", fact.transcription_id)
                return moved not in self.opened or moved in self.reported or moved in self.closed
            case facts.PlaybackStarted():
                playback = ("playback", fact.playback_id)
                return playback not in self.opened or playback in self.reported
            case facts.StreamConnected() | facts.ForkOpened():
                tap = (
                    ("stream", fact.stream_id)
                    if isinstance(fact, facts.StreamConnected)
                    else ("fork", fact.fork_id)
                )
                return tap not in self.opened or tap in self.reported
        name = TERMINAL[type(fact)](fact) if type(fact) in TERMINAL else None
        return name is not None and (name not in self.opened or name in self.reported)

    def wait(self, seconds: float) -> None:
        """Let time pass; before the leg's own deadline nothing comes of it."""
        deadline = self.desk.leg.poll_timeout()
        effects = self.desk.wait(seconds)
        assert not effects or (deadline is not None and deadline <= self.desk.now)
        self.look(effects)

    def look(self, effects: list[do.Effect]) -> None:
        """Keep book of new effects, and check each against what came before it."""
        if self.ending_at is None and self.desk.leg.state is LegState.ENDING:
            self.ending_at = self.desk.now
        for effect in effects:
            kind: Any = type(effect)
            if kind in OPENS:
                assert OPENS[kind](effect) not in self.opened, "an id is used once"
                self.opened.append(OPENS[kind](effect))
                self.reported.discard(OPENS[kind](effect))
            if kind in CLOSES:
                name = CLOSES[kind](effect)
                assert name in self.opened, "what was never opened is not closed"
                assert name not in self.closed, "nothing is closed twice"
                self.closed.append(name)
            if isinstance(effect, do.BeginStream):
                assert ("stream", effect.stream_id) not in self.closed
            if isinstance(effect, do.Notify):
                assert effect.payload["client_state"] == self.desk.leg.client_state
                assert effect.occurred_at == self.desk.now
            if isinstance(effect, do.Release):
                self.look_at_release()

    def look_at_release(self) -> None:
        """Check that nothing is left behind, and nothing given up before its time."""
        waited = self.ending_at is not None and self.desk.now >= self.ending_at + limits.ENDING_TIMEOUT_S
        for name in self.opened:
            assert name in self.closed or name in self.reported, f"{name} outlives the leg"
            assert waited or name in self.reported, f"{name} was not waited for"

    def look_at_history(self) -> None:
        """Check the promises about everything decided so far."""
        done, events = self.desk.done, self.desk.events
        over = do.Release() in done
        assert done.count(do.Release()) <= 1
        assert over is (self.desk.leg.state is LegState.ENDED)
        assert events.count("call.hangup") == int(over)
        if over:
            assert done[-1] == do.Release()
            assert isinstance(done[-2], do.Notify)
            assert done[-2].event_type == "call.hangup"
        assert events[:1] in ([], ["call.initiated"])
        assert events.count("call.initiated") == min(1, len(events))
        assert events.count("call.answered") <= 1
        self.look_at_pairs(over=over)
        self.look_at_order()

    def look_at_pairs(self, *, over: bool) -> None:
        """Check that each started has exactly one end, and no end comes without a start."""
        ends: Counter[str] = Counter()
        started: set[str] = set()
        forks = sounds = ended_sounds = entries = referred = referrals = 0
        for effect in self.desk.done:
            if not isinstance(effect, do.Notify):
                continue
            stream_id = effect.payload.get("stream_id", "")
            match effect.event_type:
                case "streaming.started":
                    assert stream_id not in started
                    assert not ends[stream_id]
                    started.add(stream_id)
                case "streaming.stopped":
                    assert stream_id in started
                    ends[stream_id] += 1
                case "streaming.failed":
                    ends[stream_id] += 1
                case "call.playback.started" | "call.speak.started":
                    sounds += 1
                case "call.playback.ended" | "call.speak.ended":
                    ended_sounds += 1
                case "call.refer.started":
                    referred += 1
                    assert referred == referrals + 1
                case "call.refer.completed":
                    referrals += 1
                    assert referred == referrals
                case "call.refer.failed":
                    referrals += 1
                    referred = referrals
                case "call.gather.ended":
                    entries += 1
                case "call.fork.started":
                    forks += 1
                case "call.fork.stopped":
                    forks -= 1
                    assert forks >= 0
        assert max(ends.values(), default=0) <= 1
        assert self.entries_accepted - 1 <= entries <= self.entries_accepted, "one runs at a time"
        assert self.referrals_accepted - 1 <= referrals <= self.referrals_accepted, "one at a time"
        if over:
            assert referrals == self.referrals_accepted
            assert entries == self.entries_accepted
            assert started <= set(ends)
            assert forks == 0
            opened = [name for name in self.opened if name[0] == "playback"]
            assert sounds <= ended_sounds == len(opened)

    def look_at_order(self) -> None:
        """Check that effects stand in an order in which they can be carried out."""
        seen: list[type] = []
        for effect in self.desk.done:
            match effect:
                case do.AcceptCall() | do.PlaceCall():
                    assert do.OpenMedia in seen
                case do.SendDigits():
                    assert "call.answered" in self.desk.events
                case (
                    do.OpenStream()
                    | do.OpenFork()
                    | do.OpenTranscription()
                    | do.OpenPlayback()
                    | do.OpenRecording()
                    | do.OpenSpeak()
                ):
                    early = isinstance(effect, do.OpenStream) and do.PlaceCall not in seen
                    assert early or "call.answered" in self.desk.events
                    assert do.CloseMedia not in seen
                case do.HoldRecording():
                    recording = ("recording", effect.recording_id)
                    assert recording in self.opened
                case do.BeginStream():
                    assert seen[-1] is do.Notify, "streaming.started comes just before the start frame"
                case do.RejectCall() | do.EndCall():
                    assert do.RejectCall not in seen
                    assert do.EndCall not in seen
            seen.append(type(effect))

    def look_at_room(self) -> None:
        """Check that nothing opens beside what still runs, where there is room for one."""
        taps = [name for name in self.opened if name[0] in ("stream", "fork")]
        assert len([name for name in taps if name not in self.reported]) <= 1

    def look_at_bounds(self) -> None:
        """Check that nothing grows or waits without a bound."""
        leg = self.desk.leg
        deadline = leg.poll_timeout()
        assert (deadline is None) is (leg.state in (LegState.NEW, LegState.ENDED))
        if deadline is not None:
            longest = max(limits.RING_TIMEOUT_S, limits.CALL_TIME_LIMIT_S, limits.ACK_TIMEOUT_S)
            bound = limits.ENDING_TIMEOUT_S if leg.state is LegState.ENDING else longest
            assert deadline <= self.desk.now + bound
        alive = [name for name in self.opened if name not in self.reported]
        assert leg.state is LegState.ENDED or len(alive) <= TAP_BOUND + 2

    def finish(self) -> None:
        """Let only time pass: every leg that rang ends, in a few steps, whatever is outstanding."""
        for _ in range(4):
            deadline = self.desk.leg.poll_timeout()
            if deadline is None:
                break
            self.wait(max(0.0, deadline - self.desk.now))
        assert self.desk.leg.state in (LegState.NEW, LegState.ENDED)
        self.look_at_history()
        assert self.desk.wait(1e6) == []


class LegMachine(RuleBasedStateMachine):
    """Plays a history step by step and looks after each."""

    def __init__(self) -> None:
        super().__init__()
        self.observer = Observer()
        self.steps = 0

    @initialize(timeout_s=st.none() | st.sampled_from([0.5, 30.0, 1_000.0]))
    def application_waits_for_a_first_command(self, timeout_s: float | None) -> None:
        self.observer = Observer(Desk(first_command_timeout_s=timeout_s))

    @precondition(lambda self: self.observer.desk.leg.state is LegState.NEW)
    @rule(offer=st.none() | st.just(sdp()))
    def call_arrives(self, offer: Any) -> None:
        self.observer.tell(incoming(offer=offer))

    @precondition(lambda self: self.observer.desk.leg.state is LegState.NEW)
    @rule(inline=st.booleans(), early=st.booleans(), digits=st.sampled_from(["", "1w2"]))
    def app_dials(self, inline: bool, early: bool, digits: str) -> None:
        self.observer.tell(outgoing(stream=stream() if inline else None, stream_first=early, digits=digits))

    @precondition(lambda self: self.observer.desk.leg.state is LegState.DIALLING)
    @rule(early=st.booleans())
    def far_end_answers(self, early: bool) -> None:
        if early:
            self.observer.tell(facts.CalleeRinging(media()))
        self.observer.tell(facts.CalleeAnswered("x", media()))

    @precondition(lambda self: self.observer.desk.leg.state is LegState.PARKED)
    @rule(inline=st.booleans(), command_id=command_ids)
    def app_answers(self, inline: bool, command_id: str | None) -> None:
        self.observer.command(ask.Answer(stream=stream() if inline else None, command_id=command_id))

    @precondition(lambda self: self.observer.desk.leg.state is LegState.ANSWERING)
    @rule()
    def ack_arrives(self) -> None:
        self.observer.tell(facts.AckReceived(media()))

    # Most of these end the call, so they come seldom: a long life has more to break.
    @precondition(lambda self: self.steps % 6 == 5)
    @rule(command=plain_commands, command_id=command_ids, client_state=client_states)
    def any_command(self, command: ask.Command, command_id: str | None, client_state: str | None) -> None:
        self.observer.command(replace(command, command_id=command_id, client_state=client_state))

    @rule(command=tap_commands, command_id=command_ids)
    def tap_command(self, command: ask.Command, command_id: str | None) -> None:
        self.observer.command(replace(command, command_id=command_id))

    @precondition(lambda self: self.steps % 6 == 5)
    @rule(fact=call_facts)
    def any_fact(self, fact: facts.Fact) -> None:
        self.observer.tell(fact)

    @rule(fact=tap_facts)
    def any_tap_fact(self, fact: facts.Fact) -> None:
        self.observer.tell(fact)

    @rule(data=st.data())
    def fact_of_a_real_tap(self, data: st.DataObject) -> None:
        taps = [name for name in self.observer.opened if name[0] != "media"]
        if not taps:
            return
        kind, tap_id = data.draw(st.sampled_from(taps))
        choices: dict[str, list[facts.Fact]] = {
            "stream": [
                facts.StreamConnected(tap_id),
                facts.StreamConnected(tap_id),
                facts.StreamClosed(tap_id, "command"),
                facts.StreamFailed(tap_id, "connection_failed", "x"),
            ],
            "fork": [facts.ForkOpened(tap_id), facts.ForkOpened(tap_id), facts.ForkClosed(tap_id)],
            "playback": [
                facts.PlaybackStarted(tap_id),
                facts.PlaybackStarted(tap_id),
                facts.PlaybackEnded(tap_id, "completed"),
            ],
            "recording": [facts.RecordingEnded(tap_id, "silence")],
            "transcription": [
                transcript(),
                facts.TranscriptionMoved(tap_id, Track.RX, "local", "lost"),
                facts.TranscriptionClosed(tap_id),
                facts.TranscriptionClosed(tap_id, "lost"),
            ],
        }
        self.observer.tell(data.draw(st.sampled_from(choices[kind])))

    @rule(seconds=st.sampled_from([0.0, 0.02, 1.0, 5.0, 59.0, 61.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.observer.wait(seconds)

    @invariant()
    def the_history_keeps_every_promise(self) -> None:
        self.steps += 1
        self.observer.look_at_history()
        self.observer.look_at_bounds()

    def teardown(self) -> None:
        self.observer.finish()


TestNoHistoryBreaksThePromisesOfALeg = LegMachine.TestCase
TestNoHistoryBreaksThePromisesOfALeg.settings = settings(stateful_step_count=60)


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(st.tuples(tap_commands, command_ids) | tap_facts, min_size=5, max_size=60),
    call_facts,
    st.booleans(),
    st.booleans(),
)
def test_no_history_of_an_answered_call_breaks_its_promises(
    history: list[Any], last: facts.Fact, alone: bool, ours: bool
) -> None:
    observer = Observer(Desk(compat=Compat(single_stream=alone)))
    if ours:
        observer.tell(outgoing())
        observer.tell(facts.CalleeAnswered("x", media()))
    else:
        observer.tell(incoming())
        observer.command(ask.Answer())
        observer.tell(facts.AckReceived())
    for item in [*history, last, *history]:
        if isinstance(item, tuple):
            observer.command(replace(item[0], command_id=item[1]))
        else:
            observer.tell(item)
        observer.look_at_history()
        observer.look_at_bounds()
        if alone:
            observer.look_at_room()
    observer.finish()


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_the_order_of_tap_ends_never_matters_to_what_is_told(first: list[int], second: list[int]) -> None:
    def told_in(order: list[int]) -> list[str]:
        observer = Observer()
        observer.tell(incoming())
        observer.command(ask.Answer())
        observer.tell(facts.AckReceived())
        for command in (start_stream(), start_fork(), start_transcription()):
            observer.command(command)
        observer.tell(facts.StreamConnected("id-1"))
        observer.tell(facts.ForkOpened("id-2"))
        observer.tell(facts.PeerHungUp())
        ends: list[facts.Fact] = [
            facts.StreamClosed("id-1", "call_ended"),
            facts.ForkClosed("id-2"),
            facts.TranscriptionClosed("id-3"),
            facts.MediaClosed(QUALITY),
        ]
        for index in order:
            observer.tell(ends[index])
        observer.look_at_history()
        return observer.desk.events

    assert sorted(told_in(first)) == sorted(told_in(second))
    assert told_in(first)[-1] == "call.hangup"
