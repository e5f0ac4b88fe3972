"""Runs `offhook serve` with Python work beside it: 10 ms of every 20 ms in the server's event loop.

`python busy.py serve ...`, in place of `python -m offhook serve ...`. The server itself knows nothing of it.
"""

import asyncio
import runpy
import sys
import time
from collections.abc import Coroutine
from typing import Any

import uvloop

EVERY_S = 0.02
WORK_S = 0.01


async def be_busy() -> None:
    """Hold the loop, and the interpreter, for half of the time."""
    while True:
        end_s = time.perf_counter() + WORK_S
        while time.perf_counter() < end_s:
            sum(range(200))
        await asyncio.sleep(EVERY_S - WORK_S)


async def beside(main: Coroutine[Any, Any, Any]) -> Any:
    busy = asyncio.create_task(be_busy())
    try:
        return await main
    finally:
        busy.cancel()


def main() -> None:
    run = uvloop.run
    uvloop.run = lambda main, **words: run(beside(main), **words)
    sys.argv[0] = "offhook"
    runpy.run_module("offhook", run_name="__main__")


if __name__ == "__main__":
    main()
