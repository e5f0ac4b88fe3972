"""The SQLite file and its one writer thread.

Jobs run in the order given. All that wait are run in one transaction (group commit) and are told
their results only after it is on the disk, so a result means durable.
"""

import asyncio
import concurrent.futures
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from offhook.base.errors import ConfigError, OffhookError
from offhook.base.ids import RandomBytes
from offhook.base.limits import (
    STORE_JOBS_PER_COMMIT_MAX,
    STORE_JOBS_QUEUED_MAX,
    STORE_READ_TIMEOUT_S,
    STORE_READERS_MAX,
    STORE_READS_WAITING_MAX,
)
from offhook.edge.store.schema import migrate

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

DATABASE_NAME = "offhook.sqlite3"
LOCK_NAME = "lock"
CLOSE_TIMEOUT_S = 10.0


class StoreError(OffhookError):
    """The file could not be read or written: full disk, I/O error, or the store is closed or overfull."""


@dataclass(slots=True)
class _Queued:
    job: Job[Any]
    result: "asyncio.Future[Any] | concurrent.futures.Future[Any]"


class Store:
    """What survives a restart. Made by `Store.open`; `close` when nothing uses it any more."""

    def __init__(self, db: sqlite3.Connection, lock_fd: int, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.commits_total = 0
        self.jobs_failed_total = 0
        self._db = db
        self._lock_fd = lock_fd
        self._queue: queue.SimpleQueue[_Queued | None] = queue.SimpleQueue()
        self._closed = False
        self._readers = asyncio.Semaphore(STORE_READERS_MAX)
        self._reads = 0
        # A daemon: the process may end although the disk does not answer.
        self._thread = threading.Thread(target=self._work, name="offhook-store", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, data_dir: str | Path) -> "Store":
        """Open or create the store in `data_dir` and hold it against every other process.

        Raises:
            ConfigError: the directory cannot be made, written or locked, or holds something else.
        """
        directory = Path(data_dir)
        _make_directory(directory)
        lock_fd = _lock(directory)
        try:
            db = _connect(directory / DATABASE_NAME)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(db, lock_fd, directory)

    def submit(self, job: Job[T]) -> "asyncio.Future[T]":
        """Run `job` in the writer thread; the future resolves after its transaction is durable.

        The future fails with `StoreError` when the file or the queue does not take it; what `job`
        wrote is undone then. Call from a running event loop.
        """
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if (refusal := self._put(_Queued(job, result))) is not None:
            result.set_exception(refusal)
        return result

    def call(self, job: Job[T], *, timeout_s: float = CLOSE_TIMEOUT_S) -> T:
        """Run `job` and wait for it; for the time before and after the event loop runs.

        Raises:
            StoreError: as for `submit`.
        """
        result: concurrent.futures.Future[T] = concurrent.futures.Future()
        if (refusal := self._put(_Queued(job, result))) is not None:
            raise refusal
        try:
            return result.result(timeout_s)
        except concurrent.futures.TimeoutError:
            raise StoreError("the disk did not answer in time") from None

    async def read(self, job: Job[T], *, timeout_s: float = STORE_READ_TIMEOUT_S) -> T:
        """Run `job`, which only reads, beside the writer: a long search must not hold up an event.

        It sees what was durable when it began.

        Raises:
            StoreError: too many wait, it took longer than `timeout_s`, or the file cannot be read.
        """
        if self._closed:
            raise StoreError("the store is closed")
        if self._reads >= STORE_READS_WAITING_MAX:
            self.jobs_failed_total += 1
            raise StoreError(f"more than {STORE_READS_WAITING_MAX} searches wait")
        self._reads += 1
        try:
            async with self._readers:
                return await self._read(job, timeout_s)
        except sqlite3.Error as err:
            self.jobs_failed_total += 1
            raise _failure(err) from None
        finally:
            self._reads -= 1

    async def _read(self, job: Job[T], timeout_s: float) -> T:
        path = (self.data_dir / DATABASE_NAME).resolve()
        db = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )

        def work() -> T:
            try:
                db.execute("BEGIN")
                return job(db)
            finally:
                db.close()

        def interrupt() -> None:
            with contextlib.suppress(sqlite3.Error):  # it has just ended
                db.interrupt()

        timer = asyncio.get_running_loop().call_later(timeout_s, interrupt)
        try:
            return await asyncio.to_thread(work)
        finally:
            timer.cancel()

    def lasting_bytes(self, key: str, size_bytes: int, random: RandomBytes) -> bytes:
        """Return the secret or id kept under `key`, made with `random` the first time."""

        def job(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, random(size_bytes)))
            (value,) = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            return bytes(value)

        return self.call(job)

    def get_meta(self, key: str) -> bytes | None:
        """Return what is kept under `key`."""
        row = self.call(lambda db: db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone())
        return None if row is None else bytes(row[0])

    def set_meta(self, key: str, value: bytes) -> None:
        """Keep `value` under `key`."""
        self.call(lambda db: db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value)).rowcount)

    def close(self) -> None:
        """Finish the jobs that wait, then close the file and let go of the directory. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            os.close(self._lock_fd)

    def _put(self, queued: _Queued) -> StoreError | None:
        if self._closed:
            return StoreError("the store is closed")
        if self._queue.qsize() >= STORE_JOBS_QUEUED_MAX:
            self.jobs_failed_total += 1
            return StoreError(f"more than {STORE_JOBS_QUEUED_MAX} jobs wait for the disk")
        self._queue.put(queued)
        return None

    def _work(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._take()
            if batch:
                self._run(batch)
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _take(self) -> tuple[list[_Queued], bool]:
        """Wait for a job, then take all that are there."""
        batch: list[_Queued] = []
        queued = self._queue.get()
        while queued is not None:
            batch.append(queued)
            if len(batch) >= STORE_JOBS_PER_COMMIT_MAX:
                return batch, True
            try:
                queued = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _run(self, batch: list[_Queued]) -> None:
        outcomes: list[Any | StoreError]
        try:
            outcomes = self._transaction(batch)
        except Exception as err:  # noqa: BLE001 - one bad job must not end the thread nor fail its neighbours
            outcomes = [_failure(err)] if len(batch) == 1 else [self._run_alone(queued) for queued in batch]
        self.jobs_failed_total += sum(isinstance(outcome, StoreError) for outcome in outcomes)
        self._tell(batch, outcomes)

    def _run_alone(self, queued: _Queued) -> Any | StoreError:
        try:
            return self._transaction([queued])[0]
        except Exception as err:  # noqa: BLE001 - as above
            return _failure(err)

    def _transaction(self, batch: list[_Queued]) -> list[Any]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [queued.job(self._db) for queued in batch]
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self.commits_total += 1
        return results

    def _tell(self, batch: list[_Queued], outcomes: list[Any | StoreError]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(queued.result, concurrent.futures.Future):
                if isinstance(outcome, StoreError):
                    queued.result.set_exception(outcome)
                else:
                    queued.result.set_result(outcome)
            else:
                by_loop.setdefault(queued.result.get_loop(), []).append((queued.result, outcome))
        for loop, pairs in by_loop.items():
            with contextlib.suppress(RuntimeError):  # that loop has closed; nobody waits any more
                loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, outcome in pairs:
        if future.done():
            continue
        if isinstance(outcome, StoreError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _failure(err: Exception) -> StoreError:
    # SQLite's own texts name tables and columns, never values.
    text = str(err) if isinstance(err, sqlite3.Error) else type(err).__name__
    return StoreError(f"the database refused: {text}")


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid == os.getuid():
            directory.chmod(0o700)
    except FileExistsError:
        raise ConfigError(f"{directory} is not a directory; set OFFHOOK_DATA_DIR to one") from None
    except OSError as err:
        raise _unwritable(directory, err) from None


def _lock(directory: Path) -> int:
    try:
        lock_fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as err:
        raise _unwritable(directory, err) from None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock_fd)
        raise ConfigError(
            f"another Offhook uses the data directory {directory}; stop it or set OFFHOOK_DATA_DIR"
        ) from None
    return lock_fd


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # SQLite gives its -wal and -shm files the mode of the main file, so that one is made first.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        # One thread uses it at a time: this one until the writer starts, then the writer.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as err:
        raise _unwritable(path.parent, err) from None
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # durable against power loss, not only against a crash
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA journal_size_limit = 67108864")
        migrate(db)
    except sqlite3.DatabaseError as err:
        db.close()
        if isinstance(err, sqlite3.OperationalError):
            raise _unwritable(path.parent, err) from None
        raise ConfigError(f"{path} is not a database of Offhook; move it away and start again") from None
    except BaseException:
        db.close()
        raise
    return db


def _unwritable(directory: Path, err: Exception) -> ConfigError:
    reason = err.strerror if isinstance(err, OSError) else str(err)
    return ConfigError(
        f"the data directory {directory} cannot be written ({reason}); make it writable or set OFFHOOK_DATA_DIR"
    )
