"""Made-up requests against a server with calls that are up: no fault, and no answer that was not described."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.api.fuzzing import fuzz
from tests.fakes.world import running_world

pytestmark = [pytest.mark.api, pytest.mark.timeout(1800)]

REQUESTS = int(os.environ.get("OFFHOOK_FUZZ_REQUESTS", "600"))
SEED = int(os.environ.get("OFFHOOK_FUZZ_SEED", "1"))


async def test_no_made_up_request_finds_a_fault_or_an_answer_that_is_not_described(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        report = await asyncio.to_thread(fuzz, world, requests_in_all=REQUESTS, seed=SEED)
        log = world.server.log()
    print(f"{report.requests} requests: {dict(report.statuses)}; accepted: {dict(report.reached)}")
    assert report.failures == [], "\n\n".join(report.failures)
    assert report.requests >= REQUESTS
    assert "Traceback" not in log
