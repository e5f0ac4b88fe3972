"""How soon an app is heard, and how soon no more: `python bench/talk.py`.

The app of each call says two seconds at once, thinks better of it, clears, then says a fifth of a second
and waits for its mark; again and again, in all calls at the same time. Packets are timed by the kernel as
they reach the phone. Shown are, over all calls and rounds: from `media` to the first packet that carries it;
from `clear` to the end of the last packet that carries any; and how far a returned mark is from the last
packet before it.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import random
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from rig import ports, tools
from rig.app import STREAM_URL
from rig.delivery import quantile_ms
from rig.network import enter_own_network
from rig.report import heading, keep, provenance
from rig.turns import BUILD, Bench, running

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("<qq")
RTP_HEADER_BYTES = 12
PACKET_BYTES = 160
PACKET_NS = 20_000_000
LOUD = bytes([0x25, 0xA5]) * (PACKET_BYTES // 2)
LONG_PACKETS, SHORT_PACKETS = 100, 10
MARK_TIMEOUT_S = 5.0
QUIET_S = 0.15
COLUMNS = [
    "idle leg sends silence", "calls", "rounds", "media to first RTP p50 ms", "p95 ms", "p99 ms",
    "clear to silence p50 ms", "p99 ms", "mark after its packet p50 ms", "p1 ms", "p99 ms", "marks beyond 20 ms",
]  # fmt: skip


class Ear:
    """The phone's RTP socket: when each packet came that carries anything."""

    def __init__(self, port: int) -> None:
        self.loud_ns: list[int] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)
        self._socket.bind((ports.HOST, port))
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, control, _, _ = self._socket.recvmsg(2048, 128)
                if LOUD[:8] in packet[RTP_HEADER_BYTES:]:
                    seconds, nanoseconds = TIMESPEC.unpack_from(control[0][2])
                    self.loud_ns.append(seconds * 1_000_000_000 + nanoseconds)


@dataclass
class Delays:
    """In nanoseconds, of all calls and rounds."""

    first_ns: list[int] = field(default_factory=list)
    cleared_ns: list[int] = field(default_factory=list)
    marks_ns: list[int] = field(default_factory=list)


@dataclass
class Talker:
    """The app's end of one stream."""

    socket: web.WebSocketResponse
    marks: dict[str, asyncio.Future[int]] = field(default_factory=dict)

    async def say(self, packets: int) -> int:
        """Send so much audio in one frame; return when it was."""
        payload = base64.b64encode(LOUD * packets).decode()
        text = json.dumps({"event": "media", "media": {"payload": payload}})
        at_ns = time.time_ns()
        await self.socket.send_str(text)
        return at_ns

    async def mark(self, name: str) -> asyncio.Future[int]:
        """Ask for a mark; what is returned tells when it came back."""
        self.marks[name] = back = asyncio.get_running_loop().create_future()
        await self.socket.send_str(json.dumps({"event": "mark", "mark": {"name": name}}))
        return back

    async def clear(self) -> int:
        at_ns = time.time_ns()
        await self.socket.send_str('{"event":"clear"}')
        return at_ns

    def take(self, frame: dict[str, Any], at_ns: int) -> None:
        if frame["event"] == "mark":
            self.marks.pop(frame["mark"]["name"]).set_result(at_ns)
        elif frame["event"] == "error":
            raise RuntimeError(f"the server refused a frame: {frame['payload']}")


class Talkers:
    """A WebSocket server; the talker of each call, by its caller."""

    def __init__(self) -> None:
        self._by_caller: dict[str, asyncio.Future[Talker]] = {}

    def of(self, number: int) -> asyncio.Future[Talker]:
        """The talker of a call, once its stream has started."""
        loop = asyncio.get_running_loop()
        return self._by_caller.setdefault(f"+1555{number:07d}", loop.create_future())

    async def take(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        talker = Talker(connection)
        async for message in connection:
            at_ns = time.time_ns()
            frame = json.loads(message.data)
            if frame["event"] == "start":
                self.of(int(frame["start"]["from"][-7:])).set_result(talker)
            elif frame["event"] != "media":
                talker.take(frame, at_ns)
        return connection


async def talk(talker: Talker, ear: Ear, rounds: int, delays: Delays) -> None:
    """Say something long and take it back, say something short and wait for the end; so many times."""
    for number in range(rounds):
        await asyncio.sleep(random.uniform(0, 0.1))
        ear.loud_ns.clear()
        begun_ns = await talker.say(LONG_PACKETS)
        mark = await talker.mark(f"long {number}")
        await asyncio.sleep(random.uniform(0.3, 0.7))
        cut_ns = await talker.clear()
        await asyncio.wait_for(mark, MARK_TIMEOUT_S)
        await asyncio.sleep(QUIET_S)
        delays.first_ns.append(ear.loud_ns[0] - begun_ns)
        delays.cleared_ns.append(max(0, ear.loud_ns[-1] + PACKET_NS - cut_ns))
        ear.loud_ns.clear()
        begun_ns = await talker.say(SHORT_PACKETS)
        mark = await talker.mark(f"short {number}")
        back_ns = await asyncio.wait_for(mark, MARK_TIMEOUT_S)
        await asyncio.sleep(QUIET_S)
        delays.first_ns.append(ear.loud_ns[0] - begun_ns)
        delays.marks_ns.append(back_ns - ear.loud_ns[-1])


async def measure(bench: Bench, talkers: Talkers, rounds: int, *, silence: bool) -> Delays:
    bench.app.answer = {"send_silence_when_idle": silence}
    bench.app.then = (
        "streaming_start",
        {"stream_url": STREAM_URL, "stream_track": "both_tracks", "stream_bidirectional_mode": "rtp"},
    )
    delays = Delays()
    ears = [Ear(ports.LOAD_RTP + 2 * number) for number in range(bench.calls)]
    try:
        calls = await bench.set_up(bench.calls)
        async with asyncio.TaskGroup() as group:
            for call, ear in zip(calls, ears, strict=True):
                group.create_task(talk(await talkers.of(call.number), ear, rounds, delays))
        await bench.take_down(calls)
        bench.app.check()
    finally:
        for ear in ears:
            ear.close()
    return delays


def row(silence: bool, calls: int, rounds: int, delays: Delays) -> str:
    first, cleared, marks = (
        sorted(values) for values in (delays.first_ns, delays.cleared_ns, delays.marks_ns)
    )
    beyond = sum(abs(mark_ns) > PACKET_NS for mark_ns in marks)
    cells = [
        "yes" if silence else "no",
        str(calls),
        str(rounds),
        *(f"{quantile_ms(first, share):.2f}" for share in (0.5, 0.95, 0.99)),
        *(f"{quantile_ms(cleared, share):.2f}" for share in (0.5, 0.99)),
        *(f"{quantile_ms(marks, share):.2f}" for share in (0.5, 0.01, 0.99)),
        f"{beyond} of {len(marks)}",
    ]
    return f"| {' | '.join(cells)} |"


async def run(words: argparse.Namespace, where: str) -> list[str]:
    rows = []
    for silence in (False, True):
        talkers = Talkers()
        app = web.Application()
        app.router.add_get("/media", talkers.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, ports.HOST, ports.SINK_WEBSOCKET).start()
        try:
            async with running(words.calls, 0, busy=words.busy) as bench:
                delays = await measure(bench, talkers, words.rounds, silence=silence)
        finally:
            await runner.cleanup()
        rows.append(row(silence, words.calls, words.rounds, delays))
    return [provenance(where), heading(COLUMNS), *rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20, help="calls at once (20)")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each call (20)")
    parser.add_argument("--busy", action="store_true", help="10 ms of Python work every 20 ms in the server")
    words = parser.parse_args()
    where = enter_own_network()
    tools.build(BUILD)
    keep("talk.txt", asyncio.run(run(words, where)))


if __name__ == "__main__":
    main()
