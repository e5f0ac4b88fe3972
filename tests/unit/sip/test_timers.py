import pytest

from offhook.proto.sip.timers import Timers

pytestmark = pytest.mark.unit


def test_timers_fire_in_the_order_of_their_deadlines_and_once() -> None:
    timers, fired = Timers(), []
    for at in (3.0, 1.0, 2.0):
        timers.start(at, lambda now, at=at: fired.append((at, now)))
    assert timers.next() == 1.0
    timers.expire(2.5)
    timers.expire(2.5)
    assert fired == [(1.0, 2.5), (2.0, 2.5)]
    assert timers.next() == 3.0
    assert len(timers) == 1


def test_a_stopped_timer_never_fires_and_is_not_waited_for() -> None:
    timers, fired = Timers(), []
    first = timers.start(1.0, fired.append)
    timers.start(2.0, fired.append)
    first.stop()
    first.stop()
    assert timers.next() == 2.0
    assert len(timers) == 1
    timers.expire(5.0)
    assert fired == [5.0]
    assert timers.next() is None


def test_an_action_may_stop_and_start_timers() -> None:
    timers, fired = Timers(), []
    victim = timers.start(2.0, lambda now: fired.append("victim"))

    def act(now: float) -> None:
        victim.stop()
        timers.start(now + 1, lambda later: fired.append("next"))

    timers.start(1.0, act)
    timers.expire(2.0)
    assert fired == []
    timers.expire(3.0)
    assert fired == ["next"]
    assert len(timers) == 0


def test_stopped_timers_do_not_pile_up() -> None:
    timers = Timers()
    keep = timers.start(1e9, lambda now: None)
    for number in range(50_000):
        timers.start(1e6 + number, lambda now: None).stop()
    assert len(timers) == 1
    assert len(timers._heap) < 5_000
    assert keep.action is not None
