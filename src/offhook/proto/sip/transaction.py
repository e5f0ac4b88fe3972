"""The four transaction machines of RFC 3261 §17, with the Accepted states of RFC 6026.

A transaction knows bytes, statuses and time; dialogs and calls are not its business. It sends
through `Environment.send`, tells its user, and leaves through `Environment.ended` exactly once.
"""

from enum import Enum, auto
from typing import Protocol

from offhook.proto.sip.events import Flow, TimerSettings
from offhook.proto.sip.message import Header, Request, Response
from offhook.proto.sip.timers import Timer, Timers

TransactionKey = tuple[str, ...]

WAIT_AFTER_FAILURE_S = 32.0
"""Timer D over UDP: how long a failure is acknowledged again (§17.1.1.2)."""


class State(Enum):
    """The states of all four machines."""

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    ACCEPTED = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    TERMINATED = auto()


class Environment(Protocol):
    """What a transaction needs around it."""

    timers: Timers
    times: TimerSettings

    def send(self, data: bytes, flow: Flow) -> None:
        """Send bytes."""

    def ended(self, transaction: "Transaction") -> None:
        """Forget the transaction."""


class ClientUser(Protocol):
    """Who sent a request and wants to know what became of it."""

    def on_response(self, response: Response, now: float) -> None:
        """Take a provisional or final response; of an INVITE every 2xx, of failures the first."""

    def on_failure(self, status: int, now: float) -> None:
        """Take the verdict without a response: 408 after silence, 503 when it could not be sent."""


class Transaction:
    """What the four machines share."""

    def __init__(self, key: TransactionKey, flow: Flow, environment: Environment, state: State) -> None:
        self.key = key
        self.flow = flow
        self.state = state
        self._env = environment
        self._resend_timer: Timer | None = None
        self._end_timer: Timer | None = None

    def _stop_timers(self) -> None:
        if self._resend_timer is not None:
            self._resend_timer.stop()
            self._resend_timer = None
        if self._end_timer is not None:
            self._end_timer.stop()
            self._end_timer = None

    def _end_after(self, delay_s: float, now: float) -> None:
        """Leave after `delay_s`; at once when it is zero, as reliable transports want it."""
        self._stop_timers()
        if delay_s <= 0:
            self.end(now)
        else:
            self._end_timer = self._env.timers.start(now + delay_s, self.end)

    def end(self, now: float) -> None:
        """Leave for good, whatever the state."""
        del now
        if self.state is not State.TERMINATED:
            self._stop_timers()
            self.state = State.TERMINATED
            self._env.ended(self)


class InviteServerTransaction(Transaction):
    """One INVITE we answer (§17.2.1, RFC 6026 §7.1)."""

    def __init__(self, key: TransactionKey, flow: Flow, environment: Environment, user: object) -> None:
        super().__init__(key, flow, environment, State.PROCEEDING)
        self.user: object = user
        self._last: bytes | None = None
        self._interval_s = environment.times.t1_s

    @property
    def unanswered(self) -> bool:
        """Whether no final response was sent."""
        return self.state is State.PROCEEDING

    def respond(self, status: int, data: bytes, now: float) -> None:
        """Send a response. After a final one nothing else may follow, except repeats of a 2xx by its user."""
        assert self.state is State.PROCEEDING, "an INVITE gets one final response"
        self._env.send(data, self.flow)
        if status >= 200:
            self.user = None
        if status < 200:
            self._last = data
        elif status < 300:
            self._last = None
            self.state = State.ACCEPTED
            self._end_after(self._env.times.give_up_s, now)
        else:
            self._last = data
            self.state = State.COMPLETED
            self._end_after(self._env.times.give_up_s, now)
            if not self.flow.reliable:
                self._resend_timer = self._env.timers.start(now + self._interval_s, self._resend)

    def repeat(self) -> None:
        """Take the same INVITE again: the last response answers it; in Accepted it is absorbed."""
        if self._last is not None and self.state in (State.PROCEEDING, State.COMPLETED):
            self._env.send(self._last, self.flow)

    def acknowledge(self, now: float) -> bool:
        """Take an ACK that matches by branch; return True when it belongs to the user (a 2xx was sent)."""
        if self.state is State.COMPLETED:
            self.state = State.CONFIRMED
            self._end_after(0 if self.flow.reliable else self._env.times.t4_s, now)
        return self.state is State.ACCEPTED

    def _resend(self, now: float) -> None:
        assert self._last is not None, "a failure keeps its bytes"
        self._env.send(self._last, self.flow)
        self._interval_s = min(2 * self._interval_s, self._env.times.t2_s)
        self._resend_timer = self._env.timers.start(now + self._interval_s, self._resend)


class NonInviteServerTransaction(Transaction):
    """One request other than INVITE and ACK that we answer (§17.2.2)."""

    def __init__(self, key: TransactionKey, flow: Flow, environment: Environment) -> None:
        super().__init__(key, flow, environment, State.TRYING)
        self._last: bytes | None = None

    def respond(self, status: int, data: bytes, now: float) -> None:
        """Send a response; the final one answers every repeat for timer J."""
        assert self.state in (State.TRYING, State.PROCEEDING), "a request gets one final response"
        self._last = data
        self._env.send(data, self.flow)
        if status < 200:
            self.state = State.PROCEEDING
        else:
            self.state = State.COMPLETED
            self._end_after(0 if self.flow.reliable else self._env.times.give_up_s, now)

    def repeat(self) -> None:
        """Take the same request again."""
        if self._last is not None:
            self._env.send(self._last, self.flow)


class ClientTransaction(Transaction):
    """What the two client machines share: the request, its user, resending and giving up."""

    def __init__(
        self, request: Request, flow: Flow, environment: Environment, user: ClientUser, state: State
    ) -> None:
        super().__init__((request.via.branch, request.method), flow, environment, state)
        self.request = request
        self._user: ClientUser | None = user
        self._data = request.to_bytes()
        self._interval_s = environment.times.t1_s

    @property
    def undecided(self) -> bool:
        """Whether no final response came yet."""
        return self.state in (State.CALLING, State.TRYING, State.PROCEEDING)

    def start(self, now: float) -> None:
        """Send the request for the first time."""
        self._env.send(self._data, self.flow)
        self._end_timer = self._env.timers.start(now + self._env.times.give_up_s, self._give_up)
        if not self.flow.reliable:
            self._resend_timer = self._env.timers.start(now + self._interval_s, self._resend)

    def fail(self, status: int, now: float) -> None:
        """End without a response, because of silence (408) or the transport (503)."""
        user = self._user if self.undecided else None
        self.end(now)
        if user is not None:
            user.on_failure(status, now)

    def end(self, now: float) -> None:
        """Leave for good and let go of the user."""
        super().end(now)
        self._user = None

    def _give_up(self, now: float) -> None:
        self.fail(408, now)

    def _next_interval(self) -> float:
        return 2 * self._interval_s

    def _resend(self, now: float) -> None:
        self._env.send(self._data, self.flow)
        self._interval_s = self._next_interval()
        self._resend_timer = self._env.timers.start(now + self._interval_s, self._resend)


class InviteClientTransaction(ClientTransaction):
    """One INVITE of ours (§17.1.1, RFC 6026 §7.2)."""

    def __init__(self, request: Request, flow: Flow, environment: Environment, user: ClientUser) -> None:
        super().__init__(request, flow, environment, user, State.CALLING)
        self._ack: bytes | None = None

    def receive(self, response: Response, now: float) -> None:
        """Take a response that matches by branch and CSeq method."""
        if response.status < 200:
            if self.state in (State.CALLING, State.PROCEEDING):
                # Timers A and B end with the first provisional response; how long it may ring is
                # the user's decision.
                self._stop_timers()
                self.state = State.PROCEEDING
                self._tell(response, now)
        elif response.status < 300:
            if self.undecided:
                self.state = State.ACCEPTED
                self._end_after(self._env.times.give_up_s, now)
            if self.state is State.ACCEPTED:
                self._tell(response, now)
        elif self.undecided:
            self._ack = make_failure_ack(self.request, response).to_bytes()
            self._env.send(self._ack, self.flow)
            self.state = State.COMPLETED
            user, self._user = self._user, None
            self._end_after(0 if self.flow.reliable else WAIT_AFTER_FAILURE_S, now)
            if user is not None:
                user.on_response(response, now)
        elif self.state is State.COMPLETED and self._ack is not None:
            self._env.send(self._ack, self.flow)

    def _tell(self, response: Response, now: float) -> None:
        if self._user is not None:
            self._user.on_response(response, now)


class NonInviteClientTransaction(ClientTransaction):
    """One request of ours other than INVITE and ACK (§17.1.2)."""

    def __init__(self, request: Request, flow: Flow, environment: Environment, user: ClientUser) -> None:
        super().__init__(request, flow, environment, user, State.TRYING)

    def receive(self, response: Response, now: float) -> None:
        """Take a response that matches by branch and CSeq method."""
        if not self.undecided:
            return
        user = self._user
        if response.status < 200:
            self.state = State.PROCEEDING
        else:
            self.state = State.COMPLETED
            self._user = None
            self._end_after(0 if self.flow.reliable else self._env.times.t4_s, now)
        if user is not None:
            user.on_response(response, now)

    def _next_interval(self) -> float:
        times = self._env.times
        return times.t2_s if self.state is State.PROCEEDING else min(2 * self._interval_s, times.t2_s)


def make_failure_ack(invite: Request, response: Response) -> Request:
    """Return the ACK to a 300-699, which goes where the INVITE went (§17.1.1.3)."""
    fields = _copied(invite, to=response.get("to") or invite.get("to") or "", method="ACK")
    return Request("ACK", invite.uri, fields)


def make_cancel(invite: Request, headers: tuple[Header, ...] = ()) -> Request:
    """Return the CANCEL of an INVITE: same branch, same everything but the method (§9.1)."""
    fields = _copied(invite, to=invite.get("to") or "", method="CANCEL")
    return Request("CANCEL", invite.uri, [*fields, *headers])


def _copied(invite: Request, *, to: str, method: str) -> list[Header]:
    fields: list[Header] = [
        ("Via", invite.get("via") or ""),
        ("Max-Forwards", "70"),
        ("From", invite.get("from") or ""),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} {method}"),
    ]
    fields.extend(("Route", value) for value in invite.get_lines("route"))
    return fields
