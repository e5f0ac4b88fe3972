"""Rubbish on every port of a real server costs counters, and calls beside it nothing."""

import asyncio
import random
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from offhook.kit.audio import Sound
from offhook.kit.call_plan import CallPlan
from offhook.kit.phone import Phone
from tests.fakes.server import (
    App,
    OffhookProcess,
    free_port,
    running_app,
    start_offhook,
    stop_offhook,
)

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

SEED = 20_261_123
SIZES = (0, 1, 2, 11, 12, 13, 40, 172, 1_500, 9_000, 65_507)
INVITE = (
    b"INVITE sip:+15550001111@127.0.0.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKx%d\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: %d\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:a@127.0.0.1:9>\r\nContent-Length: 0\r\n\r\n"
)
STREAMS = (
    b"A" * 200_000,
    b"INVITE sip:x SIP/2.0\r\nContent-Length: 99999999999\r\n\r\n",
    b"INVITE sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
    b"\r\n\r\n" * 1_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)


async def answer_ours(app: App, event: dict[str, Any]) -> None:
    """Answer the calls of the test's own phone only."""
    data = event["data"]
    if data["event_type"] == "call.initiated" and data["payload"]["to"] == "+15550009999":
        await app.act(data["payload"]["call_control_id"], "answer", send_silence_when_idle=True)


def a_call(server: OffhookProcess, duration_s: float) -> CallPlan:
    """Return a call that speaks all the time."""
    return CallPlan(
        uri=f"sip:+15550009999@127.0.0.1:{server.sip_port}",
        play=Sound(bytes(int(16_000 * duration_s)), 8_000),
        tail_s=0.1,
    )


def damaged(chance: random.Random, number: int) -> bytes:
    """Return an INVITE with some of its bytes changed, lost or added."""
    message = bytearray(INVITE % (number, number % 50))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(message))
        kind = chance.random()
        if kind < 0.5:
            message[at] = chance.randrange(256)
        elif kind < 0.75:
            del message[at : at + chance.randrange(20)]
        else:
            message[at:at] = chance.randbytes(chance.randrange(8))
    return bytes(message)


async def metrics(server: OffhookProcess) -> dict[str, float]:
    """Return all metrics without labels."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.api.removesuffix("/v2") + "/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def sender() -> socket.socket:
    """Return a socket that never waits."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


async def test_rubbish_on_the_sip_ports_is_counted_and_calls_go_on(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with running_app(answer_ours) as app, Phone() as phone:
        server = await start_offhook(
            tmp_path,
            sip_port=free_port(),
            OFFHOOK_WEBHOOK_URL=app.url,
            OFFHOOK_LOG_LEVEL="debug",
        )
        app.api = server.api
        try:
            call = asyncio.create_task(phone.call(a_call(server, 3.0)))
            with sender() as sock:
                for number in range(4_000):
                    data = damaged(chance, number) if number % 2 else chance.randbytes(chance.choice(SIZES))
                    with suppress(BlockingIOError):
                        sock.sendto(data, ("127.0.0.1", server.sip_port))
                    if number % 50 == 0:
                        await asyncio.sleep(0.01)
            for data in STREAMS:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.sip_port)
                with suppress(OSError, TimeoutError):
                    writer.write(data)
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                        await reader.read(1_000)
                writer.close()
            result = await call
            again = await phone.call(a_call(server, 0.2))
            counted = await metrics(server)
            server.process.terminate()
            await asyncio.sleep(0.2)
        finally:
            log = server.log()
            assert await stop_offhook(server) == 0
    assert (result.outcome, again.outcome) == ("answered", "answered")
    assert sum(value for name, value in counted.items() if "_sip_malformed" in name) > 500, f"seed {SEED}"
    assert counted.get("offhook_sip_internal_errors", 0) == 0
    assert "Traceback" not in log
    assert "could not be handled" not in log
    assert log.count("\n") < 1_000, "no line a datagram"


async def test_rubbish_on_the_rtp_ports_does_not_touch_a_calls_audio(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    low = 27_000
    async with running_app(answer_ours) as app, Phone() as phone:
        server = await start_offhook(
            tmp_path, OFFHOOK_WEBHOOK_URL=app.url, OFFHOOK_RTP_PORTS=f"{low}-{low + 3}"
        )
        app.api = server.api
        try:
            call = asyncio.create_task(phone.call(a_call(server, 3.0)))
            await app.wait_for(lambda app: "call.answered" in app.types())
            await asyncio.sleep(0.5)
            with sender() as sock:
                for number in range(4_000):
                    data = chance.randbytes(chance.choice(SIZES))
                    if number % 2:
                        data = bytes([0x80 | chance.randrange(64), chance.randrange(256)]) + data[:60_000]
                    with suppress(BlockingIOError, ConnectionRefusedError):
                        sock.sendto(data, ("127.0.0.1", low + number % 4))
                    if number % 40 == 0:
                        await asyncio.sleep(0.01)
            result = await call
            await app.wait_for(lambda app: "call.hangup" in app.types())
            log = server.log()
        finally:
            assert await stop_offhook(server) == 0
    assert (result.outcome, result.ended_by) == ("answered", "local")
    hangup = app.events[-1]["data"]["payload"]
    inbound = hangup["call_quality_stats"]["inbound"]
    assert 120 <= int(inbound["packet_count"]) <= 165, "the caller's packets, and nobody else's"
    assert result.stats is not None
    assert result.stats["packets_lost"] == 0
    assert "Traceback" not in log
    assert "media leg failed" not in log


GAUGES = ("offhook_media_ports_in_use", "offhook_calls_open")


async def test_when_the_rtp_ports_are_used_up_the_next_caller_is_told_and_nothing_leaks(
    tmp_path: Path,
) -> None:
    (tmp_path / "offhook.toml").write_text("[media]\ndrain_s = 0\n")
    async with running_app(answer_ours) as app, Phone() as phone:
        server = await start_offhook(tmp_path, OFFHOOK_WEBHOOK_URL=app.url, OFFHOOK_RTP_PORTS="27010-27013")
        app.api = server.api
        try:
            for _ in range(2):
                results = await asyncio.gather(*(phone.call(a_call(server, 1.0)) for _ in range(6)))
                outcomes = sorted((result.outcome, result.status) for result in results)
                assert outcomes == [("answered", 200)] * 4 + [("rejected", 500)] * 2
            await app.wait_for(lambda app: app.types().count("call.hangup") == 12)
            # A leg is let go once its call.hangup is durable, which may be after it was delivered.
            async with asyncio.timeout(30):
                while [(await metrics(server))[name] for name in GAUGES] != [0, 0]:
                    await asyncio.sleep(0.02)
            log = server.log()
        finally:
            assert await stop_offhook(server) == 0
    refused = [
        event["data"]["payload"]["sip_hangup_cause"]
        for event in app.events
        if event["data"]["event_type"] == "call.hangup"
        and event["data"]["payload"]["hangup_cause"] == "unspecified"
    ]
    assert refused == ["500"] * 4
    assert "widen [media] rtp_ports" in log
