"""The tutorial's app and the CI recipe run as they stand on their pages."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import pytest

from offhook.kit.audio import level_dbfs, read_wav
from tests.fakes.server import API_KEY, OffhookProcess, start_offhook, stop_offhook
from tests.interop.test_cli_tools import tool

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

DOCS = Path(__file__).parents[2] / "docs"
WORDS = str(DOCS.parent / "tests/data/speech/amiable.wav")
"""Four seconds, so that nobody waits for more."""
TIMEOUT_S = 90.0


def block(page: str, language: str, begins_with: str) -> str:
    """Return the one code block of a page that begins so."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (found,) = [each for each in blocks if each.startswith(begins_with)]
    return str(found)


def free_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the files of both pages, at free ports, and an `offhook` to find."""
    files = {
        "words.py": block("tutorials/first-call.md", "python", '"""Answer every call'),
        "ci/call.sh": block("howto/test-your-app-in-ci.md", "sh", "#!/usr/bin/env bash"),
        "ci/caller-says.json": block("howto/test-your-app-in-ci.md", "json", "["),
        "bin/offhook": f'#!/bin/sh\nexec {sys.executable} -m offhook "$@"\n',
        "bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    ports = {port: str(free_port()) for port in ("5060", "8080", "9000")}
    for name, text in files.items():
        for port, free in ports.items():
            text = re.sub(rf"\b{port}\b", free, text)  # noqa: PLW2901
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / "http_port").write_text(ports["8080"])
    return tmp_path


async def run_recipe(checkout: Path) -> tuple[int, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OFFHOOK_", "TELNYX_"))
    }
    environment["PATH"] = f"{checkout / 'bin'}:{environment['PATH']}"
    environment["OFFHOOK_HTTP_LISTEN"] = f"127.0.0.1:{(checkout / 'http_port').read_text()}"
    process = await asyncio.create_subprocess_exec(
        "ci/call.sh",
        cwd=checkout,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what the script left behind, if it was cut off
    return process.returncode or 0, out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the recipe uses curl")
async def test_the_ci_recipe_passes_with_the_app_of_the_tutorial(checkout: Path) -> None:
    status, output = await run_recipe(checkout)
    assert status == 0, output
    assert "I want to book a table." in output


@pytest.mark.skipif(shutil.which("curl") is None, reason="the recipe uses curl")
async def test_the_ci_recipe_fails_when_the_app_does_not_answer(checkout: Path) -> None:
    app = checkout / "words.py"
    text = app.read_text(encoding="utf-8")
    assert text.count("await client.calls.actions.answer(call_id)") == 1
    app.write_text(text.replace("actions.answer(call_id)", 'actions.reject(call_id, cause="USER_BUSY")'))
    status, output = await run_recipe(checkout)
    assert status != 0
    assert '"status": 486' in output


async def printed(app: asyncio.subprocess.Process, words: str) -> None:
    """Read what the app prints until a line begins so."""
    assert app.stdout is not None
    async with asyncio.timeout(30):
        while line := (await app.stdout.readline()).decode():
            if line.startswith(words):
                return
    raise AssertionError(f"the app ended without {words!r}")


async def app_of(
    page: str, begins_with: str, folder: Path, server: OffhookProcess, ports: dict[int, int]
) -> asyncio.subprocess.Process:
    """Start the app of a page, with other ports, and wait until it serves."""
    text = block(page, "python", begins_with)
    for port, free in ports.items():
        text = re.sub(rf"\b{port}\b", str(free), text)
    (folder / "app.py").write_text(text, encoding="utf-8")
    keys = {"TELNYX_API_KEY": API_KEY, "TELNYX_BASE_URL": server.api, "TELNYX_PUBLIC_KEY": server.public_key}
    app = await asyncio.create_subprocess_exec(
        *(sys.executable, "app.py", WORDS),
        cwd=folder,
        env={**os.environ, **keys, "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    await printed(app, "======== Running")
    return app


async def test_the_agent_of_the_guide_greets_listens_and_is_interrupted(tmp_path: Path) -> None:
    port = free_port()
    server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=f"http://127.0.0.1:{port}/webhooks")
    page, app = "howto/let-an-agent-speak.md", '"""An agent that greets'
    agent = await app_of(page, app, tmp_path, server, {9000: port})
    uri, heard = f"sip:agent@127.0.0.1:{server.sip_port}", tmp_path / "heard.wav"
    try:
        async with tool("call", uri, "--duration", "4", "--record", str(heard)) as call:
            await printed(agent, "hears {'encoding': 'L16', 'sample_rate': 8000")
            assert await call.rest() == 0
        await printed(agent, "over: call_ended")
        level = level_dbfs(read_wav(heard).pcm)
        assert level is not None
        assert level > -40, "the greeting was heard"
        async with tool("call", uri, "--play", WORDS) as call:
            await printed(agent, "interrupted")
            await printed(agent, "heard ")
            assert await call.rest() == 0
    finally:
        agent.kill()
        await agent.wait()
        assert await stop_offhook(server) == 0


@pytest.mark.parametrize(
    ("key", "agent", "outcome"),
    [
        ("1", (), "connected"),
        ("1", ("--refuse", "486"), "nobody there: user_busy"),
        ("2", (), "a message: {'wav': 'http"),
    ],
    ids=["connects", "busy", "message"],
)
async def test_the_menu_of_the_guide_connects_and_takes_messages(
    tmp_path: Path, key: str, agent: tuple[str, ...], outcome: str
) -> None:
    port, agent_port = free_port(), free_port()
    server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=f"http://127.0.0.1:{port}/webhooks")
    ports = {9000: port, 5070: agent_port}
    app = await app_of("howto/build-a-menu.md", '"""A menu', tmp_path, server, ports)
    uri = f"sip:menu@127.0.0.1:{server.sip_port}"
    try:
        async with (
            tool("phone", "--listen", f"udp:127.0.0.1:{agent_port}", *agent),
            tool("call", uri, "--play", WORDS, "--dtmf", key) as call,
        ):
            await printed(app, outcome)
            assert await call.rest() == 0
    finally:
        app.kill()
        await app.wait()
        assert await stop_offhook(server) == 0
