"""Runs the demo: the server, the example app and the phone, then judges what they did."""

import asyncio
import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offhook.app.demo import place
from offhook.app.demo.checks import Evidence, Verdict, judge
from offhook.app.demo.compare import read_packets
from offhook.app.demo.process import Child
from offhook.app.demo.screen import Screen
from offhook.base.clock import SystemClock
from offhook.base.errors import ConfigError, OffhookError
from offhook.base.tasks import TaskSet
from offhook.kit.phone import CallPlan, CallResult, PacketCapture, Phone

START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 45.0
APP_END_TIMEOUT_S = 10.0
TAPS_OPEN_TIMEOUT_S = 10.0
"""How long the caller waits for the app to listen before it speaks anyway."""
SPEAK_DELAY_S = 0.3
MUST_CHANGE_STATUS = 2
LISTENING = frozenset({"streaming.started", "call.fork.started"})


class DemoFailed(OffhookError):
    """The demo could not be carried out; `log_tail` holds the last lines of the program at fault."""

    def __init__(self, text: str, log_tail: list[str] | None = None) -> None:
        super().__init__(text)
        self.log_tail = log_tail or []


@dataclass(slots=True)
class Outcome:
    """What the demo found."""

    evidence: Evidence
    verdicts: list[Verdict]

    @property
    def succeeded(self) -> bool:
        """Say whether every promise was kept."""
        return all(verdict.held for verdict in self.verdicts)


async def run_demo(screen: Screen, *, app: Path | None = None) -> Outcome:
    """Make one call through everything and judge it; nothing is left running, whatever happens.

    Raises:
        ConfigError: something must be installed or freed first.
        DemoFailed: a program did not start, or ended too early.
    """
    place.require_extras()
    example = place.find_example(app)
    with tempfile.TemporaryDirectory(prefix="offhook-demo-") as folder:
        async with _Demo(screen, Path(folder)) as demo:
            await demo.start_server()
            await demo.start_app(example)
            await demo.make_call()
            await demo.end_app()
        return demo.outcome()


@dataclass
class _Demo:
    screen: Screen
    folder: Path
    evidence: Evidence = field(default_factory=Evidence)

    def __post_init__(self) -> None:
        self._clock = SystemClock()
        self._began_at = self._clock.now()
        self._tasks = TaskSet()
        self._stack = contextlib.AsyncExitStack()
        self._api_key = place.new_api_key()
        self._app_port = place.free_tcp_port()
        self._server_ports, self._phone_ports = place.rtp_ports()
        self._app_ready = asyncio.Event()
        self._listening = asyncio.Event()
        self._heard: set[str] = set()
        self._phone_result: CallResult | None = None

    async def __aenter__(self) -> "_Demo":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await self._tasks.close()

    def _now_s(self) -> float:
        return self._clock.now() - self._began_at

    def _note(self, who: str, text: str) -> None:
        self.screen.note(self._now_s(), who, text)

    async def start_server(self) -> None:
        environment = place.server_environment(
            data_dir=self.folder / "server",
            api_key=self._api_key,
            webhook_url=f"http://127.0.0.1:{self._app_port}/webhooks",
            ports=self._server_ports,
        )
        # A folder of its own, so that no offhook.toml that lies around here is read.
        work = self.folder / "work"
        work.mkdir()
        self._server = await Child.start(place.server_command(), env=environment, cwd=work)
        self._stack.push_async_callback(self._server.stop)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                async for line in self._server.lines():
                    ready = place.read_ready_line(line)
                    if ready is not None:
                        self._ready = ready
                        self._note("server", f"ready at {ready.api} and {ready.sip}")
                        self._tasks.start(self._drain_server(), name="server output")
                        return
        except TimeoutError:
            pass
        tail = self._server.stderr_tail
        if await self._server.wait(1.0) == MUST_CHANGE_STATUS and tail:
            raise ConfigError(tail[-1].removeprefix("offhook: "))
        raise DemoFailed("The server did not start.", list(tail))

    async def _drain_server(self) -> None:
        async for _ in self._server.lines():
            pass

    async def start_app(self, example: Path) -> None:
        command = [sys.executable, str(example), "--json", "--once", "--port", str(self._app_port)]
        command += ["--record", str(self.folder / "app"), "--max-call-s", "30"]
        environment = place.app_environment(self._ready, api_key=self._api_key)
        self._app = await Child.start(command, env=environment, cwd=self.folder)
        self._stack.push_async_callback(self._app.stop)
        self._app_reader = self._tasks.start(self._read_app(), name="app output")
        waiting = self._tasks.start(self._app_ready.wait(), name="app ready")
        await asyncio.wait(
            {waiting, self._app_reader}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not self._app_ready.is_set():
            raise DemoFailed("The example app did not start.", list(self._app.stderr_tail))
        self._note("app", f"waits for webhooks at http://127.0.0.1:{self._app_port}/webhooks")

    async def _read_app(self) -> None:
        async for line in self._app.lines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        """Note what the app tells, and show it."""
        evidence = self.evidence
        match event.get("event"):
            case "ready":
                self._app_ready.set()
            case "webhook":
                evidence.webhooks.append(event)
                self._heard.add(str(event.get("type")))
            case "command":
                evidence.commands.append(event)
                if event.get("name") == "start_transcription":
                    self._heard.add("start_transcription")
            case "media":
                evidence.track_ms[str(event["track"])] = int(event["ms"])
                evidence.track_gaps[str(event["track"])] = int(event["gaps"])
            case "transcript" if event["final"]:
                evidence.finals.append(str(event["text"]))
            case "transcript":
                evidence.partials += 1
            case _:
                pass
        if {*LISTENING, "start_transcription"} <= self._heard:
            self._listening.set()
        self.screen.event(self._now_s(), event)

    async def make_call(self) -> None:
        sound, self.evidence.sentence = place.sentence()
        self.evidence.played = sound.pcm
        transport, _, address = self._ready.sip.partition(":")
        uri = f"sip:demo@{address};transport={transport}"
        capture = PacketCapture()
        speak = asyncio.Event()
        self._tasks.start(self._speak_when_heard(speak), name="cue")
        async with Phone(rtp_ports=self._phone_ports) as phone:
            self._note("phone", f"dials {uri}")
            plan = CallPlan(uri=uri, play=sound, codecs=("PCMU",), hang_up_after_play=False)
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    result = await phone.call(plan, play_when=speak, capture=capture)
            except TimeoutError:
                raise DemoFailed("The call did not end.", list(self._app.stderr_tail)) from None
        self.evidence.phone_sent = capture.sent
        self.evidence.phone_received = capture.received
        self.evidence.call_ended_by_app = result.ended_by == "remote"
        self._phone_result = result
        self._note("phone", f"{result.outcome}, hung up by {result.ended_by} after {result.duration_s:.1f} s")

    async def _speak_when_heard(self, speak: asyncio.Event) -> None:
        """Let the phone speak once the app listens in all three ways, as a caller waits for the other's hello."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAPS_OPEN_TIMEOUT_S):
                await self._listening.wait()
        await asyncio.sleep(SPEAK_DELAY_S)
        self._note("phone", "plays the sentence")
        speak.set()

    async def end_app(self) -> None:
        """Wait for the app to see `call.hangup` and to end by itself; then read its recordings."""
        status = await self._app.wait(APP_END_TIMEOUT_S)
        if status is None:
            self._note("app", "did not end by itself")
        await asyncio.wait({self._app_reader}, timeout=1.0)
        recorded = self.folder / "app"
        self.evidence.streamed_pcmu = _content(recorded / "inbound.pcmu")
        self.evidence.forked_rx = read_packets(_content(recorded / "rx.rtp"))
        self.evidence.forked_tx = read_packets(_content(recorded / "tx.rtp"))

    def outcome(self) -> Outcome:
        self.evidence.duration_s = self._now_s()
        return Outcome(self.evidence, judge(self.evidence))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
