"""What a call costs the server, beside the least that any program could do: `python bench/calls.py`.

Starts the server, a caller, an app, a load generator and a sink, all on loopback and when root in a
network namespace of their own. In each turn N calls are set up and 50 packets a second sent into each
of them, and the CPU time of the server is read over a steady window; then the floor program does the
least it could with the same packets. Turns in which the machine was not ours are not counted.
"""

import argparse
import asyncio
import datetime
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import accounts, ports, tools
from rig.app import FORK_TARGET, STREAM_URL, App
from rig.caller import Call, Caller, open_caller
from rig.delivery import Delivery, compare
from rig.network import enter_own_network

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
RESULTS = HERE / "results" / "calls.txt"

PACKETS_PER_S = 50
CALLS_PER_S = 50
SETTLE_S = 3.0
AFTER_WINDOW_S = 1.0
# Stolen time is booked as the run time of whoever ran.
STEAL_MAX = 0.04
RATE_MIN = 0.995
TRIES_PER_TURN = 3


@dataclass(frozen=True)
class Case:
    """What the app asks for on each call, and the mode of the floor beside it."""

    command: str
    body: dict[str, Any]
    floor: str


CASES = {
    "stream": Case("streaming_start", {"stream_url": STREAM_URL, "stream_track": "inbound_track"}, "json"),
    "both": Case("streaming_start", {"stream_url": STREAM_URL, "stream_track": "both_tracks"}, "json"),
    "fork": Case("fork_start", {"target": FORK_TARGET}, "udp"),
}


@dataclass(frozen=True)
class Window:
    """What one program cost between two moments of steady load."""

    begin_ns: int
    end_ns: int
    cpu_s: float
    steal: float
    others: float
    resident_kib: int
    threads: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.begin_ns) / 1e9


@dataclass(frozen=True)
class Cost:
    """One turn: the window, and what became of the packets sent in it."""

    calls: int
    window: Window
    delivery: Delivery

    @property
    def cpu_ms_per_call_s(self) -> float:
        return 1000 * self.window.cpu_s / (self.calls * self.window.seconds)

    @property
    def rate(self) -> float:
        return self.delivery.sent / (self.calls * PACKETS_PER_S * self.window.seconds)

    @property
    def is_clean(self) -> bool:
        return self.window.steal <= STEAL_MAX and self.rate >= RATE_MIN


@dataclass
class Bench:
    """What all turns have in common."""

    calls: int
    window_s: float
    server_pid: int
    caller: Caller
    app: App
    scratch: Path

    async def server_turn(self, case: Case) -> Cost:
        """Calls up, load, window, calls down."""
        self.app.then = (case.command, case.body)
        async with self._sink() as sink:
            calls = await set_up(self.caller, self.calls)
            window = await self._load(
                self.server_pid, [(call.local_rtp, call.remote_rtp) for call in calls], sink.pid
            )
            await self.take_down(calls)
        if self.app.troubles:
            raise RuntimeError(f"the server refused or failed: {self.app.troubles[:3]}")
        return self._cost(window)

    async def take_down(self, calls: list[Call]) -> None:
        """Hang up, and wait until the app knows."""
        await asyncio.gather(*(self.caller.hang_up(call) for call in calls))
        await self.app.settle(self.caller.calls_total)

    async def floor_turn(self, mode: str) -> Cost:
        """The same load into the floor program."""
        sink_port = ports.SINK_WEBSOCKET if mode == "json" else ports.SINK_UDP
        floor = tools.Program(BUILD / "floor", mode, self.calls, ports.FLOOR_RTP, sink_port)
        pairs = [(ports.LOAD_RTP + 2 * i, ports.FLOOR_RTP + 2 * i) for i in range(self.calls)]
        async with self._sink() as sink, floor:
            window = await self._load(floor.pid, pairs, sink.pid)
        return self._cost(window)

    def _sink(self) -> tools.Program:
        return tools.Program(BUILD / "sink", ports.SINK_WEBSOCKET, ports.SINK_UDP, self.scratch / "arrived")

    async def _load(self, pid: int, port_pairs: list[tuple[int, int]], sink_pid: int) -> Window:
        """Send into every call, and look at the program once the load is steady."""
        lines = [f"{number} {local} {remote}\n" for number, (local, remote) in enumerate(port_pairs)]
        (self.scratch / "targets").write_text("".join(lines))
        load_s = SETTLE_S + self.window_s + AFTER_WINDOW_S
        words = (BUILD / "load", self.scratch / "targets", load_s, self.scratch / "sent")
        async with tools.Program(*words) as load:
            await asyncio.sleep(SETTLE_S)
            pids = accounts.family(pid)
            begin_ns, before, cpu_before_s = time.time_ns(), accounts.Machine.now(), accounts.cpu_s(pids)
            await asyncio.sleep(self.window_s)
            cpu_s, after, end_ns = accounts.cpu_s(pids), accounts.Machine.now(), time.time_ns()
            window_s = (end_ns - begin_ns) / 1e9
            window = Window(
                begin_ns,
                end_ns,
                cpu_s - cpu_before_s,
                steal=after.stolen_since(before) / window_s,
                others=after.others_since(before, [*pids, load.pid, sink_pid, os.getpid()]) / window_s,
                resident_kib=accounts.resident_kib(pids),
                threads=accounts.threads(pids),
            )
            await load.wait(load_s + 10)
        return window

    def _cost(self, window: Window) -> Cost:
        sent = tools.read_records(self.scratch / "sent")
        arrived = tools.read_records(self.scratch / "arrived")
        return Cost(self.calls, window, compare(sent, arrived, (window.begin_ns, window.end_ns)))


async def set_up(caller: Caller, count: int) -> list[Call]:
    """Calls at an even pace, all of which must come up."""
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(count):
            tasks.append(group.create_task(caller.call(number, ports.LOAD_RTP + 2 * number)))
            await asyncio.sleep(1 / CALLS_PER_S)
    return [task.result() for task in tasks]


async def clean(name: str, turn: Callable[[], Awaitable[Cost]]) -> Cost | None:
    """Take a turn, again if the machine was busy with something else; each is shown."""
    for _ in range(TRIES_PER_TURN):
        cost = await turn()
        print(describe(name, cost), flush=True)
        if cost.is_clean:
            return cost
    return None


def describe(name: str, cost: Cost) -> str:
    way = cost.delivery
    return (
        f"{name:14} {cost.cpu_ms_per_call_s:6.3f} ms  loss {way.loss_percent:.3f} %  doubled {way.doubled}"
        f"  p50 {way.p50_ms:.2f} ms  p99 {way.p99_ms:.2f} ms  steal {100 * cost.window.steal:.1f} %"
        f"  others {100 * cost.window.others:.0f} %  rate {100 * cost.rate:.1f} %"
        f"{'' if cost.is_clean else '  NOT COUNTED'}"
    )


def summary(name: str, case: Case, pairs: list[tuple[Cost, Cost]], idle_kib: int, calls: int) -> str:
    """A row of the table: medians over the turns, the span of the ratios."""
    if not pairs:
        return f"| {name} | {calls} | no clean turn |"
    ours, floors = zip(*pairs, strict=True)
    ratios = [server.cpu_ms_per_call_s / floor.cpu_ms_per_call_s for server, floor in pairs]

    def median(values: list[float]) -> float:
        return statistics.median(values)

    return (
        f"| {name} | {calls} | {len(pairs)} | {median([c.cpu_ms_per_call_s for c in ours]):.3f}"
        f" | {case.floor} {median([c.cpu_ms_per_call_s for c in floors]):.3f}"
        f" | {median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"
        f" | {max(c.delivery.loss_percent for c in ours):.3f} | {sum(c.delivery.doubled for c in ours)}"
        f" | {median([c.delivery.p50_ms for c in ours]):.2f} | {median([c.delivery.p99_ms for c in ours]):.2f}"
        f" | {median([c.delivery.p99_ms for c in floors]):.2f}"
        f" | {(ours[0].window.resident_kib - idle_kib) / calls:.0f} | {ours[0].window.threads}"
        f" | {100 * max(c.window.steal for c in (*ours, *floors)):.1f}"
        f" | {100 * max(c.window.others for c in (*ours, *floors)):.0f} |"
    )


COLUMNS = [
    "case", "calls", "turns", "CPU ms per call-second", "floor", "ratio", "loss %", "doubled", "p50 ms",
    "p99 ms", "floor p99 ms", "RSS KiB per call", "threads", "steal %", "others % of a core",
]  # fmt: skip
HEADING = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


async def call_setup(bench: Bench, count: int) -> str:
    """CPU time of whole calls without audio: INVITE, webhooks, the answer command, BYE."""
    bench.app.then = None
    pids = accounts.family(bench.server_pid)
    before_s = accounts.cpu_s(pids)
    begin_s = time.perf_counter()
    calls = await set_up(bench.caller, count)
    await bench.take_down(calls)
    spent_ms = 1000 * (accounts.cpu_s(pids) - before_s)
    took_s = time.perf_counter() - begin_s
    return (
        f"whole calls: {count} in {took_s:.0f} s, {spent_ms / count:.2f} ms of CPU each"
        " (webhooks and commands included)"
    )


def provenance(where: str, words: argparse.Namespace) -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "../src", "../crates") else ""
    now = datetime.datetime.now(datetime.UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}\n"
        f"{accounts.cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, {where}\n"
        f"command: bench/calls.py {' '.join(sys.argv[1:])}".rstrip()
        + f" ({words.turns} turns of {words.seconds:g} s)"
    )


async def run(words: argparse.Namespace, where: str) -> list[str]:
    key = f"KEY{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        async with App(key) as app, tools.server(scratch, key, words.workers) as server:
            caller = await open_caller()
            try:
                bench = Bench(words.calls, words.seconds, server.pid, caller, app, scratch)
                # What is loaded at the first call belongs to no call.
                await bench.take_down(await set_up(caller, 1))
                setup = await call_setup(bench, words.setup_calls) if words.setup_calls else ""
                idle_kib = accounts.resident_kib(accounts.family(server.pid))
                rows = [await run_case(bench, name, words.turns, idle_kib) for name in words.case]
            finally:
                caller.close()
    return [provenance(where, words), HEADING, *rows, *([setup] if setup else [])]


async def run_case(bench: Bench, name: str, turns: int, idle_kib: int) -> str:
    case = CASES[name]
    pairs = []
    for _ in range(turns):
        ours = await clean(name, lambda: bench.server_turn(case))
        floor = await clean(f"floor {case.floor}", lambda: bench.floor_turn(case.floor))
        if ours and floor:
            pairs.append((ours, floor))
    return summary(name, case, pairs, idle_kib, bench.calls)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=100, help="calls up at once (100)")
    parser.add_argument("--turns", type=int, default=3, help="turns of server and floor (3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured window of a turn (15)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="default: stream, fork")
    parser.add_argument("--setup-calls", type=int, default=500, help="calls whose set-up is measured (500)")
    parser.add_argument("--workers", type=int, help="media threads (the server's default)")
    words = parser.parse_args()
    words.case = words.case or ["stream", "fork"]
    if not 0 < words.calls <= ports.CALLS_MAX or not 0 <= words.setup_calls <= ports.CALLS_MAX:
        parser.error(f"at most {ports.CALLS_MAX} calls")
    return words


def main() -> None:
    words = arguments()
    where = enter_own_network()
    tools.build(BUILD)
    report = "\n".join(asyncio.run(run(words, where)))
    print(f"\n{report}")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(f"{report}\n\n")


if __name__ == "__main__":
    main()
