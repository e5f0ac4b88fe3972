"""sipp as caller and as callee of the SIP server alone: no media, no app, so a failure is SIP's own."""

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook.edge.sip import Listen, SipServer
from offhook.proto.sdp import make_offer
from offhook.proto.sip import (
    CallAccepted,
    CallEnded,
    CallRejected,
    OutgoingCall,
    UserAgentConfig,
    UserAgentEvent,
)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp (Debian: sip-tester) is not installed"),
]

HERE = Path(__file__).parent


class Answering:
    """A running answerer: its ports, and after the block what it saw."""

    def __init__(self, udp: int, tcp: int) -> None:
        self.udp = udp
        self.tcp = tcp
        self.result: dict[str, Any] = {}


@asynccontextmanager
async def answering(*arguments: str) -> AsyncIterator[Answering]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "answerer.py"), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            udp, tcp = map(int, (await process.stdout.readline()).split())
        answerer = Answering(udp, tcp)
        yield answerer
        process.stdin.close()
        async with asyncio.timeout(30):
            answerer.result = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start_sipp(tmp_path: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "sipp", *arguments, "-i", "127.0.0.1", "-nostdin", "-timeout", "60s", "-trace_stat",
        "-stf", str(tmp_path / "stat.csv"),
        cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


def score(tmp_path: Path) -> dict[str, int]:
    names, *rows = [line.split(";") for line in (tmp_path / "stat.csv").read_text().splitlines() if line]
    last = dict(zip(names, rows[-1], strict=False))
    return {"ok": int(last["SuccessfulCall(C)"]), "failed": int(last["FailedCall(C)"])}


async def sipp(tmp_path: Path, port: int, *arguments: str) -> dict[str, int]:
    process = await start_sipp(tmp_path, f"127.0.0.1:{port}", "-p", str(free_port()), *arguments)
    async with asyncio.timeout(70):
        await process.wait()
    return score(tmp_path)


@pytest.mark.parametrize("loop", [(), ("--uvloop",)], ids=["asyncio", "uvloop"])
async def test_five_hundred_calls_are_answered_with_little_cpu(tmp_path: Path, loop: tuple[str, ...]) -> None:
    async with answering(*loop) as answerer:
        result = await sipp(tmp_path, answerer.udp, "-sn", "uac", "-r", "100", "-m", "500", "-d", "100")
    assert result == {"ok": 500, "failed": 0}
    seen = answerer.result["seen"]
    assert seen == {"IncomingCall": 500, "CallEstablished": 500, "CallEnded": 500}
    assert answerer.result["stats"]["calls"] == 0
    # Three milliseconds a call is the bound of 300 calls a second and core; the interpreter's start
    # is in the figure too.
    cpu_ms_per_call = 1000 * answerer.result["cpu_s"] / 500
    print(f"{cpu_ms_per_call:.2f} ms of CPU a call")
    assert cpu_ms_per_call < 3


async def test_calls_over_one_tcp_connection(tmp_path: Path) -> None:
    async with answering() as answerer:
        result = await sipp(
            tmp_path, answerer.tcp, "-sn", "uac", "-t", "t1", "-r", "50", "-m", "200", "-d", "100"
        )
    assert result == {"ok": 200, "failed": 0}
    assert answerer.result["seen"]["CallEnded"] == 200


async def test_calls_over_a_tcp_connection_each(tmp_path: Path) -> None:
    async with answering() as answerer:
        result = await sipp(
            tmp_path,
            answerer.tcp,
            "-sn",
            "uac",
            "-t",
            "tn",
            "-max_socket",
            "200",
            "-r",
            "50",
            "-m",
            "100",
            "-d",
            "100",
        )
    assert result == {"ok": 100, "failed": 0}


async def test_every_call_succeeds_though_one_packet_in_twenty_is_lost(tmp_path: Path) -> None:
    async with answering() as answerer:
        result = await sipp(
            tmp_path, answerer.udp, "-sn", "uac", "-r", "30", "-m", "300", "-d", "100", "-lost", "5"
        )
    assert result == {"ok": 300, "failed": 0}
    seen, stats = answerer.result["seen"], answerer.result["stats"]
    assert seen["IncomingCall"] == 300
    # sipp does not look at CSeq: where its ACK and its BYE were both lost, it takes our repeated 200 to
    # the INVITE for the answer to its BYE and is content. Such a call ends here when its ACK times out.
    assert seen["CallEnded"] + stats["calls"] == 300
    assert stats["calls"] <= 10


async def test_a_cancel_while_ringing_is_200_then_487(tmp_path: Path) -> None:
    async with answering() as answerer:
        result = await sipp(
            tmp_path, answerer.udp, "-sf", str(HERE / "cancel.xml"), "-s", "ring", "-r", "10", "-m", "20"
        )
    assert result == {"ok": 20, "failed": 0}
    assert answerer.result["seen"] == {"IncomingCall": 20, "CallCancelled": 20}


@pytest.mark.parametrize("lost", ["0", "5"])
async def test_our_own_calls_to_sipp_succeed(tmp_path: Path, lost: str) -> None:
    calls = 100
    port = free_port()
    callee = await start_sipp(tmp_path, "-sn", "uas", "-p", str(port), "-m", str(calls), "-lost", lost)
    told: list[UserAgentEvent] = []
    done = asyncio.Event()

    def on_event(event: UserAgentEvent) -> None:
        told.append(event)
        if isinstance(event, CallAccepted):
            asyncio.get_running_loop().call_later(0.2, server.hangup, event.call)
        if sum(isinstance(e, CallEnded | CallRejected) for e in told) == calls:
            done.set()

    server = SipServer(UserAgentConfig(), on_event)
    await server.start([Listen("udp", "127.0.0.1", 0)])
    try:
        # sipp tells nobody when it is ready; an INVITE before that is simply repeated.
        uri = f"sip:service@127.0.0.1:{port}"
        flow = await server.flow_to(uri)
        sdp = make_offer(("PCMU",), address="127.0.0.1", rtp_port=40000, rtcp_port=40001, session_id=1)
        for _ in range(calls):
            server.invite(OutgoingCall(uri, "sip:offhook@127.0.0.1", flow), sdp)
            await asyncio.sleep(0.02)
        async with asyncio.timeout(50):
            await done.wait()
            await callee.wait()
    finally:
        if callee.returncode is None:
            callee.kill()
            await callee.wait()
        await server.close()
    assert not [event for event in told if isinstance(event, CallRejected)]
    assert score(tmp_path) == {"ok": calls, "failed": 0}
