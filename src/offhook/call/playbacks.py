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
from dataclasses import dataclass, field

from offhook.base import limits
from offhook.call.codecs import why_opaque
from offhook.call.commands import Speak, StartPlayback, StopWhich
from offhook.call.effects import ClosePlayback, Effect, OpenPlayback, OpenSpeak
from offhook.call.errors import CommandError
from offhook.call.facts import Payload, PlaybackEnded, PlaybackStarted
from offhook.call.taps import Tell
from offhook.proto.sdp import NegotiatedMedia

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
        return Tell(f"call.{self._kind()}.started", self.told())

    def ended(self, status: str, detail: str = "") -> Tell:
        if isinstance(self.effect, OpenSpeak):
            status = _SPEAK_STATUSES.get(status, status)
        told = {**self.told(), "status": status, "status_detail": detail}
        return Tell(f"call.{self._kind()}.ended", told)

    def _kind(self) -> str:
        return "speak" if isinstance(self.effect, OpenSpeak) else "playback"


@dataclass(slots=True)
class Playbacks:
    """The sound that is open, first, and those that wait."""

    _queue: deque[_Playback] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._queue)

    def check(
        self, command: StartPlayback | Speak, media: NegotiatedMedia | None, opaque: frozenset[str]
    ) -> None:
        """Raise `CommandError` when the sound cannot be played into the call, or too many wait."""
        if media is not None and media.codec_name in opaque:
            raise CommandError("10038", f"nothing can be played here: {why_opaque(media.codec_name)}")
        if len(self) >= limits.PLAYBACKS_PER_LEG_MAX and command.stop is not StopWhich.ALL:
            raise CommandError("10027", f"a call has at most {limits.PLAYBACKS_PER_LEG_MAX} sounds to play")

    def start(self, playback_id: str, command: StartPlayback | Speak) -> list[Effect | Tell]:
        """Let a sound wait its turn, which may be now."""
        decided = [] if command.stop is None else self.stop(command.stop)
        effect: OpenPlayback | OpenSpeak
        if isinstance(command, Speak):
            effect = OpenSpeak(playback_id, command.speak)
        else:
            effect = OpenPlayback(playback_id, command.playback)
        self._queue.append(_Playback(effect))
        return [*decided, effect] if len(self) == 1 else decided

    def stop(self, which: StopWhich, status: str = CANCELLED) -> list[Effect | Tell]:
        """End what is open, and with `ALL` what waits."""
        decided: list[Effect | Tell] = []
        if which is StopWhich.ALL:
            while len(self) > 1:
                decided.append(self._queue.pop().ended(status))
            decided.reverse()
        if self._queue and self._queue[0].closing is None:
            self._queue[0].closing = status
            decided.append(ClosePlayback(self._queue[0].effect.playback_id))
        return decided

    def close_all(self) -> list[Effect | Tell]:
        """End everything because the call has ended."""
        return self.stop(StopWhich.ALL, CALL_HANGUP)

    def abandon(self) -> list[Tell]:
        """Forget what never reported its end, and tell it."""
        told = [playback.ended(playback.closing or CALL_HANGUP) for playback in self._queue]
        self._queue.clear()
        return told

    def handle(self, fact: PlaybackStarted | PlaybackEnded) -> list[Effect | Tell]:
        """Take a fact; what is not about the open sound is ignored."""
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
