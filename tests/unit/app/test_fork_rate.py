"""Promises of `offhook.app.fork_rate`."""

import pytest

from offhook.app.fork_rate import ForkRate
from offhook.base.errors import LimitReached
from offhook.base.limits import FORK_HOSTS_REMEMBERED_MAX
from offhook.call.commands import StartFork
from offhook.call.values import UdpTarget

pytestmark = pytest.mark.unit


def fork(*hosts: str) -> StartFork:
    targets = [UdpTarget(host, 4000 + number) for number, host in enumerate(hosts)]
    return StartFork(target=targets[0]) if len(targets) == 1 else StartFork(rx=targets[0], tx=targets[1])


def taken(rate: ForkRate, count: int, now: float, *hosts: str) -> int:
    """Ask for so many forks; return how many were let through."""
    through = 0
    for _ in range(count):
        try:
            rate.take(fork(*hosts), now)
        except LimitReached:
            continue
        through += 1
    return through


def test_a_seconds_worth_goes_at_once_and_the_rest_at_its_pace() -> None:
    rate = ForkRate(8)
    assert taken(rate, 100, 0.0, "192.0.2.1") == 8
    assert taken(rate, 100, 0.5, "192.0.2.1") == 4
    assert taken(rate, 100, 10.0, "192.0.2.1") == 8
    assert rate.refused_total == 92 + 96 + 92


def test_hosts_do_not_wait_for_one_another_whatever_the_port() -> None:
    rate = ForkRate(2)
    assert taken(rate, 5, 0.0, "192.0.2.1") == 2
    assert taken(rate, 5, 0.0, "192.0.2.2") == 2


def test_both_targets_of_a_fork_count_and_a_refused_one_counts_for_neither() -> None:
    rate = ForkRate(2)
    assert taken(rate, 2, 0.0, "192.0.2.1") == 2
    assert taken(rate, 5, 0.0, "192.0.2.1", "192.0.2.2") == 0
    assert taken(rate, 5, 0.0, "192.0.2.2") == 2


def test_two_targets_at_one_host_are_one_fork() -> None:
    assert taken(ForkRate(3), 9, 0.0, "192.0.2.1", "192.0.2.1") == 3


def test_less_than_one_a_second_is_one_at_a_time() -> None:
    rate = ForkRate(0.5)
    assert [taken(rate, 1, now, "192.0.2.1") for now in (0.0, 1.0, 2.0)] == [1, 0, 1]


def test_no_limit_is_no_limit() -> None:
    assert taken(ForkRate(0), 1000, 0.0, "192.0.2.1") == 1000


def test_a_crowd_of_hosts_takes_bounded_room() -> None:
    rate = ForkRate(1)
    for number in range(3 * FORK_HOSTS_REMEMBERED_MAX):
        rate.take(fork(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), 0.0)
        assert len(rate._free_at) <= FORK_HOSTS_REMEMBERED_MAX
