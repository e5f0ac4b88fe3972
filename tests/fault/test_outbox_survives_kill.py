"""kill -9 at any moment: every event whose `put` had returned is delivered, with the id it was given.

The file is its own child process: it puts events as fast as the disk takes them and prints each id
once `put` has returned. `OFFHOOK_KILLS` sets how many children die (20 in CI, more at night).
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from offhook.base.clock import SystemClock
from offhook.base.log import set_up_logs
from offhook.call.values import WebhookRoute
from offhook.edge.egress import Egress
from offhook.edge.store import Deliveries, Store
from offhook.edge.webhook import Outbox, Poster, WebhookSender
from offhook.edge.webhook.sender import SenderSettings
from offhook.proto.webhook import RetrySchedule, WebhookSigner

pytestmark = pytest.mark.fault

KILLS = int(os.environ.get("OFFHOOK_KILLS", "20"))
# The last wait is beyond what is spent in memory, so parked rows are killed too.
SCHEDULE = RetrySchedule(fast_waits_s=(0.01, 0.02), slow_waits_s=(0.05, 5.5))


def wire(directory: Path) -> tuple[Store, Outbox, WebhookSender]:
    store, clock = Store.open(directory), SystemClock()
    # Little memory, so that some events wait in the file from the start.
    outbox = Outbox(Deliveries(store), clock, schedule=SCHEDULE, in_memory_max=40)
    signer = WebhookSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    poster = Poster(Egress(allow_private=True), signer, clock)
    settings = SenderSettings(timeout_s=0.3, load_every_s=0.05)
    return store, outbox, WebhookSender(outbox, poster, clock, settings)


async def child(directory: Path, url: str) -> None:
    _, outbox, sender = wire(directory)
    await sender.start()
    count = 0

    async def talk(leg: str) -> None:
        nonlocal count
        while count < 400:
            count += 1
            receipt = await outbox.put(
                "call.answered", {"n": count}, occurred_at=0.0, route=WebhookRoute(url), call_leg_id=leg
            )
            assert receipt.durable
            sys.stdout.write(receipt.event_id + "\n")
            sys.stdout.flush()
            await asyncio.sleep(0.001)

    await asyncio.gather(*(talk(f"{os.getpid()}-{n}") for n in range(4)))
    await asyncio.Event().wait()


class Sink:
    """Receives, refuses or is not there at all, as the test wishes."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.delivered: set[str] = set()
        self.status = 200
        self.port = 0
        self.runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/", self.handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()
        self.runner = None

    async def handle(self, request: web.Request) -> web.Response:
        event_id = json.loads(await request.read())["data"]["id"]
        self.got[event_id] += 1
        if self.status == 200:
            self.delivered.add(event_id)
        return web.Response(status=self.status)


async def kill_one(directory: Path, url: str, chance: random.Random) -> list[str]:
    """Start a child, kill it at a random moment, return the ids it had printed whole."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(directory), url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines: list[bytes] = []

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            lines.append(line)

    reader = asyncio.ensure_future(read())
    try:
        if chance.random() < 0.85:
            async with asyncio.timeout(30):
                while not lines:
                    await asyncio.sleep(0.01)
                    assert process.returncode is None, "the child died by itself"
        await asyncio.sleep(chance.random() * 0.5)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with asyncio.timeout(30):
        await reader
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


@pytest.mark.timeout(120 + 5 * KILLS)
async def test_no_kill_loses_an_event_whose_put_had_returned(tmp_path: Path) -> None:
    seed = int(os.environ.get("OFFHOOK_SEED", "1"))
    chance = random.Random(seed)
    sink = Sink()
    await sink.start()
    url = f"http://127.0.0.1:{sink.port}/"
    promised: list[str] = []
    for round_number in range(KILLS):
        mood = round_number % 3
        if mood == 1:
            await sink.stop()
        elif sink.runner is None:
            await sink.start()
        sink.status = 200 if mood == 0 else 503
        promised += await kill_one(tmp_path, url, chance)

    sink.status = 200
    if sink.runner is None:
        await sink.start()
    store, outbox, sender = wire(tmp_path)
    await sender.start()
    for _ in range(600):
        if sink.delivered >= set(promised) and outbox.counters.pending == 0:
            break
        await asyncio.sleep(0.05)
    await sender.close(1.0)
    states = store.call(lambda db: dict(db.execute("SELECT state, count(*) FROM deliveries GROUP BY state")))
    store.close()
    await sink.stop()

    assert len(promised) == len(set(promised)) >= 10 * KILLS, f"the test puts enough, seed {seed}"
    lost = set(promised) - sink.delivered
    assert not lost, f"{len(lost)} of {len(promised)} events lost, seed {seed}"
    assert set(states) == {"delivered"}
    print(f"{KILLS} kills, {len(promised)} events promised, {sum(sink.got.values())} requests, 0 lost")


if __name__ == "__main__":
    set_up_logs(level="critical")  # to standard error; standard output is for the ids
    asyncio.run(child(Path(sys.argv[1]), sys.argv[2]))
