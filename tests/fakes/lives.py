"""Every event there is, as real legs tell it in lives that together hold everything a call can do."""

from collections import defaultdict
from typing import Any

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.values import UdpTarget
from tests.fakes.legs import Desk, answered
from tests.unit.call.test_payloads import whole_life

_AGENT = ask.StartStream(dialogflow=ask.DialogflowOptions(analyze_sentiment=True))
_ANSWER = facts.AgentAnswered("id-1", "hello", 1.0, True, (("Hi!",),), "greeting", "en", (0.5, 2.0))


def with_an_agent() -> Desk:
    """Return a desk whose call has talked with a Dialogflow agent."""
    desk = answered()
    desk.command(_AGENT)
    desk.tell(facts.StreamConnected("id-1"), _ANSWER, facts.StreamClosed("id-1", "command"))
    return desk


def with_one_target() -> Desk:
    """Return a desk whose call was forked to one port."""
    desk = answered()
    desk.command(ask.StartFork(target=UdpTarget("192.0.2.9", 5000)))
    desk.tell(facts.ForkOpened("id-1"), facts.ForkClosed("id-1"))
    return desk


def with_an_entry() -> Desk:
    """Return a desk whose caller has pressed the keys that were waited for."""
    desk = answered()
    desk.command(ask.Gather(gather_id="pin"))
    desk.tell(facts.DigitReceived("1"), facts.DigitReceived("#"))
    return desk


def with_signals() -> Desk:
    """Return a desk whose far end sent an INFO, and was referred twice: in vain, and to somebody."""
    desk = answered()
    desk.tell(facts.InfoReceived("text/plain", "hello"))
    desk.command(ask.Refer(target="sip:desk@pbx.example"))
    desk.tell(facts.ReferAnswered(603))
    desk.command(ask.Refer(target="sip:sales@pbx.example"))
    desk.tell(facts.ReferAnswered(202), facts.ReferNotified(200, over=True))
    return desk


LIVES = (whole_life, with_an_agent, with_one_target, with_an_entry, with_signals)
"""A new event joins one of these, or brings its own."""


def payloads_told() -> dict[str, list[dict[str, Any]]]:
    """Return the payloads of all events of all lives, by event type."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for live in LIVES:
        for effect in live().done:
            if isinstance(effect, do.Notify):
                found[effect.event_type].append(effect.payload)
    return dict(found)
