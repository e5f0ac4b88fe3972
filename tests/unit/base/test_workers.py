"""What servers and their worker processes share, tried with a worker that is a real process."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from offhook.base.worker import import_named
from offhook.base.workers import end_worker, start_worker, worker_environment

pytestmark = pytest.mark.unit

ECHO = """
import os
from offhook.base.worker import become_worker, write_all
source, sink = become_worker()
print("a library prints")
write_all(sink, os.read(source, 100) + str(os.nice(0)).encode())
"""


def test_what_a_worker_prints_does_not_land_between_its_frames() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ECHO], input=b"hello ", capture_output=True, check=True, timeout=30
    )
    said, _, niceness = done.stdout.decode().partition(" ")
    assert said == "hello"
    assert int(niceness) >= min(19, os.nice(0) + 5)
    assert "a library prints" in done.stderr.decode()


async def test_a_worker_ends_when_its_input_does() -> None:
    # A module that reads its input to the end.
    process = await start_worker("base64")
    assert await asyncio.wait_for(end_worker(process), 30) == 0


async def test_a_worker_that_does_not_go_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.base.workers.WORKER_EXIT_TIMEOUT_S", 0.05)
    process = await start_worker("http.server")
    assert await asyncio.wait_for(end_worker(process), 30) == -signal.SIGKILL


def test_a_worker_is_given_no_keys_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFHOOK_API_KEYS", "secret")
    monkeypatch.setenv("OTHER", "kept")
    environment = worker_environment()
    assert "secret" not in environment.values()
    assert (environment["OTHER"], environment["OMP_NUM_THREADS"]) == ("kept", "1")


@pytest.mark.parametrize("reference", ["", "nothing", "os:nothing", "no_such_module:X", "os:", ":X"])
def test_what_cannot_be_imported_is_one_error(reference: str) -> None:
    with pytest.raises(ImportError):
        import_named(reference)
    assert import_named("os:path") is os.path
