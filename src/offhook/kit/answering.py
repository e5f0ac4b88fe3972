"""A simulated callee: a phone that rings, answers and speaks, or refuses. For trying what calls out.

async with AnsweringPhone(AnswerPlan(play=read_wav(path)), Listen("udp", "127.0.0.1", 5070)) as phone:
    await phone.wait(calls=1)
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from offhook.base.ids import system_random
from offhook.base.tasks import TaskSet
from offhook.edge.media import events as media
from offhook.edge.media.agreed import connect_agreed
from offhook.edge.media.engine import MediaError
from offhook.edge.media.native import NativeEngine
from offhook.edge.sip import Listen, SipServer
from offhook.kit.audio import Sound
from offhook.kit.call_plan import CODECS, PhoneEvent
from offhook.proto import sip
from offhook.proto.sdp import NegotiatedMedia, SdpError, SessionDescription, make_answer, negotiate

CALLS_MAX = 1_000
PLAY_SLICE_S = 10
END_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """What the phone does with each call.

    Attributes:
        ring_s: how long it rings first.
        refuse: SIP status to refuse with after that; None: it answers.
        play: what it says once it has answered.
        duration_s: hang up so long after the answer; None: when the other side does.
        codecs: what it speaks, best first.
    """

    ring_s: float = 0.0
    refuse: int | None = None
    play: Sound | None = None
    duration_s: float | None = None
    codecs: tuple[str, ...] = CODECS


@dataclass(slots=True)
class _Call:
    handle: sip.CallHandle
    leg_id: int
    offer: SessionDescription | None
    local_address: str
    began_at: float
    tasks: TaskSet = field(default_factory=TaskSet)
    answered: bool = False
    leg_open: bool = False
    version: int = 1
    digits: str = ""


class AnsweringPhone:
    """Answers every call by one plan. Use it as an async context manager.

    Args:
        plan: what it does.
        listen: where it can be called; port 0 takes any free one, `uri` tells which.
        on_event: told what happens: ringing, answered, media, digit, refused, hangup.
        rtp_ports: first and last UDP port for audio.
    """

    def __init__(
        self,
        plan: AnswerPlan,
        listen: Listen,
        *,
        on_event: Callable[[PhoneEvent], None] = lambda event: None,
        rtp_ports: tuple[int, int] = (41_000, 41_999),
    ) -> None:
        self._plan = plan
        self._listen = listen
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._calls: dict[sip.CallHandle, _Call] = {}
        self._by_leg: dict[int, _Call] = {}
        self._ended = asyncio.Condition()
        self.calls_over = 0
        self._tasks = TaskSet()
        self._engine = NativeEngine(workers=1, bind_address=listen.host, port_range=rtp_ports, drain_s=0.0)
        config = sip.UserAgentConfig(user_agent="Offhook-phone", contact_user="phone", max_calls=CALLS_MAX)
        self._sip = SipServer(config, self._on_sip_event)

    async def __aenter__(self) -> Self:
        """Bind the sockets.

        Raises:
            ConfigError: the address cannot be bound.
        """
        self._engine.attach(asyncio.get_running_loop(), self._on_media_event)
        try:
            await self._sip.start([self._listen])
        except BaseException:
            self._close_engine()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up what is left and close everything."""
        for call in tuple(self._calls.values()):
            self._sip.hangup(call.handle)
        if self._by_leg:
            await asyncio.wait({self._tasks.start(self._legs_closed(), name="legs")}, timeout=END_TIMEOUT_S)
        await self._tasks.close()
        await self._sip.close()
        self._close_engine()

    @property
    def uri(self) -> str:
        """Return what to dial."""
        bound = self._sip.bound[0]
        way = "" if bound.transport == "udp" else f";transport={bound.transport}"
        return f"sip:phone@{sip.url_host(bound.host)}:{bound.port}{way}"

    async def wait(self, calls: int) -> None:
        """Return when so many calls are over."""
        async with self._ended:
            await self._ended.wait_for(lambda: self.calls_over >= calls)

    # What happens

    def _on_sip_event(self, event: sip.UserAgentEvent) -> None:
        if isinstance(event, sip.IncomingCall):
            self._incoming(event)
            return
        call = self._calls.get(event.call)
        if call is None:
            return
        match event:
            case sip.CallCancelled():
                self._over(call, "hangup", by="remote", status=487)
            case sip.CallRejected():
                self._over(call, "refused", status=event.status)
            case sip.CallEnded():
                self._over(call, "hangup", by="remote" if event.by_peer else "local")
            case sip.OfferReceived():
                self._offered(call, event.sdp)
            case _:
                pass

    def _on_media_event(self, event: media.MediaEvent) -> None:
        call = self._by_leg.get(event.leg_id)
        if call is None:
            return
        match event:
            case media.MediaStarted():
                self._tell(call, "media")
            case media.DigitReceived():
                call.digits += event.digit
                self._tell(call, "digit", digit=event.digit)
            case media.LegClosed():
                del self._by_leg[event.leg_id]
            case _:
                pass

    # What the phone does

    def _incoming(self, event: sip.IncomingCall) -> None:
        call = _Call(
            event.call,
            next(self._numbers),
            self._parsed(event.sdp),
            event.source.local[0],
            asyncio.get_running_loop().time(),
        )
        self._calls[event.call] = call
        self._sip.ring(event.call)
        self._tell(call, "ringing", caller=event.from_uri)
        call.tasks.start(self._follow_plan(call), name="answer")

    async def _follow_plan(self, call: _Call) -> None:
        plan = self._plan
        await asyncio.sleep(plan.ring_s)
        if plan.refuse is not None:
            self._sip.reject(call.handle, plan.refuse)
            return
        agreed = negotiate(call.offer, plan.codecs) if call.offer is not None else None
        if agreed is None:
            self._sip.reject(call.handle, 488)
            return
        try:
            self._answer(call, agreed)
        except MediaError:
            self._sip.reject(call.handle, 500)
            return
        self._tell(call, "answered", codec=agreed.codec_name)
        if plan.play is not None:
            call.tasks.start(self._speak(call, plan.play), name="speak")
        if plan.duration_s is not None:
            await asyncio.sleep(plan.duration_s)
            self._sip.hangup(call.handle)

    def _answer(self, call: _Call, agreed: NegotiatedMedia) -> None:
        assert call.offer is not None, "what was agreed on was offered"
        ports = self._engine.open_leg(call.leg_id, rtcp_mux=agreed.rtcp_mux)
        call.leg_open = True
        self._by_leg[call.leg_id] = call
        connect_agreed(self._engine, call.leg_id, agreed, silence_when_idle=True)
        self._sip.accept(call.handle, self._sdp(call, agreed, ports))
        call.answered = True

    def _sdp(self, call: _Call, agreed: NegotiatedMedia, ports: tuple[int, int]) -> bytes:
        assert call.offer is not None, "what was agreed on was offered"
        return make_answer(
            call.offer,
            agreed,
            address=call.local_address,
            rtp_port=ports[0],
            rtcp_port=ports[1],
            session_id=int.from_bytes(system_random(4), "big"),
            version=call.version,
        )

    async def _speak(self, call: _Call, sound: Sound) -> None:
        size = PLAY_SLICE_S * sound.sample_rate_hz * 2
        for number, at in enumerate(range(0, len(sound.pcm), size)):
            if number >= 2:
                await asyncio.sleep(PLAY_SLICE_S)  # what the core keeps is bounded, a call is not
            piece = sound.pcm[at : at + size]
            self._engine.play(call.leg_id, number + 1, pcm=piece, sample_rate_hz=sound.sample_rate_hz)

    def _offered(self, call: _Call, sdp: bytes | None) -> None:
        """Refuse new media: this phone stays as it is, and the session with it (RFC 3261 14.2)."""
        del sdp
        self._sip.refuse_offer(call.handle)

    def _over(self, call: _Call, kind: str, **fields: Any) -> None:
        del self._calls[call.handle]
        if call.leg_open:
            self._engine.close_leg(call.leg_id)
        self._tell(call, kind, digits=call.digits, **fields)
        self._tasks.start(self._settle(call), name="call over")

    async def _settle(self, call: _Call) -> None:
        await call.tasks.close()
        async with self._ended:
            self.calls_over += 1
            self._ended.notify_all()

    async def _legs_closed(self) -> None:
        while self._by_leg:  # noqa: ASYNC110 - the core's reports come through the loop, and no event exists
            await asyncio.sleep(0.01)

    def _parsed(self, sdp: bytes | None) -> SessionDescription | None:
        try:
            return None if sdp is None else SessionDescription.parse(sdp)
        except SdpError:
            return None

    def _tell(self, call: _Call, kind: str, **fields: Any) -> None:
        at_s = asyncio.get_running_loop().time() - call.began_at
        self._on_event(PhoneEvent(kind, at_s, {"call": call.leg_id, **fields}))

    def _close_engine(self) -> None:
        self._engine.detach()
        self._engine.shutdown()
