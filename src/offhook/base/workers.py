"""Worker processes, as the server starts and ends them; `base.worker` is their own half."""

import asyncio
import contextlib
import os
import sys

from offhook.base.limits import WORKER_EXIT_TIMEOUT_S


async def start_worker(module: str) -> asyncio.subprocess.Process:
    """Start `python -m module` with pipes for its input and output.

    Raises:
        OSError: the machine has no room for a process.
    """
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=worker_environment(),
    )


def worker_environment() -> dict[str, str]:
    """Return this process's environment without the server's settings, which hold keys; one thread each."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OFFHOOK_")}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def hang_up(process: asyncio.subprocess.Process) -> None:
    """Close a worker's input, which ends it once it looks."""
    if process.stdin is not None:
        process.stdin.close()


async def end_worker(process: asyncio.subprocess.Process) -> int:
    """Hang up and return the exit status; a worker that does not go is killed."""
    hang_up(process)
    try:
        async with asyncio.timeout(WORKER_EXIT_TIMEOUT_S):
            return await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()
