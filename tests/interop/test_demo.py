"""`offhook demo` as a user runs it: real server, real SDK, real call; and that it can fail."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from offhook.app.demo.place import find_example

pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.timeout(150)]

DEMO = (sys.executable, "-m", "offhook", "demo")


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *DEMO, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await start(*arguments)
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(), err.decode()


def children_of(pid: int) -> list[int]:
    """Return the living children of a process, as /proc tells."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def variant(folder: Path, before: str, after: str) -> Path:
    """Return a copy of the example application with one fault."""
    source = find_example(None).read_text(encoding="utf-8")
    assert source.count(before) == 1, "the fault has exactly one place"
    path = folder / "app.py"
    path.write_text(source.replace(before, after), encoding="utf-8")
    return path


async def test_every_promise_of_the_demo_is_kept() -> None:
    status, out, err = await run("--json")
    summary: dict[str, Any] = json.loads(out)
    assert [check for check in summary["checks"] if not check["ok"]] == []
    assert (status, summary["ok"]) == (0, True), err
    assert len(summary["checks"]) == 8
    assert summary["duration_s"] < 40
    assert summary["webhooks"][0] == "call.initiated"
    assert summary["webhooks"][-1] == "call.hangup"


async def test_an_app_that_gets_other_audio_and_packets_fails_exactly_these_checks(tmp_path: Path) -> None:
    faulty = variant(
        tmp_path,
        "            self.record.write(payload)\n",
        "            self.record.write(payload[:-1] + bytes([payload[-1] ^ 0x10]))\n",
    )
    text = faulty.read_text(encoding="utf-8")
    before = '            self.record.write(len(data).to_bytes(2, "big") + data)\n'
    assert text.count(before) == 1
    after = before.replace("+ data)", "+ data[:-1] + (b'x' if self.direction == 'tx' else data[-1:]))")
    faulty.write_text(text.replace(before, after), encoding="utf-8")
    status, out, _ = await run("--json", "--app", str(faulty))
    summary = json.loads(out)
    failed = [check["name"] for check in summary["checks"] if not check["ok"]]
    assert status == 1
    assert failed == ["streamed audio = played audio", "forked tx = received by the phone"]


async def test_an_app_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "app.py"
    broken.write_text("raise SystemExit('no such luck')\n", encoding="utf-8")
    status, _, err = await run("--app", str(broken))
    assert status == 1
    assert "The example app did not start." in err
    assert "no such luck" in err


async def test_ctrl_c_ends_everything() -> None:
    process = await start()
    assert process.stdout is not None
    children: list[int] = []
    async with asyncio.timeout(60):
        while b"plays the sentence" not in await process.stdout.readline():
            children = children_of(process.pid) or children
    assert len(children) == 2, "server and app run"
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode == 130
    assert not any(alive(child) for child in children)
