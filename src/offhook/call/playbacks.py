"""The sounds and texts that a leg plays, from the command to their end: in two queues, one mixed over the other.

A text that a voice says (`Speak`) is a playback like any other; only what is told of it has other
names: `call.speak.started` and `call.speak.ended`.

Each accepted playback is told its end exactly once, and its start at most once before it: a file
that cannot be had, or is stopped while it waits, was never heard. That they are heard one after the
other is seen to where they are played; here they are all open.

| playback | by | told | then |
| --- | --- | --- | --- |
| new | StartPlayback, the answer to a Dial | | OpenPlayback |
| open | PlaybackStarted | call.playback.started | |
| | StopPlayback, the end of the call | | ClosePlayback |
| | PlaybackEnded | call.playback.ended | |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offhook.base import limits
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.codecs import why_opaque
from offhook.call.commands import (
    Answer,
    Command,
    Dial,
    PlaybackOptions,
    Speak,
    SpeakOptions,
    StartPlayback,
    StopPlayback,
    StopWhich,
)
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
        options = self.effect.options
        return {"media_name": options.name, "media_url": options.url, "overlay": options.overlay}

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
    """The sounds that have not reported their end, in the order in which they were asked for."""

    COMMANDS = (StartPlayback, Speak, StopPlayback)
    FACTS = (PlaybackStarted, PlaybackEnded)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self._open: dict[str, _Playback] = {}
        leg.player = self

    def __len__(self) -> int:
        return len(self._open)

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del now
        if isinstance(command, StartPlayback | Speak):
            self._check_room(stop=command.stop)

    def check_room(self) -> None:
        """See `Player`."""
        self._check_room(stop=None)

    def play(self, options: PlaybackOptions | SpeakOptions) -> tuple[str, Decision]:
        """See `Player`."""
        effect = self._start(options)
        return effect.playback_id, effect

    def cancel(self, playback_ids: Sequence[str]) -> list[Decision]:
        """See `Player`."""
        return self._close([self._open[each] for each in playback_ids if each in self._open], CANCELLED)

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        if isinstance(command, StartPlayback | Speak):
            options = command.playback if isinstance(command, StartPlayback) else command.speak
            stopped = [] if command.stop is None else self._stop(command.stop, overlay=options.overlay)
            return {}, [*stopped, self._start(options)]
        assert isinstance(command, StopPlayback)
        return {}, self._stop(command.stop, overlay=command.overlay)

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del ids, now
        if isinstance(plan, Dial) and plan.playback is not None:
            return [self._start(plan.playback)]
        return []

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        return [
            each
            for overlay in (False, True)
            for each in self._stop(StopWhich.ALL, CALL_HANGUP, overlay=overlay)
        ]

    def abandon(self) -> list[Decision]:
        """See `Ability`."""
        told: list[Decision] = [item.ended(item.closing or CALL_HANGUP) for item in self._open.values()]
        self._open.clear()
        return told

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        assert isinstance(fact, PlaybackStarted | PlaybackEnded)
        item = self._open.get(fact.playback_id)
        if item is None:
            return []
        if isinstance(fact, PlaybackStarted):
            if item.started or item.closing is not None:
                return []
            item.started = True
            return [item.begun()]
        del self._open[fact.playback_id]
        return [item.ended(fact.status, fact.detail) if item.closing is None else item.ended(item.closing)]

    def _start(self, options: PlaybackOptions | SpeakOptions) -> OpenPlayback | OpenSpeak:
        effect: OpenPlayback | OpenSpeak
        if isinstance(options, SpeakOptions):
            effect = OpenSpeak(self._leg.new_id(), options)
        else:
            effect = OpenPlayback(self._leg.new_id(), options)
        self._open[effect.playback_id] = _Playback(effect)
        return effect

    def _stop(self, which: StopWhich, status: str = CANCELLED, *, overlay: bool) -> list[Decision]:
        """End the first sound of a queue, or all of them."""
        queue = [item for item in self._open.values() if item.effect.options.overlay == overlay]
        return self._close(queue[:1] if which is StopWhich.CURRENT else queue, status)

    def _close(self, items: Sequence[_Playback], status: str) -> list[Decision]:
        decided: list[Decision] = []
        for item in items:
            if item.closing is None:
                item.closing = status
                decided.append(ClosePlayback(item.effect.playback_id))
        return decided

    def _check_room(self, *, stop: StopWhich | None) -> None:
        _, media = self._leg.known()
        if media.codec_name in self._leg.codecs.opaque:
            raise CommandError("10038", f"nothing can be played here: {why_opaque(media.codec_name)}")
        if len(self) >= limits.PLAYBACKS_PER_LEG_MAX and stop is not StopWhich.ALL:
            raise CommandError("10027", f"a call has at most {limits.PLAYBACKS_PER_LEG_MAX} sounds to play")
