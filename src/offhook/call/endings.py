"""What ends a leg: for each state the facts that do, the verdict on the call, and what is sent for it."""

from dataclasses import dataclass

from offhook.call import facts, verdicts
from offhook.call.effects import Effect, EndCall, RejectCall
from offhook.call.values import LegState
from offhook.call.verdicts import Verdict

EndingFact = (
    facts.CallerCancelled
    | facts.PeerHungUp
    | facts.SignallingFailed
    | facts.MediaFailed
    | facts.MediaTimedOut
)


@dataclass(frozen=True, slots=True)
class Ending:
    """Why the call is over, and what tells the far end so; None: it knows."""

    verdict: Verdict
    farewell: Effect | None = None


def ending_by(fact: EndingFact, state: LegState, *, outgoing: bool) -> Ending | None:
    """Return how a fact ends a leg that is up; None: it does not, because it comes too early or too late."""
    ringing = state is LegState.PARKED
    match fact:
        case facts.CallerCancelled() if state is LegState.ANSWERED:
            return None  # a CANCEL after the final answer has no effect (RFC 3261 9.2)
        case facts.CallerCancelled() | facts.PeerHungUp() if state is LegState.DIALLING:
            return None  # there is no dialog yet that could end
        case facts.CallerCancelled():
            return Ending(verdicts.CANCELLED)
        case facts.PeerHungUp() if ringing:
            return Ending(verdicts.CANCELLED, RejectCall(487))
        case facts.PeerHungUp():
            return Ending(verdicts.ENDED_BY_CALLED_PHONE if outgoing else verdicts.ENDED_BY_CALLER)
        case facts.SignallingFailed():
            farewell = RejectCall(500) if ringing else EndCall()
            return Ending(verdicts.dialog_broken(fact.sip_status), farewell)
        case facts.MediaFailed() if state is LegState.DIALLING:
            return Ending(verdicts.MEDIA_REFUSED, EndCall())
        case facts.MediaFailed() if state is not LegState.ANSWERED:
            return Ending(verdicts.MEDIA_REFUSED, RejectCall(500))
        case facts.MediaFailed():
            return Ending(verdicts.MEDIA_LOST, EndCall())
        case facts.MediaTimedOut() if state is LegState.ANSWERED:
            return Ending(verdicts.MEDIA_LOST, EndCall())
        case _:
            return None  # no media is expected before the answer


def ending_by_time(state: LegState, *, retry_on_timeout: bool) -> Ending:
    """Return how a leg that is up ends when its time is over."""
    match state:
        case LegState.PARKED:
            return Ending(verdicts.NOBODY_ANSWERED, RejectCall(480))
        case LegState.DIALLING:
            return Ending(verdicts.rang_too_long(487, retry_on_timeout=retry_on_timeout), EndCall())
        case LegState.ANSWERING:
            return Ending(verdicts.NO_ACK, EndCall())
        case _:
            return Ending(verdicts.TIME_LIMIT_REACHED, EndCall())
