"""Speech workers that crash, hang, cannot load or lose their server. Real processes, a fake model."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from offhook.base.errors import LimitReached
from offhook.edge.speech.frames import pack_message
from offhook.edge.speech.pool import SpeechPool
from offhook.edge.speech.protocol import (
    Closed,
    Error,
    Final,
    Partial,
    SpeechConfig,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.session import PoolSession
from tests.fakes.speech_engine import ENGINE, REFERENCE, silence, tone

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
MakePool = Callable[..., SpeechPool]


class Listener:
    """Keeps the events of one session and lets a test wait for them."""

    def __init__(self) -> None:
        self.events: list[SpeechEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: SpeechEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def wait_for(self, kind: type) -> Any:
        await self.wait_until(lambda: any(isinstance(event, kind) for event in self.events))
        return next(event for event in self.events if isinstance(event, kind))

    async def wait_until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                self._news.clear()
                await self._news.wait()

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Final)]


@pytest.fixture
async def make_pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePool]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("offhook.edge.speech.session.SPEECH_CLOSE_TIMEOUT_S", 20.0)
    pools: list[SpeechPool] = []

    def make(*, workers: int = 1, tracks_per_worker_max: int = 24, **options: Any) -> SpeechPool:
        pool = SpeechPool(
            ENGINE,
            REFERENCE,
            workers=workers,
            options=options,
            tracks_per_worker_max=tracks_per_worker_max,
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pids = pool.pids()
        await pool.close()
        assert not any(map(runs, pids)), "no process outlives its pool"
        assert pool.counters()["sessions"] == 0


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def open_session(pool: SpeechPool) -> tuple[PoolSession, Listener]:
    listener = Listener()
    return await pool.open(SpeechConfig(interim=True), listener), listener


def say(session: PoolSession, pcm: bytes, at_ms: int) -> int:
    for at in range(0, len(pcm), 1600):
        session.push(pcm[at : at + 1600], at_ms + at // 16)
    return at_ms + len(pcm) // 16


async def test_words_come_back_from_a_worker_started_by_the_first_session(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.pids() == []
    session, listener = await open_session(pool)
    say(session, tone(5, 1000) + silence(600), 0)
    assert (await listener.wait_for(Final)).text == "word5"
    assert len(pool.pids()) == 1
    await session.close()
    assert isinstance(listener.events[-1], Closed)
    assert listener.events[-1].stats.dropped_ms == 0


async def test_closing_delivers_the_words_just_said(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.warm_up()
    session, listener = await open_session(pool)
    say(session, tone(7, 700), 0)
    await session.close()
    assert listener.texts == ["word7"]
    assert isinstance(listener.events[-1], Closed)


async def test_sessions_are_spread_over_the_workers_and_stay_apart(make_pool: MakePool) -> None:
    pool = make_pool(workers=2)
    opened = [await open_session(pool) for _ in range(6)]
    for number, (session, _) in enumerate(opened, start=1):
        say(session, tone(number, 500) + silence(600), 0)
    for number, (_, listener) in enumerate(opened, start=1):
        assert (await listener.wait_for(Final)).text == f"word{number}"
    assert len(pool.pids()) == 2
    for session, _ in opened:
        await session.close()


async def test_a_full_pool_says_so(make_pool: MakePool) -> None:
    pool = make_pool(tracks_per_worker_max=1)
    session, _ = await open_session(pool)
    with pytest.raises(LimitReached, match="full"):
        await open_session(pool)
    await session.close()
    again, _ = await open_session(pool)
    await again.close()


async def test_a_crash_in_the_middle_of_an_utterance_loses_no_word(
    make_pool: MakePool, tmp_path: Path
) -> None:
    pool = make_pool(crash_once=str(tmp_path / "crashed"))
    session, listener = await open_session(pool)
    other, bystander = await open_session(pool)
    say(session, tone(5, 400) + silence(600), 0)
    say(other, tone(8, 3000), 0)
    error = await listener.wait_for(Error)
    assert error.recovering
    assert (await listener.wait_for(Final)).text == "word5"
    await other.close()
    assert bystander.texts == ["word8"]
    await session.close()
    assert listener.texts == ["word5"]
    assert pool.counters()["worker_restarts"] == 1
    assert session.stats().crashes == 1


async def test_a_killed_worker_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool()
    session, listener = await open_session(pool)
    at_ms = say(session, tone(5, 500) + silence(700), 0)
    await listener.wait_for(Final)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGKILL)
    await listener.wait_for(Error)
    say(session, tone(6, 500) + silence(700), at_ms)
    await listener.wait_until(lambda: len(listener.texts) == 2)
    assert listener.texts == ["word5", "word6"]
    finals = [event for event in listener.events if isinstance(event, Final)]
    assert [final.utterance_id for final in finals] == [0, 1]
    assert pool.pids() != [pid]
    await session.close()


async def test_audio_that_always_ends_the_worker_ends_its_session(make_pool: MakePool) -> None:
    pool = make_pool(poison=9)
    session, listener = await open_session(pool)
    say(session, tone(9, 500) + silence(600), 0)
    closed = await listener.wait_for(Closed)
    last_error = [event for event in listener.events if isinstance(event, Error)][-1]
    assert not last_error.recovering
    assert closed.stats.crashes >= 2
    assert session.ended
    healthy, heard = await open_session(pool)
    say(healthy, tone(4, 500) + silence(600), 0)
    assert (await heard.wait_for(Final)).text == "word4"
    await healthy.close()


async def test_a_missing_model_is_told_before_any_process_is_started(make_pool: MakePool) -> None:
    pool = make_pool(missing="the model is missing: pip install it")
    with pytest.raises(SpeechUnavailable, match="pip install"):
        await open_session(pool)
    with pytest.raises(SpeechUnavailable, match="pip install"):
        await pool.warm_up()
    assert pool.pids() == []
    assert pool.counters()["sessions"] == 0


async def test_a_model_that_does_not_load_fails_the_session_with_the_reason(make_pool: MakePool) -> None:
    pool = make_pool(unloadable="the model is of the wrong kind")
    session, listener = await open_session(pool)
    await listener.wait_for(Closed)
    assert listener.events[0] == Error("the model is of the wrong kind", recovering=False)
    assert session.ended
    with pytest.raises(SpeechUnavailable, match="wrong kind"):
        await pool.warm_up()


async def test_a_worker_that_never_starts_is_given_up(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.slot._BACKOFF_S", (0.0,))
    monkeypatch.setattr("offhook.edge.speech.slot.SPEECH_START_FAILURES_MAX", 1)
    pool = make_pool(exit_at_load=True)
    _, listener = await open_session(pool)
    await listener.wait_for(Closed)
    assert listener.events[0] == Error("the speech worker does not start", recovering=False)


async def test_a_worker_that_hangs_is_ended_and_replaced(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.slot.SPEECH_PING_S", 0.1)
    monkeypatch.setattr("offhook.edge.speech.slot.SPEECH_SILENT_WORKER_S", 0.5)
    monkeypatch.setattr("offhook.base.workers.WORKER_EXIT_TIMEOUT_S", 0.1)
    pool = make_pool()
    await pool.warm_up()
    session, listener = await open_session(pool)
    (pid,) = pool.pids()
    os.kill(pid, signal.SIGSTOP)
    say(session, tone(5, 500) + silence(600), 0)
    assert (await listener.wait_for(Final)).text == "word5"
    assert not runs(pid)
    await session.close()


async def test_a_hanging_worker_costs_bounded_memory_and_a_bounded_close(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offhook.edge.speech.session.SPEECH_CLOSE_TIMEOUT_S", 0.1)
    pool = make_pool()
    await pool.warm_up()
    session, listener = await open_session(pool)
    os.kill(pool.pids()[0], signal.SIGSTOP)
    at_ms = 0
    for _ in range(60):
        at_ms = say(session, silence(1000), at_ms)
        await asyncio.sleep(0)
    stats = session.stats()
    assert stats.audio_ms == 60_000
    assert stats.dropped_ms > 30_000
    await session.close()
    assert isinstance(listener.events[-1], Closed)


async def test_a_slow_worker_gives_partials_up_and_keeps_every_final(make_pool: MakePool) -> None:
    pool = make_pool(decode_s=0.05)
    opened = [await open_session(pool) for _ in range(4)]
    for session, _ in opened:
        at_ms = 0
        for word in (3, 4, 5):
            at_ms = say(session, tone(word, 1000) + silence(600), at_ms)
    for _, listener in opened:
        await listener.wait_until(lambda heard=listener: len(heard.texts) == 3)  # type: ignore[misc]
        assert listener.texts == ["word3", "word4", "word5"]
    for session, listener in opened:
        await session.close()
        assert sum(isinstance(event, Partial) for event in listener.events) <= 3


async def test_closing_the_pool_ends_open_sessions_with_closed(make_pool: MakePool) -> None:
    pool = make_pool()
    _, listener = await open_session(pool)
    await pool.close()
    assert [type(event) for event in listener.events] == [Closed]
    with pytest.raises(SpeechUnavailable):
        await open_session(pool)


async def test_no_key_of_the_server_reaches_a_worker(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFHOOK_API_KEYS", "secret-key")
    pool = make_pool()
    await pool.warm_up()
    assert b"secret-key" not in environment_of(pool.pids()[0])


def start_worker() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "offhook.edge.speech.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("loaded", [False, True])
def test_a_worker_ends_when_its_server_is_gone(loaded: bool) -> None:
    with start_worker() as worker:
        assert worker.stdin is not None
        if loaded:
            worker.stdin.write(pack_message({"op": "load", "engine": REFERENCE, "options": {}}))
            worker.stdin.flush()
            assert worker.stdout is not None
            worker.stdout.read(8)
            # What a terminal sends to the whole group must not end a call's transcription.
            worker.send_signal(signal.SIGINT)
            worker.stdin.write(pack_message({"op": "ping"}))
            worker.stdin.flush()
            assert worker.stdout.read(8)
        worker.stdin.close()
        assert worker.wait(timeout=20) == 0


def test_a_worker_that_is_sent_nonsense_ends_with_a_status() -> None:
    with start_worker() as worker:
        worker.communicate(b"\xff" * 64, timeout=20)
        assert worker.returncode == 4


def test_an_engine_that_is_none_is_reported() -> None:
    with start_worker() as worker:
        out, _ = worker.communicate(
            pack_message({"op": "load", "engine": "os:path", "options": {}}), timeout=20
        )
        assert b"unavailable" in out
        assert worker.returncode == 3
