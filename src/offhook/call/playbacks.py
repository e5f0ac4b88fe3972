"""The sounds and texts that a leg plays, one after the other, from the command to its `ended`.

A text that a voice says (`Speak`) is a playback like any other; only what is told of it has other
names: `call.speak.started` and `call.speak.ended`. Each accepted playback is told its end exactly
once, and its start at most once before it: a file that cannot be had, or is stopped while it
waits, was never heard.

| playback | by | told | then |
| --- | --- | --- | --- |
| waits | its turn | | OpenPlayback |
| | StopPlayback all, the end of the call | call.playback.ended | |
| open | PlaybackStarted | call.playback.started | |
| | StopPlayback, the end of the call | | ClosePlayback |
| | PlaybackEnded | call.playback.ended | the next one's OpenPlayback |
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from offhook.base import limits
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.codecs import why_opaque
from offhook.call.commands import Command, Speak, StartPlayback, StopPlayback, StopWhich
from offhook.call.effects import ClosePlayback, OpenPlayback, OpenSpeak
from offhook.call.errors import CommandError
from offhook.call.facts import Fact, Payload, PlaybackEnded, PlaybackStarted

CANCELLED = "cancelled"
CALL_HANGUP = "call_hangup"
_SPEAK_STATUSES = {CANCELLED: "completed"}
"""The API has no status of its own for a text that was stopped (contract 3.4)."""


@dataclass(slots=True)
class _Playback:
    """`closing` is the status it will end with, once it has been asked to end."""

    effect: OpenPlayback | OpenSpeak
    started: bool = False
    closing: str | None = None

    def told(self) -> Payload:
        if isinstance(self.effect, OpenSpeak):
            return {"speak_id": self.effect.playback_id}
        return {"media_name": None, "media_url": self.effect.options.url, "overlay": False}

    def begun(self) -> Tell:
        if isinstance(self.effect, OpenSpeak):
            return Tell("call.speak.started", self.told())
        return Tell("call.playback.started", self.told())

    def ended(self, status: str, detail: str = "") -> Tell:
        told = {**self.told(), "status": status, "status_detail": detail}
        if isinstance(self.effect, OpenSpeak):
            told["status"] = _SPEAK_STATUSES.get(status, status)
            return Tell("call.speak.ended", told)
        return Tell("call.playback.ended", told)


class Playbacks(Ability):
    """The sound that is open, first, and those that wait."""

    COMMANDS = (StartPlayback, Speak, StopPlayback)
    FACTS = (PlaybackStarted, PlaybackEnded)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._queue: deque[_Playback] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del now
        if not isinstance(command, StartPlayback | Speak):
            return
        _, media = self._leg.known()
        if media.codec_name in self._leg.codecs.opaque:
            raise CommandError("10038", f"nothing can be played here: {why_opaque(media.codec_name)}")
        if len(self) >= limits.PLAYBACKS_PER_LEG_MAX and command.stop is not StopWhich.ALL:
            raise CommandError("10027", f"a call has at most {limits.PLAYBACKS_PER_LEG_MAX} sounds to play")

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        if isinstance(command, StartPlayback | Speak):
            return {}, self._start(command)
        assert isinstance(command, StopPlayback)
        return {}, self._stop(command.stop)

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return self._stop(StopWhich.ALL, CALL_HANGUP)

    def abandon(self) -> list[Decision]:
        """See `Ability`."""
        told: list[Decision] = [playback.ended(playback.closing or CALL_HANGUP) for playback in self._queue]
        self._queue.clear()
        return told

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """Take a fact; what is not about the open sound is ignored."""
        del now
        assert isinstance(fact, PlaybackStarted | PlaybackEnded)
        if not self._queue or self._queue[0].effect.playback_id != fact.playback_id:
            return []
        current = self._queue[0]
        if isinstance(fact, PlaybackStarted):
            if current.started or current.closing is not None:
                return []
            current.started = True
            return [current.begun()]
        self._queue.popleft()
        if current.closing is None:
            ended = current.ended(fact.status, fact.detail)
        else:
            ended = current.ended(current.closing)
        return [ended, self._queue[0].effect] if self._queue else [ended]

    def _start(self, command: StartPlayback | Speak) -> list[Decision]:
        """Let a sound wait its turn, which may be now."""
        decided = [] if command.stop is None else self._stop(command.stop)
        playback_id = self._leg.new_id()
        effect: OpenPlayback | OpenSpeak
        if isinstance(command, Speak):
            effect = OpenSpeak(playback_id, command.speak)
        else:
            effect = OpenPlayback(playback_id, command.playback)
        self._queue.append(_Playback(effect))
        return [*decided, effect] if len(self) == 1 else decided

    def _stop(self, which: StopWhich, status: str = CANCELLED) -> list[Decision]:
        """End what is open, and with `ALL` what waits."""
        decided: list[Decision] = []
        if which is StopWhich.ALL:
            while len(self) > 1:
                decided.append(self._queue.pop().ended(status))
            decided.reverse()
        if self._queue and self._queue[0].closing is None:
            self._queue[0].closing = status
            decided.append(ClosePlayback(self._queue[0].effect.playback_id))
        return decided
