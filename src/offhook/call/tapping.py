"""A leg's ability to be listened in on: streams, forks, transcriptions and agents."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from offhook.call import commands as ask
from offhook.call import facts, tap_commands
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.effects import OpenTranscription
from offhook.call.errors import CommandError
from offhook.call.taps import Taps
from offhook.proto.sdp import NegotiatedMedia

OURS_ALONE = frozenset({"call.transcription.failed"})
"""Events that Telnyx does not have."""


class Tapping(Ability):
    """Opens and closes the taps of a leg; their book is kept by `Taps`."""

    COMMANDS = (
        ask.StartStream,
        ask.StopStream,
        ask.StartFork,
        ask.StopFork,
        ask.StartTranscription,
        ask.StopTranscription,
    )
    FACTS = (
        facts.StreamConnected,
        facts.StreamClosed,
        facts.StreamFailed,
        facts.ForkOpened,
        facts.ForkClosed,
        facts.TranscriptReady,
        facts.TranscriptionMoved,
        facts.TranscriptionClosed,
        facts.AgentAnswered,
    )

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._taps = Taps()

    def __len__(self) -> int:
        return len(self._taps)

    def check(self, command: ask.Command, now: float) -> None:
        """See `Ability`."""
        del now
        tap_commands.check(command, self._taps, self._leg.compat)
        _, media = self._leg.known()
        opaque = self._leg.codecs.opaque
        match command:
            case ask.StartStream(stream=stream, dialogflow=dialogflow):
                tap_commands.check_audio(media, opaque, stream=stream, dialogflow=dialogflow)
            case ask.StartTranscription(transcription=transcription):
                tap_commands.check_audio(media, opaque, transcription=transcription)
            case _:
                pass

    def carry_out(self, command: ask.Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        match command:
            case ask.StartStream():
                ids = self._ids(command)
                return ids, self._open_streams(command, ids)
            case ask.StopStream():
                return {}, [*self._taps.close_streams(command.stream_id, "command")]
            case ask.StartFork():
                return {}, self._open_fork(command)
            case ask.StopFork():
                return {}, [*self._taps.close_forks(command.fork_type)]
            case ask.StartTranscription():
                return {}, self._open_transcription(command.transcription)
            case _:
                return {}, [*self._taps.close_transcription()]

    def handle(self, fact: facts.Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        decided = self._taps.handle(fact)  # type: ignore[arg-type]  # the leg tells us only of our `FACTS`
        if self._leg.compat.only_telnyx_events:
            return [each for each in decided if not _is_ours_alone(each)]
        return decided

    def check_plan(self, plan: ask.Answer | ask.Dial, media: NegotiatedMedia) -> None:
        """See `Ability`."""
        tap_commands.check_audio(
            media,
            self._leg.codecs.opaque,
            stream=plan.stream,
            dialogflow=plan.dialogflow,
            transcription=plan.transcription,
        )

    def reserve(self, plan: ask.Answer | ask.Dial) -> dict[str, str]:
        """See `Ability`."""
        return self._ids(plan)

    def prepare(self, plan: ask.Dial, ids: dict[str, str], codecs: Sequence[str]) -> list[Decision]:
        """See `Ability`."""
        if plan.stream is None or not plan.stream_first:
            return []
        expected = tap_commands.expected_media(codecs, self._leg.codecs.opaque)
        effect = tap_commands.opened_stream(ids["stream_id"], plan.stream, self._leg, expected)
        callback = tap_commands.callback_of(ids["stream_id"], plan.stream, self._leg)
        return [*self._taps.open_stream(effect, callback, early=True)]

    def preparing(self) -> bool:
        """See `Ability`."""
        return self._taps.opening_early()

    def begin(self, plan: ask.Answer | ask.Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        decided: list[Decision] = []
        if isinstance(plan, ask.Dial) and plan.stream is not None and plan.stream_first:
            decided += self._begin_early(ids["stream_id"], plan.stream)
            if plan.dialogflow is not None:
                decided += self._open_streams(replace(plan, stream=None), ids)
        else:
            decided += self._open_streams(plan, ids)
        if plan.transcription is not None:
            decided += self._open_transcription(plan.transcription)
        return decided

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        return [*self._taps.close_all(hangup_cause)]

    def abandon(self) -> list[Decision]:
        """See `Ability`."""
        return [*self._taps.abandon()]

    def _ids(self, command: ask.Answer | ask.Dial | ask.StartStream) -> dict[str, str]:
        """Return the ids of the streams that a command opens, as its answer tells them."""
        ids = {}
        if command.stream is not None:
            ids["stream_id"] = self._leg.new_id()
        if command.dialogflow is not None:
            ids["dialogflow_stream_id" if ids else "stream_id"] = self._leg.new_id()
        return ids

    def _begin_early(self, stream_id: str, options: ask.StreamOptions) -> list[Decision]:
        """Let a stream begin that was opened before the call was placed, if the call's codec allows it."""
        _, media = self._leg.known()
        try:
            tap_commands.check_audio(media, self._leg.codecs.opaque, stream=options)
        except CommandError as error:
            return [*self._taps.refuse_early(stream_id, error.problem.detail)]
        return [*self._taps.begin_early(stream_id)]

    def _open_streams(
        self, command: ask.Answer | ask.Dial | ask.StartStream, ids: dict[str, str]
    ) -> list[Decision]:
        decided: list[Decision] = []
        if command.stream is not None:
            effect = tap_commands.opened_stream(ids["stream_id"], command.stream, self._leg)
            replaces = self._leg.compat.single_stream
            callback = tap_commands.callback_of(ids["stream_id"], command.stream, self._leg)
            opening = self._taps.replace_by_stream if replaces else self._taps.open_stream
            decided += opening(effect, callback)
        if command.dialogflow is not None:
            stream_id = ids.get("dialogflow_stream_id", ids["stream_id"])
            agent = tap_commands.opened_dialogflow(stream_id, command.dialogflow, self._leg)
            replaces = self._leg.compat.single_stream and command.stream is None
            decided += (
                self._taps.replace_by_dialogflow(agent) if replaces else self._taps.open_dialogflow(agent)
            )
        return decided

    def _open_fork(self, command: ask.StartFork) -> list[Decision]:
        _, media = self._leg.known()
        effect, told = tap_commands.opened_fork(self._leg.new_id(), command, media)
        if self._leg.compat.single_stream:
            return [*self._taps.replace_by_fork(effect, told)]
        return [*self._taps.open_fork(effect, told)]

    def _open_transcription(self, options: ask.TranscriptionOptions) -> list[Decision]:
        _, media = self._leg.known()
        effect = OpenTranscription(self._leg.new_id(), options, media.sample_rate_hz)
        return [*self._taps.open_transcription(effect)]


def _is_ours_alone(decision: Decision) -> bool:
    return isinstance(decision, Tell) and decision.event_type in OURS_ALONE
