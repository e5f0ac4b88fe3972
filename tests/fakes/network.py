"""A seeded bad network between simulated SIP endpoints, on the clock of a `VirtualTimeLoop`."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from offhook.proto.sip import (
    CallHandle,
    Flow,
    Headers,
    OutgoingCall,
    UserAgent,
    UserAgentConfig,
    UserAgentEvent,
)


@dataclass(frozen=True)
class Weather:
    """What the network does to each datagram."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_ms: tuple[float, float] = (1.0, 1.0)
    """Uniform between the two, so that datagrams overtake one another."""


class SimulatedNetwork:
    """Carries datagrams between endpoints by their address."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, weather: Weather) -> None:
        self.counters: Counter[str] = Counter()
        self._loop = loop
        self._random = random.Random(seed)
        self._weather = weather
        self._endpoints: dict[tuple[str, int], Callable[[bytes, tuple[str, int]], None]] = {}

    def join(self, address: tuple[str, int], receive: Callable[[bytes, tuple[str, int]], None]) -> None:
        """Deliver what is sent to `address` to `receive(data, source)`."""
        self._endpoints[address] = receive

    def send(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        """Take a datagram; it arrives late, twice or never."""
        self.counters["sent"] += 1
        if self._random.random() < self._weather.loss:
            self.counters["lost"] += 1
            return
        copies = 2 if self._random.random() < self._weather.duplication else 1
        for _ in range(copies):
            delay_s = self._random.uniform(*self._weather.delay_ms) / 1000.0
            self._loop.call_later(delay_s, self._endpoints[target], data, source)


class SimulatedSip:
    """A `SipServer` without sockets: one user agent at one address of a simulated network."""

    def __init__(
        self,
        network: SimulatedNetwork,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        on_event: Callable[[UserAgentEvent], None],
        *,
        seed: int,
        max_calls: int = 5_000,
    ) -> None:
        self.agent = UserAgent(UserAgentConfig(max_calls=max_calls), random.Random(seed).randbytes)
        self._network = network
        self._loop = loop
        self._address = address
        self._on_event = on_event
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        network.join(address, self._receive)

    def flow_to(self, remote: tuple[str, int]) -> Flow:
        """Return the flow from here to `remote`."""
        return Flow("udp", self._address, remote)

    def ring(self, call: CallHandle) -> None:
        """As `SipServer.ring`."""
        self.agent.ring(call, self._loop.time())
        self.pump()

    def accept(self, call: CallHandle, sdp: bytes, *, headers: Headers = ()) -> None:
        """As `SipServer.accept`."""
        self.agent.accept(call, sdp, self._loop.time(), headers=headers)
        self.pump()

    def reject(
        self, call: CallHandle, status: int, *, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """As `SipServer.reject`."""
        self.agent.reject(call, status, self._loop.time(), reason=reason, headers=headers)
        self.pump()

    def hangup(self, call: CallHandle, *, headers: Headers = ()) -> None:
        """As `SipServer.hangup`."""
        self.agent.hangup(call, self._loop.time(), headers=headers)
        self.pump()

    def invite(self, call: OutgoingCall, sdp: bytes) -> CallHandle:
        """As `SipServer.invite`."""
        handle = self.agent.invite(call, sdp, self._loop.time())
        self.pump()
        return handle

    def flow_at(self, transport: str, hosts: Sequence[str], port: int) -> Flow:
        """As `SipServer.flow_at`."""
        del transport
        return self.flow_to((hosts[0], port))

    def reinvite(self, call: CallHandle, sdp: bytes) -> None:
        """As `SipServer.reinvite`."""
        self.agent.reinvite(call, sdp, self._loop.time())
        self.pump()

    def answer_offer(self, call: CallHandle, sdp: bytes) -> None:
        """As `SipServer.answer_offer`."""
        self.agent.answer_offer(call, sdp, self._loop.time())
        self.pump()

    def refuse_offer(self, call: CallHandle, *, status: int = 488) -> None:
        """As `SipServer.refuse_offer`."""
        self.agent.refuse_offer(call, self._loop.time(), status=status)
        self.pump()

    def pump(self) -> None:
        """Send, tell and re-arm, as the real driver does."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while True:
                for transmit in self.agent.transmits():
                    self._network.send(transmit.data, self._address, transmit.flow.remote)
                events = self.agent.events()
                if not events:
                    break
                for event in events:
                    self._on_event(event)
        finally:
            self._pumping = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.agent.poll_timeout()
        if due is not None:
            self._timer = self._loop.call_at(due, self._expire)

    def _receive(self, data: bytes, source: tuple[str, int]) -> None:
        self.agent.receive(data, Flow("udp", self._address, source), self._loop.time())
        self.pump()

    def _expire(self) -> None:
        self.agent.handle_timeout(self._loop.time())
        self.pump()
