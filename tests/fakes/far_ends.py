"""The far ends of calls out of a house in memory."""

from typing import Any

from offhook.call import commands as ask
from offhook.proto import sip
from offhook.proto.sdp import SessionDescription, make_answer, negotiate
from tests.fakes.runners import House

APPLICATION = "1000000000000000001"
ONE, TWO = "sip:a@192.0.2.21:5070", "sip:b@192.0.2.22"


def plan(*to: str, **changes: Any) -> ask.Dial:
    """Return a call as asked for."""
    return ask.Dial(connection_id=APPLICATION, to=to or (ONE,), caller="+15550001111", **changes)


class Far:
    """The far ends of a house: what was sent to them, and what they say."""

    def __init__(self, **flags: Any) -> None:
        self.house = House(**flags)
        self.house.egress.answer.set()
        self.sip = self.house.sip

    async def dial(self, *to: str, **changes: Any) -> str:
        """Dial and let the INVITEs go out; return the call_control_id."""
        reply = self.house.calls.dial(plan(*to, **changes))
        await self.house.settle()
        return str(reply.data["call_control_id"])

    async def ring(self, number: int = 1) -> str:
        """Let a call come in; return its call_control_id."""
        self.house.invite(number)
        await self.house.settle()
        return self.house.call_control_id

    async def take(self, number: int = 1) -> str:
        """Let a call come in, and answer it."""
        call = await self.ring(number)
        self.house.calls.command(call, "answer", ask.Answer())
        await self.say(sip.CallEstablished(sip.CallHandle(number), None))
        return call

    async def say(self, event: sip.UserAgentEvent) -> None:
        self.house.calls.on_sip_event(event)
        await self.house.settle()

    async def pick_up(self, number: int) -> None:
        """Let a phone answer."""
        await self.say(sip.CallAccepted(self.call(number), self.answer(number), ()))

    def answer(self, number: int) -> bytes:
        offer = SessionDescription.parse(self.sip.invites[number][1])
        agreed = negotiate(offer, ("PCMA",))
        assert agreed is not None
        return make_answer(
            offer, agreed, address="192.0.2.21", rtp_port=4000, rtcp_port=4001, session_id=1, version=1
        )

    def call(self, number: int) -> sip.CallHandle:
        return self.sip.handles[number]

    def told(self, event_type: str) -> dict[str, Any]:
        events = [event for leg in self.house.outbox.by_leg.values() for event in leg]
        return next(payload for kind, payload in events if kind == event_type)

    def events(self, call_control_id: str) -> list[str]:
        """Return the types of the webhooks of one call, in order."""
        events = [event for leg in self.house.outbox.by_leg.values() for event in leg]
        return [kind for kind, payload in events if payload["call_control_id"] == call_control_id]

    def bridged_media(self) -> set[tuple[int, int]]:
        """Return the pairs of media legs that hear each other."""
        legs = self.house.media.legs.values()
        return {(leg.leg_id, leg.other.leg_id) for leg in legs if leg.other is not None}
