"""One app stops reading for ten seconds: what it costs, and whom: `python bench/pressure.py`.

Calls are up with both tracks streamed, and silence in the outbound one. The first app stops reading, and
reads on after ten seconds. Shown are the delays of the other calls before and meanwhile, the memory of the
server, and what was dropped of which stream.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rig import accounts, tools
from rig.delivery import compare
from rig.network import enter_own_network
from rig.report import heading, keep, provenance
from rig.tools import Record
from rig.turns import BUILD, CASES, SETTLE_S, Bench, running

CASE = CASES["both"]
STALL_S = 10.0
AFTER_S = 5.0
MEMORY_EVERY_S = 0.5
COLUMNS = ["the others", "packets", "loss %", "RTP in to frame p50 ms", "p99 ms"]


@dataclass(frozen=True)
class Course:
    """The moments of one run, and the memory before and at its most."""

    begun_ns: int
    stalled_ns: int
    resumed_ns: int
    ended_ns: int
    before_kib: int
    most_kib: int

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        return {
            "before": (self.begun_ns, self.stalled_ns),
            "meanwhile": (self.stalled_ns, self.resumed_ns),
            "after": (self.resumed_ns, self.ended_ns),
        }


async def most_resident_kib(pids: list[int], seconds: float) -> int:
    """The most that was resident in so many seconds."""
    most_kib = 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        most_kib = max(most_kib, accounts.resident_kib(pids))
        await asyncio.sleep(MEMORY_EVERY_S)
    return most_kib


async def run_course(bench: Bench, sink: tools.Program) -> Course:
    pids = accounts.family(bench.server_pid)
    await asyncio.sleep(SETTLE_S)
    begun_ns = time.time_ns()
    before_kib = await most_resident_kib(pids, STALL_S)
    stalled_ns = time.time_ns()
    sink.signal(signal.SIGUSR1)
    most_kib = await most_resident_kib(pids, STALL_S)
    sink.signal(signal.SIGUSR1)
    resumed_ns = time.time_ns()
    most_kib = max(most_kib, await most_resident_kib(pids, AFTER_S - 1))
    return Course(begun_ns, stalled_ns, resumed_ns, time.time_ns(), before_kib, most_kib)


async def measure(calls: int) -> tuple[Course, list[dict[str, Any]], str, list[list[Record]]]:
    async with running(calls, STALL_S) as bench:
        bench.app.answer = {"send_silence_when_idle": True}
        bench.app.then = (CASE.command, CASE.body)
        async with bench.sink(CASE) as sink:
            up = await bench.set_up(calls)
            load_s = SETTLE_S + 2 * STALL_S + AFTER_S
            async with bench.load([(call.local_rtp, call.remote_rtp) for call in up], load_s, CASE) as load:
                course = await run_course(bench, sink)
                await load.wait(AFTER_S + 10)
            streams = await bench.app.streams()
            await bench.take_down(up)
        bench.app.check()
        return course, streams, sink.last_words, [bench.records("sent"), bench.records("arrived")]


def slowest_call(arrived: Sequence[Record]) -> int:
    """The call whose app has stopped reading."""
    return max(arrived, key=lambda record: record.received_ns - record.sent_ns).call


def tell(course: Course, streams: list[dict[str, Any]], said: str, logs: list[list[Record]]) -> list[str]:
    slow = slowest_call(logs[1])
    sent, arrived = ([record for record in log if record.call != slow] for log in logs)
    rows = []
    for name, moments in course.parts.items():
        way = compare(sent, arrived, moments)
        rows.append(f"| {name} | {way.sent} | {way.loss_percent:.3f} | {way.p50_ms:.2f} | {way.p99_ms:.2f} |")
    counters = sorted((stream["counters"] for stream in streams), key=lambda told: told["frames_dropped"])
    dropped = [told["frames_dropped"] for told in counters]
    words = dict(word.split("=") for word in said.split())
    return [
        *rows,
        f"the slow app: {dropped[-1]} of its frames dropped, {words['error_frames']} error frame",
        f"all others: {sum(dropped[:-1])} frames dropped; gaps in sequence numbers of all: {words['gaps']}",
        f"memory of the server: {course.before_kib} KiB before, +{course.most_kib - course.before_kib} KiB at most",
    ]


async def run(calls: int, where: str) -> list[str]:
    course, streams, said, logs = await measure(calls)
    return [f"{provenance(where)} ({calls} calls)", heading(COLUMNS), *tell(course, streams, said, logs)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20, help="calls up at once (20)")
    words = parser.parse_args()
    where = enter_own_network()
    tools.build(BUILD)
    keep("pressure.txt", asyncio.run(run(words.calls, where)))


if __name__ == "__main__":
    main()
