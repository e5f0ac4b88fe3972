"""The programs in `bench/load`, and the server: started, awaited, ended by their process id."""

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from rig import ports

READY_TIMEOUT_S = 20.0
END_TIMEOUT_S = 10.0

# What measures goes first, lest its own delays be measured; the floor is as the server's media threads are.
INSTRUMENT_NICENESS = -15
FLOOR_NICENESS = -10

SOURCES = Path(__file__).parent.parent / "load"
BUSY = Path(__file__).parent / "busy.py"
RECORD = struct.Struct("<QQII")


class Record(NamedTuple):
    """One stamped packet: as it was sent, or as it arrived."""

    sent_ns: int
    received_ns: int
    call: int
    sequence: int


def build(into: Path) -> None:
    subprocess.run(["make", "--quiet", "-C", SOURCES, f"OUT={into}"], check=True)


def read_records(path: Path) -> list[Record]:
    return [Record(*fields) for fields in RECORD.iter_unpack(path.read_bytes())]


class Program:
    """A child that says when it is ready; leaving the context ends it and waits for it."""

    def __init__(
        self,
        *words: object,
        ready: bytes = b"READY",
        env: dict[str, str] | None = None,
        niceness: int = 0,
    ) -> None:
        self._words = [str(word) for word in words]
        self._ready = ready
        self._env = {**os.environ, **(env or {})}
        self._niceness = niceness
        self._child: asyncio.subprocess.Process | None = None
        self.last_words = ""

    async def __aenter__(self) -> Self:
        self._child = await asyncio.create_subprocess_exec(
            *self._words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._env
        )
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self.pid, self._niceness)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._until_ready()
        except BaseException:
            await self.end()
            raise
        self._reader = asyncio.create_task(self._read_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    @property
    def _process(self) -> asyncio.subprocess.Process:
        assert self._child is not None, "not started"
        return self._child

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        return await self._process.stdout.readline()

    async def _until_ready(self) -> None:
        said = b""
        while self._ready not in said:
            line = await self._line()
            if not line:
                raise RuntimeError(f"{self._words[0]} ended: {said.decode(errors='replace')}")
            said += line

    async def _read_on(self) -> None:
        while line := await self._line():
            self.last_words = line.decode(errors="replace").strip()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def wait(self, timeout_s: float) -> None:
        """Let it come to its own end."""
        async with asyncio.timeout(timeout_s):
            await self._process.wait()
            await self._reader

    async def end(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if hasattr(self, "_reader"):
            await self._reader


def server(directory: Path, key: str, *, workers: int | None = None, busy: bool = False) -> Program:
    """The whole server on the bench's ports; it loads no speech model, as no call asks for one.

    All forks may go to one sink.

    A busy one has Python work to do beside its own.
    """
    low, high = ports.SERVER_RTP
    config = directory / "offhook.toml"
    config.write_text("[speech]\nwarm_up = false\n\n[limits]\nforks_per_s = 0\n")
    settings = {
        "OFFHOOK_CONFIG": str(config),
        "OFFHOOK_HTTP_LISTEN": f"{ports.HOST}:{ports.HTTP}",
        "OFFHOOK_SIP_LISTEN": f"udp:{ports.HOST}:{ports.SIP}",
        "OFFHOOK_DATA_DIR": str(directory / "data"),
        "OFFHOOK_API_KEYS": key,
        "OFFHOOK_WEBHOOK_URL": f"http://{ports.HOST}:{ports.WEBHOOKS}/",
        "OFFHOOK_RTP_PORTS": f"{low}-{high}",
    }
    if workers is not None:
        settings["OFFHOOK_WORKERS"] = str(workers)
    launcher = [BUSY] if busy else ["-m", "offhook"]
    return Program(sys.executable, *launcher, "serve", ready=b"offhook ready", env=settings)
