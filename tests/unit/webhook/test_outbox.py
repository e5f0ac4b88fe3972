import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from offhook.edge.store import StoreError
from offhook.edge.webhook.sender import SenderSettings
from offhook.proto.webhook import RetrySchedule

pytestmark = pytest.mark.unit
Make = Callable[..., Any]


async def test_an_event_put_before_the_start_waits_in_the_file_and_is_sent(
    make_rig: Make, receiver: Any
) -> None:
    rig = make_rig()
    receipt = await rig.put(receiver.base + "/")
    assert receipt.durable
    assert rig.outbox.counters.parked == 1
    await rig.start()
    (got,) = await receiver.until(1)
    assert got.id == receipt.event_id
    await rig.stop()


async def test_an_event_put_after_the_close_is_sent_by_the_next_process(
    make_rig: Make, receiver: Any
) -> None:
    rig = await make_rig().start()
    await rig.sender.close(0.1)
    receipt = await rig.put(receiver.base + "/")
    assert receipt.durable
    assert receipt.first_attempt.result() is False
    rig.store.close()
    again = await make_rig().start()
    (got,) = await receiver.until(1)
    assert got.id == receipt.event_id
    await again.stop()


async def test_beyond_the_bound_events_wait_in_the_file_and_keep_the_order_of_their_call(
    make_rig: Make, receiver: Any
) -> None:
    rig = await make_rig(
        outbox_options={"in_memory_max": 5}, settings=SenderSettings(timeout_s=20.0, load_every_s=60.0)
    ).start()
    release = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.answers["/"] = answer
    sent: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for _ in range(20):
        for leg, ids in sent.items():
            ids.append((await rig.put(receiver.base + "/", leg=leg)).event_id)
    assert (rig.outbox.counters.in_memory, rig.outbox.counters.parked) == (5, 55)
    release.set()
    rig.sender.wake()
    got = [one.id for one in await receiver.until(60)]
    assert len(set(got)) == 60
    for ids in sent.values():
        assert [one for one in got if one in ids] == ids
    await rig.settled()
    assert rig.outbox.counters.pending == 0
    assert not rig.outbox._behind
    assert not rig.outbox._waiters
    await rig.stop()


async def test_a_waiter_of_a_parked_event_is_told_too(make_rig: Make, receiver: Any) -> None:
    rig = await make_rig(outbox_options={"in_memory_max": 1}).start()
    receipts = [await rig.put(receiver.base + "/") for _ in range(5)]
    async with asyncio.timeout(30):
        assert [await receipt.first_attempt for receipt in receipts] == [True] * 5
    await rig.stop()


async def test_one_receiver_cannot_take_all_memory(make_rig: Make, receiver: Any) -> None:
    other = await type(receiver)().start()
    rig = await make_rig(
        outbox_options={"in_memory_max": 10, "in_memory_per_origin_max": 3},
        settings=SenderSettings(timeout_s=5.0, load_every_s=60.0),
    ).start()

    async def hang(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answers["/"] = hang
    for n in range(30):
        await rig.put(receiver.base + "/", leg=str(n))
    assert rig.outbox.counters.in_memory < 10
    assert await (await rig.put(other.base + "/", leg="other")).first_attempt
    await rig.stop(grace_s=0.0)
    await other.stop()


async def test_a_long_wait_is_spent_in_the_file_and_survives(make_rig: Make, receiver: Any) -> None:
    schedule = RetrySchedule(fast_waits_s=(), slow_waits_s=(30.0,))
    rig = await make_rig(schedule=schedule).start()
    receiver.answers["/"] = 500
    receipt = await rig.put(receiver.base + "/")
    await receipt.first_attempt
    await rig.settled()
    assert (rig.outbox.counters.in_memory, rig.outbox.counters.parked) == (0, 1)
    view = await rig.deliveries.find(receipt.event_id)
    assert view.row.progress.round == 1
    assert 29 < view.row.next_attempt_at - view.attempts[0].finished_at <= 30
    await rig.stop()
    again = await make_rig(schedule=schedule).start()
    assert [one.attempt for one in await receiver.until(2)] == [1, 2], "a start is a good moment to try"
    await again.stop()


async def test_what_an_outage_held_up_comes_in_order_after_a_restart_and_before_new_events(
    make_rig: Make, receiver: Any
) -> None:
    schedule = RetrySchedule(fast_waits_s=(), slow_waits_s=(30.0,))
    rig = await make_rig(schedule=schedule).start()
    receiver.answers["/"] = 500
    receipts = [await rig.put(receiver.base + "/") for _ in range(5)]
    await receipts[-1].first_attempt
    await rig.stop()
    receiver.answers["/"] = 200
    receiver.got.clear()
    again = await make_rig(schedule=schedule).start()
    receipts.append(await again.put(receiver.base + "/", event="call.hangup"))
    got = await receiver.until(6)
    assert [one.id for one in got] == [receipt.event_id for receipt in receipts]
    await again.settled()
    assert not again.outbox._behind
    await again.stop()


async def test_a_failed_event_can_be_sent_again(rig: Any, receiver: Any) -> None:
    receiver.answers["/"] = 404
    receipt = await rig.put(receiver.base + "/")
    await receipt.first_attempt
    await rig.settled()
    receiver.answers["/"] = 200
    assert await rig.outbox.resend(receipt.event_id)
    rig.sender.wake()
    got = await receiver.until(2)
    assert [(one.id, one.attempt) for one in got] == [(receipt.event_id, 1), (receipt.event_id, 2)]
    await rig.settled()
    assert await rig.outbox.resend(receipt.event_id), "a receiver may have lost it"
    rig.sender.wake()
    assert [one.attempt for one in await receiver.until(3)] == [1, 2, 3]
    await rig.settled()
    assert not await rig.outbox.resend("other")
    assert rig.outbox.counters.pending == 0


async def test_a_full_disk_costs_durability_and_not_the_event(rig: Any, receiver: Any) -> None:
    pages = await rig.store.submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await rig.store.submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    big = {"x": "y" * 50_000}
    from offhook.call.values import WebhookRoute

    receipt = await rig.outbox.put(
        "call.answered", big, occurred_at=1.0, route=WebhookRoute(receiver.base + "/"), call_leg_id="leg"
    )
    assert not receipt.durable
    assert await receipt.first_attempt
    assert rig.outbox.counters.not_durable_total >= 1
    await rig.store.submit(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
    assert (await rig.put(receiver.base + "/")).durable
    await rig.settled()
    assert rig.outbox.counters.dropped_total == 0


def hold_inserts(rig: Any) -> list[asyncio.Future[None]]:
    """Let the disk take everything and say nothing; returns what it owes an answer to."""
    submit, owed = rig.deliveries.insert, []

    def slow(row: Any, *, parked: bool) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        submit(row, parked=parked)
        owed.append(answer)
        return answer

    rig.deliveries.insert = slow
    return owed


async def until_all_wait(owed: list[asyncio.Future[None]], count: int) -> None:
    async with asyncio.timeout(30):
        while len(owed) < count:
            await asyncio.sleep(0)


async def test_no_receiver_hears_of_an_event_before_it_is_on_the_disk(rig: Any, receiver: Any) -> None:
    owed = hold_inserts(rig)
    puts = [asyncio.ensure_future(rig.put(receiver.base + "/")) for _ in range(3)]
    await until_all_wait(owed, 3)
    assert rig.outbox.counters.in_memory == 3, "it has its place already, so the bounds hold"
    await rig.store.submit(lambda db: None)
    assert receiver.got == []
    for answer in owed:
        answer.set_result(None)
    ids = [(await put).event_id for put in puts]
    assert [got.id for got in await receiver.until(3)] == ids
    assert rig.outbox.counters.sent_unstored_total == 0


async def test_a_disk_that_does_not_answer_does_not_silence_us(
    rig: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.webhook.outbox.WEBHOOK_STORED_TIMEOUT_S", 0.02)
    owed = hold_inserts(rig)
    puts = [asyncio.ensure_future(rig.put(receiver.base + "/")) for _ in range(3)]
    got = [one.id for one in await receiver.until(3)]
    assert rig.outbox.counters.sent_unstored_total == 3
    for answer in owed:
        answer.set_result(None)
    assert [(await put).event_id for put in puts] == got


async def test_what_is_being_stored_at_the_end_is_sent_by_the_next_process(
    make_rig: Make, receiver: Any
) -> None:
    rig = await make_rig().start()
    owed = hold_inserts(rig)
    put = asyncio.ensure_future(rig.put(receiver.base + "/"))
    await until_all_wait(owed, 1)
    await rig.sender.close(0.0)
    owed[0].set_result(None)
    receipt = await put
    assert receipt.durable
    assert receipt.first_attempt.result() is False
    assert (rig.outbox.counters.in_memory, receiver.got) == (0, [])
    rig.store.close()
    again = await make_rig().start()
    assert [one.id for one in await receiver.until(1)] == [receipt.event_id]
    await again.stop()


async def test_ids_are_uuid4_and_unique(rig: Any, receiver: Any) -> None:
    import uuid

    receipts = await asyncio.gather(*(rig.put(receiver.base + "/") for _ in range(50)))
    ids = {receipt.event_id for receipt in receipts}
    assert len(ids) == 50
    assert {uuid.UUID(one).version for one in ids} == {4}


async def test_old_deliveries_are_forgotten(make_rig: Make, receiver: Any) -> None:
    rig = await make_rig(
        settings=SenderSettings(load_every_s=0.01, prune_every_s=0.01, delivered_kept_s=0.0)
    ).start()
    receipt = await rig.put(receiver.base + "/")
    assert await receipt.first_attempt
    rig.outbox.flush()
    async with asyncio.timeout(30):
        while await rig.deliveries.find(receipt.event_id) is not None:
            await rig.store.submit(lambda db: None)
    await rig.stop()


@pytest.mark.parametrize("failing", range(1, 13))
async def test_whichever_write_fails_every_event_arrives_and_nothing_is_left_behind(
    make_rig: Make, receiver: Any, failing: int
) -> None:
    rig = make_rig(outbox_options={"in_memory_max": 2})
    submit, calls = rig.store.submit, 0

    def flaky(job: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing + 1:  # the first is the start's, without which there is no server
            failed = asyncio.get_running_loop().create_future()
            failed.set_exception(StoreError("the database refused: disk I/O error"))
            return failed
        return submit(job)

    rig.store.submit = flaky
    await rig.start()
    seen: set[str] = set()

    async def once_not(request: web.Request) -> web.Response:
        event_id = (await request.json())["data"]["id"]
        known = event_id in seen
        seen.add(event_id)
        return web.Response(status=200 if known else 500)

    receiver.answers["/"] = once_not
    receipts = [await rig.put(receiver.base + "/", leg=str(n // 3)) for n in range(6)]
    got = await receiver.until(12)
    assert {one.id for one in got} == {receipt.event_id for receipt in receipts}
    await rig.settled()
    counters = rig.outbox.counters
    assert (counters.delivered_total, counters.dropped_total, counters.pending) == (6, 0, 0)
    assert counters.not_durable_total <= 1
    assert all(receipt.first_attempt.done() for receipt in receipts)
    await rig.stop()
