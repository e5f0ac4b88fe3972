"""Runs a script in the environment that holds the official SDKs, and reads the JSON lines it prints."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

PYTHON = Path(__file__).parents[3] / "build" / "vendors-venv" / "bin" / "python"
"""Made by `make interop`."""
CLIENTS = Path(__file__).parent / "clients"

needs_sdks = pytest.mark.skipif(not PYTHON.exists(), reason="`make interop` installs the SDKs")


async def run_client(script: str, *arguments: str, timeout_s: float = 60) -> list[dict[str, Any]]:
    """Run `clients/<script>` to its end; return what it printed, one object a line."""
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        CLIENTS / script,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode(errors="replace")[-2000:]
    return [json.loads(line) for line in out.splitlines()]
