import pytest

from offhook.proto.webhook import (
    Again,
    Delivered,
    GivenUp,
    Progress,
    RetrySchedule,
    Verdict,
    after_attempt,
    judge_status,
    read_retry_after,
)

pytestmark = pytest.mark.unit

DAY_S = 86_400.0


def run(
    verdicts: list[Verdict],
    *,
    urls: int,
    schedule: RetrySchedule,
    expires_at: float = DAY_S,
    takes_s: float = 0.0,
) -> tuple[list[tuple[float, int]], Delivered | GivenUp | None]:
    """Play attempts over virtual time; the last verdict repeats. Returns (start, URL) of each and the end."""
    now, progress, made = 0.0, Progress(), []
    for index in range(200):
        made.append((now, progress.url_index))
        verdict = verdicts[min(index, len(verdicts) - 1)]
        step = after_attempt(schedule, progress, verdict, urls=urls, now=now + takes_s, expires_at=expires_at)
        assert step.progress.attempts == len(made), "meta.attempt counts every attempt"
        if not isinstance(step, Again):
            return made, step
        assert step.at >= now + takes_s
        now, progress = step.at, step.progress
    return made, None


LITERAL = RetrySchedule(slow_waits_s=())


def test_a_receiver_that_fails_at_once_is_tried_at_0_1_and_3_seconds_then_the_failover() -> None:
    made, end = run([Verdict.RETRY], urls=2, schedule=LITERAL)
    assert made == [(0, 0), (1, 0), (3, 0), (3, 1), (4, 1), (6, 1)]
    assert isinstance(end, GivenUp)
    assert end.reason == "exhausted"


def test_waits_count_from_the_end_of_an_attempt_that_hung() -> None:
    made, _ = run([Verdict.RETRY], urls=1, schedule=LITERAL, takes_s=2.0)
    assert made == [(0, 0), (3, 0), (7, 0)]


def test_without_failover_there_are_three_fast_attempts() -> None:
    made, _ = run([Verdict.RETRY], urls=1, schedule=LITERAL)
    assert made == [(0, 0), (1, 0), (3, 0)]


def test_a_refusal_goes_to_the_failover_at_once() -> None:
    made, end = run([Verdict.REFUSED, Verdict.DELIVERED], urls=2, schedule=RetrySchedule())
    assert made == [(0, 0), (0, 1)]
    assert isinstance(end, Delivered)


def test_refused_by_all_is_given_up_at_once() -> None:
    made, end = run([Verdict.REFUSED], urls=2, schedule=RetrySchedule())
    assert made == [(0, 0), (0, 1)]
    assert isinstance(end, GivenUp)
    assert end.reason == "refused"


def test_the_slow_part_asks_every_url_each_round_and_ends_after_a_day() -> None:
    made, end = run([Verdict.RETRY], urls=2, schedule=RetrySchedule())
    rounds = made[6:]
    starts = [at for at, url in rounds if url == 0]
    assert starts[:6] == [6 + 15, 21 + 60, 81 + 300, 381 + 900, 1281 + 3600, 4881 + 3600]
    assert [at for at, url in rounds if url == 1] == starts
    assert DAY_S - 3600 < made[-1][0] <= DAY_S
    assert isinstance(end, GivenUp)
    assert end.reason == "expired"


def test_a_receiver_back_after_an_hour_gets_the_event() -> None:
    made, end = run([Verdict.RETRY] * 8 + [Verdict.DELIVERED], urls=1, schedule=RetrySchedule())
    assert isinstance(end, Delivered)
    assert made[-1][0] > 3600


def test_slow_rounds_leave_out_a_url_that_refused() -> None:
    made, _ = run([Verdict.REFUSED, Verdict.RETRY], urls=2, schedule=RetrySchedule())
    assert {url for _, url in made[1:]} == {1}


def test_retry_after_is_honoured_within_its_bound() -> None:
    schedule = RetrySchedule(retry_after_max_s=60.0)
    for asked, waited in [(0.5, 1.0), (30.0, 30.0), (9e9, 60.0), (-5.0, 1.0)]:
        step = after_attempt(
            schedule, Progress(), Verdict.RETRY, urls=1, now=0.0, expires_at=DAY_S, retry_after_s=asked
        )
        assert isinstance(step, Again)
        assert step.at == waited


@pytest.mark.parametrize("status", [200, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert judge_status(status) is Verdict.DELIVERED


@pytest.mark.parametrize("status", [408, 429, 500, 503, 599, 302, 304, 307])
def test_trouble_is_retried(status: int) -> None:
    assert judge_status(status) is Verdict.RETRY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_other_4xx_is_not_retried(status: int) -> None:
    assert judge_status(status) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("99999999999999999999", 999_999_999.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_both_forms_of_retry_after_are_read(value: str | None, wait_s: float | None) -> None:
    assert read_retry_after(value, unix_time=1_700_000_000) == wait_s
