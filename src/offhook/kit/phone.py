"""A simulated phone: a real SIP and RTP caller, for trying servers and for tests.

    async with Phone() as phone:
        result = await phone.call(CallPlan(uri="sip:app@127.0.0.1:5060", play=read_wav(path)))

Each call is signalled by `offhook.edge.sip` and its audio runs in the media core, as a server's would.
"""

import asyncio
import itertools
from collections.abc import Callable
from types import TracebackType
from typing import Self

from offhook.edge.media.engine import MediaEngine
from offhook.edge.media.events import MediaEvent
from offhook.edge.media.native import NativeEngine
from offhook.edge.sip import Listen, SipServer
from offhook.kit.call_plan import CODECS, CallPlan, CallResult, PhoneError, PhoneEvent
from offhook.kit.capture import PacketCapture
from offhook.kit.phone_call import PhoneCall
from offhook.proto.sip import (
    CallHandle,
    IncomingCall,
    SipSyntaxError,
    SipUri,
    UserAgentConfig,
    UserAgentEvent,
    plain_host,
)

__all__ = [
    "CODECS",
    "CallPlan",
    "CallResult",
    "PacketCapture",
    "Phone",
    "PhoneError",
    "PhoneEvent",
    "bind_address_for",
]

RTP_PORTS = (40_000, 40_999)
PHONE_CALLS_MAX = 1_000


class Phone:
    """Makes calls, several at once if wanted. Use it as an async context manager.

    Args:
        bind_address: local address for SIP and RTP; "0.0.0.0" is reachable from other machines.
        rtp_ports: first and last UDP port for audio.
        engine: a media engine to use instead of a native one of its own; its events must be fed to
            `on_media_event` and its life is the caller's care.
    """

    def __init__(
        self,
        *,
        bind_address: str = "127.0.0.1",
        rtp_ports: tuple[int, int] = RTP_PORTS,
        engine: MediaEngine | None = None,
    ) -> None:
        self._bind_address = bind_address
        self._rtp_ports = rtp_ports
        self._given_engine = engine
        self._own_engine: NativeEngine | None = None
        self._numbers = itertools.count(1)
        self._by_handle: dict[CallHandle, PhoneCall] = {}
        self._by_leg: dict[int, PhoneCall] = {}
        config = UserAgentConfig(user_agent="Offhook-phone", contact_user="phone", max_calls=PHONE_CALLS_MAX)
        self.sip = SipServer(config, self._on_sip_event)

    async def __aenter__(self) -> Self:
        """Bind the sockets and start the media core.

        Raises:
            ConfigError: the core is not built, or no port is free.
        """
        if self._given_engine is None:
            self._own_engine = NativeEngine(
                workers=1, bind_address=self._bind_address, port_range=self._rtp_ports, drain_s=0.0
            )
            self._own_engine.attach(asyncio.get_running_loop(), self.on_media_event)
        try:
            await self.sip.start([Listen("udp", self._bind_address, 0), Listen("tcp", self._bind_address, 0)])
        except BaseException:
            self._close_engine()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything; calls that still run are cut off, so end them first."""
        await self.sip.close()
        self._close_engine()

    @property
    def engine(self) -> MediaEngine:
        """Return the media engine, while the phone is open."""
        engine = self._given_engine or self._own_engine
        assert engine is not None, "open the phone first: async with Phone() as phone"
        return engine

    async def call(
        self,
        plan: CallPlan,
        *,
        play_when: asyncio.Event | None = None,
        hang_up_when: asyncio.Event | None = None,
        capture: PacketCapture | None = None,
        on_event: Callable[[PhoneEvent], None] | None = None,
    ) -> CallResult:
        """Make one call and return when it is over. Cancelling hangs up first.

        Args:
            play_when: the phone speaks only once this is set, as a person waits for a hello.
            hang_up_when: once this is set the phone hangs up, whatever the plan says.
            capture: keeps every RTP packet of the call.
            on_event: told what happens, as it happens.

        Raises:
            PhoneError: the call could not be tried: no such host, no free port.
        """
        call = PhoneCall(
            self.sip,
            self.engine,
            plan,
            leg_id=next(self._numbers),
            play_when=play_when,
            hang_up_when=hang_up_when,
            capture=capture,
            on_event=on_event,
        )
        self._by_leg[call.leg_id] = call
        try:
            return await call.run(self._by_handle)
        finally:
            del self._by_leg[call.leg_id]

    def on_media_event(self, event: MediaEvent) -> None:
        """Take one event of the media engine."""
        if (call := self._by_leg.get(event.leg_id)) is not None:
            call.on_media_event(event)

    def _on_sip_event(self, event: UserAgentEvent) -> None:
        call = self._by_handle.get(event.call)
        if call is not None:
            call.on_sip_event(event)
        elif isinstance(event, IncomingCall):
            self.sip.reject(event.call, 480)  # this phone only calls; nobody picks it up

    def _close_engine(self) -> None:
        if self._own_engine is not None:
            self._own_engine.detach()
            self._own_engine.shutdown()
            self._own_engine = None


def bind_address_for(uri: str) -> str:
    """Return the local address to call `uri` from: loopback stays on loopback."""
    try:
        host = plain_host(SipUri.parse(uri).host)
    except SipSyntaxError:
        return "127.0.0.1"
    if host == "::1":
        return "::1"
    if ":" in host:
        return "::"
    return "127.0.0.1" if host == "localhost" or host.startswith("127.") else "0.0.0.0"
