"""One child process: started as a user would, read line by line, and never left behind."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

LINE_BYTES_MAX = 256 * 1024
STDERR_LINES_KEPT = 200


class Child:
    """A program under our care. Its standard error is kept, a bounded tail of it, for the post-mortem."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stderr_tail: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        assert process.stderr is not None, "standard error is a pipe"
        self._stderr_reader = asyncio.get_running_loop().create_task(self._keep_stderr(process.stderr))

    @classmethod
    async def start(cls, command: Sequence[str], *, env: dict[str, str], cwd: Path) -> "Child":
        """Start `command` in its own process group, so that Ctrl-C reaches us alone and we end it in order."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )
        return cls(process)

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines of standard output until it is closed; an overlong line is left out."""
        stdout = self._process.stdout
        assert stdout is not None, "standard output is a pipe"
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                continue
            if not line:
                return
            yield line.decode("utf-8", "replace").rstrip("\n")

    async def wait(self, timeout_s: float) -> int | None:
        """Return the exit status, or None when it still runs after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def stop(self, grace_s: float = 5.0) -> int:
        """Ask it to end, wait `grace_s`, insist; return the exit status."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            if await self.wait(grace_s) is None:
                with contextlib.suppress(ProcessLookupError):
                    # The group: a child of the child must not outlive it either.
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        self._stderr_reader.cancel()
        await asyncio.gather(self._stderr_reader, return_exceptions=True)
        return self._process.returncode or 0

    async def _keep_stderr(self, stderr: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stderr.readline()
            except ValueError:
                continue
            if not line:
                return
            self.stderr_tail.append(line.decode("utf-8", "replace").rstrip("\n"))
