"""The four machines of RFC 3261 §17 and RFC 6026, each driven alone with a virtual clock."""

from collections.abc import Callable

import pytest

from offhook.proto.sip.events import Flow, TimerSettings
from offhook.proto.sip.message import Request, Response
from offhook.proto.sip.timers import Timers
from offhook.proto.sip.transaction import (
    InviteClientTransaction,
    InviteServerTransaction,
    NonInviteClientTransaction,
    NonInviteServerTransaction,
    State,
    Transaction,
    make_cancel,
)

pytestmark = pytest.mark.unit

UDP = Flow("udp", ("127.0.0.1", 5070), ("127.0.0.1", 5080))
TCP = Flow("tcp", ("127.0.0.1", 5070), ("127.0.0.1", 5080), 1)
MANY = 100.0


class World:
    """The environment of a transaction, and its user."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.times = TimerSettings()
        self.now = 0.0
        self.sent: list[tuple[float, bytes]] = []
        self.gone: list[Transaction] = []
        self.responses: list[int] = []
        self.failures: list[int] = []

    def send(self, data: bytes, flow: Flow) -> None:
        del flow
        self.sent.append((self.now, data))

    def ended(self, transaction: Transaction) -> None:
        self.gone.append(transaction)

    def on_response(self, response: Response, now: float) -> None:
        del now
        self.responses.append(response.status)

    def on_failure(self, status: int, now: float) -> None:
        del now
        self.failures.append(status)

    def run(self, until: float) -> None:
        while (due := self.timers.next()) is not None and due <= until:
            self.now = due
            self.timers.expire(due)
        self.now = until

    def times_sent(self, start: bytes = b"") -> list[float]:
        return [at for at, data in self.sent if data.startswith(start)]


def _request(method: str) -> Request:
    return Request(
        method,
        "sip:b@127.0.0.1:5080",
        [
            ("Via", "SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKq;rport"),
            ("From", "<sip:a@x>;tag=1"),
            ("To", "<sip:b@x>"),
            ("Call-ID", "c"),
            ("CSeq", f"4 {method}"),
            ("Route", "<sip:p;lr>"),
        ],
    )


def _response(status: int, method: str = "INVITE") -> Response:
    fields = [("To", "<sip:b@x>;tag=9"), ("CSeq", f"4 {method}")]
    return Response(status, "x", fields)


def _invite(world: World, flow: Flow = UDP) -> InviteClientTransaction:
    transaction = InviteClientTransaction(_request("INVITE"), flow, world, world)
    transaction.start(world.now)
    return transaction


def _ask(world: World, flow: Flow = UDP) -> NonInviteClientTransaction:
    transaction = NonInviteClientTransaction(_request("BYE"), flow, world, world)
    transaction.start(world.now)
    return transaction


def test_17_1_1_2_an_invite_is_repeated_with_doubling_gaps_until_timer_b() -> None:
    world = World()
    _invite(world)
    world.run(MANY)
    assert world.times_sent() == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert world.failures == [408]
    assert len(world.gone) == 1


def test_17_1_1_2_over_tcp_an_invite_is_sent_once_and_timer_b_still_runs() -> None:
    world = World()
    _invite(world, TCP)
    world.run(MANY)
    assert world.times_sent() == [0]
    assert world.failures == [408]


def test_17_1_1_2_a_provisional_response_ends_repeating_and_timer_b() -> None:
    world = World()
    transaction = _invite(world)
    transaction.receive(_response(180), 0.1)
    transaction.receive(_response(183), 0.2)
    world.run(MANY)
    assert world.times_sent() == [0]
    assert world.responses == [180, 183]
    assert transaction.state is State.PROCEEDING
    assert world.failures == []


@pytest.mark.parametrize(("flow", "lives_s"), [(UDP, 32.0), (TCP, 0.0)])
def test_17_1_1_2_a_failure_is_acknowledged_at_every_repeat_during_timer_d(
    flow: Flow, lives_s: float
) -> None:
    world = World()
    transaction = _invite(world, flow)
    transaction.receive(_response(486), 0.0)
    transaction.receive(_response(486), 0.0)
    assert world.responses == [486]
    assert len(world.times_sent(b"ACK ")) == (2 if flow is UDP else 1)
    world.run(lives_s)
    assert world.gone == [transaction]


def test_17_1_1_3_the_ack_of_a_failure_copies_branch_route_and_number() -> None:
    world = World()
    _invite(world).receive(_response(486), 0.0)
    ack = world.sent[-1][1].decode()
    assert ack.startswith("ACK sip:b@127.0.0.1:5080 SIP/2.0\r\n")
    assert "branch=z9hG4bKq" in ack
    assert "To: <sip:b@x>;tag=9\r\n" in ack
    assert "CSeq: 4 ACK\r\n" in ack
    assert "Route: <sip:p;lr>\r\n" in ack


def test_rfc6026_7_2_every_2xx_reaches_the_user_until_timer_m() -> None:
    world = World()
    transaction = _invite(world)
    transaction.receive(_response(200), 1.0)
    transaction.receive(_response(200), 2.0)
    assert world.responses == [200, 200]
    assert transaction.state is State.ACCEPTED
    transaction.receive(_response(486), 2.5)
    assert world.responses == [200, 200]
    world.run(32.9)
    assert world.gone == []
    world.run(33.0)
    assert world.gone == [transaction]


def test_a_late_provisional_or_2xx_after_a_failure_changes_nothing() -> None:
    world = World()
    transaction = _invite(world)
    transaction.receive(_response(486), 1.0)
    transaction.receive(_response(180), 1.1)
    transaction.receive(_response(200), 1.2)
    assert world.responses == [486]


def test_17_1_4_a_transport_failure_is_a_503_once() -> None:
    world = World()
    transaction = _invite(world)
    transaction.fail(503, 0.1)
    transaction.fail(503, 0.2)
    assert world.failures == [503]
    assert world.gone == [transaction]
    assert len(world.timers) == 0


def test_9_1_a_cancel_copies_the_invite_but_its_method() -> None:
    cancel = make_cancel(_request("INVITE"), (("Reason", "SIP;cause=200"),)).to_bytes().decode()
    assert cancel.startswith(
        "CANCEL sip:b@127.0.0.1:5080 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKq"
    )
    assert "CSeq: 4 CANCEL\r\n" in cancel
    assert "Route: <sip:p;lr>\r\n" in cancel
    assert "Reason: SIP;cause=200\r\n" in cancel


def test_17_1_2_2_a_request_is_repeated_up_to_t2_until_timer_f() -> None:
    world = World()
    _ask(world)
    world.run(MANY)
    assert world.times_sent() == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.failures == [408]


def test_17_1_2_2_a_provisional_response_slows_repeating_to_t2() -> None:
    world = World()
    transaction = _ask(world)
    transaction.receive(_response(100, "BYE"), 0.1)
    world.run(10)
    assert world.times_sent() == [0, 0.5, 4.5, 8.5]


@pytest.mark.parametrize(("flow", "lives_s"), [(UDP, 5.0), (TCP, 0.0)])
def test_17_1_2_2_a_final_response_is_told_once_and_repeats_are_absorbed_for_timer_k(
    flow: Flow, lives_s: float
) -> None:
    world = World()
    transaction = _ask(world, flow)
    transaction.receive(_response(200, "BYE"), 0.0)
    transaction.receive(_response(200, "BYE"), 0.0)
    assert world.responses == [200]
    world.run(lives_s)
    assert world.gone == [transaction]
    assert world.times_sent() == [0]


def test_17_2_1_a_repeated_invite_gets_the_last_provisional_again() -> None:
    world = World()
    transaction = InviteServerTransaction(("k",), UDP, world, None)
    transaction.repeat()
    assert world.sent == []
    transaction.respond(100, b"100", 0)
    transaction.respond(180, b"180", 0)
    transaction.repeat()
    assert [data for _, data in world.sent] == [b"100", b"180", b"180"]
    assert transaction.unanswered


def test_17_2_1_a_failure_is_repeated_up_to_t2_until_the_ack() -> None:
    world = World()
    transaction = InviteServerTransaction(("k",), UDP, world, None)
    transaction.respond(486, b"486", 0)
    world.run(13)
    assert world.times_sent() == [0, 0.5, 1.5, 3.5, 7.5, 11.5]
    transaction.repeat()
    assert len(world.sent) == 7
    assert transaction.acknowledge(13) is False
    transaction.repeat()
    assert transaction.acknowledge(13) is False
    world.run(17.9)
    assert len(world.sent) == 7
    assert transaction.state is State.CONFIRMED
    world.run(18)
    assert world.gone == [transaction]


def test_17_2_1_without_an_ack_a_failure_is_given_up_after_timer_h() -> None:
    world = World()
    transaction = InviteServerTransaction(("k",), UDP, world, None)
    transaction.respond(486, b"486", 0)
    world.run(31.9)
    assert world.gone == []
    world.run(32)
    assert world.gone == [transaction]
    assert len(world.timers) == 0


def test_17_2_1_over_tcp_a_failure_is_sent_once() -> None:
    world = World()
    transaction = InviteServerTransaction(("k",), TCP, world, None)
    transaction.respond(486, b"486", 0)
    world.run(31)
    assert len(world.sent) == 1
    transaction.acknowledge(31)
    assert world.gone == [transaction]


def test_rfc6026_7_1_after_a_2xx_repeats_are_absorbed_and_acks_go_to_the_user() -> None:
    world = World()
    transaction = InviteServerTransaction(("k",), UDP, world, None)
    transaction.respond(200, b"200", 0)
    transaction.repeat()
    assert len(world.sent) == 1
    assert transaction.acknowledge(1) is True
    world.run(32)
    assert len(world.sent) == 1
    assert world.gone == [transaction]


@pytest.mark.parametrize(("flow", "lives_s"), [(UDP, 32.0), (TCP, 0.0)])
def test_17_2_2_a_repeated_request_gets_the_cached_answer_during_timer_j(flow: Flow, lives_s: float) -> None:
    world = World()
    transaction = NonInviteServerTransaction(("k",), flow, world)
    transaction.repeat()
    assert world.sent == []
    transaction.respond(100, b"100", 0)
    transaction.repeat()
    transaction.respond(200, b"200", 0)
    if lives_s:
        transaction.repeat()
        assert [data for _, data in world.sent] == [b"100", b"100", b"200", b"200"]
        world.run(lives_s - 0.1)
        assert world.gone == []
    world.run(lives_s)
    assert world.gone == [transaction]


@pytest.mark.parametrize(
    "make",
    [
        lambda world: InviteServerTransaction(("k",), UDP, world, None),
        lambda world: NonInviteServerTransaction(("k",), UDP, world),
    ],
)
def test_a_second_final_response_is_a_defect_of_ours(
    make: Callable[[World], InviteServerTransaction | NonInviteServerTransaction],
) -> None:
    world = World()
    transaction = make(world)
    transaction.respond(200, b"200", 0)
    with pytest.raises(AssertionError):
        transaction.respond(200, b"200", 0)


def test_time_that_jumps_far_ahead_makes_no_burst() -> None:
    world = World()
    _ask(world)
    world.now = 20.0
    world.timers.expire(20.0)
    world.timers.expire(20.0)
    assert len(world.sent) == 2
