"""How many requests a key may send."""

import pytest

from offhook.edge.http.rates import Allowance, RateLimit

pytestmark = pytest.mark.unit


def test_a_window_has_room_for_so_many_and_the_next_one_too() -> None:
    rate = RateLimit(2, 10)
    assert rate.take("a", 100.0) == Allowance(2, 1, 10)
    assert rate.take("a", 104.5) == Allowance(2, 0, 6)
    assert rate.take("a", 109.9) == Allowance(2, 0, 1, exceeded=True)
    assert rate.take("a", 110.0) == Allowance(2, 1, 10)


def test_keys_do_not_share_a_window() -> None:
    rate = RateLimit(1, 10)
    assert not rate.take("a", 0.0).exceeded
    assert not rate.take("b", 0.0).exceeded
    assert rate.take("a", 0.0).exceeded


def test_what_is_refused_takes_no_room() -> None:
    rate = RateLimit(1, 10)
    rate.take("a", 0.0)
    assert all(rate.take("a", now / 10).exceeded for now in range(100))
    assert not rate.take("a", 10.0).exceeded
