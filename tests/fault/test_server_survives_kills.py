"""The whole server killed again and again, while it starts and while it works, with a receiver that is no better.

`OFFHOOK_SERVER_KILLS` sets how often (8 in CI, 200 by hand before a release), `OFFHOOK_SEED` the moments.
"""

import asyncio
import json
import os
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from offhook.base.tasks import TaskSet
from tests.fakes.server import (
    API_KEY,
    OffhookProcess,
    free_port,
    launch_offhook,
    ready_offhook,
    stop_offhook,
)

KILLS = int(os.environ.get("OFFHOOK_SERVER_KILLS", "8"))
SEED = int(os.environ.get("OFFHOOK_SEED", "1"))

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120 + 8 * KILLS)]

SETTINGS = """
[webhooks]
timeout_s = 0.3
retry_fast_s = [0.05]
retry_slow_s = [1.0, 6.0]
"""
FORK = "udp:127.0.0.1:9"
STATE = "c3RhdGU="


@dataclass
class FlakyApp:
    """Answers and forks each call; as a receiver it takes, refuses, hangs or hangs up, as chance will have it."""

    chance: random.Random
    url: str = ""
    api: str = ""
    well: bool = False
    told: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """For each event every `data` it came with, as text."""
    taken: Counter[str] = field(default_factory=Counter)
    """How often each event was answered 200."""
    moods: Counter[str] = field(default_factory=Counter)
    tasks: TaskSet = field(default_factory=TaskSet)
    session: aiohttp.ClientSession | None = None

    async def receive(self, request: web.Request) -> web.Response:
        data = json.loads(await request.read())["data"]
        self.told[data["id"]].append(json.dumps(data, sort_keys=True))
        if len(self.told[data["id"]]) == 1:
            self.tasks.start(self.act_on(data), name="act")
        mood = "take" if self.well else self.chance.choices(["take", "500", "hang", "reset"], [5, 2, 1, 2])[0]
        self.moods[mood] += 1
        if mood == "hang":
            await asyncio.sleep(1.0)
        if mood == "reset" and request.transport is not None:
            request.transport.abort()
        if mood == "take":
            self.taken[data["id"]] += 1
        return web.Response(status=200 if mood == "take" else 500)

    async def act_on(self, data: dict[str, Any]) -> None:
        call = data["payload"]["call_control_id"]
        with suppress(aiohttp.ClientError, TimeoutError):  # the server may have died meanwhile
            if data["event_type"] == "call.initiated":
                await self.command(call, "answer", client_state=STATE)
            elif data["event_type"] == "call.answered":
                await self.command(call, "fork_start", rx=FORK, tx=FORK)

    async def command(self, call: str, action: str, **body: Any) -> None:
        assert self.session is not None
        async with (
            asyncio.timeout(2),
            self.session.post(f"{self.api}/calls/{call}/actions/{action}", json=body) as answer,
        ):
            await answer.read()


@asynccontextmanager
async def flaky_app(chance: random.Random) -> AsyncIterator[FlakyApp]:
    app = FlakyApp(chance)
    server = web.Application()
    server.router.add_post("/", app.receive)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as app.session:
        try:
            yield app
        finally:
            await app.tasks.close()
            await runner.cleanup()


@asynccontextmanager
async def callers(server: OffhookProcess, folder: Path) -> AsyncIterator[None]:
    """Let sipp make calls, a score a second and half a second each, until it is cut off."""
    process = await asyncio.create_subprocess_exec(
        *("sipp", f"127.0.0.1:{server.sip_port}", "-i", "127.0.0.1", "-p", str(free_port()), "-sn", "uac"),
        *("-r", "20", "-d", "500", "-nostdin"),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


def rows(directory: Path) -> dict[str, tuple[str, str, str]]:
    """Return leg, type and state of every event in the file, by id, as they were put."""
    with sqlite3.connect(f"file:{directory}/data/offhook.sqlite3?mode=ro", uri=True) as db:
        found = db.execute(
            "SELECT event_id, call_leg_id, event_type, state FROM deliveries ORDER BY ordinal"
        ).fetchall()
    db.close()
    return {row[0]: row[1:] for row in found}


async def run_and_kill(directory: Path, app: FlakyApp) -> bool:
    """Start a server, kill it at some moment; return whether it had come as far as taking calls."""
    process, log_path = await launch_offhook(directory, OFFHOOK_WEBHOOK_URL=app.url)
    try:
        if app.chance.random() < 0.2:
            await asyncio.sleep(app.chance.uniform(0.2, 1.2))
            return False
        server = await ready_offhook(process, log_path)
        app.api = server.api
        async with callers(server, directory):
            await asyncio.sleep(app.chance.uniform(0.1, 1.5))
            process.kill()
            return True
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_no_kill_loses_an_event_or_changes_it_and_every_call_has_one_end(tmp_path: Path) -> None:
    (tmp_path / "offhook.toml").write_text(SETTINGS)
    async with flaky_app(random.Random(SEED)) as app:
        ready = 0
        for kill in range(KILLS):
            ready += await run_and_kill(tmp_path, app)
            if kill:
                unstored = app.told.keys() - rows(tmp_path).keys()
                assert not unstored, f"{len(unstored)} events were told and not stored, seed {SEED}"
        before = rows(tmp_path)
        app.well = True
        process, log_path = await launch_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url)
        last = await ready_offhook(process, log_path)
        try:
            async with asyncio.timeout(60):
                while any(state != "delivered" for _, _, state in rows(tmp_path).values()):
                    await asyncio.sleep(0.2)
        finally:
            assert await stop_offhook(last) == 0

    after = rows(tmp_path)
    assert ready >= KILLS / 2
    assert len(after) >= 3 * ready, f"the test makes enough events: {len(after)}"
    assert before.keys() <= after.keys(), "what was on disk stays there"
    assert after.keys() == set(app.taken) == app.told.keys(), f"no event is lost, seed {SEED}"
    assert all(len(set(texts)) == 1 for texts in app.told.values()), "the same event each time"
    legs: dict[str, list[str]] = defaultdict(list)
    for leg, event_type, _ in after.values():
        legs[leg].append(event_type)
    for types in legs.values():
        assert types[0] == "call.initiated", types
        assert types.count("call.hangup") == 1, types
        assert types[-1] == "call.hangup", types
        assert types.count("call.fork.started") == types.count("call.fork.stopped"), types
    assert "Traceback" not in last.log()
    print(
        f"{KILLS} kills, {len(legs)} calls, {len(after)} events, {sum(app.moods.values())} requests "
        f"({dict(app.moods)}), 0 lost"
    )
