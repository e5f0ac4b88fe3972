"""Which leg is bridged to which: the only place that knows two legs at once.

Each leg decides for itself; what concerns both is told to both here, and the media core is asked to
let them hear each other.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from offhook.call import facts
from offhook.call.commands import Answer, BridgeOptions, MuteDtmf
from offhook.call.errors import CommandError
from offhook.call.values import LegState, TargetLegs
from offhook.edge.media.engine import MediaEngine, MediaError

if TYPE_CHECKING:
    from offhook.app.runner import LegRunner

log = structlog.get_logger(__name__)


class Bridges:
    """The pairs of legs that are bridged, and the legs that ring for another one.

    Args:
        media: the core that the media legs live in.
        find: the leg of a call_control_id, while it lasts.
    """

    def __init__(self, media: MediaEngine, find: Callable[[str], "LegRunner | None"]) -> None:
        self._media = media
        self._find = find
        self._others: dict[LegRunner, LegRunner] = {}
        self._ringing: dict[LegRunner, set[LegRunner]] = {}

    def rings_for(self, leg: "LegRunner", transferred: "LegRunner") -> None:
        """Take note that a leg was made to be bridged to another one, and has no use without it."""
        self._ringing.setdefault(transferred, set()).add(leg)

    def hear_early(self, leg: "LegRunner", bridge: BridgeOptions) -> None:
        """Let the leg that is transferred hear one that still rings."""
        other = self._find(bridge.other)
        if other is not None and other.leg.state is LegState.ANSWERED and other not in self._others:
            self._connect(leg, other, bridge)

    def join(self, leg: "LegRunner", bridge: BridgeOptions) -> None:
        """Bridge a leg as asked for, in place of whom each of both was bridged to before."""
        self._no_longer_rings(leg)
        if leg.leg.state is not LegState.ANSWERED:
            return  # it has ended while this waited its turn
        other = self._find(bridge.other)
        if other is not None and other.leg.state is LegState.PARKED and self._answer_for(other, leg, bridge):
            return  # it joins us when its answer has been acknowledged
        refused = bridge.prevent_double and other in self._others
        if other is None or other.leg.state is not LegState.ANSWERED or refused:
            log.info("there is nothing to bridge to", leg=leg.leg.identity.call_leg_id)
            self._failed(leg, bridge)
        elif self._connect(leg, other, bridge):
            former = {self._others.pop(one, None) for one in (leg, other)} - {None, leg, other}
            self._others |= {leg: other, other: leg}
            leg.feed(facts.Bridged(bridge.other))
            other.feed(facts.Bridged(leg.leg.identity.call_control_id))
            for parted in former:
                assert parted is not None
                del self._others[parted]
                parted.feed(facts.Unbridged())
        else:
            self._failed(leg, bridge)

    def part(self, leg: "LegRunner") -> None:
        """End the bridge of a leg that is going, and give up what rings for it."""
        other = self._others.pop(leg, None)
        if other is not None:
            del self._others[other]
            self._disconnect(leg)
            other.feed(facts.Unbridged())
        for ringing in self._ringing.pop(leg, set()):
            ringing.hang_up()

    def hearing(self, leg: "LegRunner", wanted: TargetLegs) -> tuple[int, ...]:
        """Return the media legs whose far ends are to hear a sound; of a leg without a bridge only its own."""
        other = self._others.get(leg)
        if other is None or wanted is TargetLegs.SELF:
            return (leg.media_leg_id,)
        both = wanted is TargetLegs.BOTH
        return (leg.media_leg_id, other.media_leg_id) if both else (other.media_leg_id,)

    def forget(self, leg: "LegRunner") -> None:
        """Forget a leg that is gone, however it went."""
        self.part(leg)
        self._no_longer_rings(leg)

    def __len__(self) -> int:
        """Return how many bridges there are."""
        return len(self._others) // 2

    def _answer_for(self, other: "LegRunner", leg: "LegRunner", bridge: BridgeOptions) -> bool:
        mirrored = BridgeOptions(
            other=leg.leg.identity.call_control_id,
            after=other.leg.after_bridge,
            mute_dtmf=bridge.mute_dtmf.seen_from_opposite(),
        )
        try:
            other.command(Answer(bridge=mirrored))
        except CommandError as error:
            log.info("a call cannot be answered for a bridge", reason=str(error))
            return False
        return True

    def _connect(self, leg: "LegRunner", other: "LegRunner", bridge: BridgeOptions) -> bool:
        muted = bridge.mute_dtmf
        try:
            self._media.bridge(
                leg.media_leg_id,
                other.media_leg_id,
                keys=muted not in (MuteDtmf.SELF, MuteDtmf.BOTH),
                other_keys=muted not in (MuteDtmf.OPPOSITE, MuteDtmf.BOTH),
            )
        except MediaError as error:
            log.warning("two calls cannot be bridged", reason=str(error))
            return False
        return True

    def _disconnect(self, leg: "LegRunner") -> None:
        try:
            self._media.unbridge(leg.media_leg_id)
        except MediaError:
            log.debug("the media leg of a bridge has gone before")

    def _failed(self, leg: "LegRunner", bridge: BridgeOptions) -> None:
        if bridge.transfers:
            leg.hang_up()

    def _no_longer_rings(self, leg: "LegRunner") -> None:
        for ringing in self._ringing.values():
            ringing.discard(leg)
