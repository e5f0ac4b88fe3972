"""What a call costs the server, beside the least that any program could do: `python bench/calls.py`.

Starts the server, a caller, an app, a load generator and a sink, all on loopback and when root in a
network namespace of their own. In each turn N calls are set up and 50 packets a second sent into each
of them, and the CPU time of the server is read over a steady window; then the floor program does the
least it could with the same packets. Turns in which the machine was not ours are not counted. Each case
and number of calls has a fresh server, as memory once used is not given back.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

from rig import accounts, ports, tools
from rig.delivery import Delivery
from rig.network import enter_own_network
from rig.report import heading, keep, provenance
from rig.turns import BUILD, CASES, Bench, Cost, clean, running

COLUMNS = [
    "case", "calls", "turns", "CPU ms per call-second", "floor", "ratio", "loss %", "doubled",
    "RTP in to frame p50 ms", "p99 ms", "floor p99 ms", "app to RTP p50 ms", "p99 ms",
    "echo p50 ms", "p99 ms", "echo loss %", "RSS KiB per call", "threads", "steal %", "others % of a core",
]  # fmt: skip


def summary(name: str, ours: list[Cost], floors: list[Cost], idle_kib: int) -> str:
    """A row of the table: medians over the turns, the span of the ratios; no floors beside a busy server."""
    if not ours:
        return f"| {name} | no clean turn |"
    calls = ours[0].calls

    def median(value: Callable[[Cost], float], costs: list[Cost] = ours) -> float:
        return statistics.median(value(cost) for cost in costs)

    def delays(way: Callable[[Cost], Delivery | None]) -> list[str]:
        told = [delivery for delivery in map(way, ours) if delivery]
        if not told:
            return ["-", "-"]
        return [
            f"{statistics.median(each):.2f}"
            for each in zip(*((d.p50_ms, d.p99_ms) for d in told), strict=True)
        ]

    trips = [cost.round_trip for cost in ours if cost.round_trip]
    cells = [
        name,
        f"{calls}",
        f"{len(ours)}",
        *compared(ours, floors),
        f"{max(c.delivery.loss_percent for c in ours):.3f}",
        f"{sum(c.delivery.doubled for c in ours)}",
        *delays(lambda c: c.delivery),
        f"{median(lambda c: c.delivery.p99_ms, floors):.2f}" if floors else "-",
        *delays(lambda c: c.voice),
        *delays(lambda c: c.round_trip),
        f"{max(trip.loss_percent for trip in trips):.3f}" if trips else "-",
        f"{(ours[0].window.resident_kib - idle_kib) / calls:.0f}",
        f"{ours[0].window.threads}",
        f"{100 * max(c.window.steal for c in [*ours, *floors]):.1f}",
        f"{100 * max(c.window.others for c in [*ours, *floors]):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def compared(ours: list[Cost], floors: list[Cost]) -> list[str]:
    """CPU of the server, of the floor, and their ratio; what a busy server spends is mostly not its own work."""
    if not floors:
        return ["-", "-", "-"]
    cpu = [statistics.median(c.cpu_ms_per_call_s for c in costs) for costs in (ours, floors)]
    ratios = [o.cpu_ms_per_call_s / f.cpu_ms_per_call_s for o, f in zip(ours, floors, strict=True)]
    ratio = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
    return [f"{cpu[0]:.3f}", f"{cpu[1]:.3f}", ratio]


async def call_setup(bench: Bench, count: int) -> str:
    """CPU time of whole calls without audio: INVITE, webhooks, the answer command, BYE."""
    bench.app.then = None
    pids = accounts.family(bench.server_pid)
    before_s = accounts.cpu_s(pids)
    begin_s = time.perf_counter()
    calls = await bench.set_up(count)
    await bench.take_down(calls)
    spent_ms = 1000 * (accounts.cpu_s(pids) - before_s)
    took_s = time.perf_counter() - begin_s
    return (
        f"whole calls: {count} in {took_s:.0f} s, {spent_ms / count:.2f} ms of CPU each"
        " (webhooks and commands included)"
    )


async def run(words: argparse.Namespace, where: str) -> list[str]:
    rows = [await run_case(name, calls, words) for name in words.case for calls in words.calls]
    lines = [f"{provenance(where)} ({words.turns} turns of {words.seconds:g} s)", heading(COLUMNS), *rows]
    if words.setup_calls:
        async with running(0, words.seconds, workers=words.workers) as bench:
            lines.append(await call_setup(bench, words.setup_calls))
    return lines


async def run_case(name: str, calls: int, words: argparse.Namespace) -> str:
    case = CASES[name]
    ours: list[Cost] = []
    floors: list[Cost] = []
    async with running(calls, words.seconds, workers=words.workers, busy=words.busy) as bench:
        # The first stream loads what all share; so does the first fork.
        bench.app.then = (case.command, case.body)
        async with bench.sink(case):
            await bench.take_down(await bench.set_up(1))
        idle_kib = accounts.resident_kib(accounts.family(bench.server_pid))
        for _ in range(words.turns):
            cost = await clean(f"{name} {calls}", lambda: bench.server_turn(case))
            if words.busy:
                ours += [cost] if cost else []
                continue
            floor = await clean(f"floor {case.floor}", lambda: bench.floor_turn(case))
            if cost and floor:
                ours.append(cost)
                floors.append(floor)
    return summary(f"{name}{' busy' if words.busy else ''}", ours, floors, idle_kib)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--calls", type=numbers, default=[100], help="calls up at once, a list: 100,200 (100)"
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of server and floor (3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured window of a turn (15)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: stream, echo, fork")
    parser.add_argument(
        "--busy", action="store_true", help="10 ms of Python work every 20 ms in the server; no floor"
    )
    parser.add_argument("--setup-calls", type=int, default=500, help="calls whose set-up is measured (500)")
    parser.add_argument("--workers", type=int, help="media threads (the server's default)")
    words = parser.parse_args()
    words.case = words.case or ["stream", "echo", "fork"]
    if not all(0 < calls <= ports.CALLS_MAX for calls in [*words.calls, words.setup_calls or 1]):
        parser.error(f"at most {ports.CALLS_MAX} calls")
    return words


def main() -> None:
    words = arguments()
    where = enter_own_network()
    tools.build(BUILD)
    keep("calls.txt", asyncio.run(run(words, where)))


if __name__ == "__main__":
    main()
