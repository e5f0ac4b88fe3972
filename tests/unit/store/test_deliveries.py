import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offhook.base.limits import WEBHOOK_ATTEMPTS_LOGGED_MAX
from offhook.edge.store import AttemptRow, Deliveries, DeliveryRow, DeliverySearch, Revival, Store
from offhook.proto.webhook import Progress

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    yield store
    store.close()


def row_of(name: str, *, due: float = 0.0, leg: str = "leg") -> DeliveryRow:
    return DeliveryRow(
        event_id=name,
        call_leg_id=leg,
        event_type="call.answered",
        occurred_at="2026-11-23T08:00:00.000000Z",
        data=b'{"event_type":"call.answered"}',
        url="http://a/",
        failover_url="http://b/",
        timeout_s=1.5,
        created_at=0.0,
        next_attempt_at=due,
        expires_at=100.0,
    )


def attempt_of(number: int = 1, *, at: float = 1.0, status: int | None = 500) -> AttemptRow:
    return AttemptRow(number, "http://a/", at, at + 0.5, status, None if status == 200 else "trouble")


async def test_a_row_comes_back_as_it_went_in(store: Store) -> None:
    deliveries = Deliveries(store)
    row = replace(row_of("e"), progress=Progress(3, 1, 2, 0, 1))
    await deliveries.insert(row, parked=True)
    assert await deliveries.take_due(until=0.0, count_max=10) == [row]
    assert await deliveries.take_due(until=0.0, count_max=10) == [], "handed out once"


async def test_due_rows_come_longest_due_first_and_no_more_than_asked_for(store: Store) -> None:
    deliveries = Deliveries(store)
    for name, due in [("late", 9.0), ("b", 2.0), ("a", 1.0), ("b2", 2.0), ("never", 50.0)]:
        await deliveries.insert(row_of(name, due=due), parked=True)
    await deliveries.insert(row_of("held", due=0.0), parked=False)
    assert [row.event_id for row in await deliveries.take_due(until=10.0, count_max=3)] == ["a", "b", "b2"]
    assert [row.event_id for row in await deliveries.take_due(until=10.0, count_max=3)] == ["late"]


async def test_a_new_process_finds_everything_that_is_pending(store: Store) -> None:
    deliveries = Deliveries(store)
    for name in ("held", "parked", "done", "lost"):
        await deliveries.insert(row_of(name), parked=name == "parked")
    await deliveries.delivered([(row_of("done"), attempt_of(status=200))])
    await deliveries.failed(row_of("lost"), attempt_of())
    await deliveries.insert(row_of("later", due=99.0, leg="other"), parked=True)
    assert await deliveries.park_all(now=5.0) == {"leg": 2, "other": 1}
    due = await deliveries.take_due(until=5.0, count_max=9)
    assert [row.event_id for row in due] == ["held", "parked", "later"], "all due, in the order of the puts"
    assert await deliveries.count() == {"pending": 3, "delivered": 1, "failed": 1}


async def test_a_failed_attempt_keeps_its_progress_and_its_log(store: Store) -> None:
    deliveries = Deliveries(store)
    row = row_of("e")
    await deliveries.insert(row, parked=False)
    row = replace(row, progress=Progress(attempts=1, url_attempts=1), next_attempt_at=7.0)
    await deliveries.again(row, attempt_of(), parked=True)
    view = await deliveries.find("e")
    assert view is not None
    assert (view.row, view.state, view.ended_at, view.attempts) == (row, "pending", None, (attempt_of(),))
    assert await deliveries.find("other") is None


async def test_the_log_of_attempts_is_bounded_and_keeps_the_newest(store: Store) -> None:
    deliveries = Deliveries(store)
    await deliveries.insert(row_of("e"), parked=False)
    last = WEBHOOK_ATTEMPTS_LOGGED_MAX + 7
    for number in range(1, last + 1):
        await deliveries.again(row_of("e"), attempt_of(number), parked=False)
    view = await deliveries.find("e")
    assert view is not None
    assert [attempt.number for attempt in view.attempts] == list(range(8, last + 1))


@pytest.mark.parametrize("status", [200, 500])
async def test_an_ended_delivery_can_be_revived(store: Store, status: int) -> None:
    deliveries = Deliveries(store)
    row = replace(row_of("e"), progress=Progress(attempts=6, url_index=1, refused=1))
    await deliveries.insert(row, parked=False)
    assert await deliveries.revive("e", now=50.0, expires_at=150.0) is Revival.PENDING
    assert await deliveries.take_due(until=50.0, count_max=9) == [], "the process holds it"
    if status == 200:
        await deliveries.delivered([(row, attempt_of(status=200))])
    else:
        await deliveries.failed(row, attempt_of())
    assert await deliveries.revive("e", now=50.0, expires_at=150.0) is Revival.REVIVED
    (revived,) = await deliveries.take_due(until=50.0, count_max=9)
    assert revived.progress == Progress(attempts=6), "the numbering of attempts goes on"
    assert revived.expires_at == 150.0


async def test_a_delivery_that_waits_is_made_due_and_keeps_its_progress(store: Store) -> None:
    deliveries = Deliveries(store)
    row = replace(row_of("e", due=900.0), progress=Progress(attempts=3, round=1))
    await deliveries.insert(row, parked=True)
    assert await deliveries.revive("e", now=50.0, expires_at=150.0) is Revival.PENDING
    (due,) = await deliveries.take_due(until=50.0, count_max=9)
    assert (due.progress, due.expires_at) == (row.progress, row.expires_at)
    assert await deliveries.revive("other", now=50.0, expires_at=150.0) is Revival.UNKNOWN


async def test_a_search_sees_what_was_submitted_before_it(store: Store) -> None:
    deliveries = Deliveries(store)
    for n in range(5):
        deliveries.insert(row_of(f"e{n}"), parked=False)
    deliveries.failed(row_of("e2"), attempt_of(at=3.0))
    deliveries.delivered([(row_of("e3"), attempt_of(at=4.0, status=200))])

    async def ids(**wanted: Any) -> list[str]:
        views, total = await deliveries.search(DeliverySearch(**wanted), first=0, count=9)
        assert total == len(views)
        return [view.row.event_id for view in views]

    assert await ids() == ["e4", "e3", "e2", "e1", "e0"]
    assert await ids(state="failed") == ["e2"]
    assert await ids(started_from=3.0) == ["e3", "e2"]
    assert await ids(started_from=3.0, finished_until=3.5) == ["e2"]
    assert await ids(attempts_contain="500 trouble") == ["e2"]
    assert await ids(event_types=()) == []
    views, total = await deliveries.search(DeliverySearch(), first=1, count=2)
    assert ([view.row.event_id for view in views], total) == (["e3", "e2"], 5)


async def test_old_ended_rows_are_pruned_with_their_attempts_and_pending_ones_never(store: Store) -> None:
    deliveries = Deliveries(store)
    for name in ("old", "new", "lost", "waiting"):
        await deliveries.insert(row_of(name), parked=False)
    await deliveries.delivered([(row_of("old"), attempt_of(at=1.0, status=200))])
    await deliveries.delivered([(row_of("new"), attempt_of(at=20.0, status=200))])
    await deliveries.failed(row_of("lost"), attempt_of(at=1.0))
    await deliveries.again(row_of("waiting"), attempt_of(at=1.0), parked=False)
    assert await deliveries.prune(ended_before=10.0, failed_before=0.0, kept_max=100) == 1
    assert [view.row.event_id for view in await deliveries.recent(count_max=9)] == ["waiting", "lost", "new"]
    assert await store.submit(attempts_of_nobody) == 0
    assert await deliveries.prune(ended_before=0.0, failed_before=0.0, kept_max=1) == 1
    assert await deliveries.prune(ended_before=99.0, failed_before=99.0, kept_max=0) == 1
    assert await deliveries.count() == {"pending": 1}


async def test_the_end_of_a_call_is_not_forgotten_before_its_beginning(store: Store) -> None:
    deliveries = Deliveries(store)
    begin = replace(row_of("begin"), event_type="call.initiated")
    end = replace(row_of("end"), event_type="call.hangup")
    for row in (begin, end):
        await deliveries.insert(row, parked=False)
    await deliveries.failed(begin, attempt_of(at=1.0))
    await deliveries.delivered([(end, attempt_of(at=1.0, status=200))])
    assert await deliveries.prune(ended_before=10.0, failed_before=0.0, kept_max=100) == 0
    assert await deliveries.of_unended_legs() == []
    assert await deliveries.prune(ended_before=10.0, failed_before=10.0, kept_max=100) == 1
    assert await deliveries.of_unended_legs() == []
    assert await deliveries.prune(ended_before=10.0, failed_before=10.0, kept_max=100) == 1


def attempts_of_nobody(db: sqlite3.Connection) -> int:
    (count,) = db.execute(
        "SELECT count(*) FROM attempts WHERE event_id NOT IN (SELECT event_id FROM deliveries)"
    ).fetchone()
    return int(count)


async def test_a_result_is_kept_although_the_insert_had_failed(store: Store) -> None:
    deliveries = Deliveries(store)
    await deliveries.again(row_of("e", due=5.0), attempt_of(), parked=True)
    assert [row.event_id for row in await deliveries.take_due(until=5.0, count_max=9)] == ["e"]


async def test_recent_shows_the_newest_of_one_leg(store: Store) -> None:
    deliveries = Deliveries(store)
    for name, leg in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")]:
        await deliveries.insert(row_of(name, leg=leg), parked=False)
    assert [view.row.event_id for view in await deliveries.recent(count_max=2, call_leg_id="x")] == ["d", "c"]


def test_urls_and_payload_do_not_show_in_a_repr() -> None:
    assert "http" not in repr(row_of("e"))
    assert "data=" not in repr(row_of("e"))
