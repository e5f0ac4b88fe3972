"""The native media core against foreign programs' libraries: UDP sockets, `websockets`, TLS."""

import asyncio
import base64
import contextlib
import datetime
import ipaddress
import itertools
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from offhook.edge.media import events
from offhook.edge.media.events import MediaEvent
from offhook.edge.media.fake_audio import encode_g711
from offhook.edge.media.native import NativeEngine
from tests.fakes.media_worlds import NativeWorld, connect, native_world, packet, stream_arguments
from tests.fakes.tones import purity_db, tone

pytestmark = pytest.mark.interop

WAIT_S = 30.0


@pytest.fixture
async def world() -> AsyncIterator[NativeWorld]:
    async with native_world() as world:
        yield world


def count(world: NativeWorld, kind: type[MediaEvent]) -> int:
    return sum(isinstance(event, kind) for event in world.events)


async def happened(world: NativeWorld, kind: type[MediaEvent], times: int = 1) -> None:
    await world.until(lambda _: count(world, kind) >= times)


async def messages(world: NativeWorld, number: int, app: int = 0) -> list[dict[str, Any]]:
    """Wait for so many messages at an application and parse them."""
    async with asyncio.timeout(WAIT_S):
        while len(world.messages) <= app or len(world.messages[app]) < number:
            await asyncio.sleep(0.005)
    return [json.loads(message) for message in world.messages[app]]


def udp() -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    return receiver


async def receive(receiver: socket.socket, number: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WAIT_S):
        return [await loop.sock_recv(receiver, 2048) for _ in range(number)]


def address(receiver: socket.socket) -> str:
    return "127.0.0.1:" + str(receiver.getsockname()[1])


async def test_frames_have_the_exact_shape_and_the_bytes_of_the_call(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 2, connected_json='{"event":"connected","version":"1.0.0"}')
    await happened(world, events.StreamConnected)
    payloads = [bytes((number * 7 + at) % 256 for at in range(160)) for number in range(50)]
    await world.hear(1, packet(0, payloads[0]))
    world.engine.begin_stream(1, 2)
    for number, payload in enumerate(payloads[1:], 1):
        await world.hear(1, packet(number, payload))
    await messages(world, 52)
    world.engine.remove_tap(1, 2, reason="command")
    await happened(world, events.StreamClosed)
    connected, start, *media, stop = await messages(world, 53)
    assert connected == {"event": "connected", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequence_number": "1",
        "stream_id": "s-1",
        "start": {"call_control_id": "c"},
    }
    assert [base64.b64decode(frame["media"].pop("payload")) for frame in media] == payloads
    first_ms = int(media[0]["media"]["timestamp"])
    for number, frame in enumerate(media):
        assert frame == {
            "event": "media",
            "sequence_number": str(number + 2),
            "media": {
                "track": "inbound",
                "chunk": str(number + 1),
                "timestamp": str(first_ms + 20 * number),
            },
            "stream_id": "s-1",
        }
    assert (stop["event"], stop["sequence_number"], stop["stream_id"]) == ("stop", "52", "s-1")
    assert stop["stop"] == {"call_control_id": "c", "reason": "command"}
    async with asyncio.timeout(WAIT_S):
        await world.apps[0].wait_closed()
    assert world.apps[0].close_code == 1000


async def test_the_upgrade_carries_our_headers_and_offers_nothing(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    world.add_stream(1, 2, headers=[("x-telnyx-streaming-auth-token", "to ken")])
    await happened(world, events.StreamConnected)
    await messages(world, 1)
    request = world.apps[0].request
    assert request is not None
    assert request.headers["x-telnyx-streaming-auth-token"] == "to ken"
    assert request.headers["User-Agent"].startswith("offhook/")
    assert request.headers["Host"].startswith("localhost:")
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "Sec-WebSocket-Protocol" not in request.headers


async def test_forks_are_byte_for_byte_what_came_and_what_went(world: NativeWorld) -> None:
    rtp_port, _ = world.engine.open_leg(1, rtcp_mux=False)
    rx, tx, far = udp(), udp(), udp()
    with rx, tx, far:
        connect(world, 1, remote_rtp=address(far), keepalive_ms=0)
        world.engine.add_fork(1, 2, rx=address(rx), tx=address(tx))
        sent = [packet(number, bytes([number]) * 160) for number in range(20)]
        sent.append(packet(20, bytes([5, 10, 0, 160]), 101))
        for datagram in sent:
            far.sendto(datagram, ("127.0.0.1", rtp_port))
        assert await receive(rx, len(sent)) == sent
        world.engine.play(1, 7, pcm=tone(440, 200), sample_rate_hz=8000)
        await happened(world, events.PlayEnded)
        heard = await receive(far, 10)
        assert await receive(tx, 10) == heard
        assert b"".join(item[12:] for item in heard[-10:]).count(b"\xff") < 200


@pytest.mark.parametrize(("mode", "agreed", "told"), [("auto", None, 1), ("auto", 101, 0), ("on", 101, 1)])
async def test_a_key_is_told_by_its_tones(
    world: NativeWorld, mode: str, agreed: int | None, told: int
) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, inband_dtmf=mode, dtmf_payload_type=agreed)
    low, high = (struct.unpack("<800h", tone(hz, 100)) for hz in (852, 1477))
    both = struct.pack("<800h", *(one + other for one, other in zip(low, high, strict=True)))
    codes = encode_g711("PCMU", both) + b"\xff" * 800
    for number in range(10):
        await world.hear(1, packet(number, codes[number * 160 : number * 160 + 160]))
    await world.until(lambda _: world.engine.stats(1)["packets_received"] == 10)
    world.engine.close_leg(1)
    await happened(world, events.LegClosed)
    digits = [event for event in world.events if isinstance(event, events.DigitReceived)]
    assert [digit.digit for digit in digits] == ["9"] * told
    assert all(80 <= digit.duration_ms <= 120 for digit in digits)


async def test_a_strep_fork_says_whose_packet_it_is(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, keepalive_ms=0)
    with udp() as target:
        both = address(target)
        world.engine.add_fork(1, 2, rx=both, tx=both, strep_leg_id=bytes(range(16)), strep_b_leg=True)
        await world.hear(1, packet(0))
        copies = await receive(target, 1)
    assert copies == [bytes([0xC6, 0x18, 0, 0, 0, 0, 0, 0]) + bytes(range(16)) + packet(0)]


@pytest.mark.parametrize("rate_hz", [8000, 16000])
async def test_a_recogniser_hears_the_tone_that_was_sent(world: NativeWorld, rate_hz: int) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.add_speech(1, 2, track="rx", sample_rate_hz=rate_hz, chunk_ms=100)
    codes = encode_g711("PCMU", tone(1000, 1000))
    for number in range(50):
        await world.hear(1, packet(number, codes[number * 160 : number * 160 + 160]))
    await happened(world, events.AudioChunk, 9)
    world.engine.remove_tap(1, 2, reason="command")
    await happened(world, events.TapClosed)
    chunks = [event for event in world.events if isinstance(event, events.AudioChunk)]
    pcm = b"".join(chunk.pcm for chunk in chunks)
    assert abs(len(pcm) - rate_hz * 2) <= 100
    assert purity_db(pcm[rate_hz // 5 : -rate_hz // 5], 1000, rate_hz) > 30


async def test_lost_packets_are_concealed_and_then_silence_in_their_place(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.engine.add_speech(1, 2, track="rx", sample_rate_hz=8000, chunk_ms=20)
    loud = encode_g711("PCMU", tone(1000, 20))
    for number in (0, 1, 2, 8, 9, 10):
        await world.hear(1, packet(number, loud))
    await happened(world, events.AudioChunk, 11)
    chunks = [event for event in world.events if isinstance(event, events.AudioChunk)][:11]
    assert [not any(chunk.pcm[:40]) for chunk in chunks] == [number in (6, 7) for number in range(11)]
    assert [chunk.at_ms - chunks[0].at_ms for chunk in chunks] == [20 * number for number in range(11)]
    stats = world.engine.stats(1)
    assert (stats["packets_received"], stats["packets_lost"]) == (6, 5)


async def test_packets_before_the_answer_and_from_strangers_are_counted(world: NativeWorld) -> None:
    rtp_port, _ = world.engine.open_leg(1, rtcp_mux=True)
    with udp() as stranger:
        await world.hear(1, packet(0))
        await asyncio.to_thread(wait_for_stat, world.engine, 1, "packets_early", 1)
        connect(world, 1, rtcp_mux=True)
        await world.hear(1, packet(1))
        await happened(world, events.MediaStarted)
        stranger.sendto(packet(2, ssrc=9), ("127.0.0.1", rtp_port))
        stranger.sendto(b"\x80nonsense", ("127.0.0.1", rtp_port))
        await asyncio.to_thread(wait_for_stat, world.engine, 1, "packets_foreign", 1)
        assert world.engine.stats(1)["packets_received"] == 1


def wait_for_stat(engine: NativeEngine, leg_id: int, name: str, value: int) -> None:
    for _ in range(2_000):
        if engine.stats(leg_id)[name] >= value:  # type: ignore[literal-required]
            return
    raise AssertionError(f"{name} never reached {value}: {engine.stats(leg_id)}")


async def test_audio_is_played_at_its_pace_and_ends_once(world: NativeWorld) -> None:
    loop = asyncio.get_running_loop()
    world.engine.open_leg(1, rtcp_mux=False)
    with udp() as far:
        connect(world, 1, remote_rtp=address(far), keepalive_ms=0)
        world.engine.play(1, 7, pcm=tone(440, 1000, 16_000), sample_rate_hz=16000)
        begun = loop.time()
        heard = await receive(far, 50)
        took_s = loop.time() - begun
    assert took_s > 0.9
    await happened(world, events.PlayEnded)
    (ended,) = [event for event in world.events if isinstance(event, events.PlayEnded)]
    assert (ended.play_id, ended.completed, ended.played_ms) == (7, True, 1000)
    sequence = [int.from_bytes(item[2:4]) for item in heard]
    times = [int.from_bytes(item[4:8]) for item in heard]
    assert all((b - a) % 65536 == 1 for a, b in itertools.pairwise(sequence))
    assert all((b - a) % 2**32 == 160 for a, b in itertools.pairwise(times))


async def test_app_frames_are_answered(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1)
    world.add_stream(1, 2)
    await happened(world, events.StreamConnected)
    world.engine.begin_stream(1, 2)
    await messages(world, 2)
    app = world.apps[0]
    await app.send('{"event":"mark","mark":{"name":"m-1"}}')
    await app.send("not json")
    await app.send(b"\x00\x01")
    await app.send(["{", '"event":"clear"}'])
    mark, malformed, binary = (await messages(world, 5))[2:]
    assert (mark["event"], mark["mark"]) == ("mark", {"name": "m-1"})
    assert malformed["event"] == binary["event"] == "error"
    assert malformed["payload"]["code"] == binary["payload"]["code"] == 100003
    await (await app.ping())


async def test_a_lost_socket_is_not_an_orderly_end(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    for tap_id in (2, 3):
        world.add_stream(1, tap_id)
        await happened(world, events.StreamConnected, tap_id - 1)
        await messages(world, 1, tap_id - 2)
    await world.apps[0].close(1011)
    world.apps[1].transport.abort()
    await happened(world, events.StreamFailed, 2)
    failed = [event for event in world.events if isinstance(event, events.StreamFailed)]
    assert {event.reason for event in failed} == {"connection_lost"}
    assert "the app closed with code 1011" in {event.detail for event in failed}


async def test_nobody_there_is_said_and_tried_again_first(world: NativeWorld) -> None:
    loop = asyncio.get_running_loop()
    world.engine.open_leg(1, rtcp_mux=False)
    with udp() as unused:
        nowhere = address(unused)
    begun = loop.time()
    world.add_stream(1, 2, addresses=[nowhere], connect_retry_ms=[50, 100])
    await happened(world, events.StreamFailed)
    assert loop.time() - begun >= 0.15
    failed = world.events[-1]
    assert isinstance(failed, events.StreamFailed)
    assert failed.reason == "connection_failed"
    assert "refused" in failed.detail


async def test_a_silent_server_is_given_up_in_time(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world.add_stream(1, 2, addresses=[address(silent)], connect_timeout_ms=200)
        await happened(world, events.StreamFailed)
    assert world.events[-1] == events.StreamFailed(1, 2, "connection_failed", "no answer within 200 ms")


async def test_an_app_that_never_pongs_is_lost(world: NativeWorld) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line[19:] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        from websockets.utils import accept_key

        answer = f"Sec-WebSocket-Accept: {accept_key(key.decode())}\r\n\r\n"
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + answer.encode())
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        world.engine.open_leg(1, rtcp_mux=False)
        world.add_stream(1, 2, addresses=[address(server.sockets[0])], ping_ms=100)
        await happened(world, events.StreamFailed)
        failed = world.events[-1]
        assert failed == events.StreamFailed(1, 2, "connection_lost", "no pong within 100 ms")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a private authority and a certificate of localhost made by it."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def certificate(subject: x509.Name, public_key: Any, *, is_authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if not is_authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    ca = certificate(authority, authority_key.public_key(), is_authority=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = certificate(name, key.public_key(), is_authority=False)
    pem = serialization.Encoding.PEM
    ca_file, chain = folder / "ca.pem", folder / "app.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(private + leaf.public_bytes(pem))
    return ca_file, chain


@pytest.mark.parametrize("trust", ["authority", "nobody", "anybody"])
async def test_wss_believes_whom_it_was_told_to(tmp_path: Path, trust: str) -> None:
    ca_file, chain = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    received: list[str | bytes] = []
    all_here = asyncio.Event()

    async def app(connection: ServerConnection) -> None:
        with contextlib.suppress(Exception):
            async for message in connection:
                received.append(message)
                if len(received) == 102:
                    all_here.set()

    async with serve(app, "127.0.0.1", 0, ssl=tls, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        told: list[MediaEvent] = []
        more = asyncio.Event()
        engine = NativeEngine(
            workers=1,
            bind_address="127.0.0.1",
            port_range=(24_300, 24_319),
            drain_s=0,
            ca_file=ca_file if trust == "authority" else None,
            tls_verify=trust != "anybody",
        )
        engine.attach(asyncio.get_running_loop(), lambda event: (told.append(event), more.set())[0])
        try:
            rtp_port, _ = engine.open_leg(1, rtcp_mux=True)
            engine.connect_leg(
                1,
                codec="PCMU",
                payload_type=0,
                clock_rate_hz=8000,
                ptime_ms=20,
                dtmf_payload_type=None,
                remote_rtp="127.0.0.1:9",
                remote_rtcp="127.0.0.1:9",
                rtcp_mux=True,
            )
            usual = stream_arguments(url=f"wss://localhost:{port}/", addresses=[f"127.0.0.1:{port}"])
            engine.add_stream(1, 2, **usual)
            async with asyncio.timeout(WAIT_S):
                await more.wait()
            if trust == "nobody":
                assert isinstance(told[0], events.StreamFailed)
                assert told[0].detail.startswith("TLS: ")
                return
            assert told[0] == events.StreamConnected(1, 2)
            engine.begin_stream(1, 2)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
                for number in range(100):
                    far.sendto(packet(number), ("127.0.0.1", rtp_port))
                async with asyncio.timeout(WAIT_S):
                    await all_here.wait()
            frames = [json.loads(message) for message in received]
            assert [frame["event"] for frame in frames] == ["connected", "start", *["media"] * 100]
        finally:
            engine.detach()
            await asyncio.to_thread(engine.shutdown)


async def test_both_tracks_share_a_socket_and_are_told_apart(world: NativeWorld) -> None:
    world.engine.open_leg(1, rtcp_mux=False)
    connect(world, 1, keepalive_ms=0)
    world.add_stream(1, 2, tx=True)
    await happened(world, events.StreamConnected)
    world.engine.begin_stream(1, 2)
    for number in range(10):
        await world.hear(1, packet(number))
    world.engine.play(1, 7, pcm=tone(440, 200), sample_rate_hz=8000)
    await happened(world, events.PlayEnded)
    frames = (await messages(world, 22))[2:]
    assert [frame["sequence_number"] for frame in frames] == [str(number) for number in range(2, 22)]
    for track in ("inbound", "outbound"):
        chunks = [frame["media"]["chunk"] for frame in frames if frame["media"]["track"] == track]
        assert chunks == [str(number) for number in range(1, 11)]


async def test_a_hundred_legs_leave_nothing_behind(world: NativeWorld) -> None:
    """The world looks for what is left when it ends."""
    for leg_id in range(100):
        world.engine.open_leg(leg_id, rtcp_mux=True)
        connect(world, leg_id, rtcp_mux=True)
        world.add_stream(leg_id, 2)
        world.engine.add_fork(leg_id, 3, rx="127.0.0.1:9", tx=None)
        world.engine.add_speech(leg_id, 4, track="rx", sample_rate_hz=8000, chunk_ms=20)
        await world.hear(leg_id, packet(0))
    await happened(world, events.StreamConnected, 50)
    for leg_id in range(100):
        world.engine.close_leg(leg_id)
    await happened(world, events.LegClosed, 100)
    assert count(world, events.StreamClosed) == 100
    assert count(world, events.TapClosed) == 200
    assert world.engine.counters()["ports_in_use"] == 0
