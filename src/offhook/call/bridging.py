"""What a leg knows of its bridge: to whom, and what becomes of it when that one goes.

Two legs are joined by `app.bridging`, which tells both; each decides for itself what follows.

| bridge | by | next | effects |
| --- | --- | --- | --- |
| none | Bridge, an answer that was to be bridged | none | JoinLegs |
| | the same of a transfer whose called hears a sound first | none | |
| | PlaybackEnded, of that sound | none | JoinLegs |
| | CalleeRinging with audio, of a transfer's leg | none | HearEarly |
| | Bridged | there | Notify call.bridged |
| there | Bridged to another | there | Notify call.bridged |
| | Unbridged, END | none | the leg ends |
| | Unbridged, PARK; HOLD | none | HoldCall for HOLD |
| there, or a transfer rings | the call ends | | PartLegs |
"""

from typing import Any

from offhook.call import payloads
from offhook.call.ability import Ability, Decision, LegContext, Tell
from offhook.call.commands import AfterBridge, Answer, Bridge, BridgeOptions, Command, Dial, Transfer
from offhook.call.effects import HearEarly, HoldCall, JoinLegs, PartLegs
from offhook.call.errors import CommandError
from offhook.call.facts import Bridged, CalleeRinging, Fact, PlaybackEnded, Unbridged
from offhook.call.values import LegState


class Bridging(Ability):
    """One leg's side of a bridge."""

    COMMANDS = (Bridge, Transfer)
    FACTS = (Bridged, Unbridged, PlaybackEnded)

    def __init__(self, leg: LegContext) -> None:
        super().__init__(leg)
        self.other: str | None = None
        """The call_control_id of the leg at the other end."""
        self.stays = False
        """The last bridge is over, and the leg is to stay up."""
        self.after = AfterBridge.END
        """What becomes of the leg behind its next bridge, or the one it is in."""
        self._held = False
        self._transferring = False
        self._after_sound: BridgeOptions | None = None
        """The bridge that waits for the sound of its transfer."""

    def __len__(self) -> int:
        return 0

    def check(self, command: Command, now: float) -> None:
        """See `Ability`."""
        del now
        if not isinstance(command, Bridge):
            return
        pointer = "/call_control_id"
        if command.found is None:
            raise CommandError("90015", "`call_control_id` is not that of a call that is up.", pointer)
        if command.bridge.other == self._leg.identity.call_control_id:
            raise CommandError("90015", "a call cannot be bridged to itself", pointer)
        if command.found.state in (LegState.ENDING, LegState.ENDED):
            raise CommandError("90018", "the call to bridge with has ended", pointer)
        if command.found.state is not LegState.ANSWERED:
            raise CommandError("90034", "the call to bridge with is not answered yet", pointer)
        if command.bridge.prevent_double and command.found.bridged:
            raise CommandError("10027", "the call to bridge with is bridged already", pointer)

    def carry_out(self, command: Command, now: float) -> tuple[dict[str, Any], list[Decision]]:
        """See `Ability`."""
        del now
        if isinstance(command, Transfer):
            self.after = command.after
            self._transferring = True
            return {}, []
        assert isinstance(command, Bridge)
        self.after = command.bridge.after
        return {}, [JoinLegs(command.bridge)]

    def begin(self, plan: Answer | Dial, ids: dict[str, str], now: float) -> list[Decision]:
        """See `Ability`."""
        del ids, now
        if isinstance(plan, Dial):
            self.after = plan.after_bridge
        elif plan.bridge is not None:
            self.after = plan.bridge.after
        if plan.bridge is None:
            return []
        if isinstance(plan, Dial) and plan.playback is not None and plan.bridge.transfers:
            self._after_sound = plan.bridge
            return []
        return [JoinLegs(plan.bridge)]

    def ringing(self, plan: Dial, fact: CalleeRinging) -> list[Decision]:
        """Let the call that is being transferred hear what the far end sends before it answers."""
        if plan.bridge is None or not plan.bridge.early_media or fact.media is None:
            return []
        return [HearEarly(plan.bridge)]

    def handle(self, fact: Fact, now: float) -> list[Decision]:
        """See `Ability`."""
        del now
        if isinstance(fact, PlaybackEnded):
            bridge, self._after_sound = self._after_sound, None
            return [] if bridge is None else [JoinLegs(bridge)]
        record, _ = self._leg.known()
        if isinstance(fact, Bridged):
            self.other, self.stays = fact.other, False
            held, self._held = self._held, False
            resumed: list[Decision] = [HoldCall(False)] if held else []
            return [*resumed, Tell("call.bridged", payloads.parties(record))]
        self.other = None
        after, self.after = self.after, AfterBridge.END
        self.stays = after is not AfterBridge.END
        self._held = after is AfterBridge.HOLD
        return [HoldCall(True)] if self._held else []

    def close(self, hangup_cause: str, now: float) -> list[Decision]:
        """See `Ability`."""
        del hangup_cause, now
        parts = self.other is not None or self._transferring
        self.other = self._after_sound = None
        self._transferring = False
        return [PartLegs()] if parts else []
