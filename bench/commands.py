"""How soon a command is answered while calls are up and webhooks flow: `python bench/commands.py`.

Sets up calls whose audio is streamed both ways, then gives fork_start and fork_stop in turn, so that each
command also causes one webhook, at a steady rate spread by chance. Tells how long an answer took, and how
long an event took from its moment (`occurred_at`) to the app: storing, signing and posting.
"""

import argparse
import asyncio
import random
import time

from rig import ports, tools
from rig.app import FORK_TARGET
from rig.caller import Call
from rig.network import enter_own_network
from rig.report import heading, keep, provenance
from rig.turns import AFTER_WINDOW_S, BUILD, CASES, SETTLE_S, Bench, running

COLUMNS = [
    "calls", "commands a second", "audio", "commands", "answer p50 ms", "p99 ms", "max ms",
    "event to app p50 ms", "p99 ms", "max ms", "CPU of the server %",
]  # fmt: skip
CASE = CASES["both"]


class Spans:
    """Durations in ms, and what is told of them."""

    def __init__(self) -> None:
        self._ms: list[float] = []

    def __len__(self) -> int:
        return len(self._ms)

    def add(self, seconds: float) -> None:
        self._ms.append(1000 * seconds)

    def cells(self) -> list[str]:
        """Median, 99th percentile, largest."""
        if not self._ms:
            return ["-"] * 3
        ordered = sorted(self._ms)
        return [f"{ordered[int(part * (len(ordered) - 1))]:.1f}" for part in (0.5, 0.99, 1.0)]


async def give(bench: Bench, rate: float, seconds: float) -> tuple[Spans, Spans]:
    """Give commands on the calls in turn for so long; return how long answers and events took."""
    answers = Spans()
    ids = bench.app.take_calls()
    chance = random.Random(1)
    busy: set[asyncio.Task[None]] = set()

    async def one(call: str, name: str, body: dict[str, str]) -> None:
        began_s = time.perf_counter()
        await bench.app.command(call, name, body)
        answers.add(time.perf_counter() - began_s)

    events = bench.app.events_took = Spans()
    ends_s = time.perf_counter() + seconds
    due_s = time.perf_counter()
    number = 0
    while due_s < ends_s:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        # Each call in turn is forked, and in the next round no more.
        start = number // len(ids) % 2 == 0
        name, body = ("fork_start", {"target": FORK_TARGET}) if start else ("fork_stop", {})
        task = asyncio.create_task(one(ids[number % len(ids)], name, body))
        busy.add(task)
        task.add_done_callback(busy.discard)
        number += 1
        due_s += chance.expovariate(rate)
    await asyncio.gather(*busy)
    await asyncio.sleep(AFTER_WINDOW_S)
    bench.app.events_took = None
    bench.app.check()
    return answers, events


async def measure(words: argparse.Namespace, rate: float) -> str:
    """One row: calls up, audio flowing, commands, calls down."""
    async with running(words.calls, words.seconds) as bench:
        bench.app.then = (CASE.command, CASE.body) if words.audio else None
        async with bench.sink(CASE):
            bench.app.take_calls()  # that of the call which warmed the server up
            calls = await bench.set_up(words.calls)
            cpu_before_s, began_s = bench.cpu_s(), time.perf_counter()
            answers, events = await with_audio(bench, calls, words, rate)
            cpu = (bench.cpu_s() - cpu_before_s) / (time.perf_counter() - began_s)
            await bench.take_down(calls)
    cells = [
        f"{words.calls}",
        f"{rate:g}",
        "both tracks streamed" if words.audio else "none",
        f"{len(answers)}",
        *answers.cells(),
        *events.cells(),
        f"{100 * cpu:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


async def with_audio(
    bench: Bench, calls: list[Call], words: argparse.Namespace, rate: float
) -> tuple[Spans, Spans]:
    if not words.audio:
        return await give(bench, rate, words.seconds)
    pairs = [(call.local_rtp, call.remote_rtp) for call in calls]
    load_s = SETTLE_S + words.seconds + AFTER_WINDOW_S
    async with bench.load(pairs, load_s, CASE) as load:
        await asyncio.sleep(SETTLE_S)
        spans = await give(bench, rate, words.seconds)
        await load.wait(load_s)
    return spans


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200, help="calls up meanwhile (200)")
    parser.add_argument(
        "--rate",
        type=float,
        action="append",
        help="commands a second, each with a webhook; may be repeated (50)",
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (30)")
    parser.add_argument(
        "--no-audio", dest="audio", action="store_false", help="calls without RTP and streams"
    )
    words = parser.parse_args()
    words.rate = words.rate or [50.0]
    if not 0 < words.calls <= ports.CALLS_MAX:
        parser.error(f"at most {ports.CALLS_MAX} calls")
    return words


async def run(words: argparse.Namespace, where: str) -> list[str]:
    rows = [await measure(words, rate) for rate in words.rate]
    return [provenance(where), heading(COLUMNS), *rows]


def main() -> None:
    words = arguments()
    where = enter_own_network()
    tools.build(BUILD)
    keep("commands.txt", asyncio.run(run(words, where)))


if __name__ == "__main__":
    main()
