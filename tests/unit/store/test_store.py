import asyncio
import contextlib
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from offhook.base.errors import ConfigError
from offhook.base.limits import STORE_READS_WAITING_MAX
from offhook.edge.store import Store, StoreError
from offhook.edge.store.deliveries import _find
from offhook.edge.store.schema import MIGRATIONS
from offhook.edge.store.store import DATABASE_NAME

pytestmark = pytest.mark.unit


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_and_its_files_are_for_the_owner_only(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    store = Store.open(directory)
    store.set_meta("k", b"v")
    assert mode_of(directory) == 0o700
    assert {name.name: mode_of(name) for name in directory.iterdir()} == {
        name.name: 0o600 for name in directory.iterdir()
    }
    assert (directory / f"{DATABASE_NAME}-wal").exists()
    store.close()


def test_a_second_server_is_told_that_the_directory_is_in_use(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(ConfigError, match="another Offhook uses the data directory"):
        Store.open(tmp_path)
    store.close()
    Store.open(tmp_path).close()


def test_a_path_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is not a directory"):
        Store.open(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be written"):
        Store.open(tmp_path / "file" / "below")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a directory that not even root can write")
def test_a_directory_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        Store.open("/proc/self/offhook")


def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="is not a database of Offhook"):
        Store.open(tmp_path)
    assert (tmp_path / DATABASE_NAME).read_bytes().startswith(b"not a database")


def test_a_file_of_a_newer_version_is_told(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_NAME) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(ConfigError, match="newer Offhook"):
        Store.open(tmp_path)


def test_opening_again_migrates_nothing_and_keeps_everything(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    secret = store.lasting_bytes("secret", 32, os.urandom)
    store.close()
    store.close()
    store = Store.open(tmp_path)
    assert store.lasting_bytes("secret", 32, os.urandom) == secret
    assert store.get_meta("secret") == secret
    assert store.get_meta("nothing") is None
    store.close()


async def test_one_bad_job_is_undone_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    gate = threading.Event()
    blocked = store.submit(lambda db: gate.wait(5))

    def bad(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO meta VALUES ('bad', x'00')")
        db.execute("INSERT INTO nowhere VALUES (1)")

    good = [
        store.submit(lambda db, n=n: db.execute("INSERT INTO meta VALUES (?, x'00')", (n,)).rowcount)
        for n in "abc"
    ]
    failing = store.submit(bad)
    broken = store.submit(lambda db: 1 // 0)
    gate.set()
    assert await blocked
    assert await asyncio.gather(*good) == [1, 1, 1]
    with pytest.raises(StoreError, match="no such table"):
        await failing
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        await broken
    keys = await store.submit(lambda db: [key for (key,) in db.execute("SELECT key FROM meta ORDER BY key")])
    assert keys == ["a", "b", "c"]
    assert store.jobs_failed_total == 2
    store.close()


async def test_jobs_that_wait_share_one_commit(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    gate = threading.Event()
    blocked = store.submit(lambda db: gate.wait(5))
    waiting = [store.submit(lambda db: 1) for _ in range(100)]
    gate.set()
    await asyncio.gather(blocked, *waiting)
    assert store.commits_total <= 2
    store.close()


async def test_what_was_resolved_is_in_the_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    await store.submit(lambda db: db.execute("INSERT INTO meta VALUES ('k', x'01')").rowcount)
    other = sqlite3.connect(tmp_path / DATABASE_NAME)
    assert other.execute("SELECT count(*) FROM meta").fetchone() == (1,)
    other.close()
    store.close()


async def test_a_closed_store_refuses_and_close_finishes_what_waits(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    waiting = [store.submit(lambda db, n=n: n) for n in range(50)]
    store.close()
    assert await asyncio.gather(*waiting) == list(range(50))
    with pytest.raises(StoreError, match="closed"):
        await store.submit(lambda db: 1)
    with pytest.raises(StoreError, match="closed"):
        store.get_meta("k")


async def test_an_overfull_queue_refuses_instead_of_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.store.store.STORE_JOBS_QUEUED_MAX", 10)
    store = Store.open(tmp_path)
    gate = threading.Event()
    waiting = [store.submit(lambda db: gate.wait(5)) for _ in range(30)]
    gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [result for result in results if isinstance(result, StoreError)]
    assert len(refused) in (19, 20)
    assert "more than 10 jobs wait" in str(refused[0])
    store.close()


async def test_a_full_disk_fails_jobs_and_not_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    pages = await store.submit(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    # SQLite answers a page limit exactly as it answers a full disk.
    await store.submit(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())
    with pytest.raises(StoreError, match="full"):
        await store.submit(
            lambda db: db.execute("INSERT INTO meta VALUES ('big', zeroblob(1000000))").rowcount
        )
    await store.submit(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert await store.submit(lambda db: db.execute("INSERT INTO meta VALUES ('big', x'00')").rowcount) == 1
    store.close()


def test_a_file_of_an_older_version_keeps_its_deliveries(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as db:
        for script in MIGRATIONS[:2]:
            db.executescript(script)
        db.execute("PRAGMA user_version = 2")
        columns = "event_id, call_leg_id, event_type, occurred_at, data, url, parked, created_at, "
        columns += "next_attempt_at, expires_at"
        db.execute(
            f"INSERT INTO deliveries ({columns}) VALUES ('e', 'leg', 't', 'now', x'7b7d', 'http://a/', 1, 1, 2, 3)"
        )
        db.executemany(
            "INSERT INTO attempts VALUES ('e', ?, 'http://a/', ?, 9, 500, 'HTTP 500')", [(1, 5), (2, 7)]
        )
        db.commit()
    store = Store.open(tmp_path)
    view = store.call(lambda db: _find(db, "e"))
    store.close()
    assert view is not None
    assert (view.started_at, view.row.method, len(view.attempts)) == (5.0, "POST", 2)


async def test_a_search_that_takes_too_long_is_broken_off_and_the_writer_goes_on(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    search = asyncio.ensure_future(store.read(lambda db: db.execute(endless).fetchone(), timeout_s=0.2))
    assert await store.submit(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
    assert not search.done(), "the writer did not wait for it"
    with pytest.raises(StoreError):
        await search
    assert await store.read(lambda db: db.execute("SELECT 2").fetchone()) == (2,)
    store.close()


async def test_a_search_cannot_write(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(StoreError):
        await store.read(lambda db: db.execute("INSERT INTO meta VALUES ('a', x'00')").rowcount)
    store.close()


async def test_no_more_searches_wait_than_the_bound(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    searches = [store.read(lambda db: None) for _ in range(STORE_READS_WAITING_MAX + 3)]
    results = await asyncio.gather(*searches, return_exceptions=True)
    assert sum(isinstance(result, StoreError) for result in results) == 3
    assert store.jobs_failed_total == 3
    store.close()
