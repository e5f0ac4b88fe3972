"""Runs the coroutine of a command until it ends or Ctrl-C ends it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


def run_until_stopped(work: Coroutine[Any, Any, int], *, stopped_status: int = 0) -> int:
    """Run `work`; SIGINT and SIGTERM cancel it, so that its `finally` blocks run.

    Returns:
        What `work` returned, or `stopped_status` when a signal ended it.
    """

    async def supervised() -> int:
        task = asyncio.get_running_loop().create_task(work)
        with signals_call(task.cancel):
            try:
                return await task
            except asyncio.CancelledError:
                return stopped_status

    return asyncio.run(supervised())


@contextmanager
def signals_call(act: Callable[[], object]) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM call `act` in the running loop."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
