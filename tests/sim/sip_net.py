"""Two or more user agents on a bad network with a virtual clock; everything comes from one seed."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from offhook.proto.sip import (
    AckTimedOut,
    CallAccepted,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallHandle,
    CallRejected,
    CallRinging,
    Credentials,
    Flow,
    IncomingCall,
    OfferAnswered,
    OfferReceived,
    OfferRefused,
    OutgoingCall,
    UserAgent,
    UserAgentConfig,
    UserAgentEvent,
)

LAST_EVENTS = (CallCancelled, CallRejected, CallEnded)


@dataclass
class Link:
    """What the network does to a datagram."""

    loss: float = 0.0
    duplicates: float = 0.0
    delay_s: tuple[float, float] = (0.001, 0.001)


class Phone:
    """A user agent, what it was told about each call, and a hook that plays the application."""

    def __init__(self, net: "Net", port: int, config: UserAgentConfig | None = None) -> None:
        self.net = net
        self.address = ("127.0.0.1", port)
        self.agent = UserAgent(config or UserAgentConfig(), net.random.randbytes)
        self.told: dict[CallHandle, list[UserAgentEvent]] = {}
        self.on_event: Callable[[UserAgentEvent], None] = lambda event: None

    def call(self, other: "Phone", credentials: Credentials | None = None) -> CallHandle:
        target = f"sip:bob@127.0.0.1:{other.address[1]}"
        flow = Flow("udp", self.address, other.address)
        request = OutgoingCall(target, "sip:alice@example.com", flow, credentials=credentials)
        handle = self.agent.invite(request, b"v=0\r\n", self.net.now)
        self.told.setdefault(handle, [])
        self.net.pump(self)
        return handle

    def names(self, call: CallHandle) -> list[str]:
        return [type(event).__name__ for event in self.told[call]]


class Net:
    """The clock, the datagrams on their way, and things to do later."""

    def __init__(self, seed: int, link: Link | None = None) -> None:
        self.random = random.Random(seed)
        self.link = link or Link()
        self.now = 0.0
        self.phones: dict[tuple[str, int], Phone] = {}
        self.sent = 0
        self.datagrams: list[bytes] = []
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def phone(self, port: int, config: UserAgentConfig | None = None) -> Phone:
        phone = Phone(self, port, config)
        self.phones[phone.address] = phone
        return phone

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay_s, self._order, action))

    def pump(self, phone: Phone) -> None:
        """Carry off what the phone sends and tell its application what happened, until both are done."""
        while True:
            for transmit in phone.agent.transmits():
                self._carry(transmit.data, phone.address, transmit.flow.remote)
            events = phone.agent.events()
            if not events:
                break
            for event in events:
                told = phone.told.setdefault(event.call, [])
                assert not (told and isinstance(told[-1], LAST_EVENTS)), "nothing comes after the last event"
                told.append(event)
                phone.on_event(event)

    def run(self, until: float = float("inf")) -> None:
        """Let time pass until nothing is left to happen, or `until`."""
        while True:
            due = [
                (phone.agent.poll_timeout(), index, phone) for index, phone in enumerate(self.phones.values())
            ]
            timers = [(at, index, phone) for at, index, phone in due if at is not None]
            timer = min(timers, default=None, key=lambda entry: entry[:2])
            if timer is not None and (not self._queue or timer[0] <= self._queue[0][0]):
                if timer[0] > until:
                    return
                self.now = max(self.now, timer[0])
                timer[2].agent.handle_timeout(self.now)
                self.pump(timer[2])
            elif self._queue:
                if self._queue[0][0] > until:
                    return
                self.now, _, action = heapq.heappop(self._queue)
                action()
            else:
                return

    def _carry(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        self.sent += 1
        self.datagrams.append(data)
        copies = 2 if self.random.random() < self.link.duplicates else 1
        for _ in range(copies):
            if self.random.random() >= self.link.loss:
                self.after(
                    self.random.uniform(*self.link.delay_s), lambda: self._arrive(data, source, target)
                )

    def _arrive(self, data: bytes, source: tuple[str, int], target: tuple[str, int]) -> None:
        phone = self.phones.get(target)
        if phone is not None:
            phone.agent.receive(data, Flow("udp", phone.address, source), self.now)
            self.pump(phone)


__all__ = [
    "AckTimedOut", "CallAccepted", "CallCancelled", "CallEnded", "CallEstablished", "CallHandle",
    "CallRejected", "CallRinging", "IncomingCall", "LAST_EVENTS", "Link", "Net", "OfferAnswered",
    "OfferReceived", "OfferRefused", "Phone",
]  # fmt: skip
