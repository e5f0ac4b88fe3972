"""One turn of a benchmark: calls up, load, a measured window, calls down; or the same for the floor."""

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import accounts, ports, tools
from rig.app import FORK_TARGET, STREAM_URL, App
from rig.caller import Call, Caller, open_caller
from rig.delivery import Delivery, compare, compare_hops

BUILD = Path(__file__).parent.parent.parent / "build" / "bench"

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
    echo: bool = False


BOTH = {"stream_url": STREAM_URL, "stream_track": "both_tracks"}
CASES = {
    "stream": Case("streaming_start", {"stream_url": STREAM_URL, "stream_track": "inbound_track"}, "json"),
    "both": Case("streaming_start", BOTH, "json"),
    "echo": Case("streaming_start", {**BOTH, "stream_bidirectional_mode": "rtp"}, "echo", echo=True),
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

    @property
    def moments(self) -> tuple[int, int]:
        return self.begin_ns, self.end_ns


@dataclass(frozen=True)
class Cost:
    """One turn: the window, and what became of the packets sent in it."""

    calls: int
    window: Window
    delivery: Delivery
    round_trip: Delivery | None = None
    """From RTP in to the app and back to RTP out."""
    voice: Delivery | None = None
    """From the app to RTP out."""
    outbound: Delivery | None = None
    """From the app to the frame of the outbound track."""

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
    """What all turns with one server have in common."""

    calls: int
    window_s: float
    server_pid: int
    caller: Caller
    app: App
    scratch: Path

    async def server_turn(self, case: Case) -> Cost:
        """Calls up, load, window, calls down."""
        self.app.then = (case.command, case.body)
        async with self.sink(case) as sink:
            calls = await self.set_up(self.calls)
            pairs = [(call.local_rtp, call.remote_rtp) for call in calls]
            window = await self._load(self.server_pid, pairs, sink.pid, case)
            await self.take_down(calls)
        self.app.check()
        return self._cost(window, case)

    async def set_up(self, count: int) -> list[Call]:
        """Calls at an even pace, all of which must come up, and what the app asks for on each."""
        async with asyncio.TaskGroup() as group:
            tasks = []
            for number in range(count):
                tasks.append(group.create_task(self.caller.call(number, ports.LOAD_RTP + 2 * number)))
                await asyncio.sleep(1 / CALLS_PER_S)
        await self.app.wait_for_starts(count)
        return [task.result() for task in tasks]

    async def take_down(self, calls: list[Call]) -> None:
        """Hang up, and wait until the app knows."""
        await asyncio.gather(*(self.caller.hang_up(call) for call in calls))
        await self.app.settle(self.caller.calls_total)

    def cpu_s(self) -> float:
        """What the server has used so far."""
        return accounts.cpu_s(accounts.family(self.server_pid))

    async def floor_turn(self, case: Case) -> Cost:
        """The same load into the floor program."""
        sink_port = ports.SINK_UDP if case.floor == "udp" else ports.SINK_WEBSOCKET
        words = [BUILD / "floor", case.floor, self.calls, ports.FLOOR_RTP, sink_port]
        floor = tools.Program(*words, niceness=tools.FLOOR_NICENESS)
        pairs = [(ports.LOAD_RTP + 2 * i, ports.FLOOR_RTP + 2 * i) for i in range(self.calls)]
        async with self.sink(case) as sink, floor:
            window = await self._load(floor.pid, pairs, sink.pid, case)
        return self._cost(window, case)

    def sink(self, case: Case) -> tools.Program:
        """The far end of streams and forks; its logs are written when it ends."""
        words: list[object] = [BUILD / "sink", ports.SINK_WEBSOCKET, ports.SINK_UDP, self.scratch / "arrived"]
        words += ["echo"] if case.echo else []
        return tools.Program(*words, niceness=tools.INSTRUMENT_NICENESS)

    def load(self, port_pairs: list[tuple[int, int]], load_s: float, case: Case) -> tools.Program:
        """What sends into every call, for so long."""
        lines = [f"{number} {local} {remote}\n" for number, (local, remote) in enumerate(port_pairs)]
        (self.scratch / "targets").write_text("".join(lines))
        words: list[object] = [BUILD / "load", self.scratch / "targets", load_s, self.scratch / "sent"]
        words += [self.scratch / "back"] if case.echo else []
        return tools.Program(*words, niceness=tools.INSTRUMENT_NICENESS)

    def records(self, name: str) -> list[tools.Record]:
        return tools.read_records(self.scratch / name)

    async def _load(self, pid: int, port_pairs: list[tuple[int, int]], sink_pid: int, case: Case) -> Window:
        """Send into every call, and look at the program once the load is steady."""
        load_s = SETTLE_S + self.window_s + AFTER_WINDOW_S
        async with self.load(port_pairs, load_s, case) as load:
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

    def _cost(self, window: Window, case: Case) -> Cost:
        sent, arrived = self.records("sent"), self.records("arrived")
        delivery = compare(sent, arrived, window.moments)
        if not delivery.arrived:
            raise RuntimeError("nothing arrived")
        if not case.echo:
            return Cost(self.calls, window, delivery)
        back, outbound = self.records("back"), self.records("arrived.outbound")
        return Cost(
            self.calls,
            window,
            delivery,
            round_trip=compare(sent, back, window.moments),
            voice=compare_hops(arrived, back, window.moments),
            outbound=compare_hops(arrived, outbound, window.moments),
        )


@asynccontextmanager
async def running(
    calls: int, window_s: float, *, workers: int | None = None, busy: bool = False
) -> AsyncIterator[Bench]:
    """A fresh server with its caller and its app."""
    key = f"KEY{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        server = tools.server(scratch, key, workers=workers, busy=busy)
        async with App(key) as app, server:
            caller = await open_caller()
            try:
                bench = Bench(calls, window_s, server.pid, caller, app, scratch)
                # What is loaded at the first call belongs to no call.
                await bench.take_down(await bench.set_up(1))
                yield bench
            finally:
                caller.close()


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
    hops = [("trip", cost.round_trip), ("voice", cost.voice), ("outbound", cost.outbound)]
    told = "".join(f"  {hop} p50 {d.p50_ms:.2f} p99 {d.p99_ms:.2f}" for hop, d in hops if d)
    return (
        f"{name:14} {cost.cpu_ms_per_call_s:6.3f} ms  loss {way.loss_percent:.3f} %  doubled {way.doubled}"
        f"  p50 {way.p50_ms:.2f} ms  p99 {way.p99_ms:.2f} ms{told}  steal {100 * cost.window.steal:.1f} %"
        f"  others {100 * cost.window.others:.0f} %  rate {100 * cost.rate:.1f} %"
        f"{'' if cost.is_clean else '  NOT COUNTED'}"
    )
