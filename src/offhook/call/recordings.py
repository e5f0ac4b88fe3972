"""The recordings of a leg, from the command or the answer to the end of the file.

| recording | by | then |
| --- | --- | --- |
| | StartRecording, an answer that asks for one | OpenRecording |
| runs | PauseRecording, ResumeRecording | HoldRecording |
| | StopRecording, the end of the call | CloseRecording |
| | RecordingEnded | forgotten |

What became of the file is told after it is complete, which may be after `call.hangup` (contract 3.6):
by whoever keeps the files, not by the leg.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from offhook.base import limits
from offhook.call.ability import Ability, Decision, LegContext
from offhook.call.codecs import why_opaque
from offhook.call.commands import (
    Answer,
    Command,
    Dial,
    PauseRecording,
    RecordingOptions,
    ResumeRecording,
    StartRecording,
    StopRecording,
)
from offhook.call.effects import CloseRecording, HoldRecording, OpenRecording
from offhook.call.errors import CommandError
from offhook.call.facts import Fact, RecordingEnded
from offhook.proto.sdp import NegotiatedMedia

WIDE_BAND_HZ = 16_000
NARROW_BAND_HZ = 8_000


@dataclass(slots=True)
class _Recording:
    held: bool = False
    closing: bool = False


class Recordings(Ability):
    """The recordings that run or have yet to report their end."""

    COMMANDS = (StartRecording, StopRecording, PauseRecording, ResumeRecording)
    FACTS = (RecordingEnded,)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._open: dict[str, _Recording] = {}
        self._ended: deque[str] = deque(maxlen=limits.RECORDING_IDS_KEPT)

    def __len__(self) -> int:
        return len(self._open)

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del now
        match command:
            case StartRecording():
                _, media = self._leg.known()
                self._check_codec(media)
                if len(self) >= limits.RECORDINGS_PER_LEG_MAX:
                    detail = f"a call has at most {limits.RECORDINGS_PER_LEG_MAX} recordings at once"
                    raise CommandError("10027", detail)
            case (
                StopRecording(recording_id=str(wanted))
                | PauseRecording(recording_id=str(wanted))
                | (ResumeRecording(recording_id=str(wanted)))
            ) if wanted not in self._open and wanted not in self._ended:
                raise CommandError("10015", "this call has no such recording", "/recording_id")
            case _:
                pass  # what has ended by itself may be asked to end

    def check_plan(self, plan: Answer | Dial, media: NegotiatedMedia) -> None:
        """See `Ability`."""
        if plan.recording is not None:
            self._check_codec(media)

    def reserve(self, plan: Answer | Dial) -> dict[str, str]:
        """See `Ability`."""
        return {} if plan.recording is None else {"recording_id": self._leg.new_id()}

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        if plan.recording is None:
            return []
        return [self._start(ids["recording_id"], plan.recording)]

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        match command:
            case StartRecording():
                recording_id = self._leg.new_id()
                return {"recording_id": recording_id}, [self._start(recording_id, command.recording)]
            case StopRecording():
                return {}, self._stop(command.recording_id)
            case PauseRecording():
                return {}, self._hold(command.recording_id, held=True)
            case _:
                assert isinstance(command, ResumeRecording)
                return {}, self._hold(command.recording_id, held=False)

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return self._stop(None)

    def abandon(self) -> list[Decision]:
        """See `Ability`."""
        self._open.clear()
        return []

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        assert isinstance(fact, RecordingEnded)
        if self._open.pop(fact.recording_id, None) is not None:
            self._ended.append(fact.recording_id)
        return []

    def _check_codec(self, media: NegotiatedMedia) -> None:
        if media.codec_name in self._leg.codecs.opaque:
            detail = f"this call cannot be recorded: {why_opaque(media.codec_name)}"
            raise CommandError("10038", detail)

    def begin_beside(self, options: RecordingOptions) -> OpenRecording:
        """Record an answered leg because another command asked for that, too."""
        return self._start(self._leg.new_id(), options)

    def _start(self, recording_id: str, options: RecordingOptions) -> OpenRecording:
        _, media = self._leg.known()
        self._open[recording_id] = _Recording()
        rate_hz = WIDE_BAND_HZ if media.sample_rate_hz >= WIDE_BAND_HZ else NARROW_BAND_HZ
        return OpenRecording(recording_id, options, rate_hz)

    def _stop(self, wanted: str | None) -> list[Decision]:
        decided: list[Decision] = []
        for recording_id, recording in self._running(wanted):
            recording.closing = True
            decided.append(CloseRecording(recording_id))
        return decided

    def _hold(self, wanted: str | None, *, held: bool) -> list[Decision]:
        decided: list[Decision] = []
        for recording_id, recording in self._running(wanted):
            if recording.held is not held:
                recording.held = held
                decided.append(HoldRecording(recording_id, held))
        return decided

    def _running(self, wanted: str | None) -> list[tuple[str, _Recording]]:
        return [
            (recording_id, recording)
            for recording_id, recording in self._open.items()
            if not recording.closing and wanted in (None, recording_id)
        ]
