"""The memory of accepted commands for the SDK's own retries."""

import pytest

from offhook.base import limits
from offhook.edge.http.retries import RetryMemory, is_retry, request_key

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("count", "retried"), [("1", True), ("2", True), ("0", False), ("00", False), ("x", False)]
)
def test_a_request_is_a_retry_when_its_count_is_above_zero(count: str, retried: bool) -> None:
    assert is_retry({"x-stainless-retry-count": count}) is retried


def test_a_request_without_the_header_is_no_retry() -> None:
    assert not is_retry({})


def test_two_requests_are_the_same_only_in_call_action_and_body() -> None:
    keys = {
        request_key("v3:a", "hangup", b"{}"),
        request_key("v3:b", "hangup", b"{}"),
        request_key("v3:a", "answer", b"{}"),
        request_key("v3:a", "hangup", b""),
    }
    assert len(keys) == 4


def test_a_reply_is_replayed_for_a_minute_and_then_forgotten() -> None:
    memory = RetryMemory()
    memory.remember(b"key", {"result": "ok"}, now=100.0)
    assert memory.reply_to(b"key", now=100.0 + limits.RETRIED_COMMANDS_KEPT_S - 0.1) == {"result": "ok"}
    assert memory.reply_to(b"other", now=101.0) is None
    assert memory.reply_to(b"key", now=100.0 + limits.RETRIED_COMMANDS_KEPT_S) is None
    assert len(memory) == 0


def test_the_memory_is_bounded_and_forgets_the_oldest_first() -> None:
    memory = RetryMemory()
    for number in range(limits.RETRIED_COMMANDS_KEPT_MAX + 10):
        memory.remember(str(number).encode(), {}, now=1.0)
    assert len(memory) == limits.RETRIED_COMMANDS_KEPT_MAX
    assert memory.reply_to(b"9", now=1.0) is None
    assert memory.reply_to(b"10", now=1.0) == {}
